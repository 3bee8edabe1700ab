package faults

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// orderly is a trace of two batches in one segment, each acknowledged once it was
// durable. Strings are plain text, except for the batches' headers: see hexed.
const orderly = `
1 mkdirat(AT_FDCWD</>, "/d", 0700) = 0
1 fsync(3</>) = 0
1 mkdirat(AT_FDCWD</>, "/d/segments", 0700) = 0
1 fsync(3</d>) = 0
1 renameat(AT_FDCWD</>, "/d/segments/next.tmp", AT_FDCWD</>, "/d/segments/1.seg") = 0
1 fsync(4</d/segments>) = 0
1 pwrite64(5</d/segments/1.seg>, "B1+2", 60, 64) = 60
2 write(9<pipe:[7]>, "{"id":"0","index":99}", 1) = 1
1 fdatasync(5</d/segments/1.seg> <unfinished ...>
2 write(8<socket:[6]>, "{"id":"x","error":"not stored"}", 1 <unfinished ...>
1 <... fdatasync resumed>) = 0
2 <... write resumed>) = 1
1 writev(8<socket:[6]>, [{iov_base="{"id":"0","index":1}", iov_len=2}, {iov_base="{"id":"1","index":2}", iov_len=2}], 2) = 4
2 pwrite64(5</d/segments/1.seg>, "B3+1", 60, 124 <unfinished ...>
1 --- SIGURG {si_signo=SIGURG} ---
1 write(8<socket:[6]>, "{"index":1,"entry":{}}", 9) = 9
2 <... pwrite64 resumed>) = 60
2 fdatasync(5</d/segments/1.seg>) = 0
2 write(8<socket:[6]>, "{"id":"2","index":3}", 9) = 9
2 +++ exited with 0 +++
`

// hexed formats a trace like strace -f -tt -y -xx. B1+2 stands for a batch of 2 entries
// from index 1 on.
func hexed(trace string) string {
	encode := func(s string) string {
		var first, count int
		if n, _ := fmt.Sscanf(s, "B%d+%d", &first, &count); n == 2 {
			s = "BTCH\x00\x00\x00\x00" + string([]byte{byte(first), 0, 0, 0, 0, 0, 0, 0, byte(count), 0, 0, 0}) + strings.Repeat("\x00", 28)
		}
		return strings.ReplaceAll(fmt.Sprintf("% x", s), " ", `\x`)
	}
	trace = regexp.MustCompile(`<([/a-z][^ >]*)>`).ReplaceAllStringFunc(trace, func(s string) string {
		return `<\x` + encode(s[1:len(s)-1]) + `>`
	})
	// A string ends with its argument or element.
	trace = regexp.MustCompile(`"(.+?)"(\.\.\.|, |\)|\}\]|\} |$)`).ReplaceAllStringFunc(trace, func(s string) string {
		i := strings.LastIndex(s, `"`)
		return `"\x` + encode(s[1:i]) + s[i:]
	})
	return regexp.MustCompile(`(?m)^(\d) `).ReplaceAllString(strings.TrimPrefix(trace, "\n"), "$1 00:00:00.000000 ")
}

