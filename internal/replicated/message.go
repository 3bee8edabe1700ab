package replicated

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/klauspost/compress/s2"
	"github.com/zeebo/blake3"

	"tcp-log-server/appends"
)

// A message of the stream is a batch of entries after a header of 128 bytes. All numbers are
// little-endian.
//
//	  0  8  magic, with the version
//	  8  2  condition: an appends.Kind
//	 10  2  how the body is stored: a coding
//	 12  4  number of entries in the body
//	 16  8  number of its lane, random
//	 24  8  number in its lane, from 1
//	 32  8  an earlier place in the stream: how many messages precede it,
//	 40  8  how many entries these hold,
//	 48  8  the time of the last of these, and
//	 56 24  which of the last 192 of them are void, one bit each, the latest in the lowest bit
//	 80  8  argument of the condition
//	 88  8  when its gateway sent it, in µs since 1970 UTC
//	 96 32  BLAKE3-256 of the preceding 96 bytes and of the uncompressed body
//	128     the body: canonical JSON, each entry followed by a newline
//
// A body is compressed because every node writes it twice, to its Raft log and to the stream, and copies
// it a dozen times on the way. The checksum covers the uncompressed entries, so it shows that they came
// out as they went in, and does not depend on the compressor.
//
// The entries have the message's time, or that of the entries before it if that is later: clocks differ,
// and times must not decrease along the log. So once a gateway whose clock is an hour ahead has sent
// something, everything stored within the next hour has that same time.

const (
	magic      = "tcplog\x00\x01"
	headerSize = 128
	sumAt      = 96
)

// coding is how a body is stored.
type coding uint16

const (
	asIs   coding = iota
	packed        // a block of S2, see github.com/klauspost/compress/s2
)

const (
	// packFrom is the size in bytes from which a body is compressed, if that makes it smaller.
	packFrom = 1 << 10
	// bodyMax is the limit on a body, in bytes: no NATS message may be larger.
	bodyMax = 64 << 20
)

// place is a position between two messages of the stream, with what must be known there to decide what
// the messages after it add to the log.
type place struct {
	seq   uint64 // number of messages before it
	index uint64 // number of entries these hold
	time  int64  // of the last of these, in µs since 1970 UTC
	voids voids  // which of the latest messages before it are void
}

// lookback is how many messages before a place have their bits in its voids.
const lookback = 192

// voids has a bit for each of the latest messages: set if the message is void, so none of it is in the
// log. The latest has the lowest bit of the first word.
type voids [lookback / 64]uint64

// push adds the next message.
func (v *voids) push(void bool) {
	for i := len(v) - 1; i > 0; i-- {
		v[i] = v[i]<<1 | v[i-1]>>63
	}
	v[0] <<= 1
	if void {
		v[0] |= 1
	}
}

// has reports whether the message followed by this many later ones in v is void.
func (v *voids) has(later uint64) bool { return v[later/64]>>(later%64)&1 == 1 }

// message is a message of the stream.
type message struct {
	kind   appends.Kind
	count  int
	lane   uint64
	number uint64 // in its lane
	hint   place  // an earlier place
	// arg is, for appends.Expect, the expected head; for appends.Once, how many messages of the stream
	// are known to hold none of the entries.
	arg  uint64
	time int64
	body []byte
	sum  hash // of everything above
	// stray: its gateway had counted more messages than precede it. The stream has lost some of these, so
	// the message adds nothing; its hint is the beginning of the stream.
	stray bool
}

var (
	// errMessage: the stored bytes are not a message of a log, or not the message that was sent.
	errMessage = errors.New("damaged message")
	// errVersion: a message is whole, but uses something that this version does not know.
	errVersion = errors.New("written by a later version")
)

