package replica

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"tcp-log-server/appends"
	"tcp-log-server/engine"
	"tcp-log-server/segment"
)

// lineMax is the maximum length of a line from the source, and the size of the read buffer.
const lineMax = 256 << 10

// errProtocol: the source has sent something that no source sends.
var errProtocol = errors.New("not what a source sends")

// stream is the input of a conversation with the source. One goroutine uses it.
type stream struct {
	in   *bufio.Reader
	next uint64 // first index of the next batch
	body []byte
}

func newStream(nc net.Conn, silence time.Duration, next uint64) *stream {
	return &stream{in: bufio.NewReaderSize(watched{nc, silence}, lineMax), next: next}
}

// watched is a connection that counts as lost if nothing arrives for the time silence.
type watched struct {
	net.Conn
	silence time.Duration
}

func (c watched) Read(b []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.silence)); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

// line returns the next line, valid until the next read.
func (s *stream) line() ([]byte, error) {
	line, err := s.in.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, fmt.Errorf("%w: a line of more than %d bytes", errProtocol, lineMax)
	case err == io.EOF && len(line) == 0:
		return nil, errors.New("the source has closed the connection")
	case err == io.EOF:
		return nil, errors.New("the source has closed the connection within a line")
	}
	return line, err
}

// said is a line from the source.
type said struct {
	Batch       *header      `json:"batch"`
	Head        *uint64      `json:"head"`
	Index       uint64       `json:"index"`
	Error       *string      `json:"error"`
	Replicating *replicating `json:"replicating"`
	Digest      *string      `json:"digest"`
	Times       string       `json:"times"`
}

// replicating is the source's answer to a replica.
type replicating struct {
	Store  string      `json:"store"`
	Epochs [][2]uint64 `json:"epochs"`
	Head   uint64      `json:"head"`
}

// epochs returns the epochs of the answer.
func (a *replicating) epochs() (list []appends.Epoch) {
	for _, e := range a.Epochs {
		list = append(list, appends.Epoch{Number: e[0], First: e[1]})
	}
	return list
}

// message returns the next line, parsed.
func (s *stream) message() (m said, err error) {
	line, err := s.line()
	if err != nil {
		return m, err
	}
	if h, ok := parseHeader(line); ok {
		return said{Batch: &h}, nil
	}
	if err := json.Unmarshal(line, &m); err != nil {
		return m, fmt.Errorf("%w: %.100q", errProtocol, line)
	}
	return m, nil
}

// batch returns the next batch, or a head that the source has reported, otherwise 0. The bytes of a
// batch are valid until the next call. s.next is then the index after it.
func (s *stream) batch() (b engine.ReplicaBatch, head uint64, err error) {
	m, err := s.message()
	switch {
	case err != nil:
		return b, 0, err
	case m.Batch != nil:
		b, err = s.verified(m.Batch)
		return b, 0, err
	case m.Head != nil:
		return b, *m.Head, nil
	case m.Error != nil && m.Index > 0:
		return b, 0, stopf("the source cannot read its entry %d: %s", m.Index, *m.Error)
	case m.Error != nil: // if the problem lasts, the source reports it again on the next request
		return b, 0, fmt.Errorf("the source says: %s", *m.Error)
	}
	return b, 0, fmt.Errorf("%w: neither a batch nor a head", errProtocol)
}

// verified reads and checks the body that h announces.
func (s *stream) verified(h *header) (b engine.ReplicaBatch, err error) {
	switch {
	case h.Index != s.next:
		return b, fmt.Errorf("%w: a batch that begins with entry %d, want %d", errProtocol, h.Index, s.next)
	case h.Count < 1 || h.Index+uint64(h.Count) < h.Index:
		return b, fmt.Errorf("%w: a batch of %d entries", errProtocol, h.Count)
	case h.Lost != (h.Size == 0), h.Size < 0, h.Size > segment.MaxBody, !h.Lost && h.Size < segment.MinLine*h.Count:
		return b, fmt.Errorf("%w: entry %d: a batch of %d entries in %d bytes", errProtocol, h.Index, h.Count, h.Size)
	}
	if err := s.readBody(h.Size); err != nil {
		return b, fmt.Errorf("within a batch: %w", err)
	}
	if sum := sum(appends.BatchSum(h.Index, h.Count, h.Time.UnixMicro(), s.body)); sum != h.Sum {
		return b, fmt.Errorf("entry %d: the batch has arrived damaged: its checksum is %08x, want %08x", h.Index, sum, h.Sum)
	}
	s.next += uint64(h.Count)
	return engine.ReplicaBatch{Entries: s.body, Count: h.Count, Time: h.Time.UnixMicro(), Lost: h.Lost}, nil
}

// readBody reads size bytes into s.body. Whatever size says, it allocates at most about twice what
// has arrived.
func (s *stream) readBody(size int) error {
	s.body = s.body[:0]
	for have := 0; have < size; have = len(s.body) {
		n := min(size-have, max(have, lineMax))
		s.body = slices.Grow(s.body, n)[:have+n]
		if _, err := io.ReadFull(s.in, s.body[have:]); err != nil {
			return err
		}
	}
	return nil
}
