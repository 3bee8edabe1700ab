package replicated

import "sync"

// budgetMax bounds what all runs of messages together hold, in bytes, apart from each run's current
// message and fetchLeast.
const budgetMax = 64 << 20

// budget bounds the memory of messages that are fetched before anybody asks for them, or kept in case
// they are needed again. Readers hold it for as long as their peers like. A run that gets nothing from it
// works with less, and more slowly.
type budget struct {
	max int

	mu   sync.Mutex
	used int
}

// share is what one run holds of the budget. Its methods must not be called concurrently.
type share struct {
	of    *budget
	bytes int
}

// take adds up to want bytes to the share and returns how many: none rather than less than fetchLeast.
// The share never exceeds what is left, so that those who come later find some.
func (s *share) take(want int) (n int) {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	if n = min(want, (s.of.max-s.of.used-s.bytes)/2); n < fetchLeast {
		return 0
	}
	s.of.used += n
	s.bytes += n
	return n
}

// give takes n bytes back from the share.
func (s *share) give(n int) {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	s.of.used -= n
	s.bytes -= n
}
