package engine

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// TestStages: the committer says what it is about to do, what is submitted when it is
// about to take is in that batch, and it waits in the end.
func TestStages(t *testing.T) {
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
	done := func(uint64, error) { say("done") }
	leave := l.Attend(func() {
		say("taking")
		if late != nil {
			late()
			late = nil
		}
	}, func() { say("waiting") }, func() { say("answering") })
	l.Submit([]byte("{\"n\":1}\n"), 1, func(uint64, error) {
		say("done")
		late = func() { l.Submit([]byte("{\"n\":2}\n{\"n\":3}\n"), 2, done) }
	})
	for deadline := time.Now().Add(10 * time.Second); l.head.Load() < 3; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("what is submitted when a batch is about to be taken is not stored")
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	// What was said before the first batch depends on when the committer was woken.
	from := slices.Index(said, "batch of 1") - 1
	want := []string{
		"waiting", "batch of 1", "answering", "done",
		"taking", "waiting", "batch of 2", "answering", "done",
		"taking", "waiting",
	}
	// It may find nothing, and be woken to no end, before it is told that this was all.
	got := slices.CompactFunc(said[max(from, 0):], func(a, b string) bool { return a == b && a == "waiting" })
	if !slices.Equal(got, want) {
		t.Errorf("the committer said %q, want %q", got, want)
	}

	said = nil
	l = openLog(t, testConfig(t))
	l.Attend(func() {}, func() {}, func() {})()
	leave()
	leave = l.Attend(func() { say("taking") }, func() { say("waiting") }, func() { say("answering") })
	leave()
	stored := make(chan error)
	l.Submit([]byte("{\"n\":1}\n"), 1, func(_ uint64, err error) { stored <- err })
	if err := <-stored; err != nil || len(said) > 0 {
		t.Errorf("after they have left: %v, and still told of %q", err, said)
	}
}
