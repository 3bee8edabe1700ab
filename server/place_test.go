package server

import (
	"context"
	"net"
	"testing"
)

// TestPlaces: places count among the connections; those on which no client is admitted make
// room, the oldest first, and end at once with the server.
func TestPlaces(t *testing.T) {
	noLeaks(t)
	s := New(openMemory(t), Config{MaxConnections: 4})
	take := func() (*Place, func() bool) {
		t.Helper()
		ours, theirs := net.Pipe()
		p, err := s.TakePlace(theirs)
		if err != nil {
			t.Fatal(err)
		}
		closed := make(chan struct{})
		go func() { ours.Read(make([]byte, 1)); close(closed) }()
		return p, func() bool {
			select {
			case <-closed:
				return true
			default:
				return false
			}
		}
	}
	want := func(n int) {
		t.Helper()
		if got := s.Connections(); got != n || s.Stats().Connections != n {
			t.Errorf("%d connections, and %d in the statistics, want %d", got, s.Stats().Connections, n)
		}
	}
	busy, busyClosed := take()
	busy.Begin()
	busy.Begin()
	busy.End() // one of two requests
	first, firstClosed := take()
	_, secondClosed := take()
	first.Begin()
	first.End() // so that it is the younger one
	want(3)
	third, thirdClosed := take() // the third that waits
	poll(t, "the oldest to make room", secondClosed)
	want(3)
	first.Begin()
	third.Begin()
	last, _ := take()
	last.Begin()
	want(4)
	if _, err := s.TakePlace(nil); err != ErrTooManyConnections {
		t.Errorf("with no place left the error is %v", err)
	}
	third.Leave()
	third.End()
	third.Leave()
	want(3)
	last.End()
	if firstClosed() || busyClosed() || thirdClosed() {
		t.Error("a connection with an admitted client was closed")
	}
	if err := s.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	want(2) // which the other front door ends
	first.Leave()
	busy.Leave()
	want(0)
	if _, err := s.TakePlace(nil); err != ErrServerClosed {
		t.Errorf("after the end the error is %v", err)
	}
}

// TestIdlePlaces: places on which no client is admitted are few, whatever else there is.
func TestIdlePlaces(t *testing.T) {
	s := New(openFake(t), Config{})
	for range maxIdle + 10 {
		_, theirs := net.Pipe()
		if _, err := s.TakePlace(theirs); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.Connections(); n != maxIdle {
		t.Errorf("%d places are taken, want %d", n, maxIdle)
	}
}
