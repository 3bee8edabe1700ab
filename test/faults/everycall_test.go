package faults

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestEveryCallFails makes one system call on the files of a store fail, then ends the
// run with kill -9 or a power cut. Until then the server answers every append. The next
// start needs no operator, serves every acknowledged entry and no refused one, and takes
// appends. fsck finds the log whole before that start and after it. A long run fails
// every call, a short one a few of each kind: the seed that it logs repeats them.
func TestEveryCallFails(t *testing.T) {
	needTrace(t)
	needLoop(t)
	seed := seedOf(t)
	// Each returns a function that makes the data directory for a run, and its history.
	for name, before := range map[string]func(t *testing.T) func(t *testing.T, data string) *history{
		"first-run": startOnNothing,
		"restart":   startAfterCrash,
	} {
		t.Run(name, func(t *testing.T) {
			begin := before(t)
			var counts, stopping map[string]int
			if !t.Run("no-fault", func(t *testing.T) {
				c := &failingCall{fault: &fault{}, begin: begin, disk: newImage(t, 64, "data=ordered"), end: "stop"}
				c.run(t)
				stopping = c.before
				counts, _ = c.fault.state()
			}) {
				return
			}
			for _, kind := range []string{"write", "sync", "open", "rename", "unlink", "truncate", "mkdir"} {
				t.Run(kind, func(t *testing.T) {
					t.Parallel()
					disk := newImage(t, 64, "data=ordered")
					failed := 0
					choice := chosen(t, seed, kind, counts[kind])
					for _, c := range choice {
						c.begin, c.disk = begin, disk
						c.stops = c.fault.at > stopping[kind]
						t.Run(fmt.Sprintf("%d-%s-%s", c.fault.at, c.fault.how, c.end), c.run)
						if _, call := c.fault.state(); call != "" {
							failed++
						}
					}
					t.Logf("%s: %d calls, %d of them during the stop; a call failed in %[5]d of %[4]d runs", kind, counts[kind], counts[kind]-stopping[kind], len(choice), failed)
					// The number of calls differs a little from run to run.
					if failed < len(choice)*3/4 {
						t.Errorf("a call failed in only %d of %d runs", failed, len(choice))
					}
				})
			}
		})
	}
}

// seedOf returns FAULT_SEED, or a random seed if it is not set.
func seedOf(t *testing.T) uint64 {
	seed := rand.Uint64N(1 << 32)
	if s := os.Getenv("FAULT_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("FAULT_SEED is %q, want a number", s)
		}
	}
	t.Logf("FAULT_SEED=%d repeats this choice of calls", seed)
	return seed
}

// chosen returns the runs for n calls of a kind: in a long run each call fails in every
// way; in a short one a random call of each quarter of the run fails in one. The ends
// alternate; an odd and an even seed together give each call both ends.
func chosen(t *testing.T, seed uint64, kind string, n int) (all []*failingCall) {
	rnd := rand.New(rand.NewPCG(seed, uint64(n)))
	hows, ends := []failure{eio, enospc, eioDone}, []string{"kill", "cut"}
	switch kind {
	case "open":
		hows = hows[:2] // an open that fails cannot leave a descriptor behind
	case "sync":
		hows = append(hows, eioLost)
	}
	add := func(at, way int) {
		all = append(all, &failingCall{
			fault:   &fault{kind: kind, at: at, how: hows[way]},
			end:     ends[(int(seed%2)+at+way)%2],
			settles: rnd.IntN(8) == 0,
			linger:  time.Duration(rnd.IntN(60)) * time.Millisecond,
		})
	}
	if long(t) {
		for at := range n {
			for way := range hows {
				add(at+1, way)
			}
		}
		return all
	}
	parts := min(n, scaled(t, 4))
	for i := range parts {
		from, to := i*n/parts, (i+1)*n/parts
		add(from+rnd.IntN(to-from)+1, rnd.IntN(len(hows)))
	}
	return all
}

// failingCall is a run of the server in which a call fails.
type failingCall struct {
	fault   *fault
	begin   func(t *testing.T, data string) *history
	disk    *image
	end     string        // kill, cut, stop
	stops   bool          // SIGTERM comes first: the call happens during the stop
	settles bool          // wait until everything is settled, retrying if necessary,
	linger  time.Duration // or else for this long

	before map[string]int // the number of calls by kind before SIGTERM
}

// failingEnv makes the server use tiny segments and remove them at once.
var failingEnv = append(slices.Clone(smallLog), "LOG_LEVEL=debug")

