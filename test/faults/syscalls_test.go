package faults

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os/exec"
	"slices"
	"syscall"
	"testing"
)

// smallLog makes segments, the index and blobs as small as possible, so that everything
// that can happen to a log happens within some twenty entries.
var smallLog = []string{"FAULT_SEGMENT_SIZE=2048", "FAULT_REMOVE_AFTER=1ms", "FAULT_SETTLE_EVERY=1ms", "LOOSE_MAX=-1"}

// TestKillAtCall kills a process at the Nth system call of each kind that changes a file,
// for every N, and checks the next run. A short run takes some N at random.
func TestKillAtCall(t *testing.T) {
	needTrace(t)
	// Each runs a process under the tracer, and checks the result.
	for name, scenario := range map[string]func(t *testing.T) func(t *testing.T, tr *tracer){
		"first-run": callsOfFirstRun,
		"restart":   callsOfRestart,
		"backup":    callsOfBackup,
		"repair":    callsOfRepair,
	} {
		t.Run(name, func(t *testing.T) {
			run := scenario(t)
			tr := &tracer{}
			if !t.Run("no-kill", func(t *testing.T) { run(t, tr) }) {
				return
			}
			counts := tr.wait(t)
			kills := 0
			for _, call := range slices.Sorted(maps.Keys(calls)) {
				n := counts[calls[call]]
				for _, at := range sample(t, n) {
					t.Run(fmt.Sprintf("%s-%d", call, at), func(t *testing.T) {
						tr := &tracer{call: calls[call], at: at}
						run(t, tr)
						if tr.killed {
							kills++
						}
					})
				}
				t.Logf("%-9s %4d calls", call, n)
			}
			t.Logf("%d kills", kills)
			if kills == 0 {
				t.Error("nothing was killed")
			}
		})
	}
}

// sample returns some of the numbers from 1 to n, or all of them in a long run.
func sample(t *testing.T, n int) []int {
	all := rand.Perm(n)
	for i := range all {
		all[i]++
	}
	if !long(t) {
		all = all[:min(n, scaled(t, 1))]
	}
	slices.Sort(all)
	return all
}

// callsOfFirstRun starts a server without a log, appends, waits until segments were
// sealed, settled and removed, and stops it.
func callsOfFirstRun(*testing.T) func(t *testing.T, tr *tracer) {
	return func(t *testing.T, tr *tracer) {
		h := newHistory(func(int) int { return 300 })
		p := launch(t, options{Env: smallLog, Tracer: tr})
		serveSmall(t, p, h, 2)
		if code := p.wait(); code != 0 && !tr.killed {
			t.Fatalf("exit code is %d: %s", code, p.stderr())
		}
		tr.wait(t)
		recovered(t, p.data, h, smallLog...)
	}
}

// serveSmall appends, waits until removals segments were removed, and stops the server,
// unless it is killed first.
func serveSmall(t *testing.T, p *process, h *history, removals int) {
	if _, ok := p.awaitNth("listening", 1); !ok {
		return
	}
	p.listening()
	h.write(t, p.addr, load{Entries: 20})
	if _, ok := p.awaitNth("removed", removals); ok {
		p.signal(syscall.SIGTERM)
	}
}

// callsOfRestart starts a server on a crashed log: half a batch, half a record, half-made
// files, and a segment to remove.
func callsOfRestart(t *testing.T) func(t *testing.T, tr *tracer) {
	before := newHistory(func(int) int { return 300 })
	p := server(t, options{Env: []string{"FAULT_SEGMENT_SIZE=2048", "FAULT_SETTLE_EVERY=1h"}})
	before.write(t, p.addr, load{Entries: 20})
	p.kill9()
	left := p.data
	unfinish(t, left)
	return func(t *testing.T, tr *tracer) {
		h, data := before.copy(), newData(t)
		run(t, "cp", "-a", left, data)
		p := launch(t, options{Data: data, Env: smallLog, Tracer: tr})
		serveSmall(t, p, h, 2)
		if code := p.wait(); code != 0 && !tr.killed {
			t.Fatalf("exit code is %d: %s", code, p.stderr())
		}
		tr.wait(t)
		recovered(t, data, h, smallLog...)
	}
}

// callsOfBackup makes a backup onto an earlier one. After a kill at any point the
// destination is the earlier one or the new one, and the next run completes it.
func callsOfBackup(t *testing.T) func(t *testing.T, tr *tracer) {
	env := []string{"FAULT_SEGMENT_SIZE=2048", "FAULT_SETTLE_EVERY=1ms", "LOOSE_MAX=10"}
	h, data, earlier := newHistory(func(int) int { return 300 }), newData(t), newData(t)
	var heads [2]uint64
	for i := range heads {
		p := server(t, options{Data: data, Env: env})
		h.write(t, p.addr, load{Entries: 12})
		p.clean()
		heads[i] = uint64(h.acks.Load())
		if i == 0 {
			run(t, program(t), "backup", "--data", data, earlier)
		}
	}
	return func(t *testing.T, tr *tracer) {
		dest := newData(t)
		run(t, "cp", "-a", earlier, dest)
		cmd := exec.Command(program(t), "backup", "--data", data, dest)
		if err := tr.start(cmd); err != nil {
			t.Fatal(err)
		}
		tr.wait(t)
		cmd.Wait()
		fsck(t, dest)
		found := newData(t)
		run(t, "cp", "-a", dest, found) // a backup that has been appended to accepts no further backup
		p := server(t, options{Data: found, Env: env})
		head := verifyThrough(t, p.addr, h, heads[0])
		p.clean()
		if !slices.Contains(heads[:], head) {
			t.Fatalf("the backup ends at %d, want %v", head, heads)
		}
		run(t, program(t), "backup", "--data", data, dest)
		fsck(t, dest)
		if head := recovered(t, dest, h, env...); head != heads[1] {
			t.Fatalf("the backup ends at %d, want %d", head, heads[1])
		}
	}
}

// callsOfRepair repairs a log whose damage is all repairable, twice.
func callsOfRepair(t *testing.T) func(t *testing.T, tr *tracer) {
	h, damaged := damagedLog(t, 20)
	return func(t *testing.T, tr *tracer) {
		data := newData(t)
		run(t, "cp", "-a", damaged, data)
		cmd := exec.Command(program(t), "fsck", "--repair", data)
		if err := tr.start(cmd); err != nil {
			t.Fatal(err)
		}
		tr.wait(t)
		cmd.Wait()
		if code, lines := fsckOf(t, data, "--repair"); code != 0 && code != 1 {
			t.Fatalf("the repair's exit code is %d, want 0 or 1: %v", code, lines)
		}
		recovered(t, data, h, "LOOSE_MAX=-1")
	}
}
