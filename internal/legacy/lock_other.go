//go:build !unix

package legacy

// locked does not know.
func locked(string) bool { return false }
