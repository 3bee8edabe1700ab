package replica

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"github.com/zeebo/blake3"

	"tcp-log-server/appends"
	"tcp-log-server/client"
	"tcp-log-server/engine"
)

// entry is an entry of a fakeLog.
type entry struct {
	text string
	time int64
	lost bool
}

// fakeLog is a Log in memory.
type fakeLog struct {
	mu      sync.Mutex
	store   string
	entries []entry
	epochs  []appends.Epoch
	heard   uint64 // the epoch of the source
	fence   uint64
	fails   error         // error that Replicate returns instead of storing
	slow    chan struct{} // unless nil, Replicate receives one value for each call
	calls   int
	largest int // bytes in one call
}

const testStore = "0123456789abcdef0123456789abcdef"

// newFakeLog returns a log with the entries {"n":1} to {"n":n}.
func newFakeLog(n int) *fakeLog {
	l := &fakeLog{store: testStore, epochs: []appends.Epoch{{Number: 1, First: 1}}}
	l.add(n)
	return l
}

// add appends n entries, two for each time.
func (l *fakeLog) add(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for range n {
		i := len(l.entries) + 1
		l.entries = append(l.entries, entry{text: fmt.Sprintf(`{"n":%d}`, i), time: 1_700_000_000_000_000 + int64(i/2)})
	}
}

func (l *fakeLog) Store() string { return l.store }

func (l *fakeLog) Head(context.Context) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return uint64(len(l.entries)), nil
}

func (l *fakeLog) Replicate(first uint64, batches []engine.ReplicaBatch) error {
	if l.slow != nil {
		<-l.slow
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fails != nil {
		return l.fails
	}
	if l.fence > 0 {
		return fmt.Errorf("%w: fenced", engine.ErrNotStored)
	}
	if first != uint64(len(l.entries))+1 {
		return fmt.Errorf("%w: the batches begin at %d, the log has %d entries", engine.ErrNotStored, first, len(l.entries))
	}
	l.calls++
	size := 0
	for _, b := range batches {
		size += len(b.Entries)
		if b.Lost {
			for range b.Count {
				l.entries = append(l.entries, entry{lost: true, time: b.Time})
			}
			continue
		}
		lines := strings.Split(strings.TrimSuffix(string(b.Entries), "\n"), "\n")
		if len(lines) != b.Count {
			return fmt.Errorf("%d lines, %d entries", len(lines), b.Count)
		}
		for _, line := range lines {
			l.entries = append(l.entries, entry{text: line, time: b.Time})
		}
	}
	l.largest = max(l.largest, size)
	return nil
}

func (l *fakeLog) Digest(_ context.Context, from, through uint64) (d appends.Digest, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if from < 1 || through > uint64(len(l.entries)) {
		return d, fmt.Errorf("no entries %d to %d", from, through)
	}
	entries, times := blake3.New(), blake3.New()
	for _, e := range l.entries[from-1 : through] {
		var hash [32]byte
		if !e.lost {
			hash = blake3.Sum256([]byte(e.text))
		}
		entries.Write(hash[:])
		times.Write(binary.LittleEndian.AppendUint64(nil, uint64(e.time)))
	}
	entries.Sum(d.Entries[:0])
	times.Sum(d.Times[:0])
	return d, nil
}

func (l *fakeLog) Epochs() []appends.Epoch {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]appends.Epoch(nil), l.epochs...)
}

func (l *fakeLog) SourceEpoch(number uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.heard = number
	return nil
}

func (l *fakeLog) SetEpochs(epochs []appends.Epoch) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range epochs[len(l.epochs):] {
		if l.fence == 0 && e.First != uint64(len(l.entries))+1 {
			return fmt.Errorf("epoch %d begins with entry %d, the log has %d", e.Number, e.First, len(l.entries))
		}
	}
	l.epochs = append([]appends.Epoch(nil), epochs...)
	if l.epochs[len(l.epochs)-1].Number >= l.fence {
		l.fence = 0
	}
	return nil
}

func (l *fakeLog) Fenced() (uint64, string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fence, ""
}

// text returns the whole log.
func (l *fakeLog) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprint(l.entries)
}

// fakeSource speaks the source's side of the protocol for a fakeLog.
type fakeSource struct {
	*fakeLog
	addr    string
	batch   int                      // entries in a batch
	spoil   func(line []byte) []byte // changes each line before it is sent
	say     string                   // the answer to a replica, unless empty
	mute    bool                     // send nothing after the answer
	mu2     sync.Mutex
	asked   []request
	durable []uint64
}

// serve serves the log until the end of the test.
func serve(t *testing.T, log *fakeLog) *fakeSource {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &fakeSource{fakeLog: log, addr: ln.Addr().String(), batch: 3}
	var serving sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	serving.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer nc.Close()
				defer context.AfterFunc(ctx, func() { nc.Close() })()
				s.converse(nc)
			})
		}
	})
	t.Cleanup(func() { cancel(); ln.Close(); serving.Wait() })
	return s
}

