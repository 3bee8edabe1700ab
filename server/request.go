package server

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/zeebo/blake3"

	"tcp-log-server/internal/where"
)

// query is what a read asks for. Where it begins is said by from or last, whichever is not 0,
// or else by since.
type query struct {
	from    uint64 // an index
	last    uint64 // how many entries before the snapshot's end
	since   int64  // when entries were stored, in µs since 1970 UTC
	count   uint64 // the most entries to send, 0 for all there will ever be
	through uint64 // the last index, 0 for none
	scan    uint64 // the most entries to look at, 0 for all there will ever be

	time, hash bool          // whether lines have these members
	where      *where.Filter // nil for every entry
}

// The members that mean something in a read only, in the order of their names. In other
// messages they are ignored, like all that the server does not know.
const (
	optionHash = iota
	optionLast
	optionScan
	optionSince
	optionThrough
	optionTime
	optionWhere
	optionCount
)

// optionNames are their names, and what their values have to be.
var optionNames = [optionCount]struct{ name, want string }{
	optionHash:    {"hash", "true or false"},
	optionLast:    {"last", wantIndex},
	optionScan:    {"scan", wantIndex},
	optionSince:   {"since", `a time such as "2026-11-28T09:00:00Z"`},
	optionThrough: {"through", wantIndex},
	optionTime:    {"time", "true or false"},
	optionWhere:   {"where", "an object"},
}

const wantIndex = "a whole number from 1 on"

// options are the members of a message that mean something in a read only.
type options [optionCount]struct {
	text  []byte // the value, as JSON text; nil if there is none
	twice bool
}

// option parses the value of a member of the given name, a JSON string, that means something
// in a read only, or nothing at all.
func (p *parser) option(name []byte) error {
	text, err := p.text()
	if err != nil {
		return err
	}
	name = unescape(name)
	for i := range optionNames {
		if string(name[1:len(name)-1]) != optionNames[i].name {
			continue
		}
		if p.options == nil {
			p.options = new(options)
		}
		o := &p.options[i]
		o.twice = o.text != nil
		o.text = text
	}
	return nil
}

// begins reports whether the message says where a read begins. Those that were sent with a
// token or for the status before "last" and "since" had a meaning are not reads.
func (p *parser) begins() bool {
	return p.from.seen != absent || p.options != nil && p.token.seen == absent && p.stat.seen == absent &&
		(p.options[optionLast].text != nil || p.options[optionSince].text != nil)
}

// query returns what a read asks for, or what is wrong with it.
func (p *parser) query() (q *query, fault string) {
	q = &query{from: p.first, count: p.count}
	o := p.options
	if o == nil {
		o = new(options)
	}
	var begins []string
	for _, b := range []struct {
		name string
		text []byte
	}{{"from", p.from.text}, {"last", o[optionLast].text}, {"since", o[optionSince].text}} {
		if b.text != nil {
			begins = append(begins, b.name)
		}
	}
	switch {
	case len(begins) > 1:
		return q, fmt.Sprintf("it has both %q and %q, want one of them", begins[0], begins[1])
	case len(begins) == 0 || p.from.seen == bad:
		return q, p.fault(&p.from, "from", wantIndex)
	case p.read.seen == bad:
		return q, p.fault(&p.read, "read", wantIndex)
	}
	for i := range o {
		if o[i].text == nil {
			continue
		}
		if o[i].twice {
			return q, fmt.Sprintf("%q occurs twice, want it once", optionNames[i].name)
		}
		if fault := q.set(i, o[i].text); fault != "" {
			return q, fault
		}
	}
	if q.scan > 0 && q.where == nil {
		return q, `it has "scan" without "where", want both or "read"`
	}
	return q, ""
}

// set sets an option, or says what is wrong with its value.
func (q *query) set(option int, text []byte) (fault string) {
	var ok bool
	found := describe(text)
	switch option {
	case optionHash:
		q.hash, ok = boolean(text)
	case optionLast:
		q.last, ok = positive(text)
	case optionScan:
		q.scan, ok = positive(text)
	case optionSince:
		if q.since, ok = instant(text); text[0] == '"' && len(text) <= 40 {
			found = string(text)
		}
	case optionThrough:
		q.through, ok = positive(text)
	case optionTime:
		q.time, ok = boolean(text)
	case optionWhere:
		var err error
		if q.where, err = where.Compile(text); err != nil {
			return err.Error()
		}
		ok = true
	}
	if ok {
		return ""
	}
	return fmt.Sprintf("%q is %s, want %s", optionNames[option].name, found, optionNames[option].want)
}

