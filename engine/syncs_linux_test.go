package engine

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// call is one system call of a trace. Calls of several threads overlap: a call
// is known to come after another if it begins after that one's end.
type call struct {
	name       string
	path       string // of its descriptor, or its last path
	args       string
	begin, end int // lines of the trace
}

var (
	traceLine    = regexp.MustCompile(`^(\d+) +(\w+)\((.*)$`)
	resumedLine  = regexp.MustCompile(`^(\d+) +<\.\.\. (\w+) resumed>`)
	descriptor   = regexp.MustCompile(`^\d+<([^>]*)>`)
	quotedString = regexp.MustCompile(`"([^"]*)"`)
)

// parseTrace reads what `strace -f -y` has written. Calls that failed are left out.
func parseTrace(b []byte) (calls []call) {
	open := make(map[string]int) // by thread: the place in calls
	for i, line := range strings.Split(string(b), "\n") {
		failed := strings.Contains(line, ") = -1 ")
		if m := resumedLine.FindStringSubmatch(line); m != nil {
			if at, ok := open[m[1]]; ok && calls[at].name == m[2] {
				calls[at].end = i
				if failed {
					calls[at].name = ""
				}
			}
			continue
		}
		m := traceLine.FindStringSubmatch(line)
		if m == nil || failed {
			continue
		}
		c := call{name: m[2], args: m[3], begin: i, end: i}
		if d := descriptor.FindStringSubmatch(m[3]); d != nil {
			c.path = d[1]
		} else if q := quotedString.FindAllStringSubmatch(m[3], -1); q != nil {
			c.path = q[len(q)-1][1]
		}
		if strings.Contains(line, "<unfinished ...>") {
			c.end = 1 << 30
			open[m[1]] = len(calls)
		}
		calls = append(calls, c)
	}
	return slices.DeleteFunc(calls, func(c call) bool { return c.name == "" })
}

// trace is the trace of one run of syncsChild, and what is wrong with it.
type trace struct {
	calls  []call
	wrongs []string
}

func (tr *trace) wrong(format string, args ...any) {
	tr.wrongs = append(tr.wrongs, fmt.Sprintf(format, args...))
}

// between finds a call of that name on path that begins after from and has ended
// before to begins.
func (tr *trace) between(name, path string, from, to int) bool {
	return slices.ContainsFunc(tr.calls, func(c call) bool {
		return c.name == name && c.path == path && c.begin > from && c.end < to
	})
}

// each calls fn for the calls of one of the names; that there are none is wrong:
// then nothing would have been looked at.
func (tr *trace) each(what string, names []string, is func(c call) bool, fn func(c call)) {
	n := 0
	for _, c := range tr.calls {
		if slices.Contains(names, c.name) && is(c) {
			n++
			fn(c)
		}
	}
	if n == 0 {
		tr.wrong("the trace has no %s", what)
	}
}

// next is the line at which the next of the calls that is satisfies begins after line.
func (tr *trace) next(line int, is func(c call) bool) int {
	for _, c := range tr.calls {
		if c.begin > line && is(c) {
			return c.begin
		}
	}
	return 1 << 29
}

const (
	syncsDir    = "ENGINE_SYNCS_DIR"
	syncsBefore = 33_000 // entries: more than a file of the index holds
)

// syncsChild is a short life of a log: segments are begun, sealed, settled and
// removed, blobs and a second file of the index are written, and it starts again.
func syncsChild(t *testing.T, dir string) {
	config := NewConfig(filepath.Join(dir, "deep", "data"))
	config.SegmentSize, config.SettleEvery, config.RemoveAfter, config.LooseMax = 16<<10, time.Millisecond, time.Millisecond, 40
	l, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	pad := strings.Repeat("x", 3000)
	for n := range 20 {
		mustAppend(t, l, fmt.Sprintf(`{"n":%d,"pad":"%s"}`, n, pad))
	}
	settled(t, l)
	eventually(t, "a segment to be removed", func() bool { return l.Stats().First > 1 })
	mustAppend(t, l, numbered(1, 30)...) // and no more blobs
	for range 3 {
		if r := <-submit(l, numbered(100, syncsBefore/3)...); r.err != nil {
			t.Fatal(r.err)
		}
	}
	mustAppend(t, l, "[]") // into a segment that has room for more
	settled(t, l)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "again"), nil, 0o600); err != nil { // a mark in the trace
		t.Fatal(err)
	}
	if l, err = Open(config); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, "[]")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestSyncs follows the system calls of a log: everything that something else
// depends on is synced before it. A kill cannot show a sync that is missing, since
// the page cache stays; a trace does.
func TestSyncs(t *testing.T) {
	if dir := os.Getenv(syncsDir); dir != "" {
		syncsChild(t, dir)
		return
	}
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("needs strace")
	}
	if out, err := exec.Command(strace, "-o", "/dev/null", "true").CombinedOutput(); err != nil {
		t.Skipf("strace does not work here: %v: %s", err, out)
	}
	dir := t.TempDir()
	file := filepath.Join(t.TempDir(), "trace")
	cmd := exec.Command(strace, "-f", "-y", "-s", "300", "-o", file,
		"-e", "trace=openat,write,pwrite64,fdatasync,fsync,syncfs,rename,renameat,renameat2,mkdir,mkdirat,unlink,unlinkat,ftruncate,fadvise64",
		os.Args[0], "-test.run=^TestSyncs$")
	cmd.Env = append(os.Environ(), syncsDir+"="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("the traced run: %v\n%s", err, out)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(dir, "deep", "data")
	for _, wrong := range checkSyncs(parseTrace(b), data) {
		t.Error(wrong)
	}
	if t.Failed() {
		return
	}
	// And the checks find what they are for: without its syncs a trace does not pass.
	for _, name := range []string{"fdatasync", "fsync", "syncfs", "fadvise64"} {
		doctored := regexp.MustCompile(`(?m)^\d+ +(<\.\.\. )?`+name+`\b.*$`).ReplaceAll(b, nil)
		if bytes.Equal(doctored, b) {
			t.Errorf("the trace has no %s", name)
		}
		if len(checkSyncs(parseTrace(doctored), data)) == 0 {
			t.Errorf("a trace without any %s passes", name)
		}
	}
}

