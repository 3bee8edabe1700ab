package replicated

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// TestAsker: callers share questions, and each gets the answer to a question asked after its call.
func TestAsker(t *testing.T) {
	var now, asked atomic.Uint64
	var running sync.WaitGroup
	a := asker{
		spawn: func(fn func()) bool { running.Go(fn); return true },
		ask: func(context.Context) (uint64, error) {
			asked.Add(1)
			at := now.Load()
			time.Sleep(time.Millisecond) // a question takes a while
			return at, nil
		},
	}
	const callers, calls = 16, 50
	for range callers {
		running.Go(func() {
			for range calls {
				want := now.Add(1)
				if got, err := a.get(t.Context(), t.Context()); err != nil || got < want {
					t.Errorf("%d, %v: it was asked before, want %d or more", got, err, want)
				}
			}
		})
	}
	running.Wait()
	if n := asked.Load(); n > callers*calls/4 {
		t.Errorf("%d questions for %d callers: they do not share them", n, callers*calls)
	}
}

// TestAskerLeaves: a caller that stops waiting leaves the question to the others.
func TestAskerLeaves(t *testing.T) {
	answer := make(chan struct{})
	var running sync.WaitGroup
	a := asker{
		spawn: func(fn func()) bool { running.Go(fn); return true },
		ask:   func(context.Context) (uint64, error) { <-answer; return 7, nil },
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	left := errors.New("left")
	running.Go(func() {
		if _, err := a.get(ctx, t.Context()); !errors.Is(err, left) {
			t.Errorf("%v, want %v", err, left)
		}
		close(answer)
	})
	cancel(left)
	if got, err := a.get(t.Context(), t.Context()); got != 7 || err != nil {
		t.Errorf("%d, %v", got, err)
	}
	running.Wait()
	closed := asker{spawn: func(func()) bool { return false }}
	for range 2 {
		if _, err := closed.get(t.Context(), t.Context()); !errors.Is(err, errClosed) {
			t.Errorf("%v, want %v", err, errClosed)
		}
	}
}

// TestHead: a head includes what another gateway had acknowledged before the call.
func TestHead(t *testing.T) {
	for _, head := range []string{HeadLeader, HeadQuorum} {
		t.Run(head, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			l := f.gateway(5*time.Second, func(c *Config) { c.Head = head })
			for i := range 20 {
				f.put(message{}, "1", "2")
				if got, err := l.Head(t.Context()); err != nil || got != uint64(2*i+2) {
					t.Fatalf("%d, %v, want %d", got, err, 2*i+2)
				}
			}
		})
	}
}

// TestHeadQuorumFails: if no majority takes a message, there is no head, and Head waits no longer than
// its caller.
func TestHeadQuorumFails(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	quorum := func(c *Config) { c.Head = HeadQuorum }
	l, slow := f.gateway(300*time.Millisecond, quorum), f.gateway(3*time.Second, quorum)
	f.mu.Lock()
	f.publish = func(int, *nats.Msg) {}
	f.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := slow.Head(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want that of the context", err)
	}
	var unavailable *UnavailableError
	if _, err := l.Head(t.Context()); !errors.As(err, &unavailable) || !strings.HasPrefix(err.Error(), "not available now: ") {
		t.Errorf("%v, want that it is unavailable", err)
	}
}

// TestCheckLeader: the end of the log is what its leader says while a majority is in touch with it, never
// what a replica says instead.
func TestCheckLeader(t *testing.T) {
	seen := func(name string, active time.Duration) *jetstream.PeerInfo {
		return &jetstream.PeerInfo{Name: name, Current: true, Active: active}
	}
	gone := seen("c", time.Second)
	gone.Offline = true
	for _, tt := range []struct {
		name     string
		leader   string
		replicas []*jetstream.PeerInfo
		want     bool
	}{
		{"both in touch", "a", []*jetstream.PeerInfo{seen("b", time.Second), seen("c", time.Second)}, true},
		{"one in touch", "a", []*jetstream.PeerInfo{seen("b", time.Second), seen("c", time.Minute)}, true},
		{"one in touch, one offline", "a", []*jetstream.PeerInfo{seen("b", time.Minute), gone}, false},
		{"none in touch", "a", []*jetstream.PeerInfo{seen("b", stale), seen("c", stale)}, false},
		{"none heard of yet", "a", []*jetstream.PeerInfo{seen("b", 0), seen("c", 0)}, false},
		{"no replicas known", "a", nil, false},
		{"a replica without a leader", "", []*jetstream.PeerInfo{seen("a", 0), seen("b", time.Second), seen("c", time.Second)}, false},
		{"a follower", "a", []*jetstream.PeerInfo{seen("a", time.Millisecond), seen("c", time.Second)}, false},
	} {
		info := &jetstream.StreamInfo{
			Config:  jetstream.StreamConfig{Replicas: 3},
			Cluster: &jetstream.ClusterInfo{Leader: tt.leader, Replicas: tt.replicas},
		}
		if err := checkLeader(info); (err == nil) != tt.want {
			t.Errorf("%s: error %v, want one: %v", tt.name, err, !tt.want)
		}
	}
	if err := checkLeader(&jetstream.StreamInfo{Config: jetstream.StreamConfig{Replicas: 1}}); err != nil {
		t.Errorf("a stream with one replica: %v", err)
	}
}

// TestReadable: clients are not told about sequences, which mean nothing to them.
func TestReadable(t *testing.T) {
	for _, code := range []jetstream.ErrorCode{jetstream.JSErrCodeStreamWrongLastSequence, inProcess} {
		err := fmt.Errorf("sending: %w", &jetstream.APIError{Code: 400, ErrorCode: code, Description: "wrong last sequence"})
		if text := readable(err).Error(); strings.Contains(text, "sequence") {
			t.Errorf("code %d is %q", code, text)
		}
	}
}
