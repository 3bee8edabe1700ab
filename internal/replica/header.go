package replica

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strconv"
	"time"
)

// header is the head of a batch.
type header struct {
	Index uint64    `json:"index"`
	Count int       `json:"count"`
	Time  time.Time `json:"time"`
	Size  int       `json:"size"`
	Sum   sum       `json:"sum"`
	Lost  bool      `json:"lost"`
}

// sum is a checksum: eight hexadecimal digits.
type sum uint32

func (s *sum) UnmarshalText(text []byte) error {
	var b [4]byte
	if len(text) != 2*len(b) {
		return fmt.Errorf("a checksum of %d digits, want %d", len(text), 2*len(b))
	}
	if _, err := hex.Decode(b[:], text); err != nil {
		return err
	}
	*s = sum(b[0])<<24 | sum(b[1])<<16 | sum(b[2])<<8 | sum(b[3])
	return nil
}

func (s sum) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%08x", uint32(s)), nil }

// parseHeader parses the line that announces a batch, in the exact form that the server writes. It
// exists for logs whose entries came one at a time: encoding/json, which parses all other lines,
// needs more time for a header than everything else needs for its entry. ok is false if the line
// has any other form.
func parseHeader(line []byte) (h header, ok bool) {
	p := headerParser{line}
	var index, count, size uint64
	var at, sum []byte
	ok = p.text(`{"batch":{"index":`) && p.number(&index) &&
		p.text(`,"count":`) && p.number(&count) &&
		p.text(`,"time":`) && p.quoted(&at) &&
		p.text(`,"size":`) && p.number(&size) &&
		p.text(`,"sum":`) && p.quoted(&sum) &&
		p.text("}}\n") && len(p.rest) == 0
	if !ok || h.Time.UnmarshalText(at) != nil || h.Sum.UnmarshalText(sum) != nil {
		return header{}, false
	}
	h.Index, h.Count, h.Size = index, int(count), int(size)
	return h, true
}

// headerParser holds the rest of a line. Its methods report whether they could read their part.
type headerParser struct{ rest []byte }

func (p *headerParser) text(s string) (ok bool) {
	p.rest, ok = bytes.CutPrefix(p.rest, []byte(s))
	return ok
}

// number reads a JSON number of at most 18 digits, which fits into an int.
func (p *headerParser) number(n *uint64) bool {
	i := 0
	for i < len(p.rest) && '0' <= p.rest[i] && p.rest[i] <= '9' {
		*n = *n*10 + uint64(p.rest[i]-'0')
		i++
	}
	if i == 0 || i > 18 || i > 1 && p.rest[0] == '0' {
		return false
	}
	p.rest = p.rest[i:]
	return true
}

// quoted reads a string without escapes.
func (p *headerParser) quoted(s *[]byte) bool {
	if len(p.rest) == 0 || p.rest[0] != '"' {
		return false
	}
	end := bytes.IndexAny(p.rest[1:], `"\`) + 1
	if end == 0 || p.rest[end] != '"' {
		return false
	}
	*s, p.rest = p.rest[1:end], p.rest[end+1:]
	return true
}

// appendDurable appends the line that tells the source through which entry the replica's log is
// durable.
func appendDurable(b []byte, through uint64) []byte {
	return append(strconv.AppendUint(append(b, `{"durable":`...), through, 10), "}\n"...)
}
