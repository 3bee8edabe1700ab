// Package copies tests copies of a log elsewhere, in a bucket or on another machine, with a
// real S3 server. It is a separate module because that server has many dependencies.
package copies

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// S3 is a running S3 server with one bucket.
type S3 struct {
	URL      string // of the bucket
	Endpoint string // http://127.0.0.1:port
	Dir      string // the bucket's objects are files here
}

const (
	accessKey = "testkey"
	secretKey = "testsecret"
	bucketIs  = "bkt"
)

// StartS3 starts an S3 server that lasts until the test ends, and sets the variables by which
// this process and its children find it. It returns the URL of an empty bucket there, and the
// variables, for processes with another environment.
func StartS3(t testing.TB) (url string, env []string) {
	t.Helper()
	s := Start(t)
	s.Setenv(t, s.Endpoint)
	return s.URL, s.Env(s.Endpoint)
}

// Start starts an S3 server that lasts until the test ends, without setting variables.
func Start(t testing.TB) *S3 {
	t.Helper()
	binary, err := server()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := &S3{URL: "s3://" + bucketIs + "/log", Dir: filepath.Join(dir, "objects", bucketIs)}
	if err := errors.Join(os.MkdirAll(s.Dir, 0o700), os.Mkdir(filepath.Join(dir, "versions"), 0o700)); err != nil {
		t.Fatal(err)
	}
	for range 3 { // another process may take the port first
		var stop func()
		if stop, err = s.start(binary, dir); err == nil {
			t.Cleanup(stop)
			return s
		}
	}
	t.Fatal(err)
	return nil
}

// start starts the server and waits until it answers.
func (s *S3) start(binary, dir string) (stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	address := l.Addr().String()
	l.Close()
	s.Endpoint = "http://" + address
	cmd := exec.Command(binary, "--access", accessKey, "--secret", secretKey, "--port", address, "--quiet", "--keep-alive",
		"posix", filepath.Join(dir, "objects"))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	stop = func() {
		_ = cmd.Process.Kill()
		<-exited
	}
	deadline := time.After(time.Minute)
	for {
		resp, err := http.Get(s.Endpoint)
		if err == nil {
			resp.Body.Close()
			return stop, nil
		}
		select {
		case <-exited:
			return nil, fmt.Errorf("versitygw ended: %s", out.Bytes())
		case <-deadline:
			stop()
			return nil, fmt.Errorf("versitygw does not answer: %w: %s", err, out.Bytes())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Env returns the variables by which a process finds the server at the endpoint, which is its
// own or that of a proxy in front of it.
func (s *S3) Env(endpoint string) []string {
	return []string{
		"AWS_ENDPOINT_URL=" + endpoint, "AWS_ENDPOINT_URL_S3=", "AWS_REGION=us-east-1", "AWS_PROFILE=", "AWS_SESSION_TOKEN=",
		"AWS_ACCESS_KEY_ID=" + accessKey, "AWS_SECRET_ACCESS_KEY=" + secretKey,
		"AWS_CONFIG_FILE=" + os.DevNull, "AWS_SHARED_CREDENTIALS_FILE=" + os.DevNull,
	}
}

// Setenv sets the variables for the rest of the test.
func (s *S3) Setenv(t testing.TB, endpoint string) {
	for _, v := range s.Env(endpoint) {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
}

// server builds the S3 server once, into the user's cache, and returns its path. The first
// build takes minutes.
var server = sync.OnceValues(func() (string, error) {
	const pkg = "github.com/versity/versitygw/cmd/versitygw"
	version, err := exec.Command("go", "list", "-m", "-f", "{{.Version}}", "github.com/versity/versitygw").Output()
	if err != nil {
		return "", fmt.Errorf("go list: %w", err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "tcp-log-server-test")
	binary := filepath.Join(dir, "versitygw-"+strings.TrimSpace(string(version)))
	if _, err := os.Stat(binary); err == nil {
		return binary, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	unfinished := fmt.Sprintf("%s.%d", binary, os.Getpid())
	defer os.Remove(unfinished)
	if out, err := exec.Command("go", "build", "-o", unfinished, pkg).CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build %s: %w: %s", pkg, err, out)
	}
	return binary, os.Rename(unfinished, binary)
})