func (s *fakeSource) converse(nc net.Conn) {
	in := bufio.NewReader(nc)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		var m struct {
			Replicate *request
			Digest    *struct{ From, Through uint64 }
		}
		if json.Unmarshal(line, &m) != nil {
			return
		}
		switch {
		case m.Digest != nil:
			d, err := s.Digest(context.Background(), m.Digest.From, m.Digest.Through)
			if err != nil {
				fmt.Fprintf(nc, `{"error":%q}`+"\n", err)
				continue
			}
			fmt.Fprintf(nc, `{"digest":%q,"times":%q,"from":%d,"through":%d}`+"\n", hex.EncodeToString(d.Entries[:]), hex.EncodeToString(d.Times[:]), m.Digest.From, m.Digest.Through)
		case m.Replicate != nil:
			s.replicate(nc, in, *m.Replicate)
			return
		}
	}
}

func (s *fakeSource) replicate(nc net.Conn, in *bufio.Reader, r request) {
	s.mu2.Lock()
	s.asked = append(s.asked, r)
	say, spoil, batch, mute := s.say, s.spoil, s.batch, s.mute
	s.mu2.Unlock()
	if say != "" {
		fmt.Fprintln(nc, say)
		return
	}
	head, _ := s.Head(context.Background())
	epochs := [][2]uint64{}
	for _, e := range s.Epochs() {
		epochs = append(epochs, [2]uint64{e.Number, e.First})
	}
	answer, _ := json.Marshal(map[string]replicating{"replicating": {Store: s.store, Epochs: epochs, Head: head}})
	nc.Write(append(answer, '\n'))
	go func() {
		for {
			line, err := in.ReadBytes('\n')
			if err != nil {
				nc.Close()
				return
			}
			var m struct{ Durable uint64 }
			json.Unmarshal(line, &m)
			s.mu2.Lock()
			s.durable = append(s.durable, m.Durable)
			s.mu2.Unlock()
		}
	}()
	for next := r.From; ; {
		s.fakeLog.mu.Lock()
		run := append([]entry(nil), s.entries[min(int(next)-1, len(s.entries)):min(int(next)-1+batch, len(s.entries))]...)
		s.fakeLog.mu.Unlock()
		for i := range run {
			if run[i].lost != run[0].lost || run[i].time != run[0].time {
				run = run[:i]
				break
			}
		}
		line := fmt.Appendf(nil, `{"head":%d}`+"\n", next-1)
		if len(run) > 0 {
			line = batchLine(next, run)
		}
		if spoil != nil {
			line = spoil(line)
		}
		if mute {
			line = nil
		}
		if _, err := nc.Write(line); err != nil {
			return
		}
		next += uint64(len(run))
		if len(run) == 0 || mute {
			time.Sleep(time.Millisecond)
		}
	}
}

// batchLine returns a batch as a source sends it.
func batchLine(index uint64, run []entry) []byte {
	var body []byte
	for _, e := range run {
		if !e.lost {
			body = append(append(body, e.text...), '\n')
		}
	}
	h := header{Index: index, Count: len(run), Time: time.UnixMicro(run[0].time).UTC(), Size: len(body), Lost: run[0].lost, Sum: sum(appends.BatchSum(index, len(run), run[0].time, body))}
	line, _ := json.Marshal(map[string]header{"batch": h})
	return append(append(line, '\n'), body...)
}

// quick is a pace for tests.
var quick = pace{refused: 20 * time.Millisecond, silence: 10 * time.Second, durable: 20 * time.Millisecond, compare: time.Millisecond, load: 1}

// follow runs a replica of the source until the end of the test.
func follow(t *testing.T, addr string, log *fakeLog, change func(*Config)) *Replica {
	t.Helper()
	config := Config{
		Source: addr, Name: "copy", Log: log, pace: quick, Logger: zerolog.Nop(),
		Connect: client.Options{MinBackoff: time.Millisecond, MaxBackoff: 5 * time.Millisecond},
	}
	if change != nil {
		change(&config)
	}
	r := New(config)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { r.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return r
}

// await waits until ok.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for began := time.Now(); !ok(); time.Sleep(time.Millisecond) {
		if time.Since(began) > 20*time.Second {
			t.Fatalf("waited in vain for: %s", what)
		}
	}
}

// awaitCopy waits until the replica has everything that the source has, and has compared it.
func awaitCopy(t *testing.T, r *Replica, source, copied *fakeLog) {
	t.Helper()
	head, _ := source.Head(t.Context())
	await(t, fmt.Sprintf("the copy of %d entries; %+v", head, r.Status()), func() bool {
		s := r.Status()
		return s.Connected && s.Behind == 0 && s.Verified == head
	})
	if got, want := copied.text(), source.text(); got != want {
		t.Errorf("the replica has %.200s, want %.200s", got, want)
	}
}

// awaitStopped waits until replication has stopped, and checks why.
func awaitStopped(t *testing.T, r *Replica, says string) {
	t.Helper()
	await(t, "replication to stop", func() bool { return r.Status().Stopped != "" })
	if why := r.Status().Stopped; !strings.Contains(why, says) {
		t.Errorf("replication has stopped: %s; want %q in it", why, says)
	}
}

var errTest = errors.New("no space left on device")
