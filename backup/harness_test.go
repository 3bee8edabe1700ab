package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"tcp-log-server/engine"
)

// entries is what a test has appended and received acknowledgements for, by index.
type entries struct {
	mu    sync.Mutex
	acked [][]byte // acked[i] is the entry at index i+1
}

func (e *entries) head() uint64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	return uint64(len(e.acked))
}

func (e *entries) first(n uint64) [][]byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.acked[:n:n]
}

// add records entries that were acknowledged, beginning at index first.
func (e *entries) add(t testing.TB, first uint64, lines []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if want := uint64(len(e.acked)) + 1; first != want {
		t.Errorf("acknowledged at index %d, want %d", first, want)
	}
	for line := range bytes.Lines(lines) {
		e.acked = append(e.acked, line[:len(line)-1])
	}
}

// tempDir returns a directory for the test: in memory if possible, because these tests sync a lot
// and are not about the disk.
func tempDir(t testing.TB) string {
	t.Helper()
	if fi, err := os.Stat("/dev/shm"); err != nil || !fi.IsDir() {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp("/dev/shm", "backup-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// fast is a log that seals, settles and removes as often as it can.
func fast(dir string) engine.Config {
	c := engine.NewConfig(dir)
	c.SegmentSize = 2 << 10
	c.SettleEvery = time.Millisecond
	c.RemoveAfter = time.Millisecond
	return c
}

func open(t testing.TB, c engine.Config) *engine.Log {
	t.Helper()
	l, err := openLog(c)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// batch returns n entries, every seventh of which was appended before.
func batch(round, n int) []byte {
	var b []byte
	for i := range n {
		if i%7 == 6 {
			b = append(b, "{\"again\":true}\n"...)
			continue
		}
		b = fmt.Appendf(b, "{\"i\":%d,\"pad\":\"%0*d\",\"round\":%d}\n", i, (i*137)%600, 0, round)
	}
	return b
}

// appendAll appends rounds batches of n entries each and waits for them.
func appendAll(t testing.TB, l *engine.Log, e *entries, from, rounds, n int) {
	t.Helper()
	for round := range rounds {
		appendLines(t, l, e, batch(from+round, n), n)
	}
}

// appendLines appends one batch of n entries and waits for it.
func appendLines(t testing.TB, l *engine.Log, e *entries, lines []byte, n int) {
	t.Helper()
	done := make(chan error, 1)
	l.Append(lines, n, engine.Condition{}, func(stored engine.Result, err error) {
		if err == nil {
			e.add(t, stored.First, lines)
		}
		done <- err
	})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// load appends batches without a pause, several at a time, until the test calls stop. So that the
// log does not outgrow the test, it pauses after burst entries until the test calls more.
func load(t testing.TB, l *engine.Log, e *entries) (more, stop func()) {
	const burst = 300
	quit, again := make(chan struct{}), make(chan struct{}, 1)
	var wg sync.WaitGroup
	slots := make(chan struct{}, 4)
	wg.Go(func() {
		for round, left := 0, burst; ; round++ {
			n := 1 + round%12
			for left -= n; left < 0; left = burst {
				select {
				case <-quit:
					return
				case <-again:
				}
			}
			select {
			case <-quit:
				return
			case slots <- struct{}{}:
			}
			b := batch(round, n)
			l.Append(b, n, engine.Condition{}, func(stored engine.Result, err error) {
				if err != nil {
					t.Error(err)
				} else {
					e.add(t, stored.First, b)
				}
				<-slots
			})
		}
	})
	more = func() {
		select {
		case again <- struct{}{}:
		default:
		}
	}
	var once sync.Once
	stop = func() {
		once.Do(func() {
			close(quit)
			wg.Wait()
			for range cap(slots) {
				slots <- struct{}{}
			}
		})
	}
	t.Cleanup(stop)
	return more, stop
}

// settled waits until everything is settled, and all segments except the open one and at most keep
// sealed ones are removed.
func settled(t testing.TB, l *engine.Log, keep int) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		s := l.Stats()
		if s.Settled == s.Head && s.Segments <= keep+1 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not settled: %+v", s)
		}
		time.Sleep(time.Millisecond)
	}
}

// mustHold opens the log in dir, checks its head and that it holds exactly the entries in want, and
// closes it.
func mustHold(t testing.TB, dir string, want [][]byte) {
	t.Helper()
	if head := readBack(t, dir, want); head != uint64(len(want)) {
		t.Fatalf("%s: head is %d, want %d", dir, head, len(want))
	}
}

// readBack opens the log in dir, checks that its entries are the first of want and all readable,
// and returns its head.
func readBack(t testing.TB, dir string, want [][]byte) uint64 {
	t.Helper()
	l := open(t, engine.NewConfig(dir))
	defer l.Close()
	head, _ := l.Head(t.Context())
	next := uint64(1)
	err := l.Read(context.Background(), 1, head, func(first uint64, count int, lines []byte, _ int64, err error) error {
		if errors.Is(err, engine.ErrLost) && next > uint64(len(want)) {
			next += uint64(count) // an entry that was not acknowledged may be lost
			return nil
		}
		if err != nil {
			return fmt.Errorf("index %d: %w", first, err)
		}
		for line := range bytes.Lines(lines) {
			if first != next {
				return fmt.Errorf("index %d, want %d", first, next)
			}
			if next <= uint64(len(want)) && !bytes.Equal(line[:len(line)-1], want[next-1]) {
				return fmt.Errorf("index %d is %s, want %s", next, line, want[next-1])
			}
			next++
			first++
		}
		return nil
	})
	if err != nil {
		t.Fatalf("%s: %v", dir, err)
	}
	if next != head+1 {
		t.Fatalf("%s: read through %d, head is %d", dir, next-1, head)
	}
	return head
}

// cp copies a directory that nothing writes to.
func cp(t testing.TB, from, to string) string {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v: %s", err, out)
	}
	return to
}

// rounds returns how often the tests with a load try: byDefault, less in a short run, or COPIES if
// it is set.
func rounds(t testing.TB, byDefault int) int {
	if s := os.Getenv("COPIES"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if testing.Short() {
		return (byDefault + 5) / 6
	}
	return byDefault
}

func backupTo(t testing.TB, data, dest string) Result {
	t.Helper()
	res, err := Run(t.Context(), Config{Data: data, Dest: dest})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// openLog opens a log. While another test starts a process, that process holds copies of all locks
// until its exec.
func openLog(c engine.Config) (*engine.Log, error) {
	deadline := time.Now().Add(10 * time.Second)
	for {
		l, err := engine.Open(c)
		if !errors.Is(err, engine.ErrLocked) || time.Now().After(deadline) {
			return l, err
		}
		time.Sleep(5 * time.Millisecond)
	}
}
