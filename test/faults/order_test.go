package faults

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestOrder runs a server under strace, and proves from the trace that it began to send
// no acknowledgement, and no entry, before the entry was durable: see checkOrder. The
// same check must fail for a server that does not sync.
func TestOrder(t *testing.T) {
	needStrace(t)
	t.Run("trace", func(t *testing.T) {
		o, err := traceOrder(t, program(t))
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%d sent acknowledgements and %d sent entries, %d batches in %d segments", o.acks, o.entries, o.batches, len(o.segments))
		if o.acks < orderWriters*orderEntries || o.entries < orderWriters*orderEntries || len(o.segments) < 3 {
			t.Errorf("the trace shows %d acknowledgements, %d entries and %d segments, want %d, %d, and 3 at least",
				o.acks, o.entries, len(o.segments), orderWriters*orderEntries, orderWriters*orderEntries)
		}
	})
	t.Run("control", func(t *testing.T) {
		_, err := traceOrder(t, withoutSync(t))
		if err == nil || !strings.Contains(err.Error(), "before it was synced") {
			t.Errorf("a server that does not sync: the check says %v", err)
		} else {
			t.Logf("as it has to be without a sync: %v", err)
		}
	})
}

const (
	orderWriters = 4
	orderEntries = 60
)

// traceOrder traces a server while several connections write and one follows, and
// checks the trace.
func traceOrder(t *testing.T, binary string) (*order, error) {
	t.Helper()
	trace := filepath.Join(t.TempDir(), "trace")
	h := newHistory(nil)
	p := server(t, options{
		Binary: binary,
		Env:    []string{"FAULT_SEGMENT_SIZE=8192", "FAULT_REMOVE_AFTER=1ms", "FAULT_SETTLE_EVERY=1ms"},
		Wrap:   []string{"strace", "-f", "-tt", "-y", "-xx", "-s", "65536", "-e", "signal=none", "-e", orderCalls, "-o", trace},
	})
	followed := make(chan error, 1)
	go func() { followed <- follow(p.addr, orderWriters*orderEntries) }()
	h.write(t, p.addr, load{Writers: orderWriters, Depth: 8, Entries: orderEntries})
	if err := <-followed; err != nil {
		t.Fatal(err)
	}
	p.clean()
	f, err := os.Open(trace)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	calls, err := readTrace(f)
	if err != nil {
		t.Fatal(err)
	}
	return checkOrder(calls, p.data)
}