// TestOrderChecker: the check accepts a trace that is in order, and rejects each doctored
// one.
func TestOrderChecker(t *testing.T) {
	without := func(line string) func(string) string {
		return func(s string) string { return replaceOnce(t, s, line+"\n", "") }
	}
	after := func(line, where string) func(string) string {
		return func(s string) string {
			return replaceOnce(t, replaceOnce(t, s, line+"\n", ""), where+"\n", where+"\n"+line+"\n")
		}
	}
	const lastAck = `2 write(8<socket:[6]>, "{"id":"2","index":3}", 9) = 9`
	for name, tt := range map[string]struct {
		doctor func(string) string
		says   string // the error; "" for none
	}{
		"in order":               {func(s string) string { return s }, ""},
		"no sync":                {without(`2 fdatasync(5</d/segments/1.seg>) = 0`), "before it was synced"},
		"a failed sync":          {replace(t, `2 fdatasync(5</d/segments/1.seg>) = 0`, `2 fdatasync(5</d/segments/1.seg>) = -1 EIO (Input/output error)`), "before it was synced"},
		"a sync of another file": {replace(t, `2 fdatasync(5</d/segments/1.seg>)`, `2 fdatasync(5</d/segments/9.seg>)`), "before it was synced"},
		"sent during the sync":   {replace(t, "2 fdatasync(5</d/segments/1.seg>) = 0\n"+lastAck, "1 fdatasync(5</d/segments/1.seg> <unfinished ...>\n"+lastAck+"\n1 <... fdatasync resumed>) = 0"), "before it was synced"},
		"a sync that never ends": {replace(t, "2 fdatasync(5</d/segments/1.seg>) = 0", "1 fdatasync(5</d/segments/1.seg> <unfinished ...>"), "before it was synced"},
		"sent before the sync":   {after(lastAck, `2 <... pwrite64 resumed>) = 60`), "before it was synced"},
		"synced during the write": {func(s string) string { // by another thread
			s = replaceOnce(t, s, "2 fdatasync(5</d/segments/1.seg>) = 0\n", "")
			return replaceOnce(t, s, "2 <... pwrite64 resumed>", "1 fdatasync(5</d/segments/1.seg>) = 0\n2 <... pwrite64 resumed>")
		}, "before it was synced"},
		"sent before the write":    {replace(t, "1 pwrite64", `1 write(8<socket:[6]>, "{"index":2,"entry":{}}", 9) = 9`+"\n1 pwrite64"), "before its batch was written"},
		"an entry before the sync": {replace(t, `{"index":1,"entry":{}}`, `{"index":3,"entry":{}}`), "before its batch was written"},
		"an index without a batch": {replace(t, `{"id":"2","index":3}`, `{"id":"2","index":4}`), "no batch holds it"},
		"the name not synced":      {without(`1 fsync(4</d/segments>) = 0`), "before the name of /d/segments/1.seg"},
		"the name synced too late": {after(`1 fsync(4</d/segments>) = 0`, `1 writev(8<socket:[6]>, [{iov_base="{"id":"0","index":1}", iov_len=2}, {iov_base="{"id":"1","index":2}", iov_len=2}], 2) = 4`), "before the name of /d/segments/1.seg"},
		"synced before the renaming": {func(s string) string {
			return replaceOnce(t, replaceOnce(t, s, "1 fsync(4</d/segments>) = 0\n", ""), "1 renameat", "1 fsync(4</d/segments>) = 0\n1 renameat")
		}, "before the name of /d/segments/1.seg"},
		"a directory not synced": {without(`1 fsync(3</d>) = 0`), "before the name of /d/segments was"},
		"half of what was sent":  {replace(t, `"{"id":"2","index":3}", 9`, `"{"id":"2","index":3}"..., 9`), "not all that was sent"},
	} {
		calls, err := readTrace(strings.NewReader(hexed(tt.doctor(orderly))))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		o, err := checkOrder(calls, "/d")
		if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: error is %v, want %q", name, err, tt.says)
		}
		if err == nil && (o.acks != 3 || o.entries != 1 || o.batches != 2) {
			t.Errorf("%s: %d acknowledgements, %d entries and %d batches, want 3, 1 and 2", name, o.acks, o.entries, o.batches)
		}
	}
}

func replace(t *testing.T, old, new string) func(string) string {
	return func(s string) string { return replaceOnce(t, s, old, new) }
}

// replaceOnce replaces a text that occurs exactly once.
func replaceOnce(t *testing.T, s, old, new string) string {
	t.Helper()
	if strings.Count(s, old) != 1 {
		t.Fatalf("the trace has %q %d times, want once", old, strings.Count(s, old))
	}
	return strings.Replace(s, old, new, 1)
}
