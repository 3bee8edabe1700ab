package copies

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"tcp-log-server/internal/bucket"
	"tcp-log-server/internal/bucket/buckettest"
)

// faulty is a bucket whose requests go through a proxy.
type faulty struct {
	bucket.Bucket
	*buckettest.Proxy
	direct  bucket.Bucket // without the proxy
	retries func() []error
}

func openFaulty(t *testing.T) faulty {
	t.Helper()
	s := Start(t)
	proxy := buckettest.NewProxy(t, s.Endpoint)
	var mu sync.Mutex
	var errs []error
	s.Setenv(t, s.Endpoint)
	direct := open(t, s.URL, small)
	s.Setenv(t, proxy.URL)
	b := open(t, s.URL, bucket.Options{
		PartSize: 5 << 20,
		Stall:    time.Second,
		Wait:     20 * time.Millisecond,
		Attempts: 4,
		OnRetry: func(err error, wait time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		},
	})
	buckettest.Put(t, direct, "warm/up", []byte("x"))
	return faulty{b, proxy, direct, func() []error {
		mu.Lock()
		defer mu.Unlock()
		return errs
	}}
}

func is(method, query string) func(r *http.Request) bool {
	return func(r *http.Request) bool { return r.Method == method && strings.Contains(r.URL.RawQuery, query) }
}

func put(ctx context.Context, b bucket.Bucket, key string, content []byte, create bool) error {
	return b.Put(ctx, key, bytes.NewReader(content), int64(len(content)), create)
}

func get(ctx context.Context, b bucket.Bucket, key string) ([]byte, error) {
	r, err := b.Get(ctx, key, 0, -1)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(r)
	return content, errors.Join(err, r.Close())
}

// passing are the transient faults, after each of which the request is retried.
var passing = []struct {
	name  string
	fault buckettest.Fault
	whole bool // the request may still be carried out
}{
	{"InternalError", buckettest.InternalError, false},
	{"SlowDown", buckettest.SlowDown, false},
	{"RetryAfter", buckettest.Fault{Kind: buckettest.Answer, Status: 429, Code: "TooManyRequests", RetryAfter: "1"}, false},
	{"GatewayTimeout", buckettest.Fault{Kind: buckettest.Answer, Status: 504}, false},
	{"Reset", buckettest.Fault{Kind: buckettest.Reset}, false},
	{"Hang", buckettest.Fault{Kind: buckettest.Hang}, false},
	{"LoseAnswer", buckettest.Fault{Kind: buckettest.LoseAnswer}, true},
	{"CutRequest", buckettest.Fault{Kind: buckettest.CutRequest, At: 1000}, false},
	{"SpoilRequest", buckettest.Fault{Kind: buckettest.SpoilRequest, At: 1000}, false},
}

// fails is how many requests fail before one succeeds.
func fails() int {
	if testing.Short() {
		return 1
	}
	return 2
}

// TestPutThroughFaults: a Put survives every transient fault, and the object has the content, once.
func TestPutThroughFaults(t *testing.T) {
	b := openFaulty(t)
	sizes := map[string]struct {
		size  int
		match []func(r *http.Request) bool
	}{
		"small": {50_000, []func(*http.Request) bool{is("PUT", "")}},
		"parts": {11 << 20, []func(*http.Request) bool{is("POST", "uploads"), is("PUT", "partNumber=2"), is("POST", "uploadId"), is("HEAD", "")}},
	}
	for name, s := range sizes {
		for _, f := range passing {
			for i, match := range s.match {
				for _, create := range []bool{false, true} {
					if testing.Short() && (create != (len(f.name)%2 == 0) || name == "parts" && (i+len(f.name))%3 != 0) {
						continue
					}
					key := fmt.Sprintf("put/%s-%s-%d-%v", name, f.name, i, create)
					content := buckettest.Content(uint64(i), s.size)
					b.First(fails(), f.fault, match)
					if err := put(t.Context(), b, key, content, create); err != nil {
						t.Errorf("%s: %v", key, err)
						continue
					}
					b.Choose(nil)
					if got := buckettest.Get(t, b.direct, key); !bytes.Equal(got, content) {
						t.Errorf("%s: the object has other content", key)
					}
				}
			}
		}
	}
	if len(b.retries()) == 0 {
		t.Error("nothing was tried again: the faults were not injected")
	}
}

