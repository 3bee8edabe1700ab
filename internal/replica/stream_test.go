package replica

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"tcp-log-server/client"
	"tcp-log-server/segment"
)

// TestCut: a connection that breaks after any number of bytes loses nothing.
func TestCut(t *testing.T) {
	source := serve(t, newFakeLog(8))
	for n, after := 0, 0; after < 30; n++ {
		copied := newFakeLog(2)
		conversations := 0
		r := New(Config{Source: source.addr, Log: copied, pace: quick, Connect: client.Options{
			DialContext: func(_ context.Context, network, addr string) (net.Conn, error) {
				nc, err := net.Dial(network, addr)
				if conversations++; conversations > 1 {
					return nc, err // a question for a digest
				}
				return &cutConn{nc, n}, err
			},
		}})
		if err := r.follow(t.Context()); err == nil || err.Error() == "" {
			t.Fatalf("cut after %d bytes, the conversation ends with %v", n, err)
		}
		got, want := copied.text(), source.text()
		if !strings.HasPrefix(want, strings.TrimSuffix(got, "]")) {
			t.Fatalf("cut after %d bytes, the replica has %s", n, got)
		}
		if got == want {
			after++ // only heads come now
		}
		if n%100 == 0 {
			awaitCopy(t, follow(t, source.addr, copied, nil), source.fakeLog, copied)
		}
	}
}

// cutConn ends after a number of bytes have been received.
type cutConn struct {
	net.Conn
	left int
}

func (c *cutConn) Read(b []byte) (n int, err error) {
	if c.left == 0 {
		return 0, io.EOF
	}
	n, err = c.Conn.Read(b[:min(len(b), c.left)])
	c.left -= n
	return n, err
}

// TestSpoiled: corrupted data is not stored, and is fetched again.
func TestSpoiled(t *testing.T) {
	for name, spoil := range map[string]struct {
		old, new, says string
	}{
		"a wrong byte":     {`{"n":5}`, `{"n":6}`, "entry 4: the batch has arrived damaged: its checksum is "},
		"a wrong time":     {`22:13:20.000002Z`, `22:13:20.000003Z`, "the batch has arrived damaged"},
		"a wrong sum":      {`"sum":"15e38d9b"`, `"sum":"15e38d9c"`, "the batch has arrived damaged"},
		"a long sum":       {`"sum":"`, `"sum":"0`, "not what a source sends"},
		"a wrong index":    {`"index":4`, `"index":5`, "a batch that begins with entry 5, want 4"},
		"a wrong count":    {`"count":2`, `"count":1`, "the batch has arrived damaged"},
		"too large a size": {`"size":16`, `"size":2000000000`, "a batch of 2 entries in 2000000000 bytes"},
		"no size":          {`"size":16`, `"size":0`, "a batch of 2 entries in 0 bytes"},
		"no JSON":          {`{"batch"`, `{batch`, "not what a source sends"},
		"something else":   {`{"batch"`, `{"botch"`, "neither a batch nor a head"},
	} {
		t.Run(name, func(t *testing.T) {
			source := serve(t, newFakeLog(20))
			spoiled := 0
			source.spoil = func(line []byte) []byte {
				source.mu2.Lock()
				defer source.mu2.Unlock()
				if spoiled > 2 || !bytes.Contains(line, []byte(`"index":4`)) {
					return line
				}
				spoiled++
				return bytes.Replace(line, []byte(spoil.old), []byte(spoil.new), 1)
			}
			copied := newFakeLog(0)
			var log logged
			r := follow(t, source.addr, copied, func(c *Config) { c.Logger = zerolog.New(&log) })
			awaitCopy(t, r, source.fakeLog, copied)
			if text := log.String(); !strings.Contains(text, spoil.says) || strings.Count(text, `"level":"warn"`) > 3 {
				t.Errorf("the log has %s; want %q in it", text, spoil.says)
			}
		})
	}
}

// TestClaimedSize: a source that announces the largest batch and sends little of it costs little
// memory.
func TestClaimedSize(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	go func() {
		defer far.Close()
		fmt.Fprintf(far, `{"batch":{"index":1,"count":2,"time":"2026-11-28T09:00:00Z","size":%d,"sum":"00000000"}}`+"\n{}\n", segment.MaxBody)
	}()
	s := newStream(near, time.Minute, 1)
	if _, _, err := s.batch(); err == nil || !strings.Contains(err.Error(), "within a batch") {
		t.Errorf("the batch ends with %v", err)
	}
	if got := cap(s.body); got > 4*lineMax {
		t.Errorf("it took %d bytes", got)
	}
}

// TestSourceGone: if the source is lost, everything that has arrived is stored, even if it waited
// for the disk.
func TestSourceGone(t *testing.T) {
	for range 8 {
		source := serve(t, newFakeLog(20))
		source.spoil = func(line []byte) []byte {
			if bytes.HasPrefix(line, []byte(`{"head"`)) {
				return []byte("the end\n")
			}
			return line
		}
		copied := newFakeLog(0)
		copied.slow = make(chan struct{})
		r := New(Config{Source: source.addr, Log: copied, pace: quick, Connect: client.Options{
			DialContext: func(_ context.Context, network, addr string) (net.Conn, error) {
				nc, err := net.Dial(network, addr)
				return &endingConn{Conn: nc, ends: sync.OnceFunc(func() { close(copied.slow) })}, err
			},
		}})
		if err := r.follow(t.Context()); !errors.Is(err, errProtocol) {
			t.Fatalf("the conversation ends with %v", err)
		}
		if got, want := copied.text(), source.text(); got != want {
			t.Fatalf("the replica has %s, want %s", got, want)
		}
	}
}

// endingConn reports when it is closed.
type endingConn struct {
	net.Conn
	ends func()
}

func (c *endingConn) Close() error {
	c.ends()
	return c.Conn.Close()
}
