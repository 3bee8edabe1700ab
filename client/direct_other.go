//go:build !unix

package client

// canDirect: here no append leads.
const canDirect = false

func writeNow(uintptr, []byte) int         { return 0 }
func readNow(uintptr, []byte) (int, error) { return 0, nil }
