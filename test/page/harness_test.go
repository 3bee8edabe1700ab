// Package page tests the page of the built server in a real browser: headless Chromium, driven by
// chromedp. chromedp talks to the installed Chromium through a pipe, keeps up with its protocol,
// and needs neither node nor a bundled browser.
//
// TCP_LOG_SERVER names the binary, by default one that is built from the tree, and CHROMIUM the
// browser, by default the one that is installed. Each test writes screenshots to PAGE_PICTURES,
// by default the directory pictures.
package page

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

const (
	// patience bounds every wait: only failures take so long.
	patience = 30 * time.Second
	// pause is the time between two looks at the page.
	pause = 10 * time.Millisecond
)

var (
	scratch  string          // for logs and the binary; in memory where that is possible
	binary   string          // the server
	pictures string          // the directory for screenshots
	browser  context.Context // of the one browser; each page has its own session in it
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	path, err := chromium()
	if err != nil {
		fmt.Println("skipped, the page is not tested:", err)
		return 0
	}
	if scratch, err = os.MkdirTemp(memoryDir(), "page-test"); err != nil {
		return failed(err)
	}
	defer os.RemoveAll(scratch)
	if binary, err = build(); err != nil {
		return failed(err)
	}
	if pictures = os.Getenv("PAGE_PICTURES"); pictures == "" {
		pictures = "pictures"
	}
	if err = os.MkdirAll(pictures, 0o755); err != nil {
		return failed(err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.Flag("hide-scrollbars", false),
		chromedp.Flag("disable-lcd-text", true), // its colours make screenshots large
		chromedp.Env("TZ=UTC"))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // it does not start with one as root
	}
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	defer stop()
	var cancel context.CancelFunc
	browser, cancel = chromedp.NewContext(allocator, chromedp.WithErrorf(func(string, ...any) {}))
	defer cancel()
	if err := chromedp.Do(browser); err != nil {
		return failed(fmt.Errorf("%s does not start: %w", path, err))
	}
	return m.Run()
}

func failed(err error) int {
	fmt.Println(err)
	return 1
}

// chromium returns the path of the browser.
func chromium() (string, error) {
	if path := os.Getenv("CHROMIUM"); path != "" {
		return exec.LookPath(path)
	}
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("there is no chromium; install it (apt install chromium) or name it by CHROMIUM")
}

// memoryDir returns a directory in memory, or "" if there is none. These tests do not depend on the disk.
func memoryDir() string {
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		return "/dev/shm"
	}
	return ""
}

// build returns the server's binary.
func build() (string, error) {
	if path := os.Getenv("TCP_LOG_SERVER"); path != "" {
		return filepath.Abs(path)
	}
	path := filepath.Join(scratch, "tcp-log-server")
	cmd := exec.Command("go", "build", "-o", path, ".")
	cmd.Dir = "../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
}

// dir returns a new directory in scratch for one test.
func dir(t testing.TB) string {
	t.Helper()
	path, err := os.MkdirTemp(scratch, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(path) })
	return path
}

// await waits until ok.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(pause) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}