// TestPutWhileFaultsLast: while a fault lasts, no wrong or partial content becomes the object, and
// the call after it has passed succeeds.
func TestPutWhileFaultsLast(t *testing.T) {
	b := openFaulty(t)
	for _, f := range passing {
		if f.whole || testing.Short() && f.name == "Hang" {
			continue
		}
		key := "lasting/" + f.name
		b.First(1000, f.fault, is("PUT", ""))
		if err := put(t.Context(), b, key, buckettest.Content(1, 50_000), true); err == nil {
			t.Errorf("%s: got no error", f.name)
		}
		if _, err := b.direct.Stat(t.Context(), key); !errors.Is(err, bucket.ErrNotFound) {
			t.Errorf("%s: got error %v, want that there is no object", f.name, err)
		}
		b.Choose(nil)
		if err := put(t.Context(), b, key, buckettest.Content(1, 50_000), true); err != nil {
			t.Errorf("%s: %v", f.name, err)
		}
	}
}

// TestPutLostAnswer: after a lost answer, Put tells its own object from another's.
func TestPutLostAnswer(t *testing.T) {
	b := openFaulty(t)
	for _, size := range []int{10, 11 << 20} {
		key, content := fmt.Sprintf("owner/%d", size), buckettest.Content(5, size)
		b.Choose(func(r *http.Request) buckettest.Fault {
			if done := r.Method == "PUT" && size == 10 || r.Method == "POST" && strings.Contains(r.URL.RawQuery, "uploadId"); done {
				b.Choose(nil)
				return buckettest.Fault{Kind: buckettest.LoseAnswer}
			}
			return buckettest.Fault{}
		})
		if err := put(t.Context(), b, key, content, true); err != nil {
			t.Errorf("%d bytes: %v, want to know its own", size, err)
		}
		if err := put(t.Context(), b, key, content, true); !errors.Is(err, bucket.ErrExists) {
			t.Errorf("%d bytes again: got error %v, want ErrExists", size, err)
		}
		// Another caller puts the object between the lost request and the next attempt.
		other := key + "-other"
		b.Choose(func(r *http.Request) buckettest.Fault {
			if r.Method != "PUT" {
				return buckettest.Fault{}
			}
			b.Choose(nil)
			if err := put(t.Context(), b.direct, other, []byte("another's"), true); err != nil {
				t.Error(err)
			}
			return buckettest.Fault{Kind: buckettest.Reset}
		})
		if err := put(t.Context(), b, other, content, true); !errors.Is(err, bucket.ErrExists) {
			t.Errorf("another's: got error %v, want ErrExists", err)
		}
		if got := buckettest.Get(t, b.direct, other); string(got) != "another's" {
			t.Errorf("another's object was replaced")
		}
	}
}

