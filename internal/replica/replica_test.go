package replica

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"tcp-log-server/appends"
	"tcp-log-server/client"
	"tcp-log-server/engine"
	"tcp-log-server/segment"
)

func TestFollow(t *testing.T) {
	for _, had := range []int{0, 1, 7, 100} {
		source := serve(t, newFakeLog(100))
		copied := newFakeLog(had)
		r := follow(t, source.addr, copied, nil)
		awaitCopy(t, r, source.fakeLog, copied)
		source.add(5)
		awaitCopy(t, r, source.fakeLog, copied)
		await(t, "the source to be told", func() bool {
			source.mu2.Lock()
			defer source.mu2.Unlock()
			return len(source.durable) > 0 && source.durable[0] == uint64(had) && source.durable[len(source.durable)-1] == 105
		})
		if got, want := source.asked[0], (request{From: uint64(had) + 1, Store: testStore, Epoch: 1, Name: "copy"}); got != want {
			t.Errorf("the replica has asked for %+v, want %+v", got, want)
		}
		if s := r.Status(); s.Source != source.addr || s.BehindSeconds != 0 || s.Stopped+s.Error != "" {
			t.Errorf("the status is %+v", s)
		}
	}
}

// TestStays: a source with nothing new is told now and then that the replica is there.
func TestStays(t *testing.T) {
	source := serve(t, newFakeLog(3))
	follow(t, source.addr, newFakeLog(3), nil)
	await(t, "several signs of life", func() bool {
		source.mu2.Lock()
		defer source.mu2.Unlock()
		return len(source.durable) > 3
	})
}

// TestCut: a connection that is cut after any number of bytes costs nothing.
func TestCut(t *testing.T) {
	source := serve(t, newFakeLog(8))
	for n, after := 0, 0; after < 30; n++ {
		copied := newFakeLog(2)
		conversations := 0
		r := New(Config{Source: source.addr, Log: copied, pace: quick, Connect: client.Options{
			DialContext: func(_ context.Context, network, addr string) (net.Conn, error) {
				nc, err := net.Dial(network, addr)
				if conversations++; conversations > 1 {
					return nc, err // a question for a digest
				}
				return &cutConn{nc, n}, err
			},
		}})
		if err := r.follow(t.Context()); err == nil || err.Error() == "" {
			t.Fatalf("cut after %d bytes, the conversation ends with %v", n, err)
		}
		got, want := copied.text(), source.text()
		if !strings.HasPrefix(want, strings.TrimSuffix(got, "]")) {
			t.Fatalf("cut after %d bytes, the replica has %s", n, got)
		}
		if got == want {
			after++ // only heads come now
		}
		if n%100 == 0 {
			awaitCopy(t, follow(t, source.addr, copied, nil), source.fakeLog, copied)
		}
	}
}

// cutConn ends after so many bytes have been received.
type cutConn struct {
	net.Conn
	left int
}

func (c *cutConn) Read(b []byte) (n int, err error) {
	if c.left == 0 {
		return 0, io.EOF
	}
	n, err = c.Conn.Read(b[:min(len(b), c.left)])
	c.left -= n
	return n, err
}

