package fsck

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"tcp-log-server/engine"
	"tcp-log-server/segment"
)

// appendAgain appends eight entries in one batch: a new one, and some of a few hundred
// that repeat, so that there are few blobs and much else.
func appendAgain(t testing.TB, l *engine.Log, from uint64) {
	var body []byte
	for i := range uint64(7) {
		body = append(append(body, entryText(1000+from%320+i)...), '\n')
	}
	body = append(append(body, entryText(1_000_001+5*from)...), '\n')
	done := make(chan error, 1)
	l.Append(body, 8, engine.Condition{}, func(_ engine.Result, err error) { done <- err })
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestBesideDaemon checks a log many times while entries are appended, settled, sealed
// and removed at a high rate: never an error, and the head never goes back.
func TestBesideDaemon(t *testing.T) {
	for _, s := range []shape{removed, packed} {
		t.Run(string(s), func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "data")
			c := s.config(dir)
			c.SegmentSize, c.LooseMax = 4096, -1
			if s == packed {
				c.LooseMax = 100
			}
			l, err := engine.Open(c)
			must(t, err)
			ctx, stop := context.WithCancel(context.Background())
			var appender sync.WaitGroup
			appender.Go(func() {
				for next := uint64(0); ctx.Err() == nil; next += 8 {
					appendAgain(t, l, next)
					if st := l.Stats(); st.Head-st.Settled > 2000 || s == packed && st.Head > 20000 {
						time.Sleep(time.Millisecond) // others must keep up
					}
				}
			})
			await(t, "segments", func() bool { return l.Stats().Segments > 2 || l.Stats().First > 1 })
			start, head := l.Stats(), uint64(0)
			busy := func() bool { // since the first check
				now := l.Stats()
				return (s != removed || now.First > start.First) && now.Head >= start.Head+100
			}
			giveUp := time.Now().Add(time.Minute)
			for n := 0; n < 50/every(4) || !busy() && time.Now().Before(giveUp); n++ {
				before, _ := l.Head(ctx)
				found := runCheck(t, Options{Data: dir})
				for _, f := range found.findings {
					switch f.Kind {
					case IndexLag, Settled, Unsealed, Leftover:
					default:
						t.Errorf("beside the daemon: %+v", f)
					}
				}
				if found.Entries < max(before, head) || found.Damaged > 0 || found.Digest == "" {
					t.Errorf("the head was %d: %+v", before, found.Summary)
				}
				head = found.Entries
			}
			stop()
			appender.Wait()
			if !busy() {
				t.Errorf("the daemon has been idle: %+v, then %+v", start, l.Stats())
			}
			must(t, l.Close())
			if found := runCheck(t, Options{Data: dir}); found.Errors > 0 {
				t.Errorf("after the log is closed: %s", found)
			}
		})
	}
}

// asked is a context that counts how often it is asked whether it is done, and does
// something at one of those times.
type asked struct {
	context.Context
	mu    sync.Mutex
	times int
	at    int
	do    func()
}

func (a *asked) Err() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.times++; a.times == a.at {
		a.do()
	}
	return a.Context.Err()
}

// TestSealedMeanwhile: if a server seals a segment at any of the moments at which a check
// asks whether to continue, the check finds nothing wrong.
func TestSealedMeanwhile(t *testing.T) {
	t.Parallel()
	for at, times := 1, 2; at <= times; at++ {
		dir := newStore(t, packed)
		path := filepath.Join(dir, "segments", segment.Name(1))
		whole, err := os.ReadFile(path)
		must(t, err)
		footer, _, err := segment.ParseFooter(whole[len(whole)-segment.FooterSize:], int64(len(whole)))
		must(t, err)
		must(t, os.Truncate(path, int64(footer.Table)))
		ctx := &asked{Context: t.Context(), at: at, do: func() { must(t, os.WriteFile(path, whole, 0o600)) }}
		sum, _, err := check(ctx, Options{Data: dir, OnFinding: func(f Finding) {
			if f.Kind != Unsealed {
				t.Errorf("sealed at moment %d: %+v", at, f)
			}
		}})
		must(t, err)
		if sum.Entries != storeEntries || sum.Errors > 0 || sum.Damaged > 0 {
			t.Errorf("sealed at moment %d: %+v", at, sum)
		}
		times = ctx.times
	}
}
