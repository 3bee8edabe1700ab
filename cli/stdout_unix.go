//go:build unix

package cli

import (
	"os"

	"golang.org/x/sys/unix"
)

// readerGone waits until the reader of a pipe goes away, and returns true then. A
// command that follows may have nothing to write for a long time, and should not
// outlive its reader for as long. It returns false at once for what is no pipe.
func readerGone(f *os.File) bool {
	info, err := f.Stat()
	if err != nil || info.Mode()&(os.ModeNamedPipe|os.ModeSocket) == 0 {
		return false
	}
	for {
		fds := []unix.PollFd{{Fd: int32(f.Fd())}} // errors alone are waited for
		if _, err := unix.Poll(fds, -1); err == unix.EINTR {
			continue
		} else if err != nil {
			return false
		}
		return fds[0].Revents&(unix.POLLERR|unix.POLLHUP) != 0
	}
}