// TestSpoiled: what arrives wrong is not stored, and is fetched again.
func TestSpoiled(t *testing.T) {
	for name, spoil := range map[string]struct {
		old, new, says string
	}{
		"a wrong byte":     {`{"n":5}`, `{"n":6}`, "entry 4: the batch has arrived damaged: its checksum is "},
		"a wrong sum":      {`"sum":"81a08eb9"`, `"sum":"81a08eba"`, "the batch has arrived damaged"},
		"a long sum":       {`"sum":"`, `"sum":"0`, "not what a source sends"},
		"a wrong index":    {`"index":4`, `"index":5`, "a batch that begins with entry 5, want 4"},
		"a wrong count":    {`"count":2`, `"count":1`, "has 2 lines"},
		"too large a size": {`"size":16`, `"size":2000000000`, "a batch of 2 entries in 2000000000 bytes"},
		"no size":          {`"size":16`, `"size":0`, "a batch of 2 entries in 0 bytes"},
		"no JSON":          {`{"batch"`, `{batch`, "not what a source sends"},
		"something else":   {`{"batch"`, `{"botch"`, "neither a batch nor a head"},
	} {
		t.Run(name, func(t *testing.T) {
			source := serve(t, newFakeLog(20))
			spoiled := 0
			source.spoil = func(line []byte) []byte {
				source.mu2.Lock()
				defer source.mu2.Unlock()
				if spoiled > 2 || !bytes.Contains(line, []byte(`"index":4`)) {
					return line
				}
				spoiled++
				return bytes.Replace(line, []byte(spoil.old), []byte(spoil.new), 1)
			}
			copied := newFakeLog(0)
			var log logged
			r := follow(t, source.addr, copied, func(c *Config) { c.Logger = zerolog.New(&log) })
			awaitCopy(t, r, source.fakeLog, copied)
			if text := log.String(); !strings.Contains(text, spoil.says) || strings.Count(text, `"level":"warn"`) > 3 {
				t.Errorf("the log has %s; want %q in it", text, spoil.says)
			}
		})
	}
}

// TestClaimedSize: a source that announces the largest batch and sends little of it costs little.
func TestClaimedSize(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	go func() {
		defer far.Close()
		fmt.Fprintf(far, `{"batch":{"index":1,"count":2,"time":"2026-11-28T09:00:00Z","size":%d,"sum":"00000000"}}`+"\n{}\n", segment.MaxBody)
	}()
	s := newStream(near, time.Minute, 1)
	if _, _, err := s.batch(); err == nil || !strings.Contains(err.Error(), "within a batch") {
		t.Errorf("the batch ends with %v", err)
	}
	if got := cap(s.body); got > 4*lineMax {
		t.Errorf("it took %d bytes", got)
	}
}

// TestSourceGone: what has arrived when the source is lost is stored, though it waited for the disk.
func TestSourceGone(t *testing.T) {
	for range 8 {
		source := serve(t, newFakeLog(20))
		source.spoil = func(line []byte) []byte {
			if bytes.HasPrefix(line, []byte(`{"head"`)) {
				return []byte("the end\n")
			}
			return line
		}
		copied := newFakeLog(0)
		copied.slow = make(chan struct{})
		r := New(Config{Source: source.addr, Log: copied, pace: quick, Connect: client.Options{
			DialContext: func(_ context.Context, network, addr string) (net.Conn, error) {
				nc, err := net.Dial(network, addr)
				return &endingConn{Conn: nc, ends: sync.OnceFunc(func() { close(copied.slow) })}, err
			},
		}})
		if err := r.follow(t.Context()); !errors.Is(err, errProtocol) {
			t.Fatalf("the conversation ends with %v", err)
		}
		if got, want := copied.text(), source.text(); got != want {
			t.Fatalf("the replica has %s, want %s", got, want)
		}
	}
}

// endingConn tells when it is closed.
type endingConn struct {
	net.Conn
	ends func()
}

func (c *endingConn) Close() error {
	c.ends()
	return c.Conn.Close()
}

// logged is a log that tests look into.
type logged struct {
	mu sync.Mutex
	bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.String()
}

