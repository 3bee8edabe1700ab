// Package logtest tests implementations of the interface Log of package server: the contract written
// there, and nothing else. It does not import package server, so the tests of that package can run it,
// and those of a log that must not import it.
package logtest

import (
	"context"
	"testing"
	"time"

	"tcp-log-server/appends"
)

// Log is server.Log.
type Log interface {
	Append(entries []byte, count int, on appends.Condition, done func(stored appends.Result, err error))
	Submit(entries []byte, count int, on appends.Condition, done func(stored appends.Result, err error))
	AwaitOnce(ctx context.Context) error
	Head(ctx context.Context) (uint64, error)
	Acked() (head uint64, moved <-chan struct{})
	Read(ctx context.Context, from, through uint64, fn func(first uint64, count int, entries []byte, time int64, err error) error) error
	Since(ctx context.Context, time int64) (index uint64, err error)
}

// Harness is a log under test, and the operations on it. Only the test appends to it.
type Harness struct {
	// Log is empty.
	Log Log
	// Close closes Log. The suite calls it at most once, so the opener of the log also closes it at
	// the test's end if that has not happened. If Close is nil, closing is not tested.
	Close func(t testing.TB)
	// Reopen opens the log again after Close. If it is nil, persistence is not tested.
	Reopen func(t testing.TB) Log
	// NoOnce: appends with appends.Once are not tested.
	NoOnce bool
	// TimesVary: the entries of one append may have been stored at different times; the result has the
	// first.
	TimesVary bool
	// MaxAppend is how many bytes of entries one append may hold, 16 MiB if it is 0. A log with a
	// method MaxAppend overrides it.
	MaxAppend int
	// Patience is how long to wait for what must happen, half a minute if it is 0.
	Patience time.Duration
}

// Test is one test of the suite.
type Test struct {
	Name string
	Run  func(t testing.TB, h Harness)
}

// Run runs the suite, each test as a subtest with its own log, which open opens.
func Run(t *testing.T, open func(t *testing.T) Harness) {
	for _, test := range Tests() {
		t.Run(test.Name, func(t *testing.T) { test.Run(t, open(t)) })
	}
}

// Tests returns the tests of the suite.
func Tests() []Test {
	return []Test{
		{"Order", testOrder},
		{"Together", testTogether},
		{"Nothing", testNothing},
		{"Bytes", testBytes},
		{"Large", testLarge},
		{"Expect", testExpect},
		{"ExpectInFlight", testExpectInFlight},
		{"ExpectRace", testExpectRace},
		{"Once", testOnce},
		{"OnceMixed", testOnceMixed},
		{"OnceRace", testOnceRace},
		{"AwaitOnce", testAwaitOnce},
		{"Head", testHead},
		{"Acked", testAcked},
		{"Moved", testMoved},
		{"Read", testRead},
		{"ReadEnds", testReadEnds},
		{"ReadMeanwhile", testReadMeanwhile},
		{"Times", testTimes},
		{"Since", testSince},
		{"Close", testClose},
		{"CloseMeanwhile", testCloseMeanwhile},
		{"Reopen", testReopen},
		{"Model", testModel},
	}
}

// patience returns how long to wait for what must happen.
func (h *Harness) patience() time.Duration {
	if h.Patience > 0 {
		return h.Patience
	}
	return 30 * time.Second
}

// maxAppend returns how many bytes of entries one append may hold, and whether the log itself said so.
func (h *Harness) maxAppend() (n int, said bool) {
	if log, ok := h.Log.(interface{ MaxAppend() int }); ok {
		return log.MaxAppend(), true
	}
	if h.MaxAppend > 0 {
		return h.MaxAppend, false
	}
	return 16 << 20, false
}

// needsOnce skips a test that needs appends with appends.Once, or waits until the log takes them.
func (h *Harness) needsOnce(t testing.TB) {
	t.Helper()
	if h.NoOnce {
		t.Skip("the log takes no appends with Once")
	}
	ctx, cancel := context.WithTimeout(t.Context(), h.patience())
	defer cancel()
	if err := h.Log.AwaitOnce(ctx); err != nil {
		t.Fatalf("AwaitOnce: %v", err)
	}
}