// follow reads the entries through the nth, waiting for those still to come.
func follow(addr string, n int) error {
	seen := 0
	err := stream(addr, func(line string) error {
		if strings.HasPrefix(line, `{"index":`) {
			seen++
		}
		if seen == n {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// errEnough ends a stream.
var errEnough = errors.New("enough")

// order is the result of parsing a trace.
type order struct {
	acks, entries, batches int
	segments               map[string]*segmentOrder
}

// segmentOrder has the events of one segment. Numbers are positions in the trace.
type segmentOrder struct {
	named   int // when the rename to its name had returned
	durable int // when a sync of its directory that began after the rename had returned; 0 for not yet
	syncs   []*call
}

// batchOrder is one batch in the trace.
type batchOrder struct {
	first, last uint64
	written     int // when its write had returned
	segment     *segmentOrder
	path        string
}

var (
	sentAck   = regexp.MustCompile(`\{"id":"[^"]*","index":(\d+)\}`)
	sentEntry = regexp.MustCompile(`\{"index":(\d+),"entry":`)
)

// checkOrder checks every write of a line with an index, an acknowledgement or an entry,
// to a socket. Before it began, these must have happened in order:
//
//   - the write of the batch that holds the entry returned;
//   - a fdatasync of its segment began, and returned success;
//
// and these:
//
//   - the segment's file got its name, and then its directory was synced;
//   - every directory above it that the run made was made, and then its parent was
//     synced.
//
// data is the directory of the log, which the run made.
func checkOrder(calls []*call, data string) (*order, error) {
	o := &order{segments: make(map[string]*segmentOrder)}
	var batches []batchOrder
	dir := filepath.Join(data, "segments")
	made := make(map[string]int)    // directories, and when they were made
	settled := make(map[string]int) // and when the sync of their parent had returned
	// First collect the events of each file, then check what was sent.
	for _, c := range calls {
		switch {
		case !c.ok():
		case c.name == "mkdirat" && len(c.strings) == 1 && strings.HasPrefix(dir, c.strings[0]):
			made[c.strings[0]] = c.end
		case strings.HasPrefix(c.name, "renameat") && len(c.strings) == 2 && filepath.Dir(c.strings[1]) == dir:
			o.segments[c.strings[1]] = &segmentOrder{named: c.end}
		case c.name == "fsync":
			for path, s := range o.segments {
				if filepath.Dir(path) == c.file && c.begin > s.named && s.durable == 0 {
					s.durable = c.end
				}
			}
			for path, at := range made {
				if filepath.Dir(path) == c.file && c.begin > at && settled[path] == 0 {
					settled[path] = c.end
				}
			}
		case c.name == "fdatasync":
			if s := o.segments[c.file]; s != nil {
				s.syncs = append(s.syncs, c)
			}
		case strings.HasPrefix(c.name, "pwrite") && filepath.Dir(c.file) == dir && len(c.strings) > 0 && strings.HasPrefix(c.strings[0], "BTCH"):
			head := c.strings[0]
			if c.short || len(head) < 20 {
				return o, fmt.Errorf("line %d: the trace has not all of the batch", c.begin)
			}
			first, count := binary.LittleEndian.Uint64([]byte(head[8:])), binary.LittleEndian.Uint32([]byte(head[16:]))
			batches = append(batches, batchOrder{first: first, last: first + uint64(count) - 1, written: c.end, segment: o.segments[c.file], path: c.file})
		}
	}
	o.batches = len(batches)
	for _, path := range []string{data, dir} {
		if made[path] == 0 {
			return o, fmt.Errorf("the trace does not show how %s was made", path)
		}
	}
	for _, c := range calls {
		if !c.isSocket() || len(c.strings) == 0 {
			continue
		}
		if c.short {
			return o, fmt.Errorf("line %d: the trace has not all that was sent", c.begin)
		}
		sent := strings.Join(c.strings, "")
		for kind, re := range map[*int]*regexp.Regexp{&o.acks: sentAck, &o.entries: sentEntry} {
			for _, m := range re.FindAllStringSubmatch(sent, -1) {
				index, err := strconv.ParseUint(m[1], 10, 64)
				if err != nil {
					return o, err
				}
				if err := durable(index, c.begin, batches, made, settled); err != nil {
					return o, fmt.Errorf("line %d: %.60q: %w", c.begin, m[0], err)
				}
				*kind++
			}
		}
	}
	return o, nil
}

// durable checks that the entry at index was durable at a position of the trace.
func durable(index uint64, at int, batches []batchOrder, made, settled map[string]int) error {
	for _, b := range batches {
		if index < b.first || index > b.last {
			continue
		}
		if b.written >= at {
			return fmt.Errorf("sent before its batch was written")
		}
		if b.segment == nil {
			return fmt.Errorf("the trace does not show how %s got its name", b.path)
		}
		synced := false
		for _, s := range b.segment.syncs {
			synced = synced || s.begin > b.written && s.end < at
		}
		if !synced {
			return fmt.Errorf("sent before it was synced: its batch was written at line %d", b.written)
		}
		if b.segment.durable == 0 || b.segment.durable >= at {
			return fmt.Errorf("sent before the name of %s was synced", b.path)
		}
		for path := range made {
			if settled[path] == 0 || settled[path] >= at {
				return fmt.Errorf("sent before the name of %s was synced", path)
			}
		}
		return nil
	}
	return fmt.Errorf("sent, and no batch holds it")
}
