package engine_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"tcp-log-server/engine"
)

// TestBlobStoreFails: whichever call fails, before or after it has done its work, everything is
// eventually settled, and is in the log after another start.
func TestBlobStoreFails(t *testing.T) {
	const entries = 30
	run := func(t *testing.T, s *store) (calls int) {
		synctest.Test(t, func(t *testing.T) {
			c := storeConfig(t, s)
			for round := range uint64(2) {
				l, err := engine.Open(c)
				if err != nil {
					t.Fatalf("open: %v", err)
				}
				write(t, l, round*entries+1, (round+1)*entries)
				until(t, l, func(s engine.Stats) bool { return s.Unsettled == 0 && s.First > round*entries+1 })
				if _, err := read(t, l, 1, (round+1)*entries); errors.Is(err, engine.ErrUnavailable) {
					whole(t, l, 1, (round+1)*entries) // the failing call was the read's own
				} else if err != nil {
					t.Errorf("read: %v", err)
				}
				closeLog(t, l)
			}
			s.set(nil)
			s.after = nil
			clean(t, c)
		})
		return s.calls
	}
	calls := run(t, new(store))
	t.Logf("%d calls", calls)
	for k := 1; k <= calls; k++ {
		t.Run(fmt.Sprintf("before %d", k), func(t *testing.T) {
			t.Parallel()
			run(t, &store{before: func(_ context.Context, call int, op string) error {
				if call == k {
					return fmt.Errorf("%s: %w", op, errDown)
				}
				return nil
			}})
		})
		t.Run(fmt.Sprintf("after %d", k), func(t *testing.T) {
			t.Parallel()
			run(t, &store{after: func(call int, op string) error {
				if call == k {
					return fmt.Errorf("%s: %w", op, errDown)
				}
				return nil
			}})
		})
	}
}

// TestBlobStoreDown: a log starts, appends and reads from its segments while the store is down
// or hangs, and says so; it closes in time; when the store comes back everything settles.
func TestBlobStoreDown(t *testing.T) {
	for name, away := range map[string]func(context.Context, int, string) error{"down": down, "hangs": hangs} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &store{before: away}
				c := storeConfig(t, s)
				began := time.Now()
				l := open(t, c)
				write(t, l, 1, 50)
				whole(t, l, 1, 50)
				if took := time.Since(began); took > 6*time.Second {
					t.Errorf("the start and 50 appends took %v", took)
				}
				until(t, l, func(s engine.Stats) bool { return s.Stalled != nil })
				if st := l.Stats(); !errors.Is(st.Stalled, engine.ErrUnavailable) || !strings.Contains(st.Stalled.Error(), "test://blobs") || st.Unsettled != 50 || st.First != 1 {
					t.Errorf("while the store is away: %+v", st)
				}
				began = time.Now()
				closeLog(t, l)
				if took := time.Since(began); took > 2*time.Second {
					t.Errorf("the end took %v", took)
				}

				l = open(t, c)
				write(t, l, 51, 100)
				s.set(nil)
				until(t, l, removedSome)
				whole(t, l, 1, 100)
				if st := l.Stats(); st.Stalled != nil {
					t.Errorf("when it is back: %+v", st)
				}

				// Now some entries are only in blobs.
				s.set(away)
				first := l.Stats().First
				for range 2 {
					whole(t, l, first, 100)
					_, err := read(t, l, 1, 100)
					if !errors.Is(err, engine.ErrUnavailable) || errors.Is(err, engine.ErrDamaged) || !strings.Contains(err.Error(), "test://blobs") {
						t.Errorf("a read while the store is away: %v", err)
					}
					closeLog(t, l)
					l = open(t, c) // this start needs the store no more than before
				}
				write(t, l, 101, 150)
				whole(t, l, first, 150)
				s.set(nil)
				until(t, l, removedSome)
				whole(t, l, 1, 150)
				closeLog(t, l)
				clean(t, c)
			})
		})
	}
}

// TestBlobStoreHangsInPut: appends and reads do not wait for calls to the store.
func TestBlobStoreHangsInPut(t *testing.T) {
	s := &store{before: func(ctx context.Context, _ int, op string) error {
		if op == "put" {
			<-ctx.Done()
		}
		return ctx.Err()
	}}
	l := open(t, storeConfig(t, s))
	write(t, l, 1, 2000)
	whole(t, l, 1, 2000)
	if st := l.Stats(); st.Settled > 0 {
		t.Errorf("entries were settled although no blob was put: %+v", st)
	}
	l.Refuse()
	closeLog(t, l)
}

