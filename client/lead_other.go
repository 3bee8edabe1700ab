//go:build !unix

package client

// canWriteNow: here the writing goroutine alone writes.
const canWriteNow = false

func writeNow(uintptr, []byte) int { return 0 }
