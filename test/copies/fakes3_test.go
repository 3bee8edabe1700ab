package copies

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"tcp-log-server/internal/bucket"
	"tcp-log-server/internal/bucket/buckettest"
)

// openFake opens a bucket of gofakes3, which trusts every request. change alters requests on the way.
func openFake(t *testing.T, change func(r *http.Request)) bucket.Bucket {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket(bucketIs); err != nil {
		t.Fatal(err)
	}
	fake := gofakes3.New(backend).Server()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		change(r)
		fake.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	(&S3{}).Setenv(t, server.URL)
	return open(t, "s3://"+bucketIs+"/log", small)
}

// TestPartsAreNotChunked: parts are not sent in signed chunks, as the library does by default.
// gofakes3 v1.2.0 would store the marks of chunks as content.
func TestPartsAreNotChunked(t *testing.T) {
	b := openFake(t, func(*http.Request) {})
	for _, size := range []int{1000, 5 << 20, 11 << 20} {
		content := buckettest.Content(1, size)
		buckettest.Put(t, b, "a", content)
		if !bytes.Equal(buckettest.Get(t, b, "a"), content) {
			t.Errorf("%d bytes: the object has other content", size)
		}
	}
}

// TestPartsSpoiltByService: if a service assembles the parts into an object of another length, Put
// notices and removes the object.
func TestPartsSpoiltByService(t *testing.T) {
	b := openFake(t, func(r *http.Request) {
		if strings.Contains(r.URL.RawQuery, "partNumber=2") {
			r.Header.Del("Content-Md5")
			r.Body = io.NopCloser(io.MultiReader(strings.NewReader("40;chunk-signature="), r.Body))
			r.ContentLength += 19
			r.Header.Set("Content-Length", strconv.FormatInt(r.ContentLength, 10))
		}
	})
	content := buckettest.Content(1, 11<<20)
	err := put(t.Context(), b, "a", content, false)
	if err == nil || !strings.Contains(err.Error(), "11534355 bytes from parts of 11534336") {
		t.Errorf("got error %v, want that the service made another object", err)
	}
	if _, err := b.Stat(t.Context(), "a"); !errors.Is(err, bucket.ErrNotFound) {
		t.Errorf("got error %v, want that the object was removed", err)
	}
}

// TestServiceIgnoresCondition: a service that replaces an object instead of creating a new one cannot
// keep two servers apart: the first such Put fails.
func TestServiceIgnoresCondition(t *testing.T) {
	b := openFake(t, func(r *http.Request) { r.Header.Del("If-None-Match") })
	if err := put(t.Context(), b, "owner/1", []byte("x"), true); err == nil || !strings.Contains(err.Error(), "If-None-Match") {
		t.Errorf("got error %v, want that the service ignores If-None-Match", err)
	}
}