// TestBlobStoreWrongBytes: a segment stays while the store has other bytes for one of its
// entries, which is read from the segment; bytes that are altered later are an error of that
// entry.
func TestBlobStoreWrongBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &store{alter: func(_ engine.Hash, blob []byte) []byte {
			if string(blob)+"\n" == line(10) {
				blob[0] = '['
			}
			return blob
		}}
		c := storeConfig(t, s)
		c.Logger = zerolog.Nop()
		c.SettleEvery = time.Second // of the hour below: each look at the segment takes the processor some time
		l := open(t, c)
		write(t, l, 1, 100)
		until(t, l, func(s engine.Stats) bool { return s.Unsettled == 0 && s.Packed > 0 })
		time.Sleep(time.Hour)
		if st := l.Stats(); st.First > 10 {
			t.Errorf("the segment of an entry whose blob is wrong was removed: %+v", st)
		}
		whole(t, l, 1, 100)
		closeLog(t, l)

		wrong := s.alter
		s.alter = nil
		l = open(t, c)
		until(t, l, removedSome)
		s.mu.Lock()
		s.alter = wrong
		s.mu.Unlock()
		bad, err := read(t, l, 1, 100)
		if err != nil || len(bad) != 1 || !errors.Is(bad[10], engine.ErrDamaged) || !strings.Contains(bad[10].Error(), "test://blobs/") {
			t.Errorf("a read of altered bytes: %v, %v", bad, err)
		}
		closeLog(t, l)
	})
}

// TestBlobStoreOfAnother: the store of another log is refused, at the start or, if it cannot be
// reached then, before anything is put there.
func TestBlobStoreOfAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(store)
		one := storeConfig(t, s)
		l := open(t, one)
		write(t, l, 1, 10)
		until(t, l, settledAll)
		closeLog(t, l)

		other := storeConfig(t, nil)
		l = open(t, other)
		write(t, l, 1, 10)
		closeLog(t, l)
		other.BlobStore = s
		if _, err := engine.Open(other); !errors.Is(err, engine.ErrDamaged) || !strings.Contains(err.Error(), "test://blobs belongs to store") {
			t.Errorf("opened with the store of another log: %v", err)
		}
		if _, err := engine.Open(storeConfig(t, s)); !errors.Is(err, engine.ErrDamaged) {
			t.Errorf("a new log opened with the store of another: %v", err)
		}

		s.set(down)
		l = open(t, other)
		s.set(nil)
		write(t, l, 11, 20)
		until(t, l, func(s engine.Stats) bool {
			return s.Stalled != nil && strings.Contains(s.Stalled.Error(), "belongs to store")
		})
		closeLog(t, l)
		n := 0
		if err := s.List(t.Context(), "", func(engine.BlobInfo) error { n++; return nil }); err != nil || n != 10 {
			t.Errorf("the store of the first log has %d blobs, want 10; %v", n, err)
		}
	})
}

// TestBlobStoreUnmarked: for a log with entries only in blobs, a store without the log's mark
// and blobs is a different place: nothing is put there, whenever it is found.
func TestBlobStoreUnmarked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := storeConfig(t, new(store))
		l := open(t, c)
		write(t, l, 1, 100)
		until(t, l, removedSome)
		closeLog(t, l)

		full, empty := c.BlobStore.(*store), new(store)
		c.BlobStore = empty
		if l, err := engine.Open(c); err == nil {
			t.Error("opened without the blobs of its entries")
			l.Close()
		} else if !strings.Contains(err.Error(), "is the share mounted?") {
			t.Errorf("refused with %v", err)
		}
		empty.set(down) // at the start; then the settler finds it
		l = open(t, c)
		empty.set(nil)
		write(t, l, 101, 105)
		until(t, l, func(s engine.Stats) bool {
			return s.Stalled != nil && strings.Contains(s.Stalled.Error(), "neither a mark nor the blob of entry")
		})
		closeLog(t, l)
		any := errors.New("any")
		if err := empty.List(t.Context(), "", func(engine.BlobInfo) error { return any }); err != nil || empty.mark != nil {
			t.Errorf("something was put into another place: %v", err)
		}
		full.mark = nil // only the mark is lost
		c.BlobStore = full
		l = open(t, c)
		write(t, l, 106, 110)
		until(t, l, settledAll)
		closeLog(t, l)
		if full.mark == nil {
			t.Error("the mark was not made again")
		}
	})
}

// TestBlobStoreLooseMax: the limit counts the blobs in the store, and equal entries once.
func TestBlobStoreLooseMax(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(store)
		c := storeConfig(t, s)
		c.LooseMax = 30
		for round := range uint64(2) {
			l := open(t, c)
			write(t, l, 1, 20)
			write(t, l, 1, 20) // the same again
			write(t, l, 21+10*round, 40+10*round)
			until(t, l, settledAll)
			n := 0
			if err := s.List(t.Context(), "", func(engine.BlobInfo) error { n++; return nil }); err != nil || n != 30 || l.Stats().Loose != 30 {
				t.Errorf("there are %d blobs, %d by the stats, want 30; %v", n, l.Stats().Loose, err)
			}
			closeLog(t, l)
		}
	})
}
