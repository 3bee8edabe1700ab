package server

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"time"

	"tcp-log-server/server/internal/message"

	"github.com/zeebo/blake3"
)

// filler, in the fuzzer's input, stands for enough bytes to make a line too long.
const filler = 0x7f

// oneRead drops all lines that are reads except the first, since whether a second one is
// refused depends on the progress of the first. It also drops what follows the last line that
// the server examines. q is the query of the read, nil if there is none.
func oneRead(input []byte) (_ string, q *message.Query) {
	var out strings.Builder
	for _, line := range bytes.SplitAfter(input, []byte("\n")) {
		m, _, err := message.Parse(bytes.TrimSuffix(line, []byte("\n")), nil)
		if err == nil && m.Kind == message.Read {
			if q != nil {
				continue
			}
			q = m.Query
		}
		out.WriteString(strings.ReplaceAll(string(line), string(rune(filler)), strings.Repeat("_", 30_000)))
	}
	return out.String(), q
}

var (
	stored    = regexp.MustCompile(`^\{"id":.*,"index":(\d+)(,"count":\d+)?(,"seen":true)?(,"hash(es)?":.*,"time":".*")?\}$`)
	unmet     = regexp.MustCompile(`^\{"id":.*,"error":"not stored: the head is (\d+), not \d+","head":(\d+)\}$`)
	notStored = regexp.MustCompile(`^\{"id":.*,"error":".*"\}$`)
	entryLine = regexp.MustCompile(`^\{"index":(\d+)(,"time":"[^"]*")?(,"hash":"[0-9a-f]*")?,"entry":.*\}$`)
)

// conversation is an output, sorted by what its lines belong to.
type conversation struct {
	replies, errors, read []string
}

// sortOut checks properties of any output, and sorts its lines.
func sortOut(t *testing.T, output string) (c conversation) {
	t.Helper()
	if output != "" && !strings.HasSuffix(output, "\n") {
		t.Fatalf("the output does not end in a newline: %q", output)
	}
	acked, index := uint64(0), uint64(0)
	for _, line := range strings.Split(strings.TrimSuffix(output, "\n"), "\n") {
		var n uint64
		switch m := entryLine.FindStringSubmatch(line); {
		case m != nil:
			fmt.Sscan(m[1], &n)
			if n > acked || n <= index {
				t.Fatalf("entry %d comes after ack %d and entry %d", n, acked, index)
			}
			index = n
			c.read = append(c.read, line)
		case stored.MatchString(line):
			m := stored.FindStringSubmatch(line)
			count := uint64(1)
			fmt.Sscan(m[1], &n)
			fmt.Sscanf(m[2], `,"count":%d`, &count)
			switch seen := m[3] != ""; {
			case seen && n > acked || !seen && n != acked+1:
				t.Fatalf("%s comes when %d entries are stored", line, acked)
			case !seen:
				acked += count
			}
			c.replies = append(c.replies, line)
		case unmet.MatchString(line):
			if m, head := unmet.FindStringSubmatch(line), fmt.Sprint(acked); m[1] != head || m[2] != head {
				t.Fatalf("%s comes when %d entries are stored", line, acked)
			}
			c.replies = append(c.replies, line)
		case notStored.MatchString(line):
			c.replies = append(c.replies, line)
		case line == current:
			c.read = append(c.read, line)
		case strings.HasPrefix(line, `{"head":`):
			c.read = append(c.read, line)
		case strings.HasPrefix(line, `{"at":`):
		case strings.HasPrefix(line, `{"error":`):
			c.errors = append(c.errors, line)
		case line != "":
			t.Fatalf("what is %q?", line)
		}
	}
	return c
}

