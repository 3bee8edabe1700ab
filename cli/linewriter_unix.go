//go:build unix

package cli

import (
	"os"

	"golang.org/x/sys/unix"
)

// readerGone waits until the reader of the pipe f goes away and then returns true, so that a command
// that follows an idle log ends with its reader. It returns false at once if f is not a pipe.
func readerGone(f *os.File) bool {
	info, err := f.Stat()
	if err != nil || info.Mode()&(os.ModeNamedPipe|os.ModeSocket) == 0 {
		return false
	}
	for {
		fds := []unix.PollFd{{Fd: int32(f.Fd())}} // no events: only errors
		if _, err := unix.Poll(fds, -1); err == unix.EINTR {
			continue
		} else if err != nil {
			return false
		}
		return fds[0].Revents&(unix.POLLERR|unix.POLLHUP) != 0
	}
}
