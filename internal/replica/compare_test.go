package replica

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"tcp-log-server/client"
)

// TestLost: entries that the source has lost are recorded as lost; an entry that only one of the
// two has lost is not a difference.
func TestLost(t *testing.T) {
	source := serve(t, newFakeLog(40))
	copied := newFakeLog(20)
	source.entries[2] = entry{lost: true, time: source.entries[2].time}
	copied.entries[19] = entry{lost: true, time: copied.entries[19].time}
	source.entries[30] = entry{lost: true, time: source.entries[30].time}
	r := follow(t, source.addr, copied, nil)
	await(t, "the copy", func() bool { s := r.Status(); return s.Connected && s.Behind == 0 && s.Verified == 40 })
	if !copied.entries[30].lost || copied.entries[2].lost || copied.entries[31].lost {
		t.Errorf("the replica has %s", copied.text())
	}
}

// TestDifference: the background comparison finds one differing entry among many, ends replication,
// and lets it continue once the entry is repaired.
func TestDifference(t *testing.T) {
	source := serve(t, newFakeLog(100_000))
	copied := newFakeLog(100_000)
	copied.entries[77_776].text = `{"n":0}`
	copied.entries[88_887].text = `{"n":0}`
	r := follow(t, source.addr, copied, nil)
	awaitStopped(t, r, "entry 77777 here is not the entry 77777 of "+source.addr)
	source.add(1)
	await(t, "more tries", func() bool {
		source.mu2.Lock()
		defer source.mu2.Unlock()
		return len(source.asked) > 3
	})
	if head, _ := copied.Head(t.Context()); head != 100_000 {
		t.Errorf("the replica has stored %d entries after the difference", head-100_000)
	}
	copied.mu.Lock()
	copied.entries[77_776].text = `{"n":77777}`
	copied.entries[88_887].text = `{"n":88888}`
	copied.mu.Unlock()
	awaitCopy(t, r, source.fakeLog, copied)
}

// TestDifferenceMended: an entry that differed, and no longer does when it is checked again, is no
// reason to stop.
func TestDifferenceMended(t *testing.T) {
	source := serve(t, newFakeLog(20))
	copied := newFakeLog(20)
	copied.entries[4].text = `{"n":0}`
	var r *Replica
	mend := func(ctx context.Context, network, addr string) (net.Conn, error) {
		r.state.mu.Lock()
		found := r.state.differ > 0
		r.state.mu.Unlock()
		if found {
			copied.mu.Lock()
			copied.entries[4].text = `{"n":5}`
			copied.mu.Unlock()
		}
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}
	r = New(Config{Source: source.addr, Name: "copy", Log: copied, pace: quick, Connect: client.Options{
		DialContext: mend, MinBackoff: time.Millisecond, MaxBackoff: 5 * time.Millisecond,
	}})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { r.Run(ctx) })
	defer running.Wait()
	defer cancel()
	awaitCopy(t, r, source.fakeLog, copied)
}