// checkRead checks the lines of a read against its query and the content of the log.
func checkRead(t *testing.T, q *message.Query, lines []string, log *fakeLog) {
	t.Helper()
	if q == nil {
		if len(lines) > 0 {
			t.Fatalf("there is no read, but lines of one: %q", lines)
		}
		return
	}
	wants := func(index uint64) bool { return q.Where == nil || q.Where.Match(log.entries[index-1]) }
	last, count := q.From-1, uint64(0) // last is MaxUint64 while the beginning is not known
	for i, line := range lines {
		var n, next uint64
		if m := entryLine.FindStringSubmatch(line); m != nil {
			fmt.Sscan(m[1], &n)
			entry := log.entries[n-1]
			want := fmt.Sprintf(`{"index":%d`, n)
			if q.Time {
				want += time.UnixMicro(fakeTime(n)).UTC().Format(`,"time":"2006-01-02T15:04:05.000000Z"`)
			}
			if q.Hash {
				want += fmt.Sprintf(`,"hash":"%x"`, blake3.Sum256(entry))
			}
			if want += `,"entry":` + string(entry) + `}`; line != want || !wants(n) || q.Through > 0 && n > q.Through {
				t.Fatalf("a read of %+v has the line %s, want %s, or none", *q, line, want)
			}
			for m := last + 1; m > 0 && m < n; m++ {
				if wants(m) {
					t.Fatalf("a read of %+v leaves out index %d before %s", *q, m, line)
				}
			}
			last = n
			count++
			continue
		}
		if line == current {
			continue
		}
		if found, _ := fmt.Sscanf(line, `{"head":%d,"next":%d}`, &n, &next); found == 0 || i < len(lines)-1 {
			t.Fatalf("a read of %+v has the lines %q", *q, lines)
		}
		full := q.Count > 0 && count == q.Count
		if next == 0 && !full && q.Through == 0 || next > 0 && (full || q.Scan == 0 || q.From > 0 && next != q.From+q.Scan) {
			t.Fatalf("a read of %+v ends with %s after %d lines", *q, line, count)
		}
	}
	if q.Count > 0 && count > q.Count {
		t.Fatalf("a read of %+v has %d lines", *q, count)
	}
}

