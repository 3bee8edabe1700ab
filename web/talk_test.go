package web

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tcp-log-server/server"
)

// stuckWriter is a client that reads nothing: a write ends only at a deadline in the past.
type stuckWriter struct {
	http.ResponseWriter
	ended chan struct{}
	end   sync.Once
}

func (s *stuckWriter) Write([]byte) (int, error) {
	<-s.ended
	return 0, errors.New("the stream is reset")
}

func (s *stuckWriter) SetWriteDeadline(at time.Time) error {
	if !at.After(time.Now()) {
		s.end.Do(func() { close(s.ended) }) // a connection may be told twice
	}
	return nil
}

// newStuck returns a talk whose client reads nothing.
func newStuck(ctx context.Context) (*talk, *stuckWriter) {
	w := &stuckWriter{ResponseWriter: httptest.NewRecorder(), ended: make(chan struct{})}
	r := httptest.NewRequestWithContext(ctx, "GET", "/", nil)
	t := newQuestion(w, r, "line\n", true, func(lines []byte) error {
		_, err := w.Write(lines)
		return err
	})
	t.idle = func() error { return t.answer([]byte(":\n\n")) }
	return t, w
}

// TestTalkIsStuck: a write to a client that reads nothing ends at its deadline, even if it begins
// later, and at Close; neither harms an idle talk.
func TestTalkIsStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, late := range []time.Duration{0, 20 * time.Millisecond} {
			talk, _ := newStuck(t.Context())
			talk.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
			time.Sleep(late)
			if n, err := talk.Write([]byte("x\n")); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("at the deadline, written after %v: %d and %v", late, n, err)
			}
		}
		talk, _ := newStuck(t.Context())
		time.AfterFunc(10*time.Millisecond, func() { talk.Close() })
		if n, err := talk.Write([]byte("x\n")); n != 0 || err == nil {
			t.Errorf("with Close: %d and %v", n, err)
		}
		if _, err := talk.Write([]byte("x\n")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		talk, brief := newStuck(t.Context())
		talk.answer = func([]byte) error { time.Sleep(closeTime / 2); return nil }
		time.AfterFunc(closeTime/4, func() { talk.Close() })
		talk.Write([]byte("x\n"))
		time.Sleep(2 * closeTime)
		select {
		case <-brief.ended:
			t.Error("Close ends the answer during a write that the client takes")
		default:
		}
		talk, stuck := newStuck(t.Context())
		talk.SetWriteDeadline(time.Now().Add(time.Second))
		time.Sleep(2 * time.Second)
		talk.Close()
		select {
		case <-stuck.ended:
			t.Error("a deadline was set though nothing was written")
		default:
		}
	})
}

// TestTalkInput: the input of a question is its line, and then stays open until the client leaves,
// a deadline, Close or the end of the answer.
func TestTalkInput(t *testing.T) {
	synctest.Test(t, testTalkInput)
}

func testTalkInput(t *testing.T) {
	defer func(d time.Duration) { idleTime = d }(idleTime)
	idleTime = 10 * time.Millisecond
	for _, tt := range []struct {
		name string
		end  func(*talk, context.CancelFunc)
		want error
	}{
		{"the client leaves", func(_ *talk, leave context.CancelFunc) { leave() }, context.Canceled},
		{"a deadline", func(talk *talk, _ context.CancelFunc) { talk.SetReadDeadline(past) }, os.ErrDeadlineExceeded},
		{"Close", func(talk *talk, _ context.CancelFunc) { talk.Close() }, net.ErrClosed},
		{"the end of the answer", func(talk *talk, _ context.CancelFunc) { talk.endInput() }, io.EOF},
		{"a comment that is stuck, after a deadline when nothing was written", func(talk *talk, _ context.CancelFunc) { talk.SetWriteDeadline(time.Now().Add(2 * time.Millisecond)) }, os.ErrDeadlineExceeded},
	} {
		for _, early := range []bool{false, true} {
			ctx, leave := context.WithCancel(t.Context())
			talk, _ := newStuck(ctx)
			buf := make([]byte, 3)
			if n, err := talk.Read(buf); string(buf[:n]) != "lin" || err != nil {
				t.Fatalf("got %q and %v", buf[:n], err)
			}
			if n, err := talk.Read(buf); string(buf[:n]) != "e\n" || err != nil {
				t.Fatalf("got %q and %v", buf[:n], err)
			}
			if early {
				tt.end(talk, leave)
			} else {
				time.AfterFunc(5*time.Millisecond, func() { tt.end(talk, leave) })
			}
			if n, err := talk.Read(buf); n != 0 || !errors.Is(err, tt.want) {
				t.Errorf("%s: %d and %v, want %v", tt.name, n, err, tt.want)
			}
			leave()
		}
	}
}

// TestOpenLine: nothing is sent between the pieces of a line.
func TestOpenLine(t *testing.T) {
	w := httptest.NewRecorder()
	a := &reply{w: w, control: http.NewResponseController(w)}
	events := &eventStream{reply: a}
	a.split.to = events
	begin := `{"index":1,"entry":["` + strings.Repeat("x", longBegin)
	for _, piece := range []string{"{\"current\":true}\n", begin} {
		if err := a.write([]byte(piece)); err != nil {
			t.Fatal(err)
		}
	}
	if err := events.comment(); err != nil {
		t.Fatal(err)
	}
	func() {
		defer func() {
			if recover() != http.ErrAbortHandler {
				t.Error("the answer looks complete")
			}
		}()
		a.breakOff("why")
	}()
	if got, want := w.Body.String(), currentEvent+"id: 1\ndata: "+begin; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestStuckClientIsCut: a client that reads nothing is disconnected at once when its token is
// revoked, and when the server stops waiting.
func TestStuckClientIsCut(t *testing.T) {
	log := memory(t)
	for range 32 {
		put(t, log, `["`+strings.Repeat("x", 1<<20)+`"]`)
	}
	for _, secure := range []bool{false, true} {
		var revoked atomic.Bool
		s := serve(t, log, server.Config{Tokens: func([32]byte) (string, server.Rights) {
			return "reader", server.Rights{Read: !revoked.Load()}
		}}, secure)
		h := New(Config{Server: s.srv, Log: log})
		s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			hash := sha256.Sum256([]byte("secret"))
			a := &reply{w: w, control: http.NewResponseController(w)}
			a.split.to = &eventStream{reply: a}
			h.converse(newQuestion(w, r, "{\"from\":1}\n", true, a.write), a, server.Conversation{Token: &hash})
		})
		for _, end := range []func(){
			func() { revoked.Store(true); s.srv.Reauthorize() },
			func() {
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				s.srv.Shutdown(ctx)
			},
		} {
			revoked.Store(false)
			if secure {
				defer s.follow("/").body.Close()
			} else {
				nc, err := net.Dial("tcp", s.Listener.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				defer nc.Close()
				fmt.Fprintf(nc, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
			}
			sent := uint64(0)
			poll(t, "the client to be stuck", func() bool {
				time.Sleep(20 * time.Millisecond)
				before := sent
				sent = s.srv.Stats().Sent
				return sent > 0 && sent == before
			})
			end()
			s.wantIdle()
		}
	}
}
