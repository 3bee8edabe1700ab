// Package replica keeps a copy of another server's log: it follows that server, the source, and
// stores each entry at the same index, with the same time and the same bytes. docs/PROTOCOL.md
// describes the protocol, docs/COPIES.md how to operate it.
//
// A Replica never changes what it holds: before it stores anything, it checks that its log is the
// beginning of the source's, and in the background it compares all of it, by digests. If the logs
// differ, it stops and reports the index.
package replica

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"tcp-log-server/client"
)

// A replica has three goroutines. One talks to the source (session.go): it receives batches and
// checks them (stream.go). Another stores them (storer.go), always all that arrived while it stored
// the previous ones, and tells the source. The third compares the logs (compare.go).

// Config says what to follow and where to store it.
type Config struct {
	// Source is the address of the source, host:port, or several separated by commas: the nodes of
	// a cluster, which have one log. The replica follows one of them, and another if that is lost.
	Source string
	// Connect says how to connect: TLS, token, DialTimeout, DialContext, and MinBackoff and
	// MaxBackoff, the bounds of the wait before a reconnect.
	Connect client.Options
	// Name identifies this replica to the source. Replicas of one source need different names.
	Name string
	// Self is the address at which this replica is served, nil if none. It refuses to follow
	// itself.
	Self net.Addr
	// Log stores the entries. Nothing else may append to it.
	Log Log
	// Logger gets the events; the zero Logger drops them.
	Logger zerolog.Logger

	pace pace           // the defaults, except in tests
	turn *atomic.Uint32 // which address of the source to try first
}

// begin sets the first address of the source as the first to try.
func (c *Config) begin() {
	if c.turn == nil {
		c.turn = new(atomic.Uint32)
	}
}

// pace has the intervals and time limits.
type pace struct {
	refused time.Duration // before a retry when the source has refused, or the logs differ
	silence time.Duration // after which a silent source counts as lost; it sends something every second
	durable time.Duration // longest time between two reports of what is durable
	compare time.Duration // between two checks for more to compare
	load    int           // compare during 1/load of the time
}

func (p pace) withDefaults() pace {
	set := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	set(&p.refused, time.Minute)
	set(&p.silence, 30*time.Second)
	set(&p.durable, 10*time.Second)
	set(&p.compare, time.Second)
	if p.load == 0 {
		p.load = 5
	}
	return p
}

// Replica follows a source. Its methods may be called from any goroutine.
type Replica struct {
	config Config
	pace   pace
	state  state
	logged string // the refusal that was logged last; used by Run only
}

// New returns a replica that does nothing before Run.
func New(config Config) *Replica {
	config.Connect.MinBackoff, config.Connect.MaxBackoff = backoffs(config.Connect)
	config.begin()
	r := &Replica{config: config, pace: config.pace.withDefaults()}
	r.state.init()
	return r
}

// backoffs returns the shortest and the longest wait before a reconnect.
func backoffs(o client.Options) (shortest, longest time.Duration) {
	if shortest = o.MinBackoff; shortest == 0 {
		shortest = 100 * time.Millisecond
	}
	if longest = o.MaxBackoff; longest == 0 {
		longest = 5 * time.Second
	}
	return shortest, max(shortest, longest)
}

// stopError: replication has stopped until an operator acts, here or at the source.
type stopError struct{ text string }

func (e *stopError) Error() string { return e.text }

func stopf(format string, values ...any) error { return &stopError{fmt.Sprintf(format, values...)} }

// Run follows the source until ctx ends, across restarts and lost connections of either side. It
// logs errors, and Status shows them. It returns once everything it started has ended.
func (r *Replica) Run(ctx context.Context) {
	var comparing sync.WaitGroup
	defer comparing.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // runs before Wait, so that a panic ends the process instead of waiting forever
	comparing.Go(func() { r.compare(ctx) })
	var tries retry
	tries.between(r.config.Connect)
	for ctx.Err() == nil {
		began := time.Now()
		err := r.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		r.config.turn.Add(1)
		wait := r.pace.refused
		if stop, stopped := errors.AsType[*stopError](err); stopped {
			r.refused(stop)
		} else {
			if r.state.gotOn(began, tries.longest) {
				tries.again()
			}
			wait = tries.next()
			r.lost(err, wait)
		}
		sleep(ctx, jitter(wait))
	}
}

// refused notes that replication has stopped. It logs the same reason once.
func (r *Replica) refused(err *stopError) {
	if r.logged != err.text {
		r.logged = err.text
		r.config.Logger.Error().Str("event", "replication").Str("source", r.config.Source).
			Msgf("replication has stopped: %s; reads continue, and the replica retries by itself", err.text)
	}
	r.state.stop(err.text)
}

// lost notes that the connection is lost. Only the first of several failures is a warning.
func (r *Replica) lost(err error, wait time.Duration) {
	level := zerolog.DebugLevel
	if r.state.disconnect(err.Error()) {
		level = zerolog.WarnLevel
	}
	r.config.Logger.WithLevel(level).Err(err).Str("event", "replication").Str("source", r.config.Source).
		Stringer("again", wait.Round(time.Millisecond)).Msg("not following the source; trying again until it is back")
}

// retry is the wait before the next try.
type retry struct{ shortest, longest, wait time.Duration }

func (t *retry) between(o client.Options) {
	t.shortest, t.longest = backoffs(o)
	t.again()
}

// again resets the wait to the shortest.
func (t *retry) again() { t.wait = t.shortest }

// next returns the wait before this try, and doubles it for the next.
func (t *retry) next() time.Duration {
	wait := t.wait
	t.wait = min(2*t.wait, t.longest)
	return wait
}

// jitter shortens d by a random part of up to a half, so that several replicas do not all return at
// once.
func jitter(d time.Duration) time.Duration { return d - rand.N(d/2+1) }

// sleep waits for d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
