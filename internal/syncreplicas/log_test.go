package syncreplicas

import (
	"context"
	"sync"
	"testing"

	"tcp-log-server/engine"
	"tcp-log-server/server/logtest"
)

// TestLog: a log that waits for replicas keeps the contract of package server, as does the log
// below.
func TestLog(t *testing.T) {
	logtest.Run(t, func(t *testing.T) logtest.Harness {
		below, err := engine.Open(engine.NewConfig(engine.Memory))
		if err != nil {
			t.Fatal(err)
		}
		l := New(below, 2, Timeout)
		ctx, cancel := context.WithCancel(context.Background())
		var replicas sync.WaitGroup
		for _, name := range []string{"a", "b"} {
			replicas.Go(func() { follow(ctx, l, name) })
		}
		closed := false
		closes := func(t testing.TB) {
			if err := below.Close(); err != nil {
				t.Errorf("closing the log below: %v", err)
			}
			l.Close()
			closed = true
		}
		t.Cleanup(func() {
			if !closed {
				closes(t)
			}
			cancel()
			replicas.Wait()
		})
		return logtest.Harness{Log: l, Close: closes}
	})
}

// follow acts as a replica that has everything at once.
func follow(ctx context.Context, l *Log, name string) {
	durable, leave := l.Join(name)
	defer leave()
	for {
		head, moved := l.Local()
		durable(head)
		select {
		case <-moved:
		case <-ctx.Done():
			return
		}
	}
}
