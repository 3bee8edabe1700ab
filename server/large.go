package server

import (
	"bytes"
	"context"
	"runtime"

	"golang.org/x/sync/semaphore"
)

const (
	// largeLine is how long a line is that waits for a turn to be parsed, in bytes: the
	// worst ones of that length take 3 ms.
	largeLine = 64 << 10
	// scratchMax bounds the memory for the turns under way, in bytes. One alone may need
	// more.
	scratchMax = 128 << 20
	// memberScratch is about how much memory it takes to sort a member, in bytes.
	memberScratch = 128
)

// parseTurns makes large lines take turns in being parsed. A line of 16 MiB can keep a
// processor for a second, and sorting what is in it can take fifteen times its length: so
// only half of the processors parse such lines at once, and within bounded memory, which
// counts among that of Config.MaxHeld. Short lines do not wait.
type parseTurns struct {
	memory  *budget
	scratch *semaphore.Weighted
	least   int64 // what a turn takes of scratch at least, so that turns are few
}

func newParseTurns(memory *budget) *parseTurns {
	return &parseTurns{memory, semaphore.NewWeighted(scratchMax), scratchMax / int64(max(1, runtime.GOMAXPROCS(0)/2))}
}

// parse is the function parse, for a line of any length. The error cut says why the
// connection was cut while the line was waiting.
func (t *parseTurns) parse(ctx context.Context, line, entries []byte) (m message, out []byte, bad, cut error) {
	if len(line) < largeLine {
		m, out, bad = parse(line, entries)
		return m, out, bad, nil
	}
	need := int64(bytes.Count(line, []byte{':'})) * memberScratch
	taken := max(min(need, scratchMax), t.least)
	if t.scratch.Acquire(ctx, taken) != nil {
		return m, entries, nil, context.Cause(ctx)
	}
	t.memory.count(need)
	defer func() {
		t.memory.count(-need)
		t.scratch.Release(taken)
	}()
	m, out, bad = parse(line, entries)
	return m, out, bad, nil
}