// encode returns m as it is stored, and sets its sum. The body is m's followed by more, in order. m.body
// may become part of the result.
func (m *message) encode(more ...[]byte) []byte {
	size := headerSize + len(m.body)
	for _, part := range more {
		size += len(part)
	}
	b := make([]byte, headerSize, size)
	copy(b, magic)
	le := binary.LittleEndian
	le.PutUint16(b[8:], uint16(m.kind))
	le.PutUint32(b[12:], uint32(m.count))
	le.PutUint64(b[16:], m.lane)
	le.PutUint64(b[24:], m.number)
	le.PutUint64(b[32:], m.hint.seq)
	le.PutUint64(b[40:], m.hint.index)
	le.PutUint64(b[48:], uint64(m.hint.time))
	for i, word := range m.hint.voids {
		le.PutUint64(b[56+8*i:], word)
	}
	le.PutUint64(b[80:], m.arg)
	le.PutUint64(b[88:], uint64(m.time))
	b = append(b, m.body...)
	for _, part := range more {
		b = append(b, part...)
	}
	m.body = b[headerSize:]
	stored := pack(b)
	m.sum = checksum(stored, m.body)
	copy(stored[sumAt:], m.sum[:])
	return stored
}

// pack compresses the body of a message and says so in its header. It returns b, or a smaller copy.
func pack(b []byte) []byte {
	body := b[headerSize:]
	if len(body) < packFrom {
		return b
	}
	p := make([]byte, headerSize+s2.MaxEncodedLen(len(body)))
	p = p[:headerSize+len(s2.Encode(p[headerSize:], body))]
	if len(p) >= len(b) {
		return b
	}
	copy(p, b[:headerSize])
	binary.LittleEndian.PutUint16(p[10:], uint16(packed))
	return p
}

// unpack returns the body of a stored message. If it is not compressed, it is part of b.
func unpack(b []byte) (body []byte, err error) {
	body = b[headerSize:]
	switch how := coding(binary.LittleEndian.Uint16(b[10:])); how {
	case asIs:
		return body, nil
	case packed:
	default:
		return nil, fmt.Errorf("its coding is %d, want at most %d: a later version may know it", how, packed)
	}
	switch n, err := s2.DecodedLen(body); {
	case err != nil:
		return nil, err
	case n > bodyMax:
		return nil, fmt.Errorf("it claims to have %d bytes, want at most %d", n, bodyMax)
	}
	return s2.Decode(nil, body)
}

// checksum returns the BLAKE3-256 of a stored message with this uncompressed body, without the 32 bytes
// that hold the checksum.
func checksum(b, body []byte) (sum [32]byte) {
	h := blake3.New()
	h.Write(b[:sumAt])
	h.Write(body)
	h.Sum(sum[:0])
	return sum
}

// decode verifies and decodes the message seq as it is stored. The body may be part of b. The error wraps
// errMessage or errVersion.
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
	if m.body, err = unpack(b); err != nil {
		return damaged("its body cannot be read: %v", err)
	}
	if m.sum = checksum(b, m.body); !bytes.Equal(m.sum[:], b[sumAt:headerSize]) {
		return damaged("its BLAKE3 is %x, want %x", m.sum, b[sumAt:headerSize])
	}
	le := binary.LittleEndian
	kind, count := le.Uint16(b[8:]), le.Uint32(b[12:])
	if kind > uint16(appends.Once) {
		return message{}, fmt.Errorf("message %d: its condition is %d, want at most %d: it was %w, which this server needs too", seq, kind, appends.Once, errVersion)
	}
	m.kind, m.count, m.lane, m.number = appends.Kind(kind), int(count), le.Uint64(b[16:]), le.Uint64(b[24:])
	m.hint = place{seq: le.Uint64(b[32:]), index: le.Uint64(b[40:]), time: int64(le.Uint64(b[48:]))}
	for i := range m.hint.voids {
		m.hint.voids[i] = le.Uint64(b[56+8*i:])
	}
	m.arg, m.time = le.Uint64(b[80:]), int64(le.Uint64(b[88:]))
	lines := bytes.Count(m.body, newline)
	switch {
	case count > math.MaxInt32 || lines != m.count || len(m.body) > 0 && m.body[len(m.body)-1] != '\n':
		return damaged("it has %d lines, want %d", lines, count)
	case m.hint.seq >= seq || m.kind == appends.Once && m.arg >= seq:
		m.stray, m.hint, m.arg = true, place{}, 0
	}
	return m, nil
}

// CheckMessage returns an error unless the message seq is whole as it is stored.
func CheckMessage(seq uint64, stored []byte) error {
	_, err := decode(stored, seq)
	return err
}

// messageOverhead is roughly what a message takes in memory beside its body, in bytes.
const messageOverhead = 3 * headerSize

// memory returns roughly how many bytes m takes.
func (m *message) memory() int { return messageOverhead + len(m.body) }

var newline = []byte{'\n'}
