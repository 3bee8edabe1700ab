package copies

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tcp-log-server/internal/bucket/buckettest"
)

// outages are the ways in which a bucket may fail for a while. A fault with a share affects one
// request in share; the others affect all that match.
var outages = []struct {
	name  string
	fault buckettest.Fault
	match func(r *http.Request) bool // nil: all requests
	share int64
	error bool // stat says that archiving fails, and the archive stands still
	long  bool // it takes half a minute until a request is given up
}{
	{name: "internal errors", fault: buckettest.InternalError, error: true},
	{name: "slow down", fault: buckettest.SlowDown, error: true},
	{name: "every third request fails", fault: buckettest.SlowDown, share: 3},
	{name: "connections are reset", fault: buckettest.Fault{Kind: buckettest.Reset}, error: true},
	{name: "answers are lost after success", fault: buckettest.Fault{Kind: buckettest.LoseAnswer}, match: is("PUT", ""), share: 2},
	{name: "bodies of uploads are cut", fault: buckettest.Fault{Kind: buckettest.CutRequest, At: 100}, match: is("PUT", ""), error: true},
	{name: "a byte of each upload is another", fault: buckettest.Fault{Kind: buckettest.SpoilRequest, At: 100}, match: is("PUT", ""), error: true},
	{name: "answers are cut", fault: buckettest.Fault{Kind: buckettest.CutResponse, At: 60}, match: is("GET", ""), error: true},
	{name: "a byte of each answer is another", fault: buckettest.Fault{Kind: buckettest.SpoilResponse, At: 45}, match: is("GET", ""), error: true},
	{name: "the credentials are not accepted", fault: buckettest.Denied, error: true},
	{name: "the bucket is gone", fault: buckettest.NoBucket, error: true},
	{name: "nothing answers", fault: buckettest.Fault{Kind: buckettest.Hang}, error: true, long: true},
}

// TestOutages makes a bucket fail while clients append. No append fails or waits for the bucket, the
// status says that the archive is behind, and why, and once the bucket works again, the server
// uploads everything by itself.
func TestOutages(t *testing.T) {
	t.Parallel()
	s3 := Start(t)
	proxy := buckettest.NewProxy(t, s3.Endpoint)
	env, direct := s3.Env(proxy.URL), s3.Env(s3.Endpoint)
	data := filepath.Join(t.TempDir(), "data")
	p := serve(t, env, data, "ARCHIVE="+s3.URL, "ARCHIVE_EVERY=1s", "ARCHIVE_RATE=1GiB", "LOOSE_MAX=0", "FAULT_SEGMENT_SIZE=131072")
	h := newHistory()
	stop := h.start(t, p, 8, 2*time.Millisecond)
	c := p.dial(t)
	p.await(t, c, "entries are archived", func(s status) bool { return s.Archive.Through > 0 })
	meanwhile := int64(5000)
	if testing.Short() {
		meanwhile = 1000
	}
	for i, o := range outages {
		if o.long && testing.Short() || testing.Short() && i%2 == 1 {
			continue
		}
		t.Run(o.name, func(t *testing.T) {
			began, before := time.Now(), h.count.Load()
			var requests, failed atomic.Int64
			proxy.Choose(func(r *http.Request) buckettest.Fault {
				if o.match != nil && !o.match(r) || o.share > 0 && requests.Add(1)%o.share != 0 {
					return buckettest.Fault{}
				}
				failed.Add(1)
				return o.fault
			})
			if o.error {
				p.await(t, c, "stat says that archiving fails", func(s status) bool { return s.Archive.Error != "" })
			}
			// Meanwhile several segments' worth of entries is appended.
			s := p.await(t, c, "appends go on", func(s status) bool {
				return h.count.Load() > before+meanwhile && (failed.Load() > 2 || o.error) || h.failed() != nil
			})
			if err := h.failed(); err != nil {
				t.Fatal(err)
			}
			if o.error && (s.Archive.Error == "" || s.Archive.Behind.Entries < 500 || s.Archive.Stopped) {
				t.Errorf("after %d entries stat says %+v, want that archiving fails and is behind", h.count.Load()-before, s.Archive)
			}
			proxy.Choose(nil)
			mended := time.Now()
			p.await(t, c, "everything that was appended meanwhile is archived", func(now status) bool {
				return now.Archive.Through >= s.Head && now.Archive.Error == ""
			})
			t.Logf("%d requests failed in %v; caught up after %v: %s", failed.Load(), mended.Sub(began).Round(time.Millisecond), time.Since(mended).Round(time.Millisecond), s.Archive.Error)
		})
	}
	stop()
	if err := h.failed(); err != nil {
		t.Error(err)
	}
	p.await(t, c, "everything is archived", archived)
	p.stop(t)
	head := same(t, direct, s3.URL, data)
	if head != uint64(h.count.Load()) {
		t.Errorf("the log ends with entry %d, and %d were acknowledged", head, h.count.Load())
	}
	h.cat(t, direct, s3.URL, head)
}