// boolean parses true or false.
func boolean(text []byte) (value, ok bool) {
	return string(text) == "true", string(text) == "true" || string(text) == "false"
}

// instant parses a time of RFC 3339 in a JSON string, and returns the first microsecond since
// 1970 UTC that is not before it.
func instant(text []byte) (at int64, ok bool) {
	var s string
	var t time.Time
	if json.Unmarshal(text, &s) != nil || t.UnmarshalText([]byte(strings.ToUpper(s))) != nil {
		return 0, false
	}
	at = t.UnixMicro()
	if t.Nanosecond()%1000 > 0 {
		at++
	}
	return at, true
}

// first returns the index at which the read begins, with head as its snapshot.
func (q *query) first(ctx context.Context, log Log, head uint64) (uint64, error) {
	switch {
	case q.from > 0:
		return q.from, nil
	case q.last > 0:
		return head - min(head, q.last) + 1, nil
	}
	return log.Since(ctx, q.since)
}

// request is a read that goes on: what is yet to be sent, and how.
type request struct {
	next     uint64 // the cursor: the next index to look at
	through  uint64 // the last index to look at, MaxUint64 if there is none
	snapshot uint64 // the head when the read was parsed
	current  bool   // {"current":true} has been sent: the read follows

	time, hash bool
	stamped    int64  // the time in stamp
	stamp      []byte // as text, for the next line of the same time

	// Those of a read with a filter. Without one, through says all.
	where *where.Filter
	left  uint64 // how many more lines may be sent, MaxUint64 for any number
	scans bool   // when next is beyond through, entries enough have been looked at

	told   uint64    // the peer knows of every entry through this
	seen   uint64    // what told was
	toldAt time.Time // when
}

// newRequest returns the request of a read that begins at index first.
func newRequest(q *query, first, head uint64) *request {
	r := &request{
		next: first, through: cmp.Or(q.through, math.MaxUint64), snapshot: head,
		time: q.time, hash: q.hash, where: q.where, left: math.MaxUint64,
		told: first - 1, seen: first - 1, toldAt: time.Now(),
	}
	if q.where == nil {
		r.through = min(r.through, end(first, q.count))
		return r
	}
	r.left = cmp.Or(q.count, r.left)
	if last := end(first, q.scan); last < r.through {
		r.through, r.scans = last, true
	}
	return r
}

// end is the last index of count entries from first on, MaxUint64 for a count of 0.
func end(first, count uint64) uint64 {
	if count == 0 || count-1 > math.MaxUint64-first {
		return math.MaxUint64
	}
	return first + (count - 1)
}

// plain reports whether the lines of the read are just those of the tail cache.
func (r *request) plain() bool { return r.where == nil && !r.time && !r.hash }

// appendRun appends the lines that the read has of a run, as the function appendRun does. n is
// how many entries are done with.
func (r *request) appendRun(dst []byte, first uint64, count int, entries []byte, at int64, err error, limit int) (out []byte, n int, rest []byte) {
	if r.plain() || err != nil {
		count = int(min(uint64(count), r.left))
		out, n, rest = appendRun(dst, first, count, entries, err, limit)
		r.sent(first+uint64(n)-1, n)
		return out, n, rest
	}
	for rest = entries; n < count && r.left > 0 && (n == 0 || len(dst) < limit); {
		var line []byte
		if r.where == nil {
			line, rest, _ = bytes.Cut(rest, newline)
		} else {
			var passed int
			if passed, line, rest = r.where.Next(rest); line == nil {
				return dst, count, nil
			}
			n += passed
		}
		dst = r.appendLine(dst, first+uint64(n), at, line)
		n++
		r.sent(first+uint64(n)-1, 1)
	}
	return dst, n, rest
}

var newline = []byte{'\n'}

// appendCached appends what the read has of a line of the tail cache, that of the entry at
// index, which was stored at the time at.
func (r *request) appendCached(dst, line []byte, index uint64, at int64) []byte {
	entry, readable := entryOf(line)
	switch {
	case !readable:
		dst = append(dst, line...)
	case r.where != nil && !r.where.Match(entry):
		return dst
	default:
		dst = r.appendLine(dst, index, at, entry)
	}
	r.sent(index, 1)
	return dst
}

