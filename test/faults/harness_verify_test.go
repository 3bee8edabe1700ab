package faults

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// verify reads the whole log of the server at addr and compares it with the history:
//
//   - indices have no gap;
//   - an acknowledged entry is at its index, byte for byte;
//   - an entry without an acknowledgement is whole and there once, or absent;
//   - one that was answered "not stored" is absent;
//   - the entries of a writer are in the order in which it sent them.
//
// It returns the head.
func verify(t testing.TB, addr string, h *history) uint64 {
	t.Helper()
	return verifyThrough(t, addr, h, math.MaxUint64)
}

// verifyThrough is verify for an older copy of the log, which may lack the entries
// acknowledged at indices after through.
func verifyThrough(t testing.TB, addr string, h *history, through uint64) uint64 {
	t.Helper()
	head, err := compare(addr, h, through)
	if err != nil {
		t.Fatalf("the log is not what was acknowledged: %v", err)
	}
	return head
}

// compare is verifyThrough, but returns an error for a wrong log.
func compare(addr string, h *history, through uint64) (head uint64, err error) {
	c := newChecker(h, through)
	err = readLog(addr, c.line)
	if err == nil {
		err = c.end()
	}
	return c.next - 1, err
}

// readLog calls fn for each line of the log, from its first entry to its head.
func readLog(addr string, fn func(line string) error) error {
	current := errors.New("current")
	err := stream(addr, func(line string) error {
		if line == "{\"current\":true}\n" {
			return current
		}
		return fn(line)
	})
	if err == current {
		return nil
	}
	return err
}

// stream reads the log from its first entry and calls fn for each line, until fn
// returns an error.
func stream(addr string, fn func(line string) error) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := fmt.Fprintln(c, `{"from":1}`); err != nil {
		return err
	}
	lines := bufio.NewReaderSize(c, 256<<10)
	for {
		c.SetReadDeadline(time.Now().Add(patience))
		line, err := lines.ReadString('\n')
		if err == nil {
			err = fn(line)
		}
		if err != nil {
			return err
		}
	}
}

// checker compares a log with a history, line by line.
type checker struct {
	h    *history
	need uint64 // acknowledged entries through this index must be there
	next uint64
	last map[string]int // by writer: the number of its last entry in the log, and one
	left map[string]int // by writer: acknowledged entries not found yet
}

func newChecker(h *history, need uint64) *checker {
	c := &checker{h: h, need: need, next: 1, last: make(map[string]int), left: make(map[string]int)}
	h.mu.Lock()
	defer h.mu.Unlock()
	for name, outcomes := range h.writers {
		for _, o := range outcomes {
			if o.index > 0 && o.index <= need {
				c.left[name]++
			}
		}
	}
	return c
}

// line checks the next line of the log.
func (c *checker) line(line string) error {
	c.h.mu.Lock()
	defer c.h.mu.Unlock()
	index := c.next
	prefix := fmt.Sprintf(`{"index":%d,"entry":`, index)
	entry, ok := strings.CutPrefix(line, prefix)
	if !ok {
		return fmt.Errorf("line is %.200q, want index %d and an entry", line, index)
	}
	entry = strings.TrimSuffix(entry, "}\n")
	var e struct {
		W string
		N int
	}
	if err := json.Unmarshal([]byte(entry), &e); err != nil {
		return fmt.Errorf("index %d: entry is %.200q: %v", index, entry, err)
	}
	outcomes, known := c.h.writers[e.W]
	switch {
	case !known || e.N < 0 || e.N >= len(outcomes):
		return fmt.Errorf("index %d: nobody sent %.200q", index, entry)
	case entry != c.h.entry(e.W, e.N):
		return fmt.Errorf("index %d: entry is %.200q, want %.200q", index, entry, c.h.entry(e.W, e.N))
	case e.N < c.last[e.W]:
		return fmt.Errorf("index %d: entry %d of writer %s comes after its entry %d, or twice", index, e.N, e.W, c.last[e.W]-1)
	}
	switch o := outcomes[e.N]; {
	case o.refused:
		return fmt.Errorf("index %d: entry %d of writer %s is in the log, and was answered %q", index, e.N, e.W, o.err)
	case o.index > 0 && o.index != index:
		return fmt.Errorf("index %d: entry %d of writer %s was acknowledged at index %d", index, e.N, e.W, o.index)
	case o.index > 0 && o.index <= c.need:
		c.left[e.W]--
	}
	c.last[e.W] = e.N + 1
	c.next++
	return nil
}