// TestRefused: replication stops, says why once, and stores nothing; when the reason is gone, it
// goes on by itself.
func TestRefused(t *testing.T) {
	for name, tt := range map[string]struct {
		set  func(*fakeSource, *fakeLog)
		mend func(*fakeSource, *fakeLog)
		says string
	}{
		"another store": {
			func(s *fakeSource, _ *fakeLog) { s.store = strings.Repeat("f", 32) }, func(s *fakeSource, _ *fakeLog) { s.store = testStore },
			"has another log: its store is ffffffffffffffffffffffffffffffff, this is a replica of " + testStore},
		"the source says so": {
			func(s *fakeSource, _ *fakeLog) { s.say = `{"error":"unauthorized"}` }, func(s *fakeSource, _ *fakeLog) { s.say = "" },
			"the source says: unauthorized"},
		"no epochs": {
			func(s *fakeSource, _ *fakeLog) {
				s.say = `{"replicating":{"store":"` + testStore + `","epochs":[],"head":20}}`
			}, func(s *fakeSource, _ *fakeLog) { s.say = "" },
			"the first epoch is not epoch 1 from entry 1"},
		"epochs that go back": {
			func(s *fakeSource, _ *fakeLog) {
				s.say = `{"replicating":{"store":"` + testStore + `","epochs":[[1,1],[3,30],[2,40]],"head":20}}`
			}, func(s *fakeSource, _ *fakeLog) { s.say = "" },
			"epoch 2 from entry 40 follows epoch 3 from entry 30"},
		"the last entry": {
			func(_ *fakeSource, l *fakeLog) { l.entries[9].text = `{"n":0}` }, func(_ *fakeSource, l *fakeLog) { l.entries[9].text = `{"n":10}` },
			"entry 10 here is not the entry 10 of"},
		"the time of an entry": {
			func(_ *fakeSource, l *fakeLog) { l.entries[9].time++ }, func(_ *fakeSource, l *fakeLog) { l.entries[9].time-- },
			"entry 10 here is not the entry 10 of"},
		"all from an entry on": {
			func(_ *fakeSource, l *fakeLog) { l.entries[9].time++; l.entries[3].time++ },
			func(_ *fakeSource, l *fakeLog) { l.entries[9].time--; l.entries[3].time-- },
			"entry 4 here is not the entry 4 of"},
		"more than the source": {
			func(s *fakeSource, l *fakeLog) { l.add(20) }, func(s *fakeSource, l *fakeLog) { s.add(20) },
			"entries 21 to 30 are not in the log of"},
		"beyond an epoch": {
			func(s *fakeSource, _ *fakeLog) { s.epochs = append(s.epochs, appends.Epoch{Number: 2, First: 9}) },
			func(_ *fakeSource, l *fakeLog) { l.entries = l.entries[:8] },
			"entries 9 to 10 are not in the log of 127.0.0.1"},
		"beyond an epoch by one entry": {
			func(s *fakeSource, _ *fakeLog) { s.epochs = append(s.epochs, appends.Epoch{Number: 2, First: 10}) },
			func(_ *fakeSource, l *fakeLog) { l.entries = l.entries[:9] },
			"entries 10 to 10 are not in the log of 127.0.0.1"},
		"an older source": {
			func(_ *fakeSource, l *fakeLog) { l.epochs = append(l.epochs, appends.Epoch{Number: 2, First: 5}) },
			func(s *fakeSource, _ *fakeLog) { s.epochs = append(s.epochs, appends.Epoch{Number: 2, First: 5}) },
			"this log is in epoch 2, "},
		"another epoch": {
			func(s *fakeSource, l *fakeLog) {
				l.epochs = append(l.epochs, appends.Epoch{Number: 2, First: 5})
				s.epochs = append(s.epochs, appends.Epoch{Number: 2, First: 7})
			}, nil,
			"the logs differ from entry 5 on: here epoch 2 begins with entry 5"},
		"a damaged entry": {
			func(s *fakeSource, _ *fakeLog) {
				s.spoil = func([]byte) []byte { return []byte(`{"index":12,"error":"blob 1234 is damaged"}` + "\n") }
			},
			func(s *fakeSource, _ *fakeLog) { s.spoil = nil },
			"the source cannot read its entry 12: blob 1234 is damaged"},
		"the replica's disk has failed": {
			func(_ *fakeSource, l *fakeLog) { l.fails = fmt.Errorf("%w: %w", engine.ErrNotStored, engine.ErrFailed) },
			func(_ *fakeSource, l *fakeLog) { l.fails = nil },
			"the replica's own log: not stored: log has failed"},
	} {
		t.Run(name, func(t *testing.T) {
			source := serve(t, newFakeLog(20))
			copied := newFakeLog(10)
			tt.set(source, copied)
			before := copied.text()
			var log logged
			r := follow(t, source.addr, copied, func(c *Config) { c.Logger = zerolog.New(&log) })
			awaitStopped(t, r, tt.says)
			if got := copied.text(); got != before {
				t.Errorf("the replica has %s, want what it had", got)
			}
			await(t, "more tries", func() bool {
				source.mu2.Lock()
				defer source.mu2.Unlock()
				return len(source.asked) > 3
			})
			if n := strings.Count(log.String(), `"level":"error"`); n != 1 {
				t.Errorf("there are %d errors in the log, want 1: %s", n, log.String())
			}
			if tt.mend == nil {
				return
			}
			source.fakeLog.mu.Lock()
			if name == "more than the source" {
				source.fakeLog.mu.Unlock()
				tt.mend(source, copied)
			} else {
				source.mu2.Lock()
				copied.mu.Lock()
				tt.mend(source, copied)
				copied.mu.Unlock()
				source.mu2.Unlock()
				source.fakeLog.mu.Unlock()
			}
			awaitCopy(t, r, source.fakeLog, copied)
		})
	}
}

