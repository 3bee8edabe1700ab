package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
)

// logAppender appends over this project's protocol: one JSON message a line.
type logAppender struct {
	entries source
	nextID  uint32
	wantID  uint32

	together int    // how many entries each message has, as an array; 0 for one alone
	members  string // further members of each message, with a comma before each
	expect   bool   // each message expects the head that the previous ones make; the log is empty
}

// A source writes the entries of one connection.
type source interface {
	// put appends the next entry to dst, with sent as the time of sending.
	put(dst []byte, sent int64) []byte
}

const (
	writeHead  = `{"id":"`
	writeMid   = `","entry":`
	entriesMid = `","entries":[`
	ackMid     = `","index":`
)

func (*logAppender) greeting() ([]byte, string) { return nil, "" }

func (a *logAppender) requests(dst []byte, n int, now int64) []byte {
	for range n {
		dst = append(dst, writeHead...)
		dst = binary.LittleEndian.AppendUint64(dst, hex8(a.nextID))
		a.nextID++
		if a.together == 0 {
			dst = append(dst, writeMid...)
			dst = a.entries.put(dst, now)
		} else {
			dst = append(dst, entriesMid...)
			for range a.together {
				dst = append(a.entries.put(dst, now), ',')
			}
			dst[len(dst)-1] = ']'
		}
		if a.expect {
			dst = append(dst, `,"if":`...)
			dst = strconv.AppendUint(dst, uint64(a.nextID-1), 10)
		}
		dst = append(dst, a.members...)
		dst = append(dst, '}', '\n')
	}
	return dst
}

// replies checks that the lines acknowledge the ids in the order of the writes,
// so that latencies can be attributed.
func (a *logAppender) replies(b []byte) (used, n int, err error) {
	const idAt = len(writeHead)
	for {
		end := bytes.IndexByte(b[used:], '\n')
		if end < 0 {
			return used, n, nil
		}
		line := b[used : used+end]
		if len(line) < idAt+8+len(ackMid)+1 ||
			string(line[idAt+8:idAt+8+len(ackMid)]) != ackMid ||
			binary.LittleEndian.Uint64(line[idAt:]) != hex8(a.wantID) {
			return used, n, unexpected("append", line)
		}
		a.wantID++
		used += end + 1
		n++
	}
}

// logReader reads over this project's protocol. It does not parse the index of an
// entry but compares the start of its line with the expected one, which checks the
// order of the entries at little cost.
type logReader struct {
	plan readPlan
	// original is set for the npm server. It has no endless read, so a stream is
	// one very long pull, and its entries may lack the index.
	original bool

	next   uint64 // index of the next entry
	prefix []byte // the start of its line
	asking bool
}

const (
	indexHead = `{"index":`
	indexMid  = `,"entry":`
)

func newLogReader(plan readPlan, original bool) *logReader {
	r := &logReader{plan: plan, original: original, next: 1, asking: true}
	r.prefix = logPrefix(nil, r.next)
	return r
}

func logPrefix(dst []byte, index uint64) []byte {
	dst = append(dst[:0], indexHead...)
	dst = strconv.AppendUint(dst, index, 10)
	return append(dst, indexMid...)
}

func (*logReader) greeting() ([]byte, string) { return nil, "" }

func (r *logReader) ask(dst []byte) []byte {
	if !r.asking {
		return dst
	}
	r.asking = false
	read := r.plan.pull
	if read == 0 && r.original {
		read = 1 << 31
	}
	if read == 0 {
		return fmt.Appendf(dst, "{\"from\":%d}\n", r.next)
	}
	return fmt.Appendf(dst, "{\"from\":%d,\"read\":%d}\n", r.next, read)
}

func (r *logReader) scan(b []byte, visit func([]byte)) (used, entries int, err error) {
	for {
		end := bytes.IndexByte(b[used:], '\n')
		if end < 0 {
			return used, entries, nil
		}
		line := b[used : used+end]
		switch {
		case bytes.HasPrefix(line, r.prefix):
			if visit != nil {
				visit(line[len(r.prefix) : len(line)-1])
			}
			r.advance()
			entries++
		case r.original && bytes.HasPrefix(line, []byte(`{"entry":`)):
			r.advance()
			entries++
		default:
			if err := r.control(line); err != nil {
				return used, entries, err
			}
		}
		used += end + 1
	}
}

// advance increments the expected index, in decimal and in place. It rebuilds the
// prefix only when the index gets another digit.
func (r *logReader) advance() {
	r.next++
	for i := len(r.prefix) - len(indexMid) - 1; i >= len(indexHead); i-- {
		if r.prefix[i] != '9' {
			r.prefix[i]++
			return
		}
		r.prefix[i] = '0'
	}
	r.prefix = logPrefix(r.prefix, r.next)
}

// control handles lines that are not entries.
func (r *logReader) control(line []byte) error {
	switch {
	case bytes.HasPrefix(line, []byte(`{"current":true`)):
		// At the head: later entries arrive as they are appended.
	case bytes.HasPrefix(line, []byte(`{"head":`)):
		r.asking = true
	default:
		return fmt.Errorf("read: got %.80q where the line should begin %q", line, r.prefix)
	}
	return nil
}
