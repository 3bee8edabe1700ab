package cluster

import (
	"fmt"
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// kind is a client's knowledge of an entry that it has sent.
type kind uint8

const (
	unanswered kind = iota // it may be in the log
	acked                  // it is in the log, at the index of the reply
	refused                // it is not: "not stored"
	unknown                // it may be: "outcome unknown"
)

// outcome is the reply to an entry, with its times. Times are since the history began.
type outcome struct {
	kind          kind
	index         uint64
	sent, replied time.Duration
	found         uint64 // where the log has it
}

// session has the entries sent over one connection to one gateway, in order.
type session struct {
	name     string
	gateway  string
	outcomes []outcome // by the entry's number
}

// headSeen is a head that a gateway reported.
type headSeen struct {
	gateway     string
	called, got time.Duration
	head        uint64
}

// onceEntry is an entry that several clients send with once, until it is acknowledged.
type onceEntry struct {
	index uint64 // the index in the replies, 0 if there is none
	sent  time.Duration
	found uint64 // where the log has it
}

// history is the knowledge of all clients of a cluster.
type history struct {
	began time.Time
	seed  maphash.Seed

	mu       sync.Mutex
	sessions map[string]*session
	heads    []headSeen
	once     map[int]*onceEntry
	errors   map[string]int // the texts of refusals, without digits, and the number of each
	faults   []string       // observations that must not happen
	seen     []uint64       // the hashes of entries by index, 0 if no client has read it
	checked  uint64         // the log is known to be correct through this index
	spans    []span         // when these entries were in flight

	last   atomic.Int64 // when the last acknowledgement came
	stall  atomic.Int64 // the longest time without one
	latest sync.Map     // by gateway: when the entry that it last acknowledged was sent
}

func newHistory() *history {
	return &history{
		began: time.Now(), seed: maphash.MakeSeed(), sessions: make(map[string]*session),
		once: make(map[int]*onceEntry), errors: make(map[string]int),
	}
}

func (h *history) now() time.Duration { return time.Since(h.began) }

// fault records an observation that must not happen.
func (h *history) fault(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.faultLocked(format, args...)
}

func (h *history) faultLocked(format string, args ...any) {
	const most = 20
	if text := fmt.Sprintf(format, args...); len(h.faults) < most {
		h.faults = append(h.faults, fmt.Sprintf("after %v: %s", h.now().Round(time.Millisecond), text))
	}
}

// acknowledged records that the gateway has acknowledged an entry, and when it was sent.
func (h *history) acknowledged(gateway string, sent, at time.Duration) {
	h.latest.Store(gateway, sent)
	was := h.last.Swap(int64(at))
	for gap := int64(at) - was; ; {
		longest := h.stall.Load()
		if gap <= longest || h.stall.CompareAndSwap(longest, gap) {
			return
		}
	}
}

// newRound begins a new measurement of the longest time without an acknowledgement.
func (h *history) newRound() {
	h.last.Store(int64(h.now()))
	h.stall.Store(0)
}

// since reports whether the gateway has acknowledged an entry that was sent after a time.
func (h *history) since(gateway string, at time.Duration) bool {
	latest, ok := h.latest.Load(gateway)
	return ok && latest.(time.Duration) > at
}

// entry returns the canonical form of a session's nth entry.
func (s *session) entry(n int) string {
	return fmt.Sprintf(`{"n":%d,"pad":"%s","w":"%s"}`, n, strings.Repeat("x", n*37%200), s.name)
}

// open begins a session of a client.
func (h *history) open(client, gateway string) *session {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := &session{name: fmt.Sprintf("%s.%d", client, len(h.sessions)), gateway: gateway}
	h.sessions[s.name] = s
	return s
}

// sending records that the next entry of a session is being sent.
func (h *history) sending(s *session) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.outcomes = append(s.outcomes, outcome{sent: h.now()})
	return len(s.outcomes) - 1
}

// told records the reply to a session's nth entry.
func (h *history) told(s *session, n int, k kind, index uint64, text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	o := &s.outcomes[n]
	o.kind, o.index, o.replied = k, index, h.now()
	if text != "" {
		h.errors[withoutDigits(text)]++
	}
	if k == acked {
		h.acknowledged(s.gateway, o.sent, o.replied)
	}
}

// withoutDigits makes texts equal that differ only in numbers.
func withoutDigits(text string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return '9'
		}
		return r
	}, text)
}

// headIs records a head that a gateway has reported.
func (h *history) headIs(gateway string, called time.Duration, head uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.heads = append(h.heads, headSeen{gateway, called, h.now(), head})
}

// read records that a gateway has served an entry at an index. Every other reader must see the
// same entry there.
func (h *history) read(gateway string, index uint64, entry []byte) {
	sum := h.sum(entry)
	h.mu.Lock()
	defer h.mu.Unlock()
	for uint64(len(h.seen)) <= index {
		h.seen = append(h.seen, 0)
	}
	switch h.seen[index] {
	case 0:
		h.seen[index] = sum
	case sum:
	default:
		h.faultLocked("gateway %s has %s at index %d, where another entry was read before", gateway, entry, index)
	}
}

// sum returns a hash of an entry, which is not 0.
func (h *history) sum(entry []byte) uint64 { return maphash.Bytes(h.seed, entry) | 1 }

// counts returns how many entries were acknowledged, were refused, and have an unknown outcome.
func (h *history) counts() (stored, not, doubt int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.sessions {
		for _, o := range s.outcomes {
			switch o.kind {
			case acked:
				stored++
			case refused:
				not++
			default:
				doubt++
			}
		}
	}
	return stored, not, doubt
}