// FuzzConversation: how the input of a connection is split into packets does not affect its
// output, except for how much of a read is sent before the end.
func FuzzConversation(f *testing.F) {
	for i, input := range []string{
		"{\"id\":\"1\",\"entry\":[1]}\n{\"from\":1}\n{\"id\":\"2\",\"entry\":[2]}\n{\"id\":\"3\",\"entry\":{\"a\":1,\"a\":1}}\n",
		"{\"from\":2,\"read\":2}\n{}\n{\"id\":\"1\",\"entry\":{\"b\":1,\"a\":2}}\r\n\n \n{\"id\":\"2\",\"entry\":null}",
		"{\"id\":\"1\",\"entry\":[]}\n{\"id\":\"2\",\"entry\":[\"\x7f\x7f\x7f\"]}\n{\"id\":\"3\",\"entry\":[]}\n\x7f\x7f\x7f\n{\"id\":\"4\",\"entry\":[]}\n",
		"{\"id\":\"1\",\"entry\":[]}\n{\"id\":\"2\",\"entry\":[],\"once\":true}\n{\"id\":\"3\",\"entry\":[3],\"once\":true,\"receipt\":true}\n{\"id\":\"4\",\"entry\":[4],\"if\":2}\n{\"id\":\"5\",\"entry\":[5],\"if\":2}\n",
		"{\"from\":1}\n{\"id\":\"1\",\"entries\":[[1],[2]],\"if\":0,\"receipt\":true}\n{\"id\":\"2\",\"entries\":[[3],{\"a\":1,\"a\":1}]}\n{\"id\":\"3\",\"entry\":[1],\"once\":true}\n{\"id\":\"4\",\"entries\":[[4]]}\n",
		"{\"id\":\"1\",\"entry\":[]}\noops\n{\"id\":\"2\",\"entry\":[]}\n",
		"{\"id\":\"1\",\"entry\":[",
		"{\"entry\":[\"\x7f\"],\"id\":\"1\"}\n{\"from\":1,\"read\":1}\n",
		"{\"id\":\"1\",\"entry\":{\"a\":1}}\n{\"id\":\"2\",\"entry\":{\"a\":2}}\n{\"from\":1,\"where\":{\"a\":1},\"time\":true}\n{\"id\":\"3\",\"entry\":{\"a\":1}}\n",
		"{\"id\":\"1\",\"entry\":{\"a\":1}}\n{\"last\":2,\"hash\":true,\"through\":2}\n{\"id\":\"2\",\"entry\":{\"a\":1}}\n{\"id\":\"3\",\"entry\":[]}\n",
		"{\"id\":\"1\",\"entry\":{\"a\":1}}\n{\"from\":1,\"scan\":2,\"read\":2,\"where\":{}}\n{\"id\":\"2\",\"entry\":[]}\n{\"id\":\"3\",\"entry\":{}}\n",
		"{\"id\":\"1\",\"entry\":[]}\n{\"since\":\"2025-11-24T16:00:02Z\",\"read\":1}\n{\"id\":\"2\",\"entry\":[]}\n",
	} {
		f.Add([]byte(input), uint64(i))
	}
	f.Fuzz(func(t *testing.T, raw []byte, seed uint64) {
		if len(raw) > 10_000 || bytes.Count(raw, []byte{filler}) > 8 {
			return
		}
		input, q := oneRead(raw)
		random := rand.New(rand.NewPCG(seed, 1))
		var pieces []string
		for rest := input; rest != ""; {
			n := min(1+random.IntN(40), len(rest))
			if random.IntN(4) == 0 {
				n = min(1+random.IntN(80_000), len(rest))
			}
			if pieces = append(pieces, rest[:n]); len(pieces) > 2000 {
				n = len(rest)
				pieces[len(pieces)-1] = rest
			}
			rest = rest[n:]
		}
		config := Config{MaxEntry: 1000}
		logs := [2]*fakeLog{newFakeLog(), newFakeLog()}
		var whole, cut conversation
		if input != "" {
			whole = sortOut(t, converse(logs[0], config, input))
			cut = sortOut(t, converse(logs[1], config, pieces...))
		}
		checkRead(t, q, whole.read, logs[0])
		checkRead(t, q, cut.read, logs[1])
		same := func(what string, a, b []string) {
			t.Helper()
			if len(a) != len(b) {
				t.Fatalf("%s: %d in one piece, %d in many:\n%q\n%q", what, len(a), len(b), a, b)
			}
			for i := range a {
				if a[i] != b[i] {
					t.Fatalf("%s: in one piece %s, in many %s", what, a[i], b[i])
				}
			}
		}
		same("replies", whole.replies, cut.replies)
		same("errors", whole.errors, cut.errors)
		if len(logs[0].entries) != len(logs[1].entries) {
			t.Fatalf("the logs hold %d and %d entries", len(logs[0].entries), len(logs[1].entries))
		}
		if n := len(whole.errors); n > 0 && whole.errors[n-1] == `{"error":"invalid JSON"}` {
			return // which ends a read wherever it is
		}
		// Current comes at the head of one moment or another; the entries before and after it
		// are the same, as far as they are sent, if the read does not begin there.
		if q != nil && q.From > 0 {
			a, b := entriesOf(whole.read), entriesOf(cut.read)
			n := min(len(a), len(b))
			same("entries", a[:n], b[:n])
		}
		if (len(whole.read) == 0) != (len(cut.read) == 0) {
			t.Fatalf("a read answers %q in one piece, %q in many", whole.read, cut.read)
		}
	})
}

// entriesOf returns the lines of a read that are entries.
func entriesOf(lines []string) (entries []string) {
	for _, line := range lines {
		if entryLine.MatchString(line) {
			entries = append(entries, line)
		}
	}
	return entries
}
