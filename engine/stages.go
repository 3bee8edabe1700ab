package engine

import (
	"slices"
	"sync"
	"sync/atomic"
)

// attendant is somebody who is told what the committer is about to do.
type attendant struct{ taking, waiting, answering func() }

// stages are the attendants of a log.
type stages struct {
	mu  sync.Mutex // for those who come and go
	all atomic.Pointer[[]*attendant]
}

// Attend has the committer say what it is about to do, until leave is called:
//
//   - taking: take everything that has been submitted into the next batch. What is
//     submitted in the call is in it too.
//   - waiting: wait, for the disk or for something to take, or end.
//   - answering: run the completions of a batch. There is a waiting after each.
//
// The calls come from the committer's goroutine, one at a time, and must not block,
// since all appends wait for them. An append that its caller commits, see Append, goes
// by without. A call that is under way when leave is called may go on.
func (l *Log) Attend(taking, waiting, answering func()) (leave func()) {
	a := &attendant{taking, waiting, answering}
	l.stages.change(func(all []*attendant) []*attendant { return append(all, a) })
	return func() {
		l.stages.change(func(all []*attendant) []*attendant {
			return slices.DeleteFunc(all, func(b *attendant) bool { return a == b })
		})
	}
}

// change has fn change a copy of the list.
func (s *stages) change(fn func([]*attendant) []*attendant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := fn(slices.Clone(s.list()))
	s.all.Store(&all)
}

func (s *stages) list() []*attendant {
	if all := s.all.Load(); all != nil {
		return *all
	}
	return nil
}

func (s *stages) taking() {
	for _, a := range s.list() {
		a.taking()
	}
}

func (s *stages) waiting() {
	for _, a := range s.list() {
		a.waiting()
	}
}

func (s *stages) answering() {
	for _, a := range s.list() {
		a.answering()
	}
}