// end is called after the last line.
func (c *checker) end() error {
	missing, example := 0, ""
	for name, n := range c.left {
		if n > 0 {
			missing, example = missing+n, name
		}
	}
	if missing > 0 {
		return fmt.Errorf("%d acknowledged entries are missing, some of writer %s; the log ends at %d", missing, example, c.next-1)
	}
	return nil
}

// fsck checks a log without a server, fails the test if it finds an error, and returns
// the summary.
func fsck(t testing.TB, data string, args ...string) map[string]any {
	t.Helper()
	code, lines := fsckOf(t, data, args...)
	if code != 0 {
		t.Fatalf("fsck %s: exit code is %d, want 0: %v", data, code, lines)
	}
	return lines[len(lines)-1]
}

// fsckOf runs fsck --json and returns its exit code and output.
func fsckOf(t testing.TB, data string, args ...string) (code int, lines []map[string]any) {
	t.Helper()
	cmd := exec.Command(program(t), append(append([]string{"fsck", "--json"}, args...), data)...)
	out, err := cmd.Output()
	code = exitCode(t, err)
	for line := range strings.Lines(string(out)) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("fsck %s: line is %q: %v", data, line, err)
		}
		lines = append(lines, m)
	}
	if len(lines) == 0 {
		t.Fatalf("fsck %s: exit code is %d, and nothing is printed: %v", data, code, err)
	}
	return code, lines
}

// recovered starts a server on data again, verifies the log, stops the server and runs
// fsck. It returns the head.
func recovered(t testing.TB, data string, h *history, env ...string) uint64 {
	t.Helper()
	p := server(t, options{Data: data, Env: env})
	head := verify(t, p.addr, h)
	p.clean()
	fsck(t, data)
	return head
}

// TestChecker: the checker detects each way in which a log can be wrong.
func TestChecker(t *testing.T) {
	h := newHistory(func(int) int { return 0 })
	h.writers["a"] = []outcome{{index: 1}, {}, {refused: true, err: "not stored: x"}, {index: 3}, {}}
	h.writers["b"] = []outcome{{}}
	at := func(index int, writer string, n int) string {
		return fmt.Sprintf("{\"index\":%d,\"entry\":%s}\n", index, h.entry(writer, n))
	}
	for name, tt := range map[string]struct {
		lines []string
		says  string // the error; "" for none
	}{
		"right, some absent":   {[]string{at(1, "a", 0), at(2, "a", 1), at(3, "a", 3)}, ""},
		"right, all there":     {[]string{at(1, "a", 0), at(2, "b", 0), at(3, "a", 3), at(4, "a", 4)}, ""},
		"missing at the end":   {[]string{at(1, "a", 0), at(2, "a", 1)}, "1 acknowledged entries are missing"},
		"a gap":                {[]string{at(1, "a", 0), at(3, "a", 3)}, "want index 2"},
		"at another index":     {[]string{at(1, "a", 0), at(2, "a", 3)}, "acknowledged at index 3"},
		"refused and there":    {[]string{at(1, "a", 0), at(2, "a", 2)}, "was answered"},
		"twice":                {[]string{at(1, "a", 0), at(2, "a", 1), at(3, "a", 3), at(4, "a", 3)}, "or twice"},
		"unacknowledged twice": {[]string{at(1, "a", 0), at(2, "b", 0), at(3, "a", 3), at(4, "b", 0)}, "or twice"},
		"out of order":         {[]string{at(1, "a", 0), at(2, "a", 4), at(3, "a", 3)}, "comes after"},
		"altered":              {[]string{strings.Replace(at(1, "a", 0), `"pad":""`, `"pad":"y"`, 1)}, "want "},
		"of nobody":            {[]string{at(1, "c", 0)}, "nobody sent"},
		"an error":             {[]string{"{\"index\":1,\"error\":\"damaged\"}\n"}, "want index 1"},
	} {
		c := newChecker(h, math.MaxUint64)
		var err error
		for _, line := range tt.lines {
			if err = c.line(line); err != nil {
				break
			}
		}
		if err == nil {
			err = c.end()
		}
		if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: error is %v, want %q", name, err, tt.says)
		}
	}
}