// panickingLog panics where a mistake in the replica would.
type panickingLog struct{ *fakeLog }

func (panickingLog) Head(context.Context) (uint64, error) { panic("a mistake") }

// TestPanic: a panic is not swallowed: it ends Run, and so the process.
func TestPanic(t *testing.T) {
	ended := make(chan any)
	go func() {
		defer func() { ended <- recover() }()
		New(Config{Source: "127.0.0.1:1", Log: panickingLog{newFakeLog(0)}, pace: quick}).Run(t.Context())
	}()
	select {
	case p := <-ended:
		if p != "a mistake" {
			t.Errorf("Run has ended with %v, want the panic", p)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("Run has not ended")
	}
}

// TestFull: a replica without room on its disk goes on when there is some. Until then it does not say
// that anything is durable.
func TestFull(t *testing.T) {
	source := serve(t, newFakeLog(20))
	copied := newFakeLog(0)
	copied.fails = fmt.Errorf("%w: %w", engine.ErrNotStored, errTest)
	var log logged
	r := follow(t, source.addr, copied, func(c *Config) {
		c.Logger, c.Connect.MaxBackoff = zerolog.New(&log), time.Second
	})
	await(t, "the error", func() bool { return strings.Contains(r.Status().Error, errTest.Error()) })
	// The source is asked less and less often: it sends everything each time.
	await(t, "a longer wait", func() bool { return strings.Contains(log.String(), `"again":"16ms",`) })
	source.mu2.Lock()
	if told := slices.Max(source.durable); told > 0 {
		t.Errorf("the source was told that entries through %d are durable, and none is", told)
	}
	source.mu2.Unlock()
	copied.mu.Lock()
	copied.fails = nil
	copied.mu.Unlock()
	awaitCopy(t, r, source.fakeLog, copied)
}

// TestEpochs: an epoch is recorded when everything before it is durable, and before its first
// entry is.
func TestEpochs(t *testing.T) {
	source := serve(t, newFakeLog(20))
	source.epochs = append(source.epochs, appends.Epoch{Number: 2, First: 6}, appends.Epoch{Number: 3, First: 6}, appends.Epoch{Number: 7, First: 21})
	copied := newFakeLog(0)
	r := follow(t, source.addr, copied, nil)
	awaitCopy(t, r, source.fakeLog, copied)
	if got, want := fmt.Sprint(copied.Epochs()), "[{1 1} {2 6} {3 6}]"; got != want {
		t.Errorf("the replica has the epochs %s, want %s", got, want)
	}
	if copied.heard != 7 {
		t.Errorf("the replica knows that its source is in epoch %d, want 7: a promotion would begin one that the source has", copied.heard)
	}
	source.add(1)
	awaitCopy(t, r, source.fakeLog, copied)
	if got, want := fmt.Sprint(copied.Epochs()), fmt.Sprint(source.Epochs()); got != want {
		t.Errorf("the replica has the epochs %s, want %s", got, want)
	}
}

// TestFenced: a log that is fenced takes entries again once the source is known to be in the epoch
// that it was fenced for.
func TestFenced(t *testing.T) {
	source := serve(t, newFakeLog(20))
	source.epochs = append(source.epochs, appends.Epoch{Number: 2, First: 15})
	for _, had := range []int{14, 10} {
		copied := newFakeLog(had)
		copied.fence = 2
		awaitCopy(t, follow(t, source.addr, copied, nil), source.fakeLog, copied)
		if got, want := fmt.Sprint(copied.Epochs()), "[{1 1} {2 15}]"; got != want {
			t.Errorf("the replica has the epochs %s, want %s", got, want)
		}
	}
}

// TestLost: entries that the source has lost are recorded as lost; where one of the two has lost
// an entry, that is no difference.
func TestLost(t *testing.T) {
	source := serve(t, newFakeLog(40))
	copied := newFakeLog(20)
	source.entries[2] = entry{lost: true, time: source.entries[2].time}
	copied.entries[19] = entry{lost: true, time: copied.entries[19].time}
	source.entries[30] = entry{lost: true, time: source.entries[30].time}
	r := follow(t, source.addr, copied, nil)
	await(t, "the copy", func() bool { s := r.Status(); return s.Connected && s.Behind == 0 && s.Verified == 40 })
	if !copied.entries[30].lost || copied.entries[2].lost || copied.entries[31].lost {
		t.Errorf("the replica has %s", copied.text())
	}
}

// TestDifference: the comparison in the background finds an entry that differs, of many, ends
// replication, and lets it go on once the entry is as it should be.
func TestDifference(t *testing.T) {
	source := serve(t, newFakeLog(100_000))
	copied := newFakeLog(100_000)
	copied.entries[77_776].text = `{"n":0}`
	copied.entries[88_887].text = `{"n":0}`
	r := follow(t, source.addr, copied, nil)
	awaitStopped(t, r, "entry 77777 here is not the entry 77777 of "+source.addr)
	source.add(1)
	await(t, "more tries", func() bool {
		source.mu2.Lock()
		defer source.mu2.Unlock()
		return len(source.asked) > 3
	})
	if head, _ := copied.Head(t.Context()); head != 100_000 {
		t.Errorf("the replica has stored %d entries after the difference", head-100_000)
	}
	copied.mu.Lock()
	copied.entries[77_776].text = `{"n":77777}`
	copied.entries[88_887].text = `{"n":88888}`
	copied.mu.Unlock()
	awaitCopy(t, r, source.fakeLog, copied)
}

// TestDifferenceMended: an entry that differed, and does no more when it is looked at again, is no
// reason to stop.
func TestDifferenceMended(t *testing.T) {
	source := serve(t, newFakeLog(20))
	copied := newFakeLog(20)
	copied.entries[4].text = `{"n":0}`
	var r *Replica
	mend := func(ctx context.Context, network, addr string) (net.Conn, error) {
		r.state.mu.Lock()
		found := r.state.differ > 0
		r.state.mu.Unlock()
		if found {
			copied.mu.Lock()
			copied.entries[4].text = `{"n":5}`
			copied.mu.Unlock()
		}
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}
	r = New(Config{Source: source.addr, Name: "copy", Log: copied, pace: quick, Connect: client.Options{
		DialContext: mend, MinBackoff: time.Millisecond, MaxBackoff: 5 * time.Millisecond,
	}})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { r.Run(ctx) })
	defer running.Wait()
	defer cancel()
	awaitCopy(t, r, source.fakeLog, copied)
}

