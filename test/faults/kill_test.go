package faults

import (
	"math/rand/v2"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// killLoad is the load under which servers are killed: 16 pipelining connections.
var killLoad = load{Writers: 16, Depth: 64}

// TestKill kills the server with kill -9 at random moments of all its activities,
// FAULT_ROUNDS times in all, and starts it again. Every acknowledged entry is at its
// index, and one without an acknowledgement is whole or absent.
func TestKill(t *testing.T) {
	t.Parallel()
	families := []struct {
		name string
		run  func(t *testing.T, rounds int)
	}{
		{"appends", killAppends},
		{"sealing", killSealing},
		{"settling", killSettling},
		{"removal", killRemoval},
		{"backup", killBackup},
		{"repair", killRepair},
		{"recovery", killRecovery},
	}
	each := (rounds(t) + len(families) - 1) / len(families)
	for _, f := range families {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			f.run(t, each)
		})
	}
}

// logRounds is how many rounds use the same log, so that most kills hit a log that was
// killed before.
const logRounds = 5

// killRounds calls round n times with a server, which round must kill, and verifies
// the log each time.
func killRounds(t *testing.T, n int, env []string, round func(p *process, h *history)) {
	t.Helper()
	var h *history
	var data string
	for i := range n {
		if i%logRounds == 0 {
			h, data = newHistory(nil), newData(t)
		}
		p := server(t, options{Data: data, Env: env})
		round(p, h)
		p.kill9()
		head := recovered(t, data, h, env...)
		acked, refused, unknown := h.counts()
		t.Logf("round %d: head %d, %d acknowledged, %d refused, %d without a reply", i, head, acked, refused, unknown)
		if refused > 0 {
			t.Errorf("%d entries were refused: %v", refused, h.errors())
		}
	}
}

// underLoad runs fn while writers write, and then kills the server.
func underLoad(t *testing.T, p *process, h *history, l load, fn func()) {
	t.Helper()
	before := h.acks.Load()
	r := h.start(t, p.addr, l)
	eventually(t, "the first acknowledgement", func() bool { return h.acks.Load() > before || p.gone() })
	if p.gone() {
		t.Fatalf("the server has ended by itself: %s", p.stderr())
	}
	fn()
	p.kill9()
	r.wait()
}

// moment waits for a random time, so that the kill comes at any point.
func moment(limit time.Duration) { time.Sleep(rand.N(limit)) }

func killAppends(t *testing.T, n int) {
	killRounds(t, n, []string{"LOOSE_MAX=100"}, func(p *process, h *history) {
		underLoad(t, p, h, killLoad, func() { moment(300 * time.Millisecond) })
	})
}

func killSealing(t *testing.T, n int) {
	env := []string{"FAULT_SEGMENT_SIZE=16384", "LOOSE_MAX=0"}
	killRounds(t, n, env, func(p *process, h *history) {
		underLoad(t, p, h, killLoad, func() {
			p.awaitNth("sealed", 1+rand.IntN(20))
			moment(20 * time.Millisecond)
		})
	})
}

func killSettling(t *testing.T, n int) {
	env := []string{"FAULT_SETTLE_EVERY=1ms", "LOOSE_MAX=-1", "LOG_LEVEL=debug"}
	killRounds(t, n, env, func(p *process, h *history) {
		l := killLoad
		l.Entries = 1 + rand.IntN(100) // then it settles at full speed
		underLoad(t, p, h, l, func() {
			p.awaitNth("settled", 1)
			moment(300 * time.Millisecond)
		})
	})
}

func killRemoval(t *testing.T, n int) {
	env := []string{"FAULT_SEGMENT_SIZE=8192", "FAULT_REMOVE_AFTER=1ms", "FAULT_SETTLE_EVERY=1ms", "LOOSE_MAX=-1"}
	killRounds(t, n, env, func(p *process, h *history) {
		l := load{Writers: 16, Depth: 4, Entries: 50 + rand.IntN(50)} // 10 segments or more
		underLoad(t, p, h, l, func() {
			p.awaitNth("removed", 1+rand.IntN(6))
			moment(10 * time.Millisecond)
		})
	})
}