func (c *failingCall) run(t *testing.T) {
	data := filepath.Join(c.disk.dir, strings.ReplaceAll(t.Name(), "/", "_"))
	c.fault.dir = data
	t.Cleanup(func() {
		if t.Failed() {
			run(t, "cp", "-a", data, newData(t))
		}
		if err := os.RemoveAll(data); err != nil {
			t.Error(err)
		}
	})
	h := c.begin(t, data)
	tr := &tracer{fail: c.fault}
	p := launch(t, options{Data: data, Env: failingEnv, Tracer: tr})
	defer p.kill9() // before the file system is unmounted
	if _, ok := p.awaitNth("listening", 1); ok {
		p.listening()
		c.serve(t, p, h)
	} else if _, failed := c.fault.state(); failed == "" || p.wait() != 1 {
		t.Fatalf("the start is refused with exit code %d after %q failed: %s", p.wait(), failed, p.stderr())
	}
	if c.end == "cut" {
		c.disk.cut()
	}
	p.kill9()
	tr.wait(t)
	counts, failed := c.fault.state()
	acked, refused, unknown := h.counts()
	t.Logf("failed: %q; %d entries acknowledged, %d refused, %d neither; %v; calls %v", failed, acked, refused, unknown, h.errors(), counts)
	if c.end == "cut" {
		c.disk.unmount()
		c.disk.mount()
	}
	c.recover(t, data, h)
}

// serve appends, lets the server settle and remove for a while, and stops it if the
// call happens during the stop or has not come yet.
func (c *failingCall) serve(t *testing.T, p *process, h *history) {
	const appends = 3*7 + 6
	before := h.replies.Load()
	h.write(t, p.addr, load{Writers: 3, Depth: 2, Entries: 7})
	h.write(t, p.addr, load{Entries: 6})
	if got := h.replies.Load() - before; got != appends {
		t.Errorf("%d of %d appends were answered: %s", got, appends, p.stderr())
	}
	failed := func() bool { _, call := c.fault.state(); return call != "" }
	if failed() && !c.settles {
		time.Sleep(c.linger)
	} else {
		poll(1600*time.Millisecond, func() bool {
			return failed() && !c.settles || p.settled() >= h.highest.Load() && len(p.logged("removed")) > 3
		})
	}
	c.before, _ = c.fault.state()
	if failed() {
		verify(t, p.addr, h)
		if !c.stops {
			return
		}
	}
	p.signal(syscall.SIGTERM)
	if c.end == "kill" {
		time.Sleep(c.linger)
		return
	}
	if code := p.wait(); code != 0 && !failed() {
		t.Fatalf("exit code is %d: %s", code, p.stderr())
	}
}

// settled returns the index of the last entry that the log says is settled.
func (p *process) settled() (through uint64) {
	for _, e := range p.logged("settled") {
		through = uint64(e["through"].(float64))
	}
	return through
}

// recover checks the store after the run, starts a server on it, and checks again.
func (c *failingCall) recover(t *testing.T, data string, h *history) {
	if _, err := os.Stat(filepath.Join(data, "segments")); err == nil {
		c.check(t, data)
	}
	p := launch(t, options{Data: data, Env: failingEnv})
	defer p.kill9()
	if _, ok := p.awaitNth("listening", 1); !ok {
		t.Errorf("the next start is refused with exit code %d: %s", p.wait(), p.stderr())
		return
	}
	p.listening()
	verify(t, p.addr, h)
	accepted(t, p.addr, h, 8)
	verify(t, p.addr, h)
	eventually(t, "what was appended is settled", func() bool { return p.settled() >= h.highest.Load() })
	p.clean()
	fsck(t, data)
}

// check runs fsck on the store after the run. It finds the log whole, with one exception:
//
//   - blob-damaged, for entries after the end of the index, after a power cut or an
//     eioLost. Blobs are synced before the records that name them, so a blob without a
//     record may have a name but no bytes. The entry is in its segment, and the next
//     start writes the blob again.
func (c *failingCall) check(t *testing.T, data string) {
	code, lines := fsckOf(t, data)
	summary := lines[len(lines)-1]
	if code == 0 {
		return
	}
	unsynced := c.end == "cut" || c.fault.how == eioLost
	for _, f := range lines[:len(lines)-1] {
		first, _ := f["first"].(float64)
		if f["severity"] == "error" && !(unsynced && f["kind"] == "blob-damaged" && first > summary["indexed"].(float64)) {
			t.Errorf("fsck finds %v", f)
		}
	}
	if damaged := summary["damaged"]; damaged != 0.0 {
		t.Errorf("fsck finds %v damaged entries", damaged)
	}
}

// startOnNothing lets the server make the directory.
func startOnNothing(*testing.T) func(t *testing.T, data string) *history {
	return func(*testing.T, string) *history { return mixed() }
}

// startAfterCrash copies a log after a crash, with half a batch, half a record,
// half-made files, and segments to remove.
func startAfterCrash(t *testing.T) func(t *testing.T, data string) *history {
	before := mixed()
	p := server(t, options{Env: []string{"FAULT_SEGMENT_SIZE=2048", "FAULT_SETTLE_EVERY=1h"}})
	before.write(t, p.addr, load{Entries: 20})
	p.kill9()
	left := p.data
	unfinish(t, left)
	var mu sync.Mutex // copies one at a time
	return func(t *testing.T, data string) *history {
		mu.Lock()
		defer mu.Unlock()
		run(t, "cp", "-a", left, data)
		run(t, "sync", "-f", data)
		return before.copy()
	}
}

// mixed returns a history with small entries among large ones. Small ones still fit
// into a segment that has no room for a large one.
func mixed() *history {
	return newHistory(func(n int) int { return []int{300, 400, 10}[n%3] })
}
