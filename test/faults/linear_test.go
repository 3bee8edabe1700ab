package faults

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// recorder records the operations of clients and their times.
type recorder struct {
	began time.Time
	mu    sync.Mutex
	ops   []porcupine.Operation
	lost  []porcupine.Operation // appends without an answer
	known atomic.Uint64         // the greatest index that was acknowledged
}

func (r *recorder) now() int64 { return int64(time.Since(r.began)) }

func (r *recorder) add(client int, call int64, q request, a answer) {
	op := porcupine.Operation{ClientId: client, Input: q, Call: call, Output: a, Return: r.now()}
	r.mu.Lock()
	defer r.mu.Unlock()
	if a.index == 0 && a.lost {
		op.Return = math.MaxInt64
		r.lost = append(r.lost, op)
		return
	}
	r.ops = append(r.ops, op)
}

// append appends entries, one after the other, until all are acknowledged or the
// connection ends.
func (r *recorder) append(client int, addr string, run, count int) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil // killed already
	}
	defer c.Close()
	replies := bufio.NewReader(c)
	for n := range count {
		q := request{entry: fmt.Sprintf(`{"by":%d,"n":%d,"run":%d}`, client, n, run), expect: -1}
		with := ""
		switch n % 4 {
		case 1: // the other clients append the same at about the same time
			q.entry, q.once, with = fmt.Sprintf(`{"n":%d,"run":%d}`, n, run), true, `,"once":true`
		case 3: // true now and then, since others do the same
			q.expect = int(r.known.Load())
			with = fmt.Sprintf(`,"if":%d`, q.expect)
		}
		call := r.now()
		if _, err := fmt.Fprintf(c, "{\"id\":\"x\",\"entry\":%s%s}\n", q.entry, with); err != nil {
			r.add(client, call, q, answer{lost: true})
			return nil
		}
		c.SetReadDeadline(time.Now().Add(patience))
		line, err := replies.ReadBytes('\n')
		if err != nil {
			r.add(client, call, q, answer{lost: true})
			return nil
		}
		var reply struct {
			Index uint64
			Head  *uint64
			Error string
		}
		switch err := json.Unmarshal(line, &reply); {
		case err == nil && reply.Index == 0 && reply.Head != nil && q.expect >= 0:
			r.add(client, call, q, answer{head: *reply.Head})
			continue
		case err != nil || reply.Index == 0:
			return fmt.Errorf("reply is %q, %v", line, err)
		}
		r.add(client, call, q, answer{index: reply.Index})
		for {
			known := r.known.Load()
			if reply.Index <= known || r.known.CompareAndSwap(known, reply.Index) {
				break
			}
		}
	}
	return nil
}

// pull reads a few entries at a time, near the head, until stop. Sometimes it requests
// more than can exist: that read ends at the head.
func (r *recorder) pull(client int, addr string, stop <-chan struct{}) error {
	random := rand.New(rand.NewPCG(uint64(client), 1))
	for {
		select {
		case <-stop:
			return nil
		case <-time.After(3 * time.Millisecond):
		}
		known := int64(r.known.Load())
		q := request{from: uint64(max(1, known+4-random.Int64N(12))), count: 1 + random.Uint64N(6)}
		if random.IntN(8) == 0 {
			q = request{from: uint64(max(1, known)), count: 1 << 40}
		}
		if err := r.read(client, addr, q); err != nil {
			return err
		}
	}
}

// read makes one read over a new connection.
func (r *recorder) read(client int, addr string, q request) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil
	}
	defer c.Close()
	lines := bufio.NewReader(c)
	call := r.now()
	if _, err := fmt.Fprintf(c, "{\"from\":%d,\"read\":%d}\n", q.from, q.count); err != nil {
		return nil
	}
	c.SetReadDeadline(time.Now().Add(patience))
	var a answer
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return timedOut(err)
		}
		entry, ok := strings.CutPrefix(line, fmt.Sprintf(`{"index":%d,"entry":`, q.from+uint64(len(a.entries))))
		switch {
		case ok:
			a.entries = append(a.entries, strings.TrimSuffix(entry, "}\n"))
		case line == "{\"current\":true}\n":
			r.add(client, call, q, a)
			return nil
		default:
			var end struct{ Head uint64 }
			if err := json.Unmarshal([]byte(line), &end); err != nil || end.Head == 0 {
				return fmt.Errorf("line is %q, %v", line, err)
			}
			a.whole = true
			r.add(client, call, q, a)
			r.add(client, call, request{}, answer{head: end.Head})
			return nil
		}
	}
}

