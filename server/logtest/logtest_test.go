package logtest

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
)

// TestMemory: a log that keeps the contract passes.
func TestMemory(t *testing.T) {
	Run(t, func(t *testing.T) Harness { return harness("", 0) })
}

// faults are ways to break the contract, and the tests that must find each.
var faults = map[string][]string{
	"never":               {"Order"},
	"twice":               {"Order"},
	"order":               {"Order", "ExpectInFlight", "Model"},
	"at once":             {"Order"},
	"first":               {"Order", "Bytes"},
	"split":               {"Together"},
	"head between":        {"Together"},
	"nothing":             {"Nothing"},
	"altered":             {"Bytes", "Large"},
	"loses the last":      {"Together", "Large"},
	"too large":           {"Large"},
	"expect ignored":      {"Expect", "ExpectInFlight", "ExpectRace", "Model"},
	"expect late":         {"Expect", "ExpectInFlight", "ExpectRace"},
	"unmet is stored":     {"Expect", "ExpectRace", "Model"},
	"unmet head":          {"Expect", "ExpectInFlight", "Model"},
	"unmet text":          {"Expect", "ExpectRace"},
	"met is refused":      {"ExpectInFlight"},
	"once last":           {"Once", "OnceRace"},
	"once in one call":    {"Once"},
	"once forgets":        {"Once", "AwaitOnce", "OnceRace", "Model", "Reopen"},
	"once time":           {"Once"},
	"once not seen":       {"Once", "OnceMixed", "Model"},
	"await":               {"AwaitOnce"},
	"await fails":         {"AwaitOnce"},
	"head late":           {"Head"},
	"head short":          {"Head", "Expect"},
	"known":               {"Head"},
	"acked early":         {"Acked"},
	"never acked":         {"Acked", "Moved"},
	"unmoved":             {"Moved"},
	"moved by nothing":    {"Moved"},
	"read short":          {"Read"},
	"read from":           {"Read", "ReadMeanwhile"},
	"read swaps":          {"Read", "Together"},
	"read count":          {"Read"},
	"read goes on":        {"ReadEnds"},
	"read hides":          {"ReadEnds"},
	"read without end":    {"ReadEnds"},
	"time":                {"Times"},
	"times back":          {"Times"},
	"since after":         {"Since"},
	"since end":           {"Since"},
	"since last":          {"Since"},
	"silent after close":  {"Close"},
	"vague after close":   {"Close"},
	"close drops":         {"CloseMeanwhile"},
	"close does not wait": {"CloseMeanwhile"},
	"close loses":         {"Close", "CloseMeanwhile", "Reopen"},
	"close adds":          {"Close", "Reopen"},
	"close forgets times": {"Reopen"},
}

// TestFaults: each fault is found by the tests intended for it, and each test finds one.
func TestFaults(t *testing.T) {
	finds := make(map[string]bool)
	var finding sync.Map
	t.Run("each", func(t *testing.T) {
		for fault, names := range faults {
			for _, name := range names {
				finds[name] = true
				t.Run(fmt.Sprintf("%s/%s", fault, name), func(t *testing.T) {
					t.Parallel()
					// Outcomes that depend on timing are tried several times.
					for range 20 {
						if r := tryOut(t, name, harness(fault, 300*time.Millisecond)); r.Failed() {
							finding.Store(name, true)
							return
						}
					}
					t.Errorf("%s does not find the fault %q", name, fault)
				})
			}
		}
	})
	for _, test := range Tests() {
		if !finds[test.Name] {
			t.Errorf("no fault shows that %s can fail", test.Name)
		}
	}
}

// recorder is a test that may fail without consequences.
type recorder struct {
	testing.TB
	ctx context.Context

	mu     sync.Mutex
	failed bool
	texts  []string
}

// tryOut runs the test of that name.
func tryOut(t *testing.T, name string, h Harness) *recorder {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r := &recorder{TB: t, ctx: ctx}
	i := slices.IndexFunc(Tests(), func(test Test) bool { return test.Name == name })
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		Tests()[i].Run(r, h)
	}()
	<-ended
	return r
}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = true
	r.texts = append(r.texts, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

func (r *recorder) Error(args ...any)        { r.Errorf("%s", fmt.Sprint(args...)) }
func (r *recorder) Fatal(args ...any)        { r.Fatalf("%s", fmt.Sprint(args...)) }
func (r *recorder) Skip(...any)              { runtime.Goexit() }
func (r *recorder) Helper()                  {}
func (r *recorder) Context() context.Context { return r.ctx }

func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}
