// Package systrace lets tests check the system calls of a run: what is synced, and before what.
// Killing a process cannot show that a sync is missing, because the page cache survives; a trace
// does.
package systrace

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Call is one system call of a trace. Calls of several threads overlap: a call is known to come
// after another only if it begins after the end of the other.
type Call struct {
	Name       string
	Path       string // the last path among the arguments, or that of the descriptor
	Args       string
	Begin, End int // lines of the trace
}

// Of runs the named test of the running binary again under strace, with the variables env, and
// returns the trace. Without strace it skips the test.
func Of(t *testing.T, test string, env ...string) []byte {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("needs strace")
	}
	if out, err := exec.Command(strace, "-o", "/dev/null", "true").CombinedOutput(); err != nil {
		t.Skipf("strace does not work here: %v: %s", err, out)
	}
	file := filepath.Join(t.TempDir(), "trace")
	cmd := exec.Command(strace, "-f", "-y", "-s", "300", "-o", file,
		"-e", "trace=openat,write,pwrite64,fdatasync,fsync,syncfs,link,linkat,rename,renameat,renameat2,mkdir,mkdirat,unlink,unlinkat,ftruncate,fadvise64",
		os.Args[0], "-test.run=^"+test+"$")
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("the traced run: %v\n%s", err, out)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var (
	line         = regexp.MustCompile(`^(\d+) +(\w+)\((.*)$`)
	resumedLine  = regexp.MustCompile(`^(\d+) +<\.\.\. (\w+) resumed>`)
	name         = regexp.MustCompile(`(?:\d+|AT_FDCWD)<([^>]*)>, "([^"]*)"`)
	descriptor   = regexp.MustCompile(`^\d+<([^>]*)>`)
	quotedString = regexp.MustCompile(`"([^"]*)"`)
)

// Parse parses the output of `strace -f -y`. It leaves out calls that failed.
func Parse(b []byte) (calls []Call) {
	open := make(map[string]int) // index in calls of the unfinished call, by thread
	for i, text := range strings.Split(string(b), "\n") {
		failed := strings.Contains(text, ") = -1 ")
		if m := resumedLine.FindStringSubmatch(text); m != nil {
			if at, ok := open[m[1]]; ok && calls[at].Name == m[2] {
				calls[at].End = i
				if failed {
					calls[at].Name = ""
				}
			}
			continue
		}
		m := line.FindStringSubmatch(text)
		if m == nil || failed {
			continue
		}
		c := Call{Name: m[2], Args: m[3], Begin: i, End: i}
		named, quoted := name.FindAllStringSubmatch(m[3], -1), quotedString.FindAllStringSubmatch(m[3], -1)
		switch d := descriptor.FindStringSubmatch(m[3]); {
		case named != nil && c.Name != "write" && c.Name != "pwrite64":
			last := named[len(named)-1] // in an open directory, or an absolute path
			if c.Path = last[2]; !filepath.IsAbs(c.Path) {
				c.Path = filepath.Join(last[1], c.Path)
			}
		case d != nil:
			c.Path = d[1]
		case quoted != nil:
			c.Path = quoted[len(quoted)-1][1]
		}
		if strings.Contains(text, "<unfinished ...>") {
			c.End = 1 << 30
			open[m[1]] = len(calls)
		}
		calls = append(calls, c)
	}
	return slices.DeleteFunc(calls, func(c Call) bool { return c.Name == "" })
}

// Trace is a trace and the problems found in it.
type Trace struct {
	Calls  []Call
	Wrongs []string
}

// Wrong records a problem.
func (tr *Trace) Wrong(format string, args ...any) {
	tr.Wrongs = append(tr.Wrongs, fmt.Sprintf(format, args...))
}

// Between reports whether there is a call of that name on path that begins after from and ends
// before to.
func (tr *Trace) Between(name, path string, from, to int) bool {
	return slices.ContainsFunc(tr.Calls, func(c Call) bool {
		return c.Name == name && c.Path == path && c.Begin > from && c.End < to
	})
}

// Each calls fn for the calls that have one of the names and satisfy is. If there are none, that is
// a problem, because nothing would have been checked.
func (tr *Trace) Each(what string, names []string, is func(c Call) bool, fn func(c Call)) {
	n := 0
	for _, c := range tr.Calls {
		if slices.Contains(names, c.Name) && is(c) {
			n++
			fn(c)
		}
	}
	if n == 0 {
		tr.Wrong("the trace has no %s", what)
	}
}

// Next returns the line of the next call after line that satisfies is.
func (tr *Trace) Next(line int, is func(c Call) bool) int {
	for _, c := range tr.Calls {
		if c.Begin > line && is(c) {
			return c.Begin
		}
	}
	return 1 << 29
}
