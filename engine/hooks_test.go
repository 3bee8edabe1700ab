package engine

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// TestHooks: the committer announces what it is about to do, what is submitted before a
// batch is in that batch, and finally it waits.
func TestHooks(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var said []string
	say := func(s string) {
		mu.Lock()
		defer mu.Unlock()
		said = append(said, s)
	}
	config := testConfig(t)
	config.OnBatch = func(entries, _ int, _ time.Duration) { say(fmt.Sprint("batch of ", entries)) }
	l := openLog(t, config)
	var late func()
	done := func(Result, error) { say("done") }
	remove := l.SetHooks(func() {
		say("before batch")
		if late != nil {
			late()
			late = nil
		}
	}, func() { say("before wait") }, func() { say("before replies") })
	l.Submit([]byte("{\"n\":1}\n"), 1, Condition{}, func(Result, error) {
		say("done")
		late = func() { l.Submit([]byte("{\"n\":2}\n{\"n\":3}\n"), 2, Condition{}, done) }
	})
	for deadline := time.Now().Add(10 * time.Second); l.head.Load() < 3; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("what is submitted when a batch is about to be taken is not stored")
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	// What was announced before the first batch depends on when the committer was woken.
	from := slices.Index(said, "batch of 1") - 1
	want := []string{
		"before wait", "batch of 1", "before replies", "done",
		"before batch", "before wait", "batch of 2", "before replies", "done",
		"before batch", "before wait",
	}
	// It may find nothing, and be woken in vain, before it is told that this was all.
	got := slices.CompactFunc(said[max(from, 0):], func(a, b string) bool { return a == b && a == "before wait" })
	if !slices.Equal(got, want) {
		t.Errorf("the committer said %q, want %q", got, want)
	}

	said = nil
	l = openLog(t, testConfig(t))
	l.SetHooks(func() {}, func() {}, func() {})()
	remove()
	remove = l.SetHooks(func() { say("before batch") }, func() { say("before wait") }, func() { say("before replies") })
	remove()
	stored := make(chan error)
	l.Submit([]byte("{\"n\":1}\n"), 1, Condition{}, func(_ Result, err error) { stored <- err })
	if err := <-stored; err != nil || len(said) > 0 {
		t.Errorf("after the hooks were removed: %v, and still %q", err, said)
	}
}
