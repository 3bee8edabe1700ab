package replicated

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tcp-log-server/segment/lookup"
)

// tabled returns a gateway to a log of entries numbered from 1, most of which are in tables in dir.
func tabled(t *testing.T, dir string) (f *fake, l *Log, total int) {
	t.Helper()
	const messages, entries = 80, 1000
	f = newFake(t)
	f.fill(plain(messages, entries, 1))
	if messages*entries < lookup.TableRows {
		t.Fatal("it has too few entries for a table")
	}
	l = f.gateway(20*time.Second, func(c *Config) { c.Lookup = dir })
	if err := l.AwaitOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	return f, l, messages * entries
}

// wantPlaces appends numbers with Once. Those up to total must be in the log, at the index that equals
// the number.
func wantPlaces(t *testing.T, l *Log, total int, numbers []int) {
	t.Helper()
	var entries []string
	for _, n := range numbers {
		entries = append(entries, fmt.Sprint(n))
	}
	next := l.Known() + 1
	r := put(t, l, unique, entries...)
	for i, n := range numbers {
		p := r.Once[i]
		if n <= total && (p.Index != uint64(n) || !p.Seen || p.Time == 0) {
			t.Errorf("entry %d is said to be at %+v", n, p)
		} else if n > total {
			if p.Index != next || p.Seen {
				t.Errorf("entry %d is said to be at %+v, want %d", n, p, next)
			}
			next++
		}
	}
}

// TestOnceTables looks up entries that are in tables, and some that are not.
func TestOnceTables(t *testing.T) {
	t.Parallel()
	f, l, total := tabled(t, t.TempDir())
	f.mu.Lock()
	before := f.got
	f.mu.Unlock()
	var together []int
	for n := 30_000; n < 32_000; n++ {
		together = append(together, n)
	}
	wantPlaces(t, l, total, together)
	f.mu.Lock()
	if got := f.got - before; got > 200 {
		t.Errorf("%d messages were read for entries that lie together in 3", got)
	}
	f.mu.Unlock()
	r := rand.New(rand.NewPCG(1, 2))
	var some []int
	for i := range 50 {
		some = append(some, 1+r.IntN(total), total+10+i)
	}
	wantPlaces(t, l, total, some)
	if r := put(t, l, unique, fmt.Sprint(total+10)); r.Once[0].Index != uint64(total+1) || !r.Once[0].Seen {
		t.Errorf("what was stored just now is at %+v", r.Once[0])
	}
}

// TestOnceRestart: the tables outlive a gateway. The next one with the directory reads hardly any of the
// log to learn what it holds.
func TestOnceRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f, l, total := tabled(t, dir)
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	before := f.got
	f.mu.Unlock()
	l = f.gateway(20*time.Second, func(c *Config) { c.Lookup = dir })
	if err := l.AwaitOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	got := f.got - before
	f.mu.Unlock()
	if got > 20 {
		t.Errorf("%d messages were read to know what is in tables", got)
	}
	wantPlaces(t, l, total, []int{1, total / 2, total, total + 1})
}

// TestOnceDamagedTable: appends fail while a table is damaged, until it has been made again. Its entries
// are never mistaken for new ones.
func TestOnceDamagedTable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, l, total := tabled(t, dir)
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, path := range files {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i := len(b) / 3; i < len(b)-5000; i += 100 {
			b[i] ^= 0x55
		}
		f, err := os.OpenFile(path, os.O_WRONLY, 0) // in place: the gateway has it open
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(b, 0); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	failed := false
	for n := 1; n <= total; n += 7001 {
		for {
			o := await(t, start(l, unique, fmt.Sprint(n)))
			if o.err == nil {
				if o.Once[0].Index != uint64(n) || !o.Once[0].Seen {
					t.Fatalf("entry %d is said to be at %+v", n, o.Once[0])
				}
				break
			}
			failed = true
			if !strings.HasPrefix(o.err.Error(), "not stored: ") {
				t.Fatalf("an append was told %q", o.err)
			}
			if err := l.AwaitOnce(t.Context()); err != nil && !strings.HasPrefix(err.Error(), "not stored: ") {
				t.Fatal(err)
			}
		}
	}
	if !failed {
		t.Error("no damage was met")
	}
}

// TestOnceTurnsIntoTables appends with Once until maps have become tables, with other appends in between,
// and then appends everything again.
func TestOnceTurnsIntoTables(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes many entries")
	}
	t.Parallel()
	f := newFake(t)
	l := f.gateway(20 * time.Second)
	if err := l.AwaitOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	const size = 5000
	batch := func(n int) (entries []string) {
		for i := range size {
			entries = append(entries, fmt.Sprint(n*size+i+1))
		}
		return entries
	}
	const batches = 2*lookup.TableRows/size + 2
	for n := range batches {
		on := unique
		if n%2 == 1 {
			on = always
		}
		if r := put(t, l, on, batch(n)...); r.First != uint64(n*size+1) {
			t.Fatalf("batch %d is at %d", n, r.First)
		}
	}
	eventually(t, "there is a table", func() bool { return l.once.current().tables.Through() > 0 })
	for n := range batches {
		for i, p := range put(t, l, unique, batch(n)...).Once {
			if p.Index != uint64(n*size+i+1) || !p.Seen {
				t.Fatalf("entry %d is said to be at %+v", n*size+i+1, p)
			}
		}
	}
	if l.Known() != batches*size {
		t.Errorf("the head is %d, want %d", l.Known(), batches*size)
	}
}
