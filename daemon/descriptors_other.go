//go:build !unix

package daemon

// connectionsFor returns most: this platform does not limit open files.
func connectionsFor(most int) int { return most }
