package engine

import (
	"slices"
	"sync"
	"sync/atomic"
)

// hooks are told what the committer is about to do.
type hooks struct{ beforeBatch, beforeWait, beforeReplies func() }

// hookList holds the hooks of a log.
type hookList struct {
	mu  sync.Mutex // for changes
	all atomic.Pointer[[]*hooks]
}

// SetHooks makes the committer call, until remove is called:
//
//   - beforeBatch before it takes everything that has been submitted into the next batch,
//     including what is submitted during the call.
//   - beforeWait before it waits, for the disk or for something to commit, or ends.
//   - beforeReplies before it runs the completions of a batch. A beforeWait follows.
//
// The calls come from the committer's goroutine, one at a time, and must not block, since
// all appends wait for them. An append that its caller commits, see Append, causes no
// calls. A call that is under way when remove is called may go on.
func (l *Log) SetHooks(beforeBatch, beforeWait, beforeReplies func()) (remove func()) {
	h := &hooks{beforeBatch, beforeWait, beforeReplies}
	l.hooks.change(func(all []*hooks) []*hooks { return append(all, h) })
	return func() {
		l.hooks.change(func(all []*hooks) []*hooks {
			return slices.DeleteFunc(all, func(other *hooks) bool { return h == other })
		})
	}
}

// change lets fn change a copy of the list.
func (l *hookList) change(fn func([]*hooks) []*hooks) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := fn(slices.Clone(l.list()))
	l.all.Store(&all)
}

func (l *hookList) list() []*hooks {
	if all := l.all.Load(); all != nil {
		return *all
	}
	return nil
}

func (l *hookList) beforeBatch() {
	for _, h := range l.list() {
		h.beforeBatch()
	}
}

func (l *hookList) beforeWait() {
	for _, h := range l.list() {
		h.beforeWait()
	}
}

func (l *hookList) beforeReplies() {
	for _, h := range l.list() {
		h.beforeReplies()
	}
}
