package main

import (
	"fmt"
	"strconv"
)

// respAppender appends to a Redis stream: pipelined XADD commands.
type respAppender struct {
	entries *entrySource
	head    []byte
}

func newRespAppender(entries *entrySource) *respAppender {
	return &respAppender{
		entries: entries,
		head: fmt.Appendf(nil,
			"*5\r\n$4\r\nXADD\r\n$1\r\ns\r\n$1\r\n*\r\n$1\r\nd\r\n$%d\r\n", entries.size),
	}
}

func (*respAppender) greeting() ([]byte, string) { return nil, "" }

func (a *respAppender) requests(dst []byte, n int, now int64) []byte {
	for range n {
		dst = append(dst, a.head...)
		dst = a.entries.put(dst, now)
		dst = append(dst, '\r', '\n')
	}
	return dst
}

func (*respAppender) replies(b []byte) (used, n int, err error) {
	for {
		_, size, err := respBulk(b[used:])
		if err == errIncomplete {
			return used, n, nil
		}
		if err != nil {
			return used, n, err
		}
		used += size
		n++
	}
}

// respBulk parses the bulk string at the start of b, and counts its bytes.
func respBulk(b []byte) (value []byte, size int, err error) {
	length, at, err := respLength(b, '$')
	if err != nil {
		return nil, 0, err
	}
	if size = at + length + 2; len(b) < size {
		return nil, 0, errIncomplete
	}
	return b[at : at+length], size, nil
}

// respLength parses a length line such as "$200\r\n" or "*2\r\n".
func respLength(b []byte, kind byte) (length, size int, err error) {
	if len(b) == 0 {
		return 0, 0, errIncomplete
	}
	if b[0] != kind {
		return 0, 0, unexpected("redis", b)
	}
	v, digits := parseUint(b[1:])
	if len(b) < digits+3 {
		return 0, 0, errIncomplete
	}
	if digits == 0 || b[digits+1] != '\r' {
		return 0, 0, unexpected("redis", b)
	}
	return int(v), digits + 3, nil
}

// respReader reads a Redis stream: XRANGE from after the last entry seen, or
// XREAD BLOCK to follow. Redis has no endless read, so the next request is sent
// when a reply has been read whole.
type respReader struct {
	plan   readPlan
	ms     uint64 // the last entry's id
	seq    uint64
	asking bool
	left   int // entries of this reply still to come
	inside bool
}

// respPull is how many entries a request asks for if the plan does not say.
const respPull = 1000

func newRespReader(plan readPlan) *respReader {
	if plan.pull == 0 {
		plan.pull = respPull
	}
	return &respReader{plan: plan, asking: true}
}

func (*respReader) greeting() ([]byte, string) { return nil, "" }

func (r *respReader) ask(dst []byte) []byte {
	if !r.asking {
		return dst
	}
	r.asking = false
	id := fmt.Sprintf("%d-%d", r.ms, r.seq)
	if r.plan.follow {
		return respCommand(dst, "XREAD", "BLOCK", "0", "STREAMS", "s", id)
	}
	return respCommand(dst, "XRANGE", "s", "("+id, "+", "COUNT", strconv.Itoa(r.plan.pull))
}

func respCommand(dst []byte, words ...string) []byte {
	dst = fmt.Appendf(dst, "*%d\r\n", len(words))
	for _, w := range words {
		dst = fmt.Appendf(dst, "$%d\r\n%s\r\n", len(w), w)
	}
	return dst
}

func (r *respReader) scan(b []byte, visit func([]byte)) (used, entries int, err error) {
	for !r.asking {
		var size int
		if !r.inside {
			size, err = r.open(b[used:])
		} else {
			size, err = r.entry(b[used:], visit)
			if err == nil {
				entries++
			}
		}
		if err == errIncomplete {
			break
		}
		if err != nil {
			return used, entries, err
		}
		used += size
		if r.inside && r.left == 0 {
			r.inside, r.asking = false, true
		}
	}
	return used, entries, nil
}

// open parses the start of a reply, through the count of its entries.
func (r *respReader) open(b []byte) (size int, err error) {
	if r.plan.follow {
		// XREAD wraps the entries: one stream, its name, its entries.
		const wrapping = "*1\r\n*2\r\n$1\r\ns\r\n"
		if begins := min(len(b), len(wrapping)); string(b[:begins]) != wrapping[:begins] {
			return 0, unexpected("redis", b)
		} else if begins < len(wrapping) {
			return 0, errIncomplete
		}
		size = len(wrapping)
	}
	n, at, err := respLength(b[size:], '*')
	if err != nil {
		return 0, err
	}
	r.inside, r.left = true, n
	return size + at, nil
}

// entry parses one [id, [field, value]].
func (r *respReader) entry(b []byte, visit func([]byte)) (size int, err error) {
	const pair, field = "*2\r\n", "*2\r\n$1\r\nd\r\n"
	if len(b) < len(pair) {
		return 0, errIncomplete
	}
	id, n, err := respBulk(b[len(pair):])
	if err != nil {
		return 0, err
	}
	size = len(pair) + n
	if len(b) < size+len(field) {
		return 0, errIncomplete
	}
	if string(b[:len(pair)]) != pair || string(b[size:size+len(field)]) != field {
		return 0, unexpected("redis", b[:size+len(field)])
	}
	size += len(field)
	value, n, err := respBulk(b[size:])
	if err != nil {
		return 0, err
	}
	ms, digits := parseUint(id)
	if digits+1 >= len(id) {
		return 0, unexpected("redis", id)
	}
	seq, _ := parseUint(id[digits+1:])
	if ms < r.ms || ms == r.ms && seq <= r.seq && r.ms != 0 {
		return 0, fmt.Errorf("redis: id %s does not follow %d-%d", id, r.ms, r.seq)
	}
	r.ms, r.seq = ms, seq
	r.left--
	if visit != nil {
		visit(value)
	}
	return size + n, nil
}
