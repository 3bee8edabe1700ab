//go:build unix && (!linux || race)

package nowait

import "syscall"

// The usual calls tell the race detector that what one side does before it writes comes
// before what the other does after it has read.

func sysRead(fd uintptr, b []byte) (int, error) { return syscall.Read(int(fd), b) }

func sysWrite(fd uintptr, b []byte) (int, error) { return syscall.Write(int(fd), b) }
