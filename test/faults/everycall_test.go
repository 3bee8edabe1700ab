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

// TestEveryCallFails makes one system call on the files of a store fail once, then ends
// the run by kill -9 or by a power cut. The log answers every append while it runs. The
// next start needs no operator, serves every acknowledged entry and no refused one, and
// accepts appends. fsck finds the log whole before and after that start. A long run takes
// every call, a short one some of each kind, spread over the run: FAULT_SEED, which is
// logged, repeats the choice.
func TestEveryCallFails(t *testing.T) {
	needTrace(t)
	needLoop(t)
	seed := seedOf(t)
	// Each makes a data directory, and the history of its entries.
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
				counts, _ = c.fault.so()
			}) {
				return
			}
			for _, kind := range []string{"write", "sync", "open", "rename", "unlink", "truncate", "mkdir"} {
				t.Run(kind, func(t *testing.T) {
					t.Parallel()
					disk := newImage(t, 64, "data=ordered")
					met := 0
					choice := chosen(t, seed, kind, counts[kind])
					for _, c := range choice {
						c.begin, c.disk = begin, disk
						c.stops = c.fault.at > stopping[kind]
						t.Run(fmt.Sprintf("%d-%s-%s", c.fault.at, c.fault.how, c.end), c.run)
						if _, what := c.fault.so(); what != "" {
							met++
						}
					}
					t.Logf("%s: %d calls, %d of them while it stops; %d runs, %d of them with a failed call", kind, counts[kind], counts[kind]-stopping[kind], len(choice), met)
					// The number of calls varies a little from run to run.
					if met < len(choice)*3/4 {
						t.Errorf("only %d of %d runs came to the call that was to fail", met, len(choice))
					}
				})
			}
		})
	}
}

// seedOf returns FAULT_SEED, or a random seed.
func seedOf(t *testing.T) uint64 {
	seed := rand.Uint64N(1 << 32)
	if s := os.Getenv("FAULT_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("FAULT_SEED is %q, want a number", s)
		}
	}
	t.Logf("FAULT_SEED=%d chooses the same calls", seed)
	return seed
}

// chosen returns the runs in which one of n calls of a kind fails: every call in every
// way in a long run, otherwise one call of each of some equal parts. The two ends
// alternate, starting with either one, as the seed says.
func chosen(t *testing.T, seed uint64, kind string, n int) (all []*failingCall) {
	rnd := rand.New(rand.NewPCG(seed, uint64(n)))
	hows, ends := []how{eio, enospc, eioDone}, []string{"kill", "cut"}
	if kind == "open" {
		hows = hows[:2] // an open file that the caller does not know is not a disk failure
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
	stops   bool          // it is told to stop first: that is when the call comes
	settles bool          // what was appended has the time to settle, also at a second try
	linger  time.Duration // or else it has this long

	before map[string]int // calls by kind before it is told to stop
}

// faulty has the settings: tiny segments that are removed at once.
var faulty = append(slices.Clone(smallLog), "LOG_LEVEL=debug")

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
	p := launch(t, options{Data: data, Env: faulty, Tracer: tr})
	defer p.kill9() // before the file system goes
	if _, ok := p.awaitNth("listening", 1); ok {
		p.listening()
		c.serve(t, p, h)
	} else if _, met := c.fault.so(); met == "" || p.wait() != 1 {
		t.Fatalf("the start is refused with exit code %d, and %q has failed: %s", p.wait(), met, p.stderr())
	}
	if c.end == "cut" {
		c.disk.cut()
	}
	p.kill9()
	tr.wait(t)
	counts, met := c.fault.so()
	acked, refused, unknown := h.counts()
	t.Logf("failed: %q; %d entries acknowledged, %d refused, %d neither; %v; calls %v", met, acked, refused, unknown, h.errors(), counts)
	if c.end == "cut" {
		c.disk.unmount()
		c.disk.mount()
	}
	c.recover(t, data, h)
}

// serve appends, waits for settling and removal, and stops the server if the call comes
// then.
func (c *failingCall) serve(t *testing.T, p *process, h *history) {
	const appends = 3*7 + 6
	before := h.replies.Load()
	h.write(t, p.addr, load{Writers: 3, Depth: 2, Entries: 7})
	h.write(t, p.addr, load{Entries: 6})
	if got := h.replies.Load() - before; got != appends {
		t.Errorf("%d of %d appends were answered: %s", got, appends, p.stderr())
	}
	met := func() bool { _, what := c.fault.so(); return what != "" }
	if met() && !c.settles {
		time.Sleep(c.linger)
	} else {
		poll(1600*time.Millisecond, func() bool {
			return met() && !c.settles || p.settled() >= h.highest.Load() && len(p.logged("removed")) > 3
		})
	}
	c.before, _ = c.fault.so()
	if met() {
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
	if code := p.wait(); code != 0 && !met() {
		t.Fatalf("exit code is %d: %s", code, p.stderr())
	}
}

// settled returns the last entry that the server has logged as settled.
func (p *process) settled() (through uint64) {
	for _, e := range p.logged("settled") {
		through = uint64(e["through"].(float64))
	}
	return through
}

// recover checks the log after the run, starts a server on it, and checks again.
func (c *failingCall) recover(t *testing.T, data string, h *history) {
	if _, err := os.Stat(filepath.Join(data, "segments")); err == nil {
		c.check(t, data)
	}
	p := launch(t, options{Data: data, Env: faulty})
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

// check runs fsck on the log after the run. It finds the log whole, with these
// exceptions:
//
//   - blob-damaged after the end of the index, after a power cut: blobs are synced
//     before the records that name them, so those without a record may be there by name
//     alone, without their bytes. The entries are in their segments, and the next start
//     writes the blobs again.
func (c *failingCall) check(t *testing.T, data string) {
	code, lines := fsckOf(t, data)
	summary := lines[len(lines)-1]
	if code == 0 {
		return
	}
	for _, f := range lines[:len(lines)-1] {
		first, _ := f["first"].(float64)
		if f["severity"] == "error" && (c.end != "cut" || f["kind"] != "blob-damaged" || first <= summary["indexed"].(float64)) {
			t.Errorf("fsck finds %v", f)
		}
	}
	if damaged := summary["damaged"]; damaged != 0.0 {
		t.Errorf("fsck finds %v damaged entries", damaged)
	}
}

// startOnNothing leaves the directory to be made.
func startOnNothing(*testing.T) func(t *testing.T, data string) *history {
	return func(*testing.T, string) *history { return mixed() }
}

// startAfterCrash copies what a crash has left: half a batch, half a record, files
// half made, and segments to be removed.
func startAfterCrash(t *testing.T) func(t *testing.T, data string) *history {
	before := mixed()
	p := server(t, options{Env: []string{"FAULT_SEGMENT_SIZE=2048", "FAULT_SETTLE_EVERY=1h"}})
	before.write(t, p.addr, load{Entries: 20})
	p.kill9()
	left := p.data
	unfinish(t, left)
	var mu sync.Mutex // the copies come one after the other
	return func(t *testing.T, data string) *history {
		mu.Lock()
		defer mu.Unlock()
		run(t, "cp", "-a", left, data)
		run(t, "sync", "-f", data)
		return before.copy()
	}
}

// mixed is a history of entries some of which are small enough to fit where others
// have no room any more.
func mixed() *history {
	return newHistory(func(n int) int { return []int{300, 400, 10}[n%3] })
}
