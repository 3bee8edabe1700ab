package server

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

func TestServeConnOverAPipe(t *testing.T) {
	noLeaks(t)
	s := New(openMemory(t), Config{})
	ours, theirs := net.Pipe()
	served := make(chan struct{})
	go func() { defer close(served); s.ServeConn(theirs) }()
	c := newClient(t, ours)
	c.send(`{"from":1}`)
	c.want(current)
	for n := 1; n <= 10; n++ {
		c.append(n, 1)
		c.want(ack(n, n), entry(n, n))
	}
	c.send(`no`)
	c.want(`{"error":"invalid JSON"}`)
	c.wantEnd()
	<-served
}

// script is a connection that supplies its input piece by piece, then the end, and keeps what is
// written.
type script struct {
	mu     sync.Mutex
	pieces []string
	out    strings.Builder
}

func (s *script) Read(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.pieces) == 0 {
		return 0, io.EOF
	}
	n := copy(b, s.pieces[0])
	if s.pieces[0] = s.pieces[0][n:]; s.pieces[0] == "" {
		s.pieces = s.pieces[1:]
	}
	return n, nil
}

func (s *script) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.Write(b)
}

func (s *script) Close() error                     { return nil }
func (s *script) LocalAddr() net.Addr              { return nil }
func (s *script) RemoteAddr() net.Addr             { return nil }
func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

// converse serves a connection with the input and returns the output.
func converse(log Log, config Config, pieces ...string) string {
	s := &script{pieces: pieces}
	New(log, config).ServeConn(s)
	return s.out.String()
}

// However the input is split into packets, the limit of a line is the same: the server's buffer may
// be larger or smaller than it.
func TestLineLimit(t *testing.T) {
	noLeaks(t)
	for _, maxEntry := range []int{100, 60 << 10, 64 << 10, 200 << 10} {
		limit := maxEntry + lineSlack // of a line including its newline
		for _, over := range []int{-1, 0, 1, 70_000} {
			line := `{"id":"1","entry":[]}`
			line += strings.Repeat(" ", limit+over-len(line)-1) + "\n"
			want := ack(1, 1) + "\n" + ack(2, 2) + "\n"
			if over > 0 {
				want = `{"id":"1","error":"not stored: the line is over the limit of ` + strconv.Itoa(limit) + ` bytes"}` + "\n" + ack(2, 1) + "\n"
			}
			input := line + `{"id":"2","entry":[]}` + "\n"
			for _, size := range []int{1 << 30, 1 << 16, 4096, 1000} {
				if got := converse(newFakeLog(), Config{MaxEntry: maxEntry}, cut(input, size)...); got != want {
					t.Errorf("MaxEntry %d, a line of %d bytes over, in pieces of %d:\n got %s\nwant %s", maxEntry, over, size, got, want)
				}
			}
		}
	}
}

// cut cuts s into pieces of size bytes.
func cut(s string, size int) (pieces []string) {
	for len(s) > size {
		pieces, s = append(pieces, s[:size]), s[size:]
	}
	return append(pieces, s)
}

func TestOverlongLineIsDiscardedInBoundedMemory(t *testing.T) {
	noLeaks(t)
	c := start(t, openFake(t), Config{MaxEntry: 1000}).dial()
	before := heap()
	c.write(`{"id":"long","entry":["`)
	block := strings.Repeat("x", 1<<20)
	for range 64 {
		c.write(block)
	}
	if grown := heap() - before; grown > 8<<20 {
		t.Errorf("a line of 64 MB made the heap grow by %d MB", grown>>20)
	}
	// The answer does not wait for the end of the line.
	c.want(`{"id":"long","error":"not stored: the line is over the limit of 66536 bytes"}`)
	c.write("\"]}\n")
	c.append(1, 1)
	c.want(ack(1, 1))
}

// A listener's temporary errors do not end a server; its own end does.
func TestServeEndsWithItsListener(t *testing.T) {
	noLeaks(t)
	s := New(openFake(t), Config{})
	broken := errors.New("broken")
	ln := &listener{errs: []error{os.NewSyscallError("accept", temporaryError{}), broken}}
	if err := s.Serve(ln); !errors.Is(err, broken) {
		t.Errorf("Serve returned %v, want the listener's error", err)
	}
	if !ln.closed {
		t.Error("the listener was not closed")
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := s.Serve(&listener{}); !errors.Is(err, ErrServerClosed) {
		t.Errorf("Serve after Shutdown returned %v, want ErrServerClosed", err)
	}
}

type temporaryError struct{}

func (temporaryError) Error() string   { return "too many open files" }
func (temporaryError) Temporary() bool { return true }

// listener only returns errors.
type listener struct {
	errs   []error
	closed bool
}

func (l *listener) Accept() (net.Conn, error) {
	err := l.errs[0]
	l.errs = l.errs[1:]
	return nil, err
}
func (l *listener) Close() error   { l.closed = true; return nil }
func (l *listener) Addr() net.Addr { return nil }

// TestInvalidJSONLogged: the log says where a line stops being JSON; the peer is only told that it is
// not.
func TestInvalidJSONLogged(t *testing.T) {
	for line, says := range map[string]string{
		`no`:                             "invalid JSON: found 'o' at byte 1, want null",
		`  {"id":"a","entry":{},}`:       "invalid JSON: found '}' at byte 23, want a member name",
		`{"id":"a","entry":{}`:           "invalid JSON: ends at byte 20, want ',' or '}'",
		`{"from":1} {"from":2}`:          "invalid JSON: unexpected data after the value, at byte 11",
		"{\"id\":\"\xff\",\"entry\":{}}": "invalid JSON: found 0xff at byte 7, want UTF-8",
		"\xef\xbb\xbf{}":                 "invalid JSON: the line begins with a byte order mark, want none",
		"\x16\x03\x01":                   "invalid JSON: found 0x16 at byte 0, want a value",
	} {
		var logged strings.Builder
		s := New(openMemory(t), Config{Logger: zerolog.New(&logged)})
		s.ServeConn(&script{pieces: []string{line + "\n"}})
		text, err := json.Marshal(says)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(logged.String(), `"error":`+string(text)+`,`) {
			t.Errorf("of %q the server logs\n%swant %s", line, logged.String(), text)
		}
	}
}
