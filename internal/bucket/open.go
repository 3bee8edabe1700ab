package bucket

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// Options say how to use a bucket. The zero value is fine for everything.
type Options struct {
	// Rate is the maximum number of bytes per second that all Puts together send; 0 means no limit.
	Rate int64
	// PartSize is the maximum size in bytes of a request to an S3 service. Larger objects are sent
	// in parts of that size, or of a larger size if there would be more than 10,000 parts. It is at
	// least 5 MiB; 0 means 16 MiB.
	PartSize int64
	// Stall is how long a request may go without a byte in either direction before it is abandoned
	// and retried; 0 means 30 seconds.
	Stall time.Duration
	// Attempts is the total number of attempts for a request; 0 means 8, which takes half a minute
	// if each fails at once.
	Attempts int
	// Wait is about the time before the second attempt; it doubles for each further one. 0 means
	// 250 ms.
	Wait time.Duration
	// OnRetry, unless nil, is called with the error of the last attempt before the wait for the
	// next.
	OnRetry func(err error, wait time.Duration)
}

const (
	minPart         = 5 << 20 // S3's minimum for every part except the last
	defaultPart     = 16 << 20
	defaultStall    = 30 * time.Second
	defaultAttempts = 8
	defaultWait     = 250 * time.Millisecond
)

// withDefaults returns o with unset fields filled in, or an error.
func (o Options) withDefaults() (Options, error) {
	switch {
	case o.Rate < 0 || o.Stall < 0 || o.Attempts < 0 || o.Wait < 0:
		return o, fmt.Errorf("a bucket's rate, stall, attempts and wait are not negative")
	case o.PartSize != 0 && o.PartSize < minPart:
		return o, fmt.Errorf("the part size is %d bytes, want at least %d", o.PartSize, minPart)
	}
	if o.PartSize == 0 {
		o.PartSize = defaultPart
	}
	if o.Stall == 0 {
		o.Stall = defaultStall
	}
	if o.Attempts == 0 {
		o.Attempts = defaultAttempts
	}
	if o.Wait == 0 {
		o.Wait = defaultWait
	}
	if o.OnRetry == nil {
		o.OnRetry = func(error, time.Duration) {}
	}
	return o, nil
}

// IsURL reports whether s is meant as the URL of a bucket, not as a path.
func IsURL(s string) bool {
	scheme, _, ok := strings.Cut(s, "://")
	return ok && (scheme == "s3" || scheme == "file")
}

// Open returns the bucket at the URL: file:///path for a directory, or s3://bucket/prefix for a
// bucket of an S3 service, whose keys here are relative to the prefix. The S3 service comes from
// the same variables and files as for AWS's own tools: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL,
// AWS_REGION, AWS_ACCESS_KEY_ID and so on. The error wraps ErrNoBucket if the directory does not
// exist. Open sends no request to an S3 service.
func Open(_ context.Context, rawURL string, o Options) (Bucket, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	p, err := parseURL(rawURL)
	if err != nil {
		return nil, err
	}
	if p.dir != "" {
		return openFile(p.dir, o)
	}
	return openS3(p, o)
}

// place is a parsed bucket URL: a directory, or a bucket and a prefix.
type place struct {
	dir            string // an absolute path
	bucket, prefix string // prefix is "", or ends in a slash
}

// parseURL parses the URL of a bucket. Its errors do not contain a password or a query.
func parseURL(raw string) (place, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Opaque != "":
		return place{}, fmt.Errorf("the URL of a bucket is s3://bucket/prefix or file:///path, and this is neither")
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return place{}, fmt.Errorf("the URL of a bucket, %s://%s%s, has no user, password, query or fragment: "+
			"credentials and endpoint are in the AWS_… variables", u.Scheme, u.Host, u.Path)
	}
	switch u.Scheme {
	case "file":
		return parseFile(u)
	case "s3":
		return parseS3(u)
	}
	return place{}, fmt.Errorf("%s: the URL of a bucket begins with s3:// or file://", u)
}

func parseFile(u *url.URL) (place, error) {
	if u.Host != "" && u.Host != "localhost" {
		return place{}, fmt.Errorf("%s: a directory's URL has three slashes: file:///path", u)
	}
	path := u.Path
	if runtime.GOOS == "windows" && len(path) > 2 && path[2] == ':' {
		path = path[1:] // file:///C:/path
	}
	path = filepath.FromSlash(path)
	if !filepath.IsAbs(path) || strings.ContainsRune(path, 0) {
		return place{}, fmt.Errorf("%s: a directory's URL has an absolute path: file:///path", u)
	}
	return place{dir: filepath.Clean(path)}, nil
}

func parseS3(u *url.URL) (place, error) {
	bucket, prefix := u.Host, strings.Trim(u.Path, "/")
	if len(bucket) < 3 || len(bucket) > 63 || strings.Trim(bucket, "abcdefghijklmnopqrstuvwxyz0123456789.-") != "" {
		return place{}, fmt.Errorf("%s: a bucket's name has 3 to 63 lower-case letters, digits, dots and dashes: s3://bucket/prefix", u)
	}
	if prefix != "" {
		if err := checkKey(prefix); err != nil {
			return place{}, fmt.Errorf("%s: the prefix: %w", u, err)
		}
		prefix += "/"
	}
	return place{bucket: bucket, prefix: prefix}, nil
}

// String returns the URL.
func (p place) String() string {
	if p.dir != "" {
		path := filepath.ToSlash(p.dir)
		if !strings.HasPrefix(path, "/") {
			path = "/" + path
		}
		return (&url.URL{Scheme: "file", Path: path}).String()
	}
	return strings.TrimSuffix("s3://"+p.bucket+"/"+p.prefix, "/")
}