// killBackup kills the backup, the server, or both, while entries are appended. The
// next backup completes the first, and holds everything that was acknowledged before
// it began.
func killBackup(t *testing.T, n int) {
	for i := range n {
		env := []string{"FAULT_SEGMENT_SIZE=32768", "FAULT_REMOVE_AFTER=20ms", "FAULT_SETTLE_EVERY=5ms", "LOOSE_MAX=-1"}
		h, data, dest := newHistory(nil), newData(t), newData(t)
		p := server(t, options{Data: data, Env: env})
		h.write(t, p.addr, load{Writers: 16, Depth: 64, Entries: 100})
		l := killLoad
		l.Entries = 400 // takes a while
		r := h.start(t, p.addr, l)
		for range 2 {
			b := exec.Command(program(t), "backup", "--data", data, dest)
			if err := b.Start(); err != nil {
				t.Fatal(err)
			}
			moment(60 * time.Millisecond)
			if i%2 == 1 {
				p.kill9()
			}
			if i%3 != 1 {
				b.Process.Kill()
			}
			b.Wait() // the backup of a log whose server was killed may fail or not
		}
		p.kill9()
		r.wait()
		head := recovered(t, data, h, env...)
		run(t, program(t), "backup", "--data", data, dest)
		fsck(t, dest)
		p = server(t, options{Data: dest, Env: env})
		if got := verify(t, p.addr, h); got != head {
			t.Errorf("the backup ends at %d, the log at %d", got, head)
		}
		p.clean()
	}
}

// killRecovery kills the start of a crashed log, several times in a row.
func killRecovery(t *testing.T, n int) {
	env := []string{"FAULT_SEGMENT_SIZE=16384", "FAULT_REMOVE_AFTER=1ms", "FAULT_SETTLE_EVERY=5ms", "LOOSE_MAX=500"}
	for range n {
		h, data := newHistory(nil), newData(t)
		p := server(t, options{Data: data, Env: env})
		underLoad(t, p, h, killLoad, func() { moment(100 * time.Millisecond) })
		took := 100 * time.Millisecond
		for kill := range 6 {
			unfinish(t, data)
			began := time.Now()
			p = launch(t, options{Data: data, Env: env})
			if kill == 0 {
				p.listening() // the first start only measures how long one takes
				took = time.Since(began)
				moment(10 * time.Millisecond)
			} else {
				moment(took)
			}
			p.kill9()
			if code := p.wait(); code != -1 || p.stderr() != "" {
				t.Fatalf("the start was refused with exit code %d: %s", code, p.stderr())
			}
		}
		recovered(t, data, h, env...)
	}
}

// killRepair kills fsck --repair at random moments and runs it again. In the end all
// damage is repaired.
func killRepair(t *testing.T, n int) {
	h, damaged := damagedLog(t, 100)
	whole := newData(t)
	run(t, "cp", "-a", damaged, whole)
	began := time.Now()
	if code, lines := fsckOf(t, whole, "--repair"); code != 1 {
		t.Fatalf("the repair's exit code is %d, want 1: %v", code, lines)
	}
	took := time.Since(began)
	recovered(t, whole, h, "LOOSE_MAX=-1")
	killed := 0
	for range n {
		data := newData(t)
		run(t, "cp", "-a", damaged, data)
		for range 4 {
			repair := exec.Command(program(t), "fsck", "--repair", data)
			if err := repair.Start(); err != nil {
				t.Fatal(err)
			}
			moment(took)
			repair.Process.Kill()
			repair.Wait()
			if repair.ProcessState.Sys().(syscall.WaitStatus).Signaled() {
				killed++
			}
		}
		if code, lines := fsckOf(t, data, "--repair"); code != 0 && code != 1 {
			t.Fatalf("the repair's exit code is %d, want 0 or 1: %v", code, lines)
		}
		recovered(t, data, h, "LOOSE_MAX=-1")
	}
	t.Logf("a repair takes %v; %d were killed", took, killed)
	if killed == 0 {
		t.Error("every repair was quicker than its kill")
	}
}
