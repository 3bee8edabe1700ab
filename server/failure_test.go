package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tcp-log-server/appends"

	"github.com/rs/zerolog"
)

// brokenLog is a log whose appends fail and whose entries cannot be read.
type brokenLog struct {
	*fakeLog
	err error
}

func (l brokenLog) Append(_ []byte, _ int, _ appends.Condition, done func(appends.Result, error)) {
	done(appends.Result{}, l.err)
}

func (l brokenLog) Submit(entries []byte, count int, on appends.Condition, done func(appends.Result, error)) {
	l.Append(entries, count, on, done)
}

func (l brokenLog) Read(_ context.Context, from, through uint64, fn readFunc) error {
	return fn(from, int(through-from)+1, nil, 0, l.err)
}

// TestErrorsNameNoDirectories: a client is told what is wrong with which file, and only the server's
// log says where that file is.
func TestErrorsNameNoDirectories(t *testing.T) {
	noLeaks(t)
	fake := newFakeLog()
	fake.put(t, `{"n":1}`, `{"n":2}`)
	err := fmt.Errorf("not stored: %w", &fs.PathError{Op: "write", Path: "/srv/the log/wal/01.seg", Err: syscall.ENOSPC})
	var logged lockedBuffer
	h := start(t, brokenLog{fake, err}, Config{Logger: zerolog.New(&logged)})
	const told = `"error":"not stored: write 01.seg: no space left on device"}`
	c := h.dial()
	for n := range 3 {
		c.append(n, 1)
		c.want(fmt.Sprintf(`{"id":"%d",`, n) + told)
	}
	c.send(`{"from":1,"read":1}`)
	c.want(`{"index":1,`+told, head(2))
	follower := h.dial()
	follower.send(`{"from":3}`)
	follower.want(current)
	fake.put(t, `{"n":3}`)
	follower.want(`{"index":3,` + told)
	if n := strings.Count(logged.String(), `"error":"not stored: write /srv/the log/wal/01.seg: no space left on device"`); n != 1 {
		t.Errorf("the log has the whole error %d times, want once a minute:\n%s", n, logged.String())
	}
}

// headless is a log that cannot return its head.
type headless struct{ *fakeLog }

func (headless) Head(context.Context) (uint64, error) { return 0, errors.New("no head") }

// TestReadThatCannotBegin: a connection ends, rather than hangs, if the log cannot tell where a read
// begins.
func TestReadThatCannotBegin(t *testing.T) {
	noLeaks(t)
	c := start(t, headless{newFakeLog()}, Config{}).dial()
	c.send(`{"from":1}`)
	c.wantEnd()
}

func TestForPeer(t *testing.T) {
	for text, want := range map[string]string{
		"open /a/b/c.idx: no such file":                         "open c.idx: no such file",
		"/data/wal/01.seg, offset 4096, index 7: damaged":       "01.seg, offset 4096, index 7: damaged",
		`rename "/a/x" to "/a/y": device`:                       `rename "x" to "y": device`,
		"open /a:b/c,d/e.idx: no such file, and no /f/g: none":  "open e.idx: no such file, and no g: none",
		"not stored: log is closed":                             "not stored: log is closed",
		"blob 3f/9ac1 hashes to 1/2, want 5 / 6 and/or nothing": "blob 3f/9ac1 hashes to 1/2, want 5 / 6 and/or nothing",
	} {
		if got := new(failures).forPeer(errors.New(text)).Error(); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
	f, now := new(failures), time.Now()
	for n := range 2 * failuresMax {
		if got, want := f.isNew(fmt.Sprint(n), now), n < failuresMax; got != want {
			t.Fatalf("error %d is logged: %v, want %v", n, got, want)
		}
	}
	if now = now.Add(failureAgain + 1); !f.isNew("0", now) || f.isNew("0", now) || len(f.logged) != 1 {
		t.Error("the same error is not logged again after its time, or twice")
	}
}

// lockedBuffer is a buffer for many goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// awayLog is a log of which only the first entry can currently be read.
type awayLog struct {
	*fakeLog
	err string
}

func (l awayLog) Read(_ context.Context, from, _ uint64, fn readFunc) error {
	if err := fn(from, 1, []byte("{\"n\":1}\n"), 0, nil); err != nil {
		return err
	}
	return errors.New(l.err)
}

// TestReadEndsWithWhy: a read of entries that are unavailable now says so, after everything that could
// be read. Another error of the log ends the connection.
func TestReadEndsWithWhy(t *testing.T) {
	noLeaks(t)
	for err, told := range map[string][]string{
		"not available now: the archive: no answer": {`{"index":1,"entry":{"n":1}}`, `{"error":"not available now: the archive: no answer"}`},
		"open 01.seg: too many open files":          nil,
	} {
		fake := newFakeLog()
		fake.put(t, `{"n":1}`, `{"n":2}`)
		h := start(t, awayLog{fake, err}, Config{})
		for _, read := range []string{`{"from":1,"read":2}`, `{"from":1}`} {
			c := h.dial()
			c.send(read)
			c.want(told...)
			c.wantEnd()
		}
	}
}
