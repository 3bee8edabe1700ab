package copies

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestMachineLost kills the server under load and discards its directory, at any moment, and
// continues elsewhere from the bucket, which has everything through the last entry that the server
// reported as archived, and nothing that was not appended.
func TestMachineLost(t *testing.T) {
	t.Parallel()
	s3 := Start(t)
	env := s3.Env(s3.Endpoint)
	rounds := 5
	if testing.Short() {
		rounds = 1
	}
	settings := []string{"ARCHIVE=" + s3.URL, "ARCHIVE_EVERY=1s", "LOOSE_MAX=0", "FAULT_SEGMENT_SIZE=262144"}
	// Less than the rate of the appends, so that an upload is always in progress; and more.
	rates := []string{"ARCHIVE_RATE=512KiB", "ARCHIVE_RATE=1GiB"}
	h := newHistory()
	data, head := filepath.Join(t.TempDir(), "data"), uint64(0)
	for round := range rounds {
		p := serve(t, env, data, append(settings, rates[round%2])...)
		last := loseMachine(t, h, p, head)
		if err := os.RemoveAll(data); err != nil {
			t.Fatal(err)
		}
		data = filepath.Join(t.TempDir(), "data")
		run(t, env, "restore", s3.URL, data)
		head = same(t, env, s3.URL, data)
		t.Logf("round %d: %d entries acknowledged, stat had said that %d are archived, %d are restored", round+1, h.count.Load(), last, head)
		if head < last {
			t.Fatalf("the restored log ends with entry %d, and the server had said that the archive has %d", head, last)
		}
		h.forget(head)
		h.cat(t, env, data, head)
		if t.Failed() {
			return
		}
		// The restored log continues, and so does its archive.
		p = serve(t, env, data, append(settings, rates[1], "ARCHIVE_TAKE_OVER=1")...)
		stop := h.start(t, p, 4, time.Millisecond)
		c := p.dial(t)
		p.await(t, c, "the archive goes on from a restored log", func(s status) bool { return s.Archive.Through > head })
		stop()
		p.await(t, c, "everything is archived", archived)
		p.stop(t)
		head = same(t, env, s3.URL, data)
		h.cat(t, env, s3.URL, head)
		if err := h.failed(); err != nil {
			t.Error(err)
		}
	}
}

// loseMachine appends to the server and kills it at a random moment. It returns the last entry that
// the server reported as archived.
func loseMachine(t *testing.T, h *history, p *process, head uint64) (last uint64) {
	t.Helper()
	stop := h.start(t, p, 16, 200*time.Microsecond)
	c := p.dial(t)
	p.await(t, c, "new entries are archived", func(s status) bool { return s.Archive.Through > head })
	killed := make(chan struct{})
	time.AfterFunc(rand.N(2500*time.Millisecond), func() {
		p.kill()
		close(killed)
	})
	for {
		s, err := stat(t.Context(), c)
		if err != nil {
			break // the server is gone
		}
		if s.Archive.Error != "" || s.Archive.Through < last || s.Archive.Through > s.Head {
			t.Errorf("after %d entries stat says %+v", last, s.Archive)
		}
		last = s.Archive.Through
	}
	<-killed
	stop()
	if h.failed() == nil {
		t.Error("no append failed: the server was not killed under load")
	}
	if last == 0 {
		t.Error("stat never said that anything is archived")
	}
	return last
}