// TestSilence: a source that says nothing is given up, and so is one that does not answer.
func TestSilence(t *testing.T) {
	source := serve(t, newFakeLog(20))
	source.mute = true
	copied := newFakeLog(0)
	r := follow(t, source.addr, copied, func(c *Config) { c.pace.silence = 30 * time.Millisecond })
	await(t, "the replica to hang up", func() bool { return strings.Contains(r.Status().Error, "timeout") })
	source.mu2.Lock()
	source.mute = false
	source.mu2.Unlock()
	awaitCopy(t, r, source.fakeLog, copied)
}

// TestBounded: while the disk is slow, only so much is received, and then it is stored together.
func TestBounded(t *testing.T) {
	log := newFakeLog(0)
	text := `{"x":"` + strings.Repeat("x", 100_000) + `"}`
	for i := range 200 {
		log.entries = append(log.entries, entry{text: text, time: int64(i)})
	}
	source := serve(t, log)
	copied := newFakeLog(0)
	copied.slow = make(chan struct{})
	r := follow(t, source.addr, copied, nil)
	for r.Status().Behind > 0 || !r.Status().Connected {
		select {
		case copied.slow <- struct{}{}:
			time.Sleep(5 * time.Millisecond) // more arrives meanwhile
		case <-time.After(time.Millisecond):
		}
	}
	awaitCopy(t, r, source.fakeLog, copied)
	if copied.largest > roomMax+len(text)+1 {
		t.Errorf("%d bytes were stored together, want %d at most", copied.largest, roomMax+len(text)+1)
	}
	if copied.calls > 150 {
		t.Errorf("%d batches took %d syncs, want them together", len(log.entries), copied.calls)
	}
	close(copied.slow)
}

