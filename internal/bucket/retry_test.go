package bucket

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/minio/minio-go/v7"
)

func defaults(t *testing.T, o Options) Options {
	t.Helper()
	o, err := o.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestRetry(t *testing.T) {
	passes, stays := errors.New("passes"), errors.New("stays")
	synctest.Test(t, func(t *testing.T) {
		var waits []time.Duration
		o := defaults(t, Options{OnRetry: func(_ error, wait time.Duration) { waits = append(waits, wait) }})
		n := 0
		err := retry(t.Context(), o, func(*attempt) error {
			n++
			return passes
		})
		if n != 8 || !errors.Is(err, passes) || !strings.Contains(err.Error(), "8 attempts") {
			t.Errorf("got %d attempts and error %v, want 8", n, err)
		}
		for i, wait := range waits {
			if most := min(maxWait, defaultWait<<i); wait < most/2 || wait > most {
				t.Errorf("wait %d is %v, want %v to %v", i, wait, most/2, most)
			}
		}
		n = 0
		err = retry(t.Context(), o, func(*attempt) error {
			n++
			if n < 3 {
				return passes
			}
			return permanent{stays}
		})
		if n != 3 || err != stays {
			t.Errorf("got %d attempts and error %v, want 3 and the permanent one", n, err)
		}
	})
}

func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		n := 0
		err := retry(t.Context(), defaults(t, Options{}), func(a *attempt) error {
			if n++; n == 2 {
				return nil
			}
			resp := &http.Response{Header: http.Header{"Retry-After": {"7"}}, Body: http.NoBody}
			req, _ := http.NewRequestWithContext(a.ctx, "GET", "http://x", nil)
			_, err := transport{answers{resp}}.RoundTrip(req)
			return errors.Join(err, errors.New("slow down"))
		})
		if took := time.Since(start); err != nil || took != 7*time.Second {
			t.Errorf("got %v after %v, want success after 7s", err, took)
		}
	})
}

type answers struct{ resp *http.Response }

func (a answers) RoundTrip(*http.Request) (*http.Response, error) { return a.resp, nil }

// A request without progress is abandoned and retried; one that makes progress is not, however long
// it takes.
func TestRetryStalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := defaults(t, Options{Attempts: 2, Stall: time.Second})
		start := time.Now()
		err := retry(t.Context(), o, func(a *attempt) error {
			<-a.ctx.Done()
			return a.ctx.Err()
		})
		if took := time.Since(start); !errors.As(err, new(stalledError)) || errors.Is(err, context.Canceled) || took < 2*time.Second || took > 3*time.Second {
			t.Errorf("got error %v after %v, want that it stalled, twice", err, took)
		}
		err = retry(t.Context(), o, func(a *attempt) error {
			for range 20 {
				time.Sleep(900 * time.Millisecond)
				a.touch()
			}
			a.pause()
			time.Sleep(time.Minute)
			a.touch()
			return a.ctx.Err()
		})
		if err != nil {
			t.Errorf("one that goes on: got error %v", err)
		}
	})
}

func TestRetryEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		passes := errors.New("passes")
		start := time.Now()
		err := retry(ctx, defaults(t, Options{}), func(*attempt) error { return passes })
		if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, passes) || took != time.Second {
			t.Errorf("got error %v after %v, want the deadline's and the last one after 1s", err, took)
		}
	})
}

func TestS3Error(t *testing.T) {
	for _, test := range []struct {
		code   string
		status int
		want   error // nil: none of this package's
		again  bool
	}{
		{"InternalError", 500, nil, true},
		{"SlowDown", 503, nil, true},
		{"ServiceUnavailable", 503, nil, true},
		{"502 Bad Gateway", 502, nil, true},
		{"NotImplemented", 501, nil, false},
		{"TooManyRequests", 429, nil, true},
		{"RequestTimeout", 400, nil, true},
		{"BadDigest", 400, nil, true},
		{"XAmzContentSHA256Mismatch", 400, nil, true},
		{"ConditionalRequestConflict", 409, nil, true},
		{"InternalError", 200, nil, true}, // after the service has reported success
		{"PreconditionFailed", 412, errPrecondition, false},
		{"InvalidRange", 416, errRange, false},
		{"AccessDenied", 403, ErrDenied, false},
		{"InvalidAccessKeyId", 403, ErrDenied, false},
		{"SignatureDoesNotMatch", 403, ErrDenied, false},
		{"Unauthorized", 401, ErrDenied, false},
		{"NoSuchKey", 404, ErrNotFound, false},
		{"NoSuchBucket", 404, ErrNoBucket, false},
		{"NoSuchUpload", 404, errNoUpload, false},
		{"InvalidArgument", 400, nil, false},
		{"PermanentRedirect", 301, nil, false},
	} {
		err := s3Error(minio.ErrorResponse{Code: test.code, StatusCode: test.status, Message: "because."})
		if again := !errors.As(err, new(permanent)); again != test.again {
			t.Errorf("%d %s: tried again: %v, want %v", test.status, test.code, again, test.again)
		}
		for _, sentinel := range []error{ErrNotFound, ErrExists, ErrDenied, ErrNoBucket, errPrecondition, errRange, errNoUpload} {
			if got, want := errors.Is(err, sentinel), sentinel == test.want; got != want {
				t.Errorf("%d %s: is %q: %v, want %v", test.status, test.code, sentinel, got, want)
			}
		}
		if !strings.Contains(err.Error(), test.code+": because") {
			t.Errorf("%d %s: the error does not say so: %v", test.status, test.code, err)
		}
	}
	if err := s3Error(errors.New("connection reset")); errors.As(err, new(permanent)) {
		t.Errorf("a broken connection: got a permanent error %v", err)
	}
}

func TestCheckRange(t *testing.T) {
	header := func(rng, length string) http.Header {
		return http.Header{"Content-Range": {rng}, "Content-Length": {length}}
	}
	for _, test := range []struct {
		header         http.Header
		offset, length int64
		want           int64 // 0: an error
	}{
		{header("bytes 5-9/20", "5"), 5, 5, 5},
		{header("bytes 5-19/20", "15"), 5, -1, 15},
		{header("bytes 5-9/20", "4"), 5, 5, 0},
		{header("bytes 5-8/20", "4"), 5, 5, 0},
		{header("bytes 6-10/20", "5"), 5, 5, 0},
		{header("bytes 5-10/20", "6"), 5, 5, 0},
		{header("bytes 5-18/20", "14"), 5, -1, 0},
		{header("bytes 5-9/7", "5"), 5, 5, 0},
		{header("bytes 5-6/7", "2"), 5, 5, 0},
		{header("bytes 5-9/*", "5"), 5, 5, 0},
		{header("", "20"), 5, 5, 0}, // the whole object
	} {
		got, err := checkRange(test.header, test.offset, test.length)
		if (err == nil) != (test.want > 0) || got != test.want {
			t.Errorf("%v for %d bytes from %d on: got %d, %v, want %d", test.header, test.length, test.offset, got, err, test.want)
		}
	}
}
