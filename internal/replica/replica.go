// Package replica keeps a copy of another server's log: it follows that server, the source, and
// stores each entry at the same index, with the same time and the same bytes. docs/PROTOCOL.md has
// the conversation, docs/COPIES.md what an operator does with it.
//
// A Replica never changes what it holds: before it stores anything, it checks that its log is the
// beginning of the source's, and in the background it compares all of it, by digests. If the logs
// differ it stops, and says at which index.
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

// Three goroutines work for a replica. One holds the conversation with the source (session.go): it
// receives batches and checks them (stream.go). Another stores them (storer.go), as many at once as
// have arrived while it stored the last ones, and tells the source. The third compares (compare.go).

// Config says what to follow and where to store it.
type Config struct {
	// Source is the address of the source, host:port, or several of them with commas between: the
	// nodes of a cluster, which have one log. One of them is followed, and another if that is lost.
	Source string
	// Connect says how to connect: TLS, token, DialTimeout, DialContext, and MinBackoff and
	// MaxBackoff, between which a lost connection is tried again.
	Connect client.Options
	// Name is what the source calls this replica. Replicas of one source need different names.
	Name string
	// Self is where this replica is served, nil if nowhere: it does not follow itself.
	Self net.Addr
	// Log is where the entries go. Nothing else may append to it.
	Log Log
	// Logger gets the events; the zero Logger drops them.
	Logger zerolog.Logger

	pace pace           // the defaults, except in tests
	turn *atomic.Uint32 // which address of the source is tried first
}

// begin has the first address of the source be the first that is tried.
func (c *Config) begin() {
	if c.turn == nil {
		c.turn = new(atomic.Uint32)
	}
}

// pace is how often and how long things are done.
type pace struct {
	refused time.Duration // between two tries after the source has refused, or the logs differ
	silence time.Duration // after which a source that says nothing is gone; it says something every second
	durable time.Duration // at least this often the source is told what is durable
	compare time.Duration // between two looks at whether there is more to compare
	load    int           // compare for one part of the time in so many
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
	logged string // the refusal that was logged last; Run's
}

// New returns a replica that does nothing until Run.
func New(config Config) *Replica {
	config.Connect.MinBackoff, config.Connect.MaxBackoff = backoffs(config.Connect)
	config.begin()
	r := &Replica{config: config, pace: config.pace.withDefaults()}
	r.state.init()
	return r
}

// backoffs are the shortest and the longest wait before a lost connection is tried again.
func backoffs(o client.Options) (shortest, longest time.Duration) {
	if shortest = o.MinBackoff; shortest == 0 {
		shortest = 100 * time.Millisecond
	}
	if longest = o.MaxBackoff; longest == 0 {
		longest = 5 * time.Second
	}
	return shortest, max(shortest, longest)
}

// stopError: replication has stopped until an operator does something, here or at the source.
type stopError struct{ text string }

func (e *stopError) Error() string { return e.text }

func stopf(format string, values ...any) error { return &stopError{fmt.Sprintf(format, values...)} }

// Run follows the source until ctx ends, over restarts and lost connections of either side. What
// goes wrong is logged and shown by Status; Run returns once all that it has started has ended.
func (r *Replica) Run(ctx context.Context) {
	var comparing sync.WaitGroup
	defer comparing.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // before the wait, so that a panic ends the process rather than waits for ever
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

// refused notes that replication has stopped. The same reason is logged once.
func (r *Replica) refused(err *stopError) {
	if r.logged != err.text {
		r.logged = err.text
		r.config.Logger.Error().Str("event", "replication").Str("source", r.config.Source).
			Msgf("replication has stopped: %s; reads go on, and it is tried again by itself", err.text)
	}
	r.state.stop(err.text)
}

// lost notes that the connection is lost. Only the first failure of several is a warning.
func (r *Replica) lost(err error, wait time.Duration) {
	level := zerolog.DebugLevel
	if r.state.disconnect(err.Error()) {
		level = zerolog.WarnLevel
	}
	r.config.Logger.WithLevel(level).Err(err).Str("event", "replication").Str("source", r.config.Source).
		Stringer("again", wait.Round(time.Millisecond)).Msg("not following the source; trying again until it is back")
}

// retry is how long to wait before the next try.
type retry struct{ shortest, longest, wait time.Duration }

func (t *retry) between(o client.Options) {
	t.shortest, t.longest = backoffs(o)
	t.again()
}

// again begins with the shortest wait again.
func (t *retry) again() { t.wait = t.shortest }

// next returns the wait for this time, and doubles that of the next.
func (t *retry) next() time.Duration {
	wait := t.wait
	t.wait = min(2*t.wait, t.longest)
	return wait
}

// jitter takes a random part of up to a half from d, so that several replicas do not all come back
// at once.
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
