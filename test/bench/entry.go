package main

import (
	"encoding/binary"
	"math/rand/v2"
)

// entrySource writes the JSON entries of the load. Every entry has exactly the
// requested size, is in canonical form (members sorted, no white space), and
// differs from all others, so that no server gains by storing equal content once.
// Its body is text from a random pool, so that it compresses like base64.
//
// A source belongs to one goroutine.
type entrySource struct {
	size     int
	template []byte
	seq      uint64
	rng      *rand.PCG

	bodyAt, bodyLen         int
	amountAt, sentAt, seqAt int
}

const (
	entryHead = `{"amount":1000,"body":"`
	entryTail = `","kind":"order.placed","sent":"0000000000000000","seq":"0000000000000000"}`

	// minEntrySize is the smallest entry a source can write.
	minEntrySize = len(entryHead) + len(entryTail)

	// stampFromEnd is how many bytes before the end of an entry the hex digits of
	// "sent" start, so that a follower finds them in an entry of any size.
	stampFromEnd = len(`0000000000000000","seq":"0000000000000000"}`)
)

// bodyPool is the text that the bodies are cut from. It is so long that a
// compressor's window rarely holds the same cut twice.
var bodyPool = func() []byte {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+-"
	rng := rand.New(rand.NewPCG(1, 2))
	pool := make([]byte, 4<<20)
	for i := range pool {
		pool[i] = alphabet[rng.IntN(len(alphabet))]
	}
	return pool
}()

// newEntrySource returns a source of entries of size bytes. Sources with distinct
// lanes write distinct entries.
func newEntrySource(size int, lane uint16) *entrySource {
	size = max(size, minEntrySize)
	template := make([]byte, 0, size)
	template = append(template, entryHead...)
	body := size - minEntrySize
	template = append(template, bodyPool[:body]...)
	template = append(template, entryTail...)
	return &entrySource{
		size:     size,
		template: template,
		seq:      uint64(lane) << 48,
		rng:      rand.NewPCG(uint64(lane), 3),
		bodyAt:   len(entryHead),
		bodyLen:  body,
		amountAt: len(`{"amount":`),
		sentAt:   size - stampFromEnd,
		seqAt:    size - len(`0000000000000000"}`),
	}
}

// put appends the next entry to dst, with sent as the time of sending.
func (s *entrySource) put(dst []byte, sent int64) []byte {
	at := len(dst)
	dst = append(dst, s.template...)
	e := dst[at:]
	s.seq++
	cut := int(s.rng.Uint64() % uint64(len(bodyPool)-s.bodyLen))
	copy(e[s.bodyAt:s.bodyAt+s.bodyLen], bodyPool[cut:])
	e[s.amountAt+1] = '0' + byte(s.seq/100%10)
	e[s.amountAt+2] = '0' + byte(s.seq/10%10)
	e[s.amountAt+3] = '0' + byte(s.seq%10)
	putHex16(e[s.sentAt:], uint64(sent))
	putHex16(e[s.seqAt:], s.seq)
	return dst
}

// stampOf returns the time that put wrote into an entry.
func stampOf(entry []byte) (int64, bool) {
	if len(entry) < minEntrySize {
		return 0, false
	}
	var v uint64
	for _, c := range entry[len(entry)-stampFromEnd:][:16] {
		switch {
		case '0' <= c && c <= '9':
			v = v<<4 | uint64(c-'0')
		case 'a' <= c && c <= 'f':
			v = v<<4 | uint64(c-'a'+10)
		default:
			return 0, false
		}
	}
	return int64(v), true
}

// hexPairs has the two hex digits of every byte, in little-endian order.
var hexPairs = func() (t [256]uint16) {
	const digits = "0123456789abcdef"
	for i := range t {
		t[i] = uint16(digits[i>>4]) | uint16(digits[i&15])<<8
	}
	return t
}()

// hex8 returns v as eight hex digits, packed for one little-endian store or compare.
func hex8(v uint32) uint64 {
	return uint64(hexPairs[v>>24]) |
		uint64(hexPairs[v>>16&255])<<16 |
		uint64(hexPairs[v>>8&255])<<32 |
		uint64(hexPairs[v&255])<<48
}

func putHex16(b []byte, v uint64) {
	binary.LittleEndian.PutUint64(b, hex8(uint32(v>>32)))
	binary.LittleEndian.PutUint64(b[8:], hex8(uint32(v)))
}
