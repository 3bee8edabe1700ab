package faults

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// orderCalls are the system calls that show the order.
const orderCalls = "trace=write,writev,sendto,sendmsg,pwrite64,pwritev,fdatasync,fsync,mkdirat,renameat,renameat2"

// call is one system call of a trace. Its positions are lines of the trace, which are
// in order of time: strace stops a thread before it enters the kernel, and again before
// it returns from the call.
type call struct {
	name       string
	file       string   // the file of its first descriptor: a path, or socket:[…]
	strings    []string // the strings among its arguments
	short      bool     // some string is truncated
	result     string   // its result: "0", "-1 EIO (…)"
	begin, end int
}

var (
	traceLine   = regexp.MustCompile(`^(\d+)\s+\d+:\d+:\d+\.\d+ (.*)$`)
	traceResume = regexp.MustCompile(`^<\.\.\. (\w+) resumed>(.*)$`)
	traceCall   = regexp.MustCompile(`^(\w+)\((.*)$`)
	traceFile   = regexp.MustCompile(`^\d+<([^>]*)>`)
	traceString = regexp.MustCompile(`"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?`)
)

// readTrace parses the output of strace -f -tt -y -xx. Calls are in the order of their
// start. A call that never returned ends after the last line.
func readTrace(in io.Reader) ([]*call, error) {
	var all []*call
	open := make(map[string]*call) // by thread
	text := make(map[string]string)
	lines := bufio.NewReaderSize(in, 1<<20)
	place := 0
	for {
		line, err := lines.ReadString('\n')
		if line == "" && err == io.EOF {
			break
		}
		if err != nil && err != io.EOF {
			return nil, err
		}
		place++
		m := traceLine.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			return nil, fmt.Errorf("line %d of the trace is %.100q", place, line)
		}
		thread, rest := m[1], m[2]
		if strings.HasPrefix(rest, "+++") || strings.HasPrefix(rest, "---") {
			continue // an end, a signal
		}
		if strings.HasPrefix(rest, "???(") || strings.HasPrefix(rest, "<... ???") {
			continue // a thread that was killed before strace could see the call
		}
		var c *call
		if m := traceResume.FindStringSubmatch(rest); m != nil {
			if c = open[thread]; c == nil || c.name != m[1] {
				return nil, fmt.Errorf("line %d of the trace resumes what was not begun: %.100q", place, line)
			}
			rest = text[thread] + m[2]
		} else if m := traceCall.FindStringSubmatch(rest); m != nil {
			c, rest = &call{name: m[1], begin: place}, m[2]
			all = append(all, c)
		} else {
			return nil, fmt.Errorf("line %d of the trace is %.100q", place, line)
		}
		if before, ok := strings.CutSuffix(rest, "<unfinished ...>"); ok {
			open[thread], text[thread] = c, before
			c.arguments(before)
			continue
		}
		delete(open, thread)
		i := strings.LastIndex(rest, ") = ")
		if i < 0 {
			if i = strings.LastIndex(rest, " = "); i < 0 {
				return nil, fmt.Errorf("line %d of the trace has no result: %.100q", place, line)
			}
		}
		c.arguments(rest[:i])
		c.result, c.end = rest[strings.LastIndex(rest, "= ")+2:], place
	}
	for _, c := range open {
		c.result, c.end = "?", place+1
	}
	return all, nil
}

func (c *call) arguments(s string) {
	if m := traceFile.FindStringSubmatch(s); m != nil {
		c.file = unhex(m[1])
	}
	c.strings, c.short = nil, false
	for _, m := range traceString.FindAllStringSubmatch(s, -1) {
		c.strings = append(c.strings, unhex(m[1]))
		c.short = c.short || m[2] != ""
	}
}

// unhex decodes a string in which all bytes are written like \x2f, or none.
func unhex(s string) string {
	if !strings.HasPrefix(s, `\x`) {
		return s
	}
	b, err := hex.DecodeString(strings.ReplaceAll(s, `\x`, ""))
	if err != nil {
		return s
	}
	return string(b)
}

// ok reports whether the call succeeded.
func (c *call) ok() bool {
	return !strings.HasPrefix(c.result, "-") && !strings.HasPrefix(c.result, "?")
}

// isSocket reports whether the call's descriptor is a connection.
func (c *call) isSocket() bool {
	return strings.HasPrefix(c.file, "socket:") || strings.HasPrefix(c.file, "TCP")
}
