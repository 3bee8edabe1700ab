package metrics

import (
	"bytes"
	"os"
	"strconv"
	"syscall"
)

// clockTicks is the number of ticks per second in /proc: 100 on every system that Go supports,
// whatever the kernel's clock.
const clockTicks = 100

// processUsage reads /proc for this process.
func processUsage() usage {
	u := unknown()
	if b, err := os.ReadFile("/proc/self/stat"); err == nil {
		u.parseStat(b)
	}
	if dir, err := os.Open("/proc/self/fd"); err == nil {
		if names, err := dir.Readdirnames(-1); err == nil {
			u.files = float64(len(names) - 1) // except dir
		}
		dir.Close()
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err == nil {
		u.maxFiles = float64(limit.Cur)
	}
	return u
}

// parseStat parses /proc/self/stat, see proc(5).
func (u *usage) parseStat(b []byte) {
	// The program's name is in parentheses and may contain parentheses.
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	field := func(n int) float64 { // numbered as in proc(5): the state is 3
		if n-3 >= len(fields) {
			return -1
		}
		v, err := strconv.ParseFloat(string(fields[n-3]), 64)
		if err != nil {
			return -1
		}
		return v
	}
	if user, system := field(14), field(15); user >= 0 && system >= 0 {
		u.cpu = (user + system) / clockTicks
	}
	u.threads, u.mapped = field(20), field(23)
	if pages := field(24); pages >= 0 {
		u.resident = pages * float64(os.Getpagesize())
	}
}
