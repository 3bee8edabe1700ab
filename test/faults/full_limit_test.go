package faults

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestFileSizeLimit: a limit on the size of files is like a full disk, but with a real
// short write and a signal.
func TestFileSizeLimit(t *testing.T) {
	needTool(t, "prlimit")
	h := newHistory(func(int) int { return 1000 })
	p := server(t, options{Wrap: []string{"prlimit", "--fsize=1200000:unlimited"}})
	writers := h.start(t, p.addr, load{Writers: 4, Depth: 16})
	eventually(t, "an append is refused", func() bool { return h.failures() > 0 })
	writers.halt()
	p.await("refused")
	if head := verify(t, p.addr, h); head < 1000 {
		t.Errorf("the log has %d entries, want as many as the limit allows", head)
	}
	for text := range h.errors() {
		if !strings.HasPrefix(text, "not stored: not written to ") || !strings.HasSuffix(text, "file too large") {
			t.Errorf("a writer is told %q, want that the file is too large", text)
		}
	}
	run(t, "prlimit", "--pid", strconv.Itoa(p.pid), "--fsize=unlimited")
	accepted(t, p.addr, h, 1000)
	acked, _, unknown := h.counts()
	if head := verify(t, p.addr, h); head != uint64(acked) || unknown > 0 {
		t.Errorf("the log has %d entries, %d were acknowledged, %d have an unknown outcome", head, acked, unknown)
	}
	p.clean()
	recovered(t, p.data, h)
}

// TestNoDescriptors uses up the server's descriptors. Open connections continue; new
// ones wait for a descriptor. The server never reports an entry as unreadable because
// it lacks descriptors.
func TestNoDescriptors(t *testing.T) {
	needTool(t, "prlimit")
	h := newHistory(nil)
	p := server(t, options{Env: tuned})
	h.write(t, p.addr, load{Depth: 16, Entries: 800})
	eventually(t, "the first entries are in blobs alone", func() bool { return firstIndex(t, p.data) > 1 })
	p.clean()
	p = server(t, options{Data: p.data, Env: []string{"LOG_LEVEL=debug", "FAULT_SETTLE_EVERY=10ms", "FAULT_SEGMENT_SIZE=4096"}})
	run(t, "prlimit", "--pid", strconv.Itoa(p.pid), "--nofile=48:4096")
	writer, replies := dial(t, p.addr)
	reader, lines := dial(t, p.addr)
	fmt.Fprintln(writer, `{"id":"1","entry":{"first":1}}`)
	want(t, replies, `{"id":"1","index":801}`)

	for range 60 {
		dial(t, p.addr) // the kernel accepts connections that the server does not
	}
	p.await("accept")
	for i := range 600 { // through many segments
		fmt.Fprintf(writer, "{\"id\":\"%d\",\"entry\":{\"n\":%d}}\n", i, i)
		want(t, replies, fmt.Sprintf(`{"id":"%d","index":%d}`, i, 802+i))
	}
	p.await("sealed")
	p.await("settle") // blobs are files
	// A read that has to open a file fails, and reports nothing about the entries.
	fmt.Fprintln(reader, `{"from":1,"read":1}`)
	if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 {
		t.Errorf("the read is answered %q, %v, want the end of the connection", rest, err)
	}

	run(t, "prlimit", "--pid", strconv.Itoa(p.pid), "--nofile=4096:4096")
	settledAll(t, p, 1401)
	if n := served(t, p.addr); n != 1401 {
		t.Errorf("the log has %d entries, want 1401", n)
	}
	p.clean()
	fsckSettled(t, p.data, 1401)
}

// dial opens a connection for the duration of the test.
func dial(t *testing.T, addr string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c, bufio.NewReader(c)
}

// want reads one line and checks it.
func want(t *testing.T, lines *bufio.Reader, line string) {
	t.Helper()
	got, err := lines.ReadString('\n')
	if err != nil || got != line+"\n" {
		t.Fatalf("the server sent %q, %v, want %s", got, err, line)
	}
}

// TestFewDescriptors starts the server with a low limit of open files. The server
// reserves some for itself, and refuses connections beyond the rest with an error. Open
// ones can append, and read from files.
func TestFewDescriptors(t *testing.T) {
	needTool(t, "prlimit")
	h := newHistory(nil)
	p := server(t, options{Env: tuned})
	h.write(t, p.addr, load{Depth: 16, Entries: 800})
	eventually(t, "the first entries are in blobs alone", func() bool { return firstIndex(t, p.data) > 1 })
	p.clean()
	p = server(t, options{Data: p.data, Wrap: []string{"prlimit", "--nofile=64:64"}})
	writer, replies := dial(t, p.addr)
	turnedAway := 0
	for range 60 {
		c, lines := dial(t, p.addr)
		// An accepted connection answers this, a refused one has sent an error.
		fmt.Fprintln(c, `{"from":1000000,"read":1}`)
		switch line, err := lines.ReadString('\n'); line {
		case "{\"current\":true}\n":
		case "{\"error\":\"too many connections\"}\n":
			turnedAway++
		default:
			t.Fatalf("a connection is answered %q, %v", line, err)
		}
	}
	if turnedAway < 20 || turnedAway == 60 {
		t.Errorf("%d of 60 connections were turned away", turnedAway)
	}
	fmt.Fprintln(writer, `{"id":"1","entry":{"more":1}}`)
	want(t, replies, `{"id":"1","index":801}`)
	fmt.Fprintln(writer, `{"from":1,"read":800}`)
	for n := range 800 {
		want(t, replies, fmt.Sprintf(`{"index":%d,"entry":%s}`, n+1, h.entry("0", n)))
	}
	want(t, replies, `{"head":801}`)
	if len(p.logged("accept")) > 0 {
		t.Errorf("the server ran out of files: %v", p.logged("accept"))
	}
	p.clean()
}
