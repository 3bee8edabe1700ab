package engine

import (
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"tcp-log-server/segment"
)

// steps are the calls made, in order.
type steps struct {
	mu    sync.Mutex
	names []string
}

func (s *steps) note(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names = append(s.names, name)
}

func (s *steps) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.names, " ")
}

func (s *steps) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names = nil
}

// stepsStore records calls; each commit makes something due, and can fail.
type stepsStore struct {
	store
	*steps
	err error
}

func (s *stepsStore) commit(batch []byte, count int, now time.Time) error {
	s.note("commit")
	if s.err != nil {
		return s.err
	}
	return s.store.commit(batch, count, now)
}

func (s *stepsStore) due() bool { return true }

func (s *stepsStore) prepare() {
	s.note("prepare")
	s.store.prepare()
}

// waitIdle waits until no goroutine leads and the steps in want have been noted.
func (s *stepsStore) waitIdle(t *testing.T, l *Log, want string) {
	t.Helper()
	eventually(t, want, func() bool {
		_, leading, _ := l.queue.state()
		return !leading && strings.Contains(s.String(), want)
	})
}

// TestPreparedOnceAnswered: preparing the store for the next batch does not delay the
// answers to the last, whichever goroutine commits; and the committer's hooks
// run before it may wait for the disk.
func TestPreparedOnceAnswered(t *testing.T) {
	t.Parallel()
	for name, by := range map[string]struct {
		give func(*Log, []byte, func(Result, error))
		want string
	}{
		"committed by its caller": {
			func(l *Log, b []byte, done func(Result, error)) { l.Append(b, 1, Condition{}, done) }, "commit done prepare"},
		"committed by the committer": {
			func(l *Log, b []byte, done func(Result, error)) { l.Submit(b, 1, Condition{}, done) }, "waiting commit answering done waiting prepare"},
	} {
		t.Run(name, func(t *testing.T) {
			l := openLog(t, testConfig(t))
			s := &stepsStore{store: l.store, steps: new(steps)}
			swapStore(l, s)
			s.waitIdle(t, l, "prepare")
			defer l.SetHooks(func() {}, func() { s.note("waiting") }, func() { s.note("answering") })()
			for round, try := 0, 0; round < 3; {
				s.forget()
				by.give(l, []byte("[1]\n"), func(Result, error) { s.note("done") })
				s.waitIdle(t, l, "prepare")
				if !strings.Contains(s.String(), by.want) {
					// While the committer proves the last batch it commits the next one too.
					if try++; try == 20 {
						t.Fatalf("steps are %s, want %s", s, by.want)
					}
					continue
				}
				round++
			}
			swapStore(l, s.store)
		})
	}
}

// TestNotPreparedAfterFailure: a full disk is not asked for room for batches that it does
// not have.
func TestNotPreparedAfterFailure(t *testing.T) {
	t.Parallel()
	l := openLog(t, testConfig(t))
	s := &stepsStore{store: l.store, steps: new(steps)}
	swapStore(l, s)
	s.waitIdle(t, l, "prepare")
	for name, give := range map[string]func([]byte, func(Result, error)){
		"caller":    func(b []byte, done func(Result, error)) { l.Append(b, 1, Condition{}, done) },
		"committer": func(b []byte, done func(Result, error)) { l.Submit(b, 1, Condition{}, done) },
	} {
		done := make(chan error)
		answered := func(_ Result, err error) {
			s.note("done")
			go func() { done <- err }()
		}
		s.err = segment.ErrNotWritten // nobody leads
		s.forget()
		give([]byte("[1]\n"), answered)
		if err := <-done; !errors.Is(err, ErrNotStored) {
			t.Fatalf("%s: %v", name, err)
		}
		s.waitIdle(t, l, "commit done")
		s.err = nil
		give([]byte("[2]\n"), answered)
		if err := <-done; err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		s.waitIdle(t, l, "commit done commit done prepare")
	}
	swapStore(l, s.store)
}

// TestRoomAhead: while batches are small there is room after them, whatever was filled when
// the segment was made, but none beyond its end.
func TestRoomAhead(t *testing.T) {
	t.Parallel()
	const batch, size = 10_000, 3 << 19
	config := testConfig(t)
	config.SegmentSize, config.LooseMax = size, 0
	l := openLog(t, config)
	entry := `["` + strings.Repeat("x", batch) + `"]`
	open := l.store.(*disk).open
	for open.End() < size-2*batch {
		mustAppend(t, l, entry)
		eventually(t, "the log to be idle", func() bool { _, leading, _ := l.queue.state(); return !leading })
		fi, err := os.Stat(open.Path)
		if err != nil {
			t.Fatal(err)
		}
		if left := fi.Size() - open.End(); left < batch || fi.Size() > size {
			t.Fatalf("%d bytes are left behind the batch at %d, in a file of %d", left, open.End(), fi.Size())
		}
	}
}
