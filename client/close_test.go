package client_test

import (
	"errors"
	"testing"

	"tcp-log-server/client"
)

// TestClose: calls under way end, later ones send nothing, and no goroutine is left
// running.
func TestClose(t *testing.T) {
	noLeaks(t)
	arrived := make(chan struct{})
	addr := peer(t,
		func(p *conversation) { p.line(); close(arrived); p.rest() },
		func(p *conversation) { p.line(); p.say(`{"current":true}`); p.rest() })
	c := dial(t, addr, client.Options{})
	appended, followed := make(chan error), make(chan error)
	go func() {
		_, err := c.Append(patient(t), []byte("{}"))
		appended <- err
	}()
	<-arrived
	go func() {
		for _, err := range c.Follow(patient(t), 1) {
			followed <- err
		}
		close(followed)
	}()
	c.Close()
	err := <-appended
	outcome(t, err, client.ErrUnknown)
	if err := <-followed; !errors.Is(err, client.ErrClosed) {
		t.Errorf("the follower ends with %v, want ErrClosed", err)
	}
	if _, more := <-followed; more {
		t.Error("unexpected data after the error")
	}
	_, err = c.Append(patient(t), []byte("{}"))
	outcome(t, err, client.ErrNotSent)
	if !errors.Is(err, client.ErrClosed) {
		t.Errorf("a later append ends with %v, want ErrClosed", err)
	}
	if _, err := c.Head(patient(t)); !errors.Is(err, client.ErrClosed) {
		t.Errorf("a later Head ends with %v, want ErrClosed", err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("a second Close: %v", err)
	}
}

// TestCloseWhileACallbackWaits: Close releases a callback that appends and so waits for
// an answer that comes only after it has returned.
func TestCloseWhileACallbackWaits(t *testing.T) {
	for name, test := range map[string]struct {
		options client.Options
		script  func(p *conversation)
		entry   string // what the callback appends
	}{
		"for a connection": {client.Options{}, func(p *conversation) { p.line() }, "[2]"},
		"for room": {client.Options{MaxInFlight: 2 * (256 + 3)}, func(p *conversation) {
			p.line()
			p.line()
			p.say(`{"id":"0","index":1}`)
			p.rest()
		}, `["more than the one that was answered has left"]`},
	} {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			c := dial(t, peer(t, test.script), test.options)
			begun, again := make(chan struct{}), make(chan error, 1)
			err := c.AppendAsync(patient(t), []byte("[1]"), func(uint64, error) {
				close(begun)
				again <- c.AppendAsync(patient(t), []byte(test.entry), func(uint64, error) { t.Error("completed") })
			})
			outcome(t, err, nil)
			if test.options.MaxInFlight > 0 {
				c.AppendAsync(patient(t), []byte("[3]"), func(uint64, error) {}) // takes the room of another
			}
			<-begun
			c.Close()
			err = <-again
			outcome(t, err, client.ErrNotSent)
			if !errors.Is(err, client.ErrClosed) {
				t.Errorf("error is %v", err)
			}
		})
	}
}
