package replicated

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/zeebo/blake3"

	"tcp-log-server/appends"
)

// A message of the stream is a batch of entries behind a header of 96 bytes. All numbers have
// their lowest byte first.
//
//	 0  8  magic, with the version
//	 8  4  condition: an appends.Kind
//	12  4  how many entries the body has
//	16  8  number in its lane, from 1
//	24  8  an earlier place of the stream: how many messages it has before it,
//	32  8  how many entries these hold, and
//	40  8  the time of the last of these
//	48  8  argument of the condition
//	56  8  when its gateway sent it, in µs since 1970 UTC
//	64 32  BLAKE3-256 of the 64 bytes before this and of the body
//	96     the body: canonical JSON, each entry followed by a newline
//
// The time of its entries is its own, or that of the entries before it where that is later:
// clocks differ, and times must not decrease along the log.

const (
	magic      = "tcplog\x00\x01"
	headerSize = 96
	sumAt      = 64
)

// place is a place between two messages of the stream.
type place struct {
	seq   uint64 // how many messages are before it
	index uint64 // how many entries these hold
	time  int64  // of the last of these, in µs since 1970 UTC
}

// message is a message as it is sent.
type message struct {
	kind   appends.Kind
	count  int
	number uint64 // in its lane
	hint   place  // an earlier place
	// arg is, for appends.Expect, the head that is expected; for appends.Once, how many messages
	// of the stream are known to hold none of the entries.
	arg  uint64
	time int64
	body []byte
	sum  hash // of all that
}

// errMessage: what is stored is no message of a log, or not what was sent.
var errMessage = errors.New("damaged message")

// encode returns m as it is stored, and sets its sum.
func (m *message) encode() []byte {
	b := make([]byte, headerSize, headerSize+len(m.body))
	copy(b, magic)
	le := binary.LittleEndian
	le.PutUint32(b[8:], uint32(m.kind))
	le.PutUint32(b[12:], uint32(m.count))
	le.PutUint64(b[16:], m.number)
	le.PutUint64(b[24:], m.hint.seq)
	le.PutUint64(b[32:], m.hint.index)
	le.PutUint64(b[40:], uint64(m.hint.time))
	le.PutUint64(b[48:], m.arg)
	le.PutUint64(b[56:], uint64(m.time))
	b = append(b, m.body...)
	m.sum = checksum(b)
	copy(b[sumAt:], m.sum[:])
	return b
}

// checksum returns the BLAKE3-256 of a stored message without the 32 bytes that hold it.
func checksum(b []byte) (sum [32]byte) {
	h := blake3.New()
	h.Write(b[:sumAt])
	h.Write(b[headerSize:])
	h.Sum(sum[:0])
	return sum
}

// decode checks the message seq as it is stored, and takes it apart. The body is part of b. The
// error wraps errMessage.
func decode(b []byte, seq uint64) (m message, err error) {
	damaged := func(format string, args ...any) (message, error) {
		return message{}, fmt.Errorf("%w %d: %s", errMessage, seq, fmt.Sprintf(format, args...))
	}
	if len(b) < headerSize {
		return damaged("it has %d bytes, want %d or more", len(b), headerSize)
	}
	if string(b[:len(magic)]) != magic {
		return damaged("it begins with %q, want %q", b[:len(magic)], magic)
	}
	sum := checksum(b)
	if !bytes.Equal(sum[:], b[sumAt:headerSize]) {
		return damaged("its BLAKE3 is %x, want %x", sum, b[sumAt:headerSize])
	}
	le := binary.LittleEndian
	kind, count := le.Uint32(b[8:]), le.Uint32(b[12:])
	m = message{
		kind: appends.Kind(kind), count: int(count), number: le.Uint64(b[16:]),
		hint: place{le.Uint64(b[24:]), le.Uint64(b[32:]), int64(le.Uint64(b[40:]))},
		arg:  le.Uint64(b[48:]), time: int64(le.Uint64(b[56:])), body: b[headerSize:], sum: sum,
	}
	lines := bytes.Count(m.body, newline)
	switch {
	case kind > uint32(appends.Once):
		return damaged("its condition is %d, want at most %d: it was written by a later version", kind, appends.Once)
	case m.hint.seq >= seq:
		return damaged("it points to a place after %d messages, want an earlier one", m.hint.seq)
	case m.kind == appends.Once && m.arg >= seq:
		return damaged("its gateway had looked through %d messages, want fewer", m.arg)
	case count > math.MaxInt32 || lines != m.count || lines > 0 && m.body[len(m.body)-1] != '\n':
		return damaged("it has %d lines, want %d", lines, count)
	}
	return m, nil
}

var newline = []byte{'\n'}