// TestReadsThroughOutages makes the bucket fail while clients read entries that are only there. The
// server sends correct entries or none, and once the bucket works again everything can be read.
func TestReadsThroughOutages(t *testing.T) {
	t.Parallel()
	s3 := Start(t)
	proxy := buckettest.NewProxy(t, s3.Endpoint)
	env := s3.Env(proxy.URL)
	data := filepath.Join(t.TempDir(), "data")
	settings := []string{"ARCHIVE=" + s3.URL, "ARCHIVE_EVERY=1s", "ARCHIVE_RATE=1GiB", "ARCHIVE_KEEP_LOCAL=200000",
		"LOOSE_MAX=0", "FAULT_SEGMENT_SIZE=131072", "FAULT_SETTLE_EVERY=10ms"}
	p := serve(t, env, data, settings...)
	h := newHistory()
	stop := h.start(t, p, 8, 0)
	c := p.dial(t)
	p.await(t, c, "entries are only in the bucket", func(s status) bool { return s.Archived.Through > 3000 })
	stop()
	p.await(t, c, "everything is archived", archived)
	head := uint64(h.count.Load())

	for _, o := range []struct {
		name  string
		fault buckettest.Fault
		times int  // how many requests fail; 0: all, until the bucket works again
		slow  bool // it takes ten seconds before the server reads the bytes from the bucket again
	}{
		{"a wrong byte once", buckettest.Fault{Kind: buckettest.SpoilResponse, At: 50_000}, 1, false},
		{"a wrong byte each time", buckettest.Fault{Kind: buckettest.SpoilResponse, At: 50_000}, 0, true},
		{"a wrong byte in the header", buckettest.Fault{Kind: buckettest.SpoilResponse, At: 10}, 0, false},
		{"bodies are cut", buckettest.Fault{Kind: buckettest.CutResponse, At: 70_000}, 3, false},
		{"no credentials", buckettest.Denied, 0, false},
		{"no bucket", buckettest.NoBucket, 0, false},
		{"slow down", buckettest.SlowDown, 3, false},
	} {
		if o.slow && testing.Short() {
			continue
		}
		t.Run(o.name, func(t *testing.T) {
			p.kill() // its cache is lost too
			p = serve(t, env, data, settings...)
			c := p.dial(t)
			p.await(t, c, "everything is archived", archived)
			var asked, failed atomic.Int64
			proxy.Choose(func(r *http.Request) buckettest.Fault {
				// The first segment is no longer on this machine, and is not compared again.
				if r.Method != "GET" || !strings.HasSuffix(r.URL.Path, "/segments/00000000000000000001.seg") || o.times > 0 && asked.Add(1) > int64(o.times) {
					return buckettest.Fault{}
				}
				failed.Add(1)
				return o.fault
			})
			err := h.read(t, c, 1, head) // it compares the entries
			switch {
			case failed.Load() == 0:
				t.Error("nothing was read from the bucket")
			case o.times == 0 && err == nil:
				t.Error("everything was read, although the bucket fails")
			case o.times > 0 && err != nil:
				t.Errorf("the read failed: %v", err)
			}
			index, aerr := c.Append(t.Context(), []byte(fmt.Sprintf(`{"extra":%q}`, o.name)))
			h.note(fmt.Sprintf(`{"extra":%q}`, o.name), index, aerr)
			if aerr != nil {
				t.Fatal(aerr)
			}
			proxy.Choose(nil)
			head = index
			// Bytes that failed their check are read from the bucket again after ten seconds.
			again := h.read(t, c, 1, head)
			for began := time.Now(); again != nil && time.Since(began) < time.Minute; again = h.read(t, c, 1, head) {
				time.Sleep(100 * time.Millisecond)
			}
			if again != nil {
				t.Errorf("once the bucket works again: %v; before: %v", again, err)
			}
			p.await(t, c, "everything is archived", archived)
			t.Logf("%d requests failed: %v", failed.Load(), err)
		})
	}
	p.kill()
	check(t, env, s3.URL)
}
