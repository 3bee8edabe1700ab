//go:build unix && (!linux || race)

package nowait

import "syscall"

// The usual calls tell the race detector that everything one side does before a write happens
// before everything the other side does after the read.

func sysRead(fd uintptr, b []byte) (int, error) { return syscall.Read(int(fd), b) }

func sysWrite(fd uintptr, b []byte) (int, error) { return syscall.Write(int(fd), b) }
