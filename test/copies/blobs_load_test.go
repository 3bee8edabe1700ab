package copies

import (
	"net/http"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"tcp-log-server/internal/bucket/buckettest"
)

// TestBlobsOutages settles to blobs in S3 under load, while the store fails in one way after another.
// No append fails, reads are correct, and everything is settled once the store works again.
func TestBlobsOutages(t *testing.T) {
	t.Parallel()
	s3 := Start(t)
	proxy := buckettest.NewProxy(t, s3.Endpoint)
	env, direct := s3.Env(proxy.URL), s3.Env(s3.Endpoint)
	data := filepath.Join(t.TempDir(), "data")
	settings := []string{"BLOBS=" + s3.URL, "FAULT_SEGMENT_SIZE=65536", "FAULT_REMOVE_AFTER=50ms", "FAULT_SETTLE_EVERY=20ms"}
	p := serve(t, env, data, settings...)
	h := newHistory()
	stop := h.start(t, p, 4, 20*time.Millisecond)
	c := p.dial(t)
	p.await(t, c, "entries are settled", func(s status) bool { return s.Settled > 0 })
	for i, o := range []struct {
		name  string
		fault buckettest.Fault
		match func(r *http.Request) bool
		share int64 // one request in share
	}{
		{"internal errors", buckettest.InternalError, nil, 1},
		{"half of the requests are told to slow down", buckettest.SlowDown, nil, 2},
		{"answers are lost after success", buckettest.Fault{Kind: buckettest.LoseAnswer}, is("PUT", ""), 2},
		{"a byte of each upload is another", buckettest.Fault{Kind: buckettest.SpoilRequest, At: 20}, is("PUT", ""), 1},
		{"connections are reset", buckettest.Fault{Kind: buckettest.Reset}, nil, 1},
		{"the credentials are not accepted", buckettest.Denied, nil, 1},
		{"the bucket is gone", buckettest.NoBucket, nil, 1},
	} {
		if testing.Short() && i%3 != 0 {
			continue
		}
		t.Run(o.name, func(t *testing.T) {
			before := h.count.Load()
			var requests, failed atomic.Int64
			proxy.Choose(func(r *http.Request) buckettest.Fault {
				if o.match != nil && !o.match(r) || requests.Add(1)%o.share != 0 {
					return buckettest.Fault{}
				}
				failed.Add(1)
				return o.fault
			})
			s := p.await(t, c, "appends go on while the store fails", func(s status) bool {
				return failed.Load() > 3 && h.count.Load() > before+150 && (o.share > 1 || s.Stalled != "") || h.failed() != nil
			})
			if err := h.failed(); err != nil {
				t.Fatal(err)
			}
			if o.share == 1 {
				if s.Unsettled == 0 {
					t.Errorf("stat says %+v, want that entries wait for the store", s)
				}
				// Entries that wait for the store are read from their segments.
				if err := h.read(t, c, s.Head-min(s.Unsettled, 50), s.Head); err != nil {
					t.Error(err)
				}
			}
			proxy.Choose(nil)
			p.await(t, c, "what was appended meanwhile is settled", func(now status) bool { return now.Settled >= s.Head && now.Stalled == "" })
			t.Logf("%d requests failed: %s", failed.Load(), s.Stalled)
		})
	}
	stop()
	if err := h.failed(); err != nil {
		t.Error(err)
	}
	s := p.await(t, c, "everything is settled, and segments are removed", func(s status) bool { return s.Settled == s.Head && s.Segments <= 2 })
	if s.Head != uint64(h.count.Load()) {
		t.Errorf("the log ends with entry %d, and %d were acknowledged", s.Head, h.count.Load())
	}
	// Entries that are only in blobs are sent correctly or not at all.
	for name, f := range map[string]buckettest.Fault{
		"other bytes": {Kind: buckettest.SpoilResponse, At: 9},
		"cut bodies":  {Kind: buckettest.CutResponse, At: 12},
		"a denial":    buckettest.Denied,
	} {
		proxy.Choose(func(*http.Request) buckettest.Fault { return f })
		if err := h.read(t, c, 1, 20); err == nil {
			t.Errorf("entries 1 to 20 were read through %s", name)
		}
		proxy.Choose(nil)
		if err := h.read(t, c, 1, 20); err != nil {
			t.Errorf("after %s: %v", name, err)
		}
	}
	if err := h.read(t, c, 1, s.Head); err != nil {
		t.Error(err)
	}
	p.stop(t)
	if s := check(t, direct, "--blobs", s3.URL, data); s.Entries != uint64(h.count.Load()) || s.Blobs == 0 {
		t.Errorf("fsck finds %d entries and %d blobs, want %d entries", s.Entries, s.Blobs, h.count.Load())
	}
}