// TestFaultsThatStay: permanent faults are not retried, and the error says which one it is.
func TestFaultsThatStay(t *testing.T) {
	b := openFaulty(t)
	buckettest.Put(t, b.direct, "a", []byte("x"))
	for _, test := range []struct {
		fault buckettest.Fault
		want  error
	}{{buckettest.Denied, bucket.ErrDenied}, {buckettest.NoBucket, bucket.ErrNoBucket}} {
		b.Choose(func(*http.Request) buckettest.Fault { return test.fault })
		for op, call := range map[string]func() error{
			"put":   func() error { return put(t.Context(), b, "b", []byte("x"), false) },
			"parts": func() error { return put(t.Context(), b, "b", make([]byte, 6<<20), false) },
			"get":   func() error { _, err := b.Get(t.Context(), "a", 0, -1); return err },
			"stat":  func() error { _, err := b.Stat(t.Context(), "a"); return err },
			"list": func() error {
				return b.List(t.Context(), "", "", func(bucket.Object) error { return nil })
			},
			"delete": func() error { return b.Delete(t.Context(), "a") },
		} {
			err := call()
			if !errors.Is(err, test.want) {
				t.Errorf("%s, %s: got error %v, want %v", op, test.fault.Code, err, test.want)
			} else if !strings.Contains(err.Error(), "s3://bkt/log") {
				t.Errorf("%s: the error does not name the bucket: %v", op, err)
			}
		}
	}
	if len(b.retries()) != 0 {
		t.Errorf("got %d further attempts, want none: %v", len(b.retries()), b.retries()[0])
	}
	b.Choose(nil)
	if got := buckettest.Get(t, b, "a"); string(got) != "x" {
		t.Errorf("got %q, want x", got)
	}
}

// TestGetThroughFaults: a Get survives faults before its answer, and fails if the answer is cut or
// stops.
func TestGetThroughFaults(t *testing.T) {
	b := openFaulty(t)
	content := buckettest.Content(7, 3<<20)
	buckettest.Put(t, b.direct, "a", content)
	for _, f := range passing {
		if f.fault.Kind == buckettest.CutRequest || f.fault.Kind == buckettest.SpoilRequest {
			continue
		}
		b.First(fails(), f.fault, is("GET", ""))
		if got, err := get(t.Context(), b, "a"); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s: got %d bytes, %v", f.name, len(got), err)
		}
	}
	for _, f := range []buckettest.Fault{
		{Kind: buckettest.CutResponse, At: 0}, {Kind: buckettest.CutResponse, At: 1 << 20}, {Kind: buckettest.CutResponse, At: 3<<20 - 1},
		{Kind: buckettest.HoldResponse, At: 1 << 20},
	} {
		b.First(1, f, is("GET", ""))
		if got, err := get(t.Context(), b, "a"); err == nil {
			t.Errorf("%+v: got %d bytes and no error", f, len(got))
		} else if !bytes.Equal(got, content[:len(got)]) {
			t.Errorf("%+v: got %d bytes that are not the first", f, len(got))
		}
		if got, err := get(t.Context(), b, "a"); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%+v, mended: got %d bytes, %v", f, len(got), err)
		}
	}
}

// TestListThroughFaults: when an answer is broken, a listing continues after the last object
// received, and has each object once.
func TestListThroughFaults(t *testing.T) {
	b := openFaulty(t)
	var want []string
	for i := range 20 {
		want = append(want, fmt.Sprintf("list/%03d", i))
		buckettest.Put(t, b.direct, want[i], []byte("x"))
	}
	faults := []buckettest.Fault{
		{Kind: buckettest.CutResponse, At: 500}, {Kind: buckettest.SpoilResponse, At: 3}, {Kind: buckettest.HoldResponse, At: 700},
	}
	for _, f := range passing {
		faults = append(faults, f.fault)
	}
	for _, f := range faults {
		b.First(fails(), f, is("GET", "list-type"))
		if got := buckettest.List(t, b, "list/", ""); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%+v: got %d keys, want %d", f, len(got), len(want))
		}
	}
}

// TestPutEnds: a Put ends when its context does, even if the service does not answer.
func TestPutEnds(t *testing.T) {
	b := openFaulty(t)
	b.Choose(func(*http.Request) buckettest.Fault { return buckettest.Fault{Kind: buckettest.Hang} })
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	start := time.Now()
	if err := put(ctx, b, "a", []byte("x"), false); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got error %v, want that of the deadline", err)
	}
	if took := time.Since(start); took > 1500*time.Millisecond {
		t.Errorf("it took %v to end", took)
	}
}