// TestBehind: the status says for how long the replica has not had all that the source has.
func TestBehind(t *testing.T) {
	var s state
	s.init()
	s.complete = time.Now().Add(-time.Hour)
	s.connect(10, 4, nil)
	if got := s.status(time.Now()); got.Behind != 6 || got.BehindSeconds < 3600 {
		t.Errorf("at first the status is %+v", got)
	}
	s.heard(12)
	s.stored(11) // all that the source had when the conversation began
	if got := s.status(time.Now()); got.Behind != 1 || got.BehindSeconds > 60 {
		t.Errorf("after the first ten entries the status is %+v", got)
	}
	s.stored(12)
	if got := s.status(time.Now().Add(time.Hour)); got.Behind != 0 || got.BehindSeconds != 0 {
		t.Errorf("after all of them the status is %+v", got)
	}
	if !s.disconnect("x") || s.disconnect("y") {
		t.Error("disconnect does not tell the first failure from the second")
	}
	if got := s.status(time.Now().Add(time.Hour)); got.BehindSeconds < 3500 || got.Error != "y" {
		t.Errorf("an hour after the connection was lost the status is %+v", got)
	}
}

// TestStoreOf: a replica without a log asks which one it is to be a copy of, until it is told.
func TestStoreOf(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	config := Config{Source: ln.Addr().String(), pace: quick}
	if _, err := StoreOf(t.Context(), config); err == nil {
		t.Error("there is an answer without a source")
	}
	source := serve(t, newFakeLog(20))
	tries := 0
	config.Connect.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if tries++; tries < 3 {
			return nil, errors.New("not yet")
		}
		return net.Dial(network, source.addr)
	}
	told := 0
	store, err := AwaitStore(t.Context(), config, func(error) { told++ })
	if err != nil || store != testStore || told != 2 {
		t.Errorf("the store is %s, %v, after %d failures were told of, want %s after 2", store, err, told, testStore)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := AwaitStore(ctx, config, func(error) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("at the end of its context AwaitStore returns %v", err)
	}
}
