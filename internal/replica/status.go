package replica

import (
	"math"
	"sync"
	"time"
)

// Status is the state of a replica.
type Status struct {
	Source    string `json:"source"`
	Connected bool   `json:"connected"` // whether it follows the source
	// Behind is how many entries that the source last reported are not durable here.
	Behind uint64 `json:"behind"`
	// BehindSeconds is how long the replica has been without some entry of the source, as far as is
	// known; 0 if it has all of them.
	BehindSeconds float64 `json:"behind_seconds"`
	// Verified is the index through which this process has compared the log with the source's.
	Verified uint64 `json:"verified"`
	// Stopped is why replication has stopped until an operator acts; Error is why the source is not
	// followed at the moment. At most one of them is set.
	Stopped string `json:"stopped,omitempty"`
	Error   string `json:"error,omitempty"`
}

// Status returns the current state of the replica.
func (r *Replica) Status() Status {
	s := r.state.status(time.Now())
	s.Source = r.config.Source
	return s
}

// state is what Status shows, and what the goroutines share.
type state struct {
	mu        sync.Mutex
	connected bool
	since     time.Time // when it last became connected
	from      uint64    // the head here at that time
	stopped   string
	problem   string
	source    uint64 // the head that the source last reported
	durable   uint64 // the head here
	verified  uint64
	complete  time.Time // a time such that everything the source had by then is durable here
	mark      mark      // the next such time, pending
	differ    uint64    // an entry that differs from the source's, 0 for none
	hangUp    func()    // ends the current conversation
}

// mark says that the source had the head at the time at.
type mark struct {
	head uint64
	at   time.Time
}

func (s *state) init() { s.complete = time.Now() }

// connect notes that the source, whose head is source, is followed from durable on.
func (s *state) connect(source, durable uint64, hangUp func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.connected, s.stopped, s.problem, s.hangUp = true, "", "", hangUp
	s.since, s.from, s.source, s.durable, s.mark = time.Now(), durable, source, durable, mark{}
	s.note(source)
}

// disconnect notes that the source is not followed, and why. It reports whether that is new.
func (s *state) disconnect(problem string) (news bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	news = s.connected || s.problem == ""
	s.connected, s.problem, s.stopped, s.hangUp = false, problem, "", nil
	return news
}

// stop notes that replication has stopped.
func (s *state) stop(why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.connected, s.problem, s.stopped, s.hangUp = false, "", why, nil
}

// gotOn reports whether a connection made after began was useful: something was stored, or it
// lasted at least the time long. One that ends at once because the disk is full is not: the source
// would send the same again and again.
func (s *state) gotOn(began time.Time, long time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.since.After(began) && (s.durable > s.from || time.Since(s.since) >= long)
}

// heard notes that the source now has at least this head.
func (s *state) heard(head uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.source = max(s.source, head)
	s.note(s.source)
}

// note records a new head of the source. The caller holds mu.
func (s *state) note(head uint64) {
	if s.mark.at.IsZero() {
		s.mark = mark{head, time.Now()}
	}
	s.pass()
}

// stored notes that everything through the index is durable here.
func (s *state) stored(through uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.durable = through
	s.pass()
}

// pass completes the mark, if it is reached.
func (s *state) pass() {
	if !s.mark.at.IsZero() && s.durable >= s.mark.head {
		s.complete, s.mark = s.mark.at, mark{}
	}
}

func (s *state) status(now time.Time) Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	status := Status{Connected: s.connected, Verified: s.verified, Stopped: s.stopped, Error: s.problem}
	if s.source > s.durable {
		status.Behind = s.source - s.durable
	}
	if !s.connected || status.Behind > 0 {
		status.BehindSeconds = math.Round(now.Sub(s.complete).Seconds()*10) / 10
	}
	return status
}
