package cluster

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// span is when an entry was sent and acknowledged. The latter is math.MaxInt64 if it was never
// acknowledged, or the time is unknown.
type span struct{ sent, replied time.Duration }

// operation is an append at an index, or a request for the head that was answered with the index.
type operation struct {
	index uint64
	head  bool
}

// countModel is the model of the log: a number, which each append increments and each head reports.
// The entries at the indices are compared elsewhere.
func countModel(from uint64) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return from },
		Step: func(state, in, _ any) (bool, any) {
			head, o := state.(uint64), in.(operation)
			if o.head {
				return o.index == head, head
			}
			return o.index == head+1, o.index
		},
		DescribeOperation: func(in, _ any) string { return fmt.Sprintf("%+v", in) },
	}
}

// linearWindow is the number of entries that are checked together: the checker's memory grows with
// the square of the number of operations.
const linearWindow = 1000

// checkLinear checks that the appends of the entries after from and these heads happened one after
// another, each at a moment between its start and its end. The caller holds mu.
func (h *history) checkLinear(from uint64, heads []headSeen) error {
	for lo := from; lo < h.checked; lo += linearWindow / 2 {
		hi := min(lo+linearWindow, h.checked)
		ops := h.operations(lo, hi, heads)
		switch checkOperations(lo, ops) {
		case porcupine.Illegal:
			return fmt.Errorf("the appends of the entries %d to %d and the heads told meanwhile are not linearizable", lo+1, hi)
		case porcupine.Unknown:
			return fmt.Errorf("%d operations could not be checked in %v", len(ops), patience)
		}
	}
	return nil
}

func checkOperations(from uint64, ops []porcupine.Operation) porcupine.CheckResult {
	return porcupine.CheckOperationsTimeout(countModel(from), ops, patience)
}

// operations returns the appends of the entries lo+1..hi and the heads between. The operations left
// out have no effect on these.
func (h *history) operations(lo, hi uint64, heads []headSeen) (ops []porcupine.Operation) {
	for index := lo + 1; index <= hi; index++ {
		s := h.spans[index-1]
		ops = append(ops, porcupine.Operation{Input: operation{index: index}, Call: int64(s.sent), Return: int64(s.replied)})
	}
	for _, seen := range heads {
		if seen.head >= lo && seen.head <= hi {
			ops = append(ops, porcupine.Operation{Input: operation{index: seen.head, head: true}, Call: int64(seen.called), Return: int64(seen.got)})
		}
	}
	return ops
}

// TestCheckLinear: the checker accepts a possible order, and rejects impossible ones.
func TestCheckLinear(t *testing.T) {
	t.Parallel()
	h := &history{checked: 4, spans: []span{{1, 4}, {2, 6}, {3, math.MaxInt64}, {9, 12}}}
	good := []headSeen{{called: 4, got: 5, head: 1}, {called: 5, got: 8, head: 2}, {called: 10, got: 11, head: 4}}
	if err := h.checkLinear(0, good); err != nil {
		t.Error(err)
	}
	for name, bad := range map[string]headSeen{
		"older than an acknowledgement": {called: 7, got: 8, head: 1},
		"newer than what was sent":      {called: 7, got: 8, head: 4},
		"back":                          {called: 12, got: 13, head: 3},
	} {
		if err := h.checkLinear(0, append(slices.Clone(good), bad)); err == nil {
			t.Errorf("a head that is %s passes", name)
		}
	}
	h.spans[0], h.spans[1] = span{5, 6}, span{1, 2}
	if err := h.checkLinear(0, nil); err == nil {
		t.Error("an entry that was acknowledged before the one at the index before it was sent passes")
	}
}
