package faults

import (
	"fmt"
	"slices"

	"github.com/anishathalye/porcupine"
)

// request is a client's request, and answer the result.
type request struct {
	entry  string // to append, "" for a read
	once   bool   // only if the log does not hold it
	expect int    // only if this is the head, -1 for any
	from   uint64 // the first index of a read
	count  uint64 // how many entries it wants; 0 asks for the head alone
}

type answer struct {
	index   uint64 // of an append; 0 if the head was not as expected, but is head
	entries []string
	whole   bool   // the read got everything it wanted, rather than {"current":true}
	head    uint64 // if the request asked for it
	lost    bool   // there is no answer
}

// logModel is the model of the log: a list to which appends add, at the index in their
// replies, and which reads see as it is at one moment.
var logModel = porcupine.Model{
	Init: func() any { return []string(nil) },
	Step: func(state, in, out any) (bool, any) {
		log, q, a := state.([]string), in.(request), out.(answer)
		n := uint64(len(log))
		switch {
		case q.entry != "" && a.index == 0:
			return a.head == n && q.expect >= 0 && n != uint64(q.expect), log
		case q.once && slices.Contains(log, q.entry):
			return a.index == uint64(slices.Index(log, q.entry))+1, log
		case q.entry != "" && q.expect >= 0 && n != uint64(q.expect):
			return false, log
		case q.entry != "":
			// A shared list is never changed.
			return a.index == n+1, append(log[:n:n], q.entry)
		case q.count == 0:
			return a.head == n, log
		case a.whole && (n < q.from+q.count-1 || uint64(len(a.entries)) != q.count):
			return false, log
		case !a.whole && n != max(q.from-1, q.from-1+uint64(len(a.entries))) && !(len(a.entries) == 0 && n < q.from):
			return false, log
		}
		if len(a.entries) == 0 {
			return true, log
		}
		return slices.Equal(log[q.from-1:q.from-1+uint64(len(a.entries))], a.entries), log
	},
	Equal: func(a, b any) bool { return slices.Equal(a.([]string), b.([]string)) },
	DescribeOperation: func(in, out any) string {
		return fmt.Sprintf("%+v: %+v", in, out)
	},
}

// doctoredHistories returns histories that no correct log can have.
func doctoredHistories(ops []porcupine.Operation) map[string][]porcupine.Operation {
	change := func(pick func(q request, a answer) bool, to func(op *porcupine.Operation)) []porcupine.Operation {
		out := slices.Clone(ops)
		// Start in the middle: there must be operations before and after.
		for i := range out {
			i = (i + len(out)/2) % len(out)
			if pick(out[i].Input.(request), out[i].Output.(answer)) {
				to(&out[i])
				return out
			}
		}
		return nil // an unaltered history passes, and so fails the test
	}
	end := uint64(0) // of the log, as far as the history shows
	for _, op := range ops {
		end = max(end, op.Output.(answer).index)
	}
	last := slices.MaxFunc(ops, func(a, b porcupine.Operation) int { return int(a.Return - b.Return) }).Return
	appends := func(q request, a answer) bool { return q.entry != "" && a.index > 0 && !q.once }
	unique := func(q request, a answer) bool { return appends(q, a) && q.expect < 0 }
	return map[string][]porcupine.Operation{
		"a read that came late and saw the log as it was earlier": change(
			func(q request, a answer) bool {
				return q.count > 0 && !a.whole && len(a.entries) > 0 && q.from-1+uint64(len(a.entries)) < end
			},
			func(op *porcupine.Operation) { op.Call, op.Return = last+1, last+2 }),
		"two appends at one index": change(unique, func(op *porcupine.Operation) {
			op.Output = answer{index: op.Output.(answer).index - 1}
		}),
		"a read of what was not written": change(
			func(q request, a answer) bool { return len(a.entries) > 0 },
			func(op *porcupine.Operation) {
				a := op.Output.(answer)
				a.entries = append(slices.Clone(a.entries[1:]), `{"by":0}`)
				op.Output = a
			}),
		"an append that was acknowledged before it took effect": change(appends, func(op *porcupine.Operation) {
			op.Call, op.Return = -2, -1
		}),
		"an append that did not find the head it expects": change(
			func(q request, a answer) bool { return appends(q, a) && q.expect > 0 },
			func(op *porcupine.Operation) {
				q := op.Input.(request)
				q.expect--
				op.Input = q
			}),
		"an append that was refused with the head it expects": change(
			func(q request, a answer) bool { return q.entry != "" && a.index == 0 },
			func(op *porcupine.Operation) {
				q := op.Input.(request)
				q.expect = int(op.Output.(answer).head)
				op.Input = q
			}),
		"an entry that was stored once, at another index": change(
			func(q request, a answer) bool { return q.once && a.index > 1 },
			func(op *porcupine.Operation) { op.Output = answer{index: op.Output.(answer).index - 1} }),
		"a head that lags": change(
			func(q request, a answer) bool { return q.entry == "" && a.head > 10 && a.head < end },
			func(op *porcupine.Operation) { op.Call, op.Return = last+1, last+2 }),
	}
}
