package cluster

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"slices"
	"sort"
	"strings"
	"time"
)

// stale is how old a head may be with HEAD=leader.
const stale = 2500 * time.Millisecond

// verify compares the log that every gateway serves with the replies to the clients. No client sends
// anything meanwhile. slack is how old a head may have been. The error has all findings.
func (h *history) verify(c *cluster, slack time.Duration) error {
	var faults []string
	fault := func(format string, args ...any) {
		if len(faults) < 30 {
			faults = append(faults, fmt.Sprintf(format, args...))
		}
	}
	head, err := settledHead(c, h.maxAcked())
	if err != nil {
		return err
	}
	// What every gateway serves after the part of the log that is known to be correct.
	var texts [][]byte
	for _, n := range c.nodes {
		text, err := n.readThrough(h.checked+1, head)
		if err != nil {
			return fmt.Errorf("gateway %s: %w", n.name, err)
		}
		if texts = append(texts, text); !bytes.Equal(text, texts[0]) {
			fault("gateway %s serves other bytes than gateway %s: %s", n.name, c.nodes[0].name, firstDifference(texts[0], text))
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	from := h.checked
	h.take(texts[0], fault)
	if h.checked != head && len(faults) == 0 {
		fault("the log has the indices through %d, want %d", h.checked, head)
	}
	h.compareSessions(fault)
	h.compareOnce(fault)
	h.compareOrder(fault)
	heads := h.heads
	h.compareHeads(slack, fault)
	if slack == 0 && len(faults) == 0 {
		if err := h.checkLinear(from, heads); err != nil {
			fault("%v", err)
		}
	}
	for _, text := range h.faults {
		fault("%s", text)
	}
	if len(faults) == 0 {
		return nil
	}
	return fmt.Errorf("the log is not what clients were told:\n%s", strings.Join(faults, "\n"))
}

// maxAcked returns the greatest index that was acknowledged.
func (h *history) maxAcked() (most uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.sessions {
		for _, o := range s.outcomes {
			most = max(most, o.index)
		}
	}
	for _, o := range h.once {
		most = max(most, o.index)
	}
	return most
}

// settledHead appends to every gateway, which shows that no entry is in flight, and returns the
// last index. least is an acknowledged index.
func settledHead(c *cluster, least uint64) (head uint64, err error) {
	for _, n := range c.nodes {
		index, err := n.appendLast()
		if err != nil {
			return 0, fmt.Errorf("gateway %s: an append after everything: %w", n.name, err)
		}
		if index <= max(head, least) {
			return 0, fmt.Errorf("gateway %s has stored an entry at index %d, and %d was acknowledged before: acknowledged entries are missing", n.name, index, max(head, least))
		}
		head = index
	}
	return head, nil
}

// lastText is the entry that shows that a gateway has no entry in flight.
const lastText = `{"w":"last"}`

// appendLast appends an entry, and retries until the gateway takes it.
func (n *node) appendLast() (index uint64, err error) {
	if !poll(patience, func() bool {
		index, err = n.tryAppend(lastText)
		return err == nil || strings.Contains(err.Error(), "hold a log")
	}) {
		return 0, fmt.Errorf("not taken in %v: %w", patience, err)
	}
	return index, err
}

func (n *node) tryAppend(entry string) (uint64, error) {
	c, err := n.dial()
	if err != nil {
		return 0, err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprintf(c, "{\"id\":\"x\",\"entry\":%s}\n", entry); err != nil {
		return 0, err
	}
	text, err := bufio.NewReader(c).ReadBytes('\n')
	if err != nil {
		return 0, err
	}
	var a answer
	if err := json.Unmarshal(text, &a); err != nil || a.Index == 0 {
		return 0, fmt.Errorf("the answer is %q", text)
	}
	return a.Index, nil
}

// readThrough returns the lines of the entries from..through, with time and hash.
func (n *node) readThrough(from, through uint64) (text []byte, err error) {
	var c net.Conn
	if !poll(patience, func() bool { c, err = n.dial(); return err == nil }) { // the machine may be busy
		return nil, err
	}
	defer c.Close()
	if _, err := fmt.Fprintf(c, "{\"from\":%d,\"through\":%d,\"time\":true,\"hash\":true}\n", from, through); err != nil {
		return nil, err
	}
	for lines := bufio.NewReaderSize(c, 256<<10); ; {
		c.SetReadDeadline(time.Now().Add(patience))
		l, err := lines.ReadBytes('\n')
		switch {
		case err != nil:
			return nil, fmt.Errorf("a read from %d through %d ended after %d bytes: %w", from, through, len(text), err)
		case bytes.HasPrefix(l, []byte(`{"head":`)):
			return text, nil
		case bytes.HasPrefix(l, []byte(`{"current":`)):
		case bytes.HasPrefix(l, []byte(`{"error":`)):
			return nil, fmt.Errorf("a read from %d through %d: %s", from, through, l)
		default:
			text = append(text, l...)
		}
	}
}

// firstDifference shows the first line that differs.
func firstDifference(a, b []byte) string {
	as, bs := bytes.Split(a, []byte("\n")), bytes.Split(b, []byte("\n"))
	for i := range min(len(as), len(bs)) {
		if !bytes.Equal(as[i], bs[i]) {
			return fmt.Sprintf("%s instead of %s", bs[i], as[i])
		}
	}
	return fmt.Sprintf("%d lines instead of %d", len(bs), len(as))
}

// take records the indices of the log's entries after checked. The caller holds mu.
func (h *history) take(text []byte, fault func(string, ...any)) {
	when := ""
	for l := range bytes.Lines(text) {
		var e struct {
			Index uint64
			Time  string
			Entry json.RawMessage
		}
		var body struct {
			N int
			W string
		}
		if err := json.Unmarshal(l, &e); err != nil || e.Index != h.checked+1 || json.Unmarshal(e.Entry, &body) != nil {
			fault("the log has %q, want index %d", l, h.checked+1)
			return
		}
		if e.Time < when {
			fault("the log has %q after an entry of %s", l, when)
		}
		when = e.Time
		h.checked++
		h.compareRead(e.Index, e.Entry, fault)
		took := span{replied: math.MaxInt64}
		s, once := h.sessions[body.W], h.once[body.N]
		switch {
		case string(e.Entry) == lastText: // appended last, by verify
			took.sent = h.now()
		case body.W == "once" && once != nil && string(e.Entry) == onceText(body.N):
			if took.sent = once.sent; once.found != 0 {
				fault("%s is at index %d and at index %d", e.Entry, once.found, e.Index)
			}
			once.found = e.Index
		case s != nil && body.N < len(s.outcomes) && string(e.Entry) == s.entry(body.N):
			o := &s.outcomes[body.N]
			took.sent = o.sent
			if o.kind == acked {
				took.replied = o.replied
			}
			if o.found != 0 {
				fault("entry %d of %s is at index %d and at index %d", body.N, s.name, o.found, e.Index)
			}
			o.found = e.Index
		default:
			fault("nobody sent %s, which is at index %d", e.Entry, e.Index)
		}
		h.spans = append(h.spans, took)
	}
}

// compareRead compares an entry with what readers saw at its index.
func (h *history) compareRead(index uint64, entry []byte, fault func(string, ...any)) {
	if index < uint64(len(h.seen)) && h.seen[index] != 0 && h.seen[index] != h.sum(entry) {
		fault("readers saw something else at index %d than %s", index, entry)
	}
}

// compareSessions compares the replies with the indices of the entries. The caller holds mu.
func (h *history) compareSessions(fault func(string, ...any)) {
	for _, s := range h.sessions {
		last := uint64(0)
		for n, o := range s.outcomes {
			switch {
			case o.kind == acked && o.found == 0:
				fault("entry %d of %s was acknowledged by gateway %s after %v at index %d, and is not there", n, s.name, s.gateway, o.replied, o.index)
			case o.kind == acked && o.found != o.index:
				fault("entry %d of %s was acknowledged at index %d, and is at %d", n, s.name, o.index, o.found)
			case o.kind == refused && o.found != 0:
				fault("gateway %s said that entry %d of %s was not stored, and it is at index %d", s.gateway, n, s.name, o.found)
			case o.found != 0 && o.found < last:
				fault("entry %d of %s is at index %d, before those that were sent earlier", n, s.name, o.found)
			}
			last = max(last, o.found)
		}
	}
}

// compareOnce is compareSessions for entries that were sent with once.
func (h *history) compareOnce(fault func(string, ...any)) {
	for n, o := range h.once {
		if o.index != 0 && o.found != o.index {
			fault("%s was acknowledged at index %d, and is at %d", onceText(n), o.index, o.found)
		}
	}
}

// told is an index that a client was told, and when.
type told struct {
	at    time.Duration
	index uint64
}

// known sorts the told indices by time, and replaces each with the greatest index known by then.
// before returns the greatest index known before a time.
func known(all []told) (before func(at time.Duration) told) {
	slices.SortFunc(all, func(a, b told) int { return cmp.Compare(a.at, b.at) })
	for i := 1; i < len(all); i++ {
		all[i].index = max(all[i].index, all[i-1].index)
	}
	return func(at time.Duration) told {
		if i := sort.Search(len(all), func(i int) bool { return all[i].at >= at }); i > 0 {
			return all[i-1]
		}
		return told{}
	}
}

// compareOrder compares every append with earlier ones: an entry that was sent after another had been
// acknowledged comes after it. The caller holds mu.
func (h *history) compareOrder(fault func(string, ...any)) {
	var acks []told
	for i, s := range h.spans {
		if s.replied != math.MaxInt64 {
			acks = append(acks, told{s.replied, uint64(i) + 1})
		}
	}
	before := known(acks)
	for i, s := range h.spans {
		if was := before(s.sent); was.index > uint64(i)+1 {
			fault("the entry at index %d was sent after %v, when index %d had been acknowledged", i+1, s.sent, was.index)
		}
	}
}

// compareHeads compares every head with the appends around it: it includes all entries acknowledged
// before the request for it, and none sent after it was reported. Heads that were reported before it
// count as acknowledged. The caller holds mu.
func (h *history) compareHeads(slack time.Duration, fault func(string, ...any)) {
	var all []told
	upper := make([]time.Duration, len(h.spans)) // the earliest time at which the head can be at an index
	for i, s := range h.spans {
		if upper[i] = s.sent; i > 0 {
			upper[i] = max(s.sent, upper[i-1])
		}
		all = append(all, told{s.replied, uint64(i) + 1})
	}
	for _, seen := range h.heads {
		if seen.head > uint64(len(upper)) {
			fault("gateway %s told head %d, and the log ends at %d", seen.gateway, seen.head, len(upper))
			return
		}
		all = append(all, told{seen.got, seen.head})
	}
	before := known(all)
	for _, seen := range h.heads {
		if was := before(seen.called - slack); seen.head < was.index {
			fault("gateway %s told head %d from %v to %v, and %d was known since %v", seen.gateway, seen.head, seen.called, seen.got, was.index, was.at)
		}
		if seen.head > 0 && upper[seen.head-1] > seen.got {
			fault("gateway %s told head %d after %v, before its entries were sent", seen.gateway, seen.head, seen.got)
		}
	}
	h.heads = nil
}