// follow reads entries as they are appended, until the connection ends. An entry that
// arrives proves that the log holds it now, so it counts as a read at this moment: the
// strictest interpretation, and the fastest to check.
func (r *recorder) follow(client int, addr string, stop <-chan struct{}) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil
	}
	go func() {
		<-stop
		c.Close()
	}()
	next := r.known.Load() + 1
	if _, err := fmt.Fprintf(c, "{\"from\":%d}\n", next); err != nil {
		return nil
	}
	lines := bufio.NewReader(c)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return timedOut(err)
		}
		if line == "{\"current\":true}\n" {
			continue
		}
		entry, ok := strings.CutPrefix(line, fmt.Sprintf(`{"index":%d,"entry":`, next))
		if !ok {
			return fmt.Errorf("line is %q, want index %d", line, next)
		}
		r.add(client, r.now()-1, request{from: next, count: 1}, answer{entries: []string{strings.TrimSuffix(entry, "}\n")}, whole: true})
		next++
	}
}

// timedOut returns err, or nil if err only means that the connection has ended.
func timedOut(err error) error {
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		return err
	}
	return nil
}

// work runs writers, readers and followers at once until the writers have ended, and
// calls meanwhile while they run.
func (r *recorder) work(t *testing.T, addr string, run, count int, meanwhile func()) {
	t.Helper()
	const writers, readers, followers = 6, 4, 2
	stop := make(chan struct{})
	var writing, reading sync.WaitGroup
	for i := range writers {
		writing.Go(func() {
			if err := r.append(i, addr, run, count); err != nil {
				t.Errorf("writer %d: %v", i, err)
			}
		})
	}
	for i := range readers {
		reading.Go(func() {
			if err := r.pull(writers+i, addr, stop); err != nil {
				t.Errorf("reader %d: %v", i, err)
			}
		})
	}
	for i := range followers {
		reading.Go(func() {
			if err := r.follow(writers+readers+i, addr, stop); err != nil {
				t.Errorf("follower %d: %v", i, err)
			}
		})
	}
	if meanwhile != nil {
		meanwhile()
	}
	writing.Wait()
	close(stop)
	reading.Wait()
}

// close ends the recording. The final log shows which appends without an answer took
// effect, and at which index. The others are left out.
func (r *recorder) close(t *testing.T, addr string) []porcupine.Operation {
	t.Helper()
	at := make(map[string]uint64)
	index := uint64(0)
	if err := readLog(addr, func(line string) error {
		index++
		entry, ok := strings.CutPrefix(line, fmt.Sprintf(`{"index":%d,"entry":`, index))
		if !ok {
			return fmt.Errorf("line is %q, want index %d", line, index)
		}
		entry = strings.TrimSuffix(entry, "}\n")
		if at[entry] == 0 {
			at[entry] = index
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	ops := slices.Clone(r.ops)
	for _, op := range r.lost {
		// With once, another client may have stored it; its answer would be the same.
		if index := at[op.Input.(request).entry]; index > 0 {
			op.Output = answer{index: index}
			ops = append(ops, op)
		}
	}
	return ops
}

// linear checks a history.
func linear(t *testing.T, ops []porcupine.Operation) porcupine.CheckResult {
	t.Helper()
	result := porcupine.CheckOperationsTimeout(logModel, ops, patience)
	if result == porcupine.Unknown {
		t.Fatalf("%d operations could not be checked in %v", len(ops), patience)
	}
	return result
}

// TestLinearizable: to all clients together, writers, readers and followers, the log is
// one list, on which each operation happens at one moment between its start and its
// end, even across a kill and a restart.
func TestLinearizable(t *testing.T) {
	t.Parallel()
	for _, kill := range []bool{false, true} {
		t.Run(map[bool]string{false: "one-run", true: "killed-in-the-middle"}[kill], func(t *testing.T) {
			t.Parallel()
			r := &recorder{began: time.Now()}
			o := options{Env: tuned}
			p := server(t, o)
			o.Data = p.data
			count := min(scaled(t, 50), 400)
			if kill {
				r.work(t, p.addr, 0, 1<<20, func() {
					eventually(t, "some appends", func() bool { return r.known.Load() >= uint64(count) })
					p.signal(syscall.SIGKILL)
				})
				p.wait()
				p = server(t, o)
			}
			r.work(t, p.addr, 1, count, nil)
			ops := r.close(t, p.addr)
			p.clean()
			t.Logf("%d operations, %d appends without an answer", len(ops), len(r.lost))
			if kill && len(r.lost) == 0 {
				t.Error("the kill came between all appends")
			}
			if linear(t, ops) != porcupine.Ok {
				t.Fatal("the history is not linearizable")
			}
			for name, doctored := range doctoredHistories(ops) {
				if linear(t, doctored) != porcupine.Illegal {
					t.Errorf("a history with %s passes", name)
				}
			}
		})
	}
}
