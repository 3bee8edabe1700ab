package bucket

import (
	"runtime"
	"strings"
	"testing"
)

func TestParseURL(t *testing.T) {
	for raw, want := range map[string]place{
		"s3://bkt":              {bucket: "bkt"},
		"s3://bkt/":             {bucket: "bkt"},
		"s3://my-bucket.x/a/b":  {bucket: "my-bucket.x", prefix: "a/b/"},
		"s3://my-bucket.x/a/b/": {bucket: "my-bucket.x", prefix: "a/b/"},
	} {
		if got, err := parseURL(raw); err != nil || got != want {
			t.Errorf("%s: got %+v, %v, want %+v", raw, got, err, want)
		}
	}
	if runtime.GOOS != "windows" {
		for raw, want := range map[string]string{
			"file:///a/b": "/a/b", "file://localhost/a/b/": "/a/b", "file:///a%20b": "/a b", "file:///": "/", "file:///a/../b": "/b",
		} {
			if got, err := parseURL(raw); err != nil || got != (place{dir: want}) {
				t.Errorf("%s: got %+v, %v, want %s", raw, got, err, want)
			}
		}
	}
	for _, raw := range []string{
		"", "/a/b", "a", "s3:", "s3://", "s3:bkt", "s3://b", "s3://Bucket/a", "s3://b_b/a", "s3://bkt/a//b", "s3://bkt/../b", "s3://bkt/.a",
		"s3://bkt:80/a", "s3://bkt/a?x=secret", "s3://key:secret@bkt/a", "s3://bkt/a#secret", "s3://bkt/%zzsecret", "https://bkt/a",
		"file://", "file:a", "file://host/a", "file:///a%00b", "file:///a?secret",
	} {
		got, err := parseURL(raw)
		if err == nil {
			t.Errorf("%q: got %+v, want an error", raw, got)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the error shows the secret: %v", raw, err)
		}
	}
}

// A parsed URL is formatted as a URL of the same place.
func FuzzParseURL(f *testing.F) {
	for _, raw := range []string{"s3://bkt/a/b", "file:///a/b", "file:///a%20b", "s3://k:s@bkt", "file:///C:/x"} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		p, err := parseURL(raw)
		if err != nil {
			return
		}
		if again, err := parseURL(p.String()); err != nil || again != p {
			t.Errorf("%q is %+v, whose URL %q is %+v, %v", raw, p, p, again, err)
		}
	})
}