// checkSyncs returns what is wrong with the order of a trace.
func checkSyncs(calls []call, data string) []string {
	tr := &trace{calls: calls}
	segments, wal, blobs := filepath.Join(data, "segments"), filepath.Join(data, "wal"), filepath.Join(data, "blobs")
	next := filepath.Join(segments, "next.tmp")
	renames := []string{"rename", "renameat", "renameat2"}
	isSegment := func(c call) bool { return strings.HasSuffix(c.path, ".seg") }

	last := 0
	tr.each("new segment", renames, isSegment, func(c call) {
		if !tr.between("fdatasync", next, last, c.begin) {
			tr.wrong("%s gets its name before its bytes are synced", c.path)
		}
		// After the renaming a descriptor's path is the new one.
		first := tr.next(c.end, func(w call) bool { return w.name == "pwrite64" && w.path == c.path })
		if !tr.between("fsync", segments, c.end, first) {
			tr.wrong("%s is written to before its name is synced", c.path)
		}
		last = c.begin
	})
	tr.each("segment removed", []string{"unlink", "unlinkat"}, isSegment, func(c call) {
		again := tr.next(c.end, func(u call) bool { return strings.HasPrefix(u.name, "unlink") && isSegment(u) })
		if !tr.between("fsync", segments, c.end, again) {
			tr.wrong("the removal of %s is not synced before the next", c.path)
		}
	})
	// The blob of the first entry is what the removal of the first segment rests on.
	for _, c := range tr.calls {
		if slices.Contains(renames, c.name) && filepath.Dir(filepath.Dir(c.path)) == blobs {
			gone := tr.next(c.end, func(u call) bool { return strings.HasPrefix(u.name, "unlink") && isSegment(u) })
			if !tr.between("fadvise64", c.path, c.end, gone) {
				tr.wrong("a segment is removed although %s was read back from the page cache", c.path)
			}
			break
		}
	}
	tr.each("directory made", []string{"mkdir", "mkdirat"}, func(c call) bool {
		return strings.HasPrefix(c.path, filepath.Dir(filepath.Dir(data))) && filepath.Dir(c.path) != blobs
	}, func(c call) {
		if !tr.between("fsync", filepath.Dir(c.path), c.end, 1<<29) {
			tr.wrong("the name of %s is not synced", c.path)
		}
	})

	var blob call // the last that was written
	tr.each("record written", append(renames, "write"), func(c call) bool {
		blob := filepath.Dir(filepath.Dir(c.path)) == blobs && filepath.Base(c.path) != "README" // of a mark
		return blob || c.name == "write" && filepath.Dir(c.path) == wal
	}, func(c call) {
		if c.name != "write" {
			blob = c
			return
		}
		if blob.name != "" && !tr.between("syncfs", blobs, blob.end, c.begin) {
			tr.wrong("records are written before the blobs, of which the last is %s, are synced", blob.path)
		}
		later := tr.next(c.end, func(w call) bool { return w.name == "write" && w.path == c.path })
		if !tr.between("fsync", c.path, c.end, later) {
			tr.wrong("records in %s are not synced", c.path)
		}
	})
	if blob.name == "" {
		tr.wrong("the trace has no blob")
	}
	again := tr.next(0, func(c call) bool {
		return c.name == "openat" && c.path == filepath.Join(filepath.Dir(filepath.Dir(data)), "again")
	})
	tr.each("new file of the index", []string{"openat"}, func(c call) bool {
		return filepath.Dir(c.path) == wal && strings.Contains(c.args, "O_CREAT") && c.begin < again
	}, func(c call) {
		if !tr.between("fsync", wal, c.end, again) { // the next start syncs it anyway
			tr.wrong("the name of %s is not synced", c.path)
		}
	})

	// The second start: what is there is read from the disk, and then made durable.
	var tail string
	for _, c := range tr.calls {
		if c.name == "pwrite64" && isSegment(c) && c.begin > again {
			tail = c.path
			if !tr.between("fdatasync", tail, again, c.begin) {
				tr.wrong("%s is appended to, and what a crash may have left in it is not synced", tail)
			}
			break
		}
	}
	if tail == "" {
		tr.wrong("the second start appends nothing")
	}
	for _, path := range []string{tail, lastIn(tr, wal)} {
		if !tr.between("fadvise64", path, again, 1<<29) {
			tr.wrong("%s is read from the page cache", path)
		}
	}
	return tr.wrongs
}

// lastIn is the last file in dir that was written to.
func lastIn(tr *trace, dir string) (path string) {
	for _, c := range tr.calls {
		if c.name == "write" && filepath.Dir(c.path) == dir {
			path = c.path
		}
	}
	return path
}