// entryOf returns the entry in a line, unless that says that it cannot be read.
func entryOf(line []byte) (entry []byte, readable bool) {
	const name = `,"entry":`
	i := bytes.IndexByte(line, ',')
	if !bytes.HasPrefix(line[i:], []byte(name)) {
		return nil, false
	}
	return line[i+len(name) : len(line)-len("}\n")], true
}

// appendLine appends a line with what the read has asked for.
func (r *request) appendLine(dst []byte, index uint64, at int64, entry []byte) []byte {
	dst = append(dst, `{"index":`...)
	dst = strconv.AppendUint(dst, index, 10)
	if r.time {
		dst = append(dst, `,"time":`...)
		if at != r.stamped || r.stamp == nil {
			r.stamped, r.stamp = at, appendTime(r.stamp[:0], at)
		}
		dst = append(dst, r.stamp...)
	}
	if r.hash {
		sum := blake3.Sum256(entry)
		dst = appendHash(append(dst, `,"hash":`...), sum[:])
	}
	dst = append(dst, `,"entry":`...)
	dst = append(dst, entry...)
	return append(dst, "}\n"...)
}

// sent notes that n lines were gathered, the last of them for index. If those were all that
// the read may have, it ends there.
func (r *request) sent(index uint64, n int) {
	r.told = index
	if r.left == math.MaxUint64 {
		return
	}
	if r.left -= uint64(n); r.left == 0 {
		r.through, r.scans = index, false
	}
}

// owesAt reports whether the peer of a read with a filter is to be told how far that is.
func (r *request) owesAt() bool { return r.where != nil && r.told < r.next-1 }

// appendAt appends {"at":N} if the peer does not know how far the read is, and no line has
// told it for as long as after.
func (r *request) appendAt(dst []byte, after time.Duration) []byte {
	if r.where == nil {
		return dst
	}
	now := time.Now()
	if r.seen != r.told {
		r.seen, r.toldAt = r.told, now
	}
	if !r.owesAt() || now.Sub(r.toldAt) < after {
		return dst
	}
	r.told, r.seen, r.toldAt = r.next-1, r.next-1, now
	dst = append(dst, `{"at":`...)
	dst = strconv.AppendUint(dst, r.told, 10)
	return append(dst, "}\n"...)
}

// tellAt gathers {"at":N} if it is due.
func (w *writer) tellAt() { w.out = w.read.appendAt(w.out, w.conn.server.atAfter) }

// catchUp is how many entries behind the head a read that is not plain takes turns with the
// replays.
const catchUp = 4096

// derive gathers what a read that is not plain has of the lines from the cursor through last.
func (w *writer) derive(last, head uint64) error {
	r := w.read
	if head-r.next >= catchUp {
		if err := w.flush(0); err != nil {
			return err
		}
		if w.conn.outbox.ending() > endInput {
			w.endRead()
			return nil
		}
		turn := replayTurn{replayThrottle: w.conn.server.throttle}
		if err := turn.start(w.conn.ctx); err != nil {
			return err
		}
		defer turn.end()
	}
	for looked := 0; r.next <= min(last, r.through) && len(w.out) < flushAt && looked < lookAt; r.next++ {
		if err := w.load(head); err != nil {
			return err
		}
		for len(w.times) > 1 && w.times[1].first <= r.next {
			w.times = w.times[1:]
		}
		var line []byte
		line, w.feed = cutLine(w.feed)
		looked += len(line)
		w.out = r.appendCached(w.out, line, r.next, w.times[0].time)
	}
	w.tellAt()
	return nil
}

// filterFree is how many bytes of a filter do not count among the memory of Config.MaxHeld.
const filterFree = 16 << 10

// holdFilter counts the memory of a read's filter, which may be nil, among that of
// Config.MaxHeld. The peer keeps it for as long as it likes, as it does with output that it
// does not take: so where memory is short, the connection is among the first to be cut.
func (c *conn) holdFilter(f *where.Filter) {
	if f != nil && f.Size() > filterFree {
		c.filter.await()
		c.server.memory.hold(&c.filter, int64(f.Size()))
	}
}

// dropFilter undoes holdFilter.
func (c *conn) dropFilter() { c.server.memory.hold(&c.filter, 0) }
