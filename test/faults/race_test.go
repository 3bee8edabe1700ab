package faults

import (
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// raced is the server with the race detector, built once.
var raced = sync.OnceValues(func() (string, error) { return build(tree(), "tcp-log-server-raced", "-race") })

// TestRaceDetector runs the server with the race detector under all kinds of load, while
// segments are sealed, settled and removed, with several shutdowns and a kill.
func TestRaceDetector(t *testing.T) {
	t.Parallel()
	if out, err := exec.Command("go", "env", "CGO_ENABLED").Output(); err != nil || strings.TrimSpace(string(out)) != "1" {
		t.Skip("needs cgo and a C compiler, for the race detector")
	}
	path, err := raced()
	if err != nil {
		t.Fatal(err)
	}
	h, data := newHistory(nil), newData(t)
	for round := range scaled(t, 3) {
		p := server(t, options{Data: data, Binary: path, Env: append([]string{"METRICS=127.0.0.1:0"}, tuned...)})
		writing := h.start(t, p.addr, load{Writers: 8, Depth: 16, Name: fmt.Sprintf("r%d-", round)})
		stop := make(chan struct{})
		var others sync.WaitGroup
		for i := range 8 {
			others.Go(func() { stress(p.addr, i, stop) })
		}
		acks := h.acks.Load() + 800
		eventually(t, "appends", func() bool { return h.acks.Load() >= acks })
		eventually(t, "a segment to be sealed", func() bool { return len(p.logged("sealed")) > 0 })
		if round%3 == 2 {
			p.signal(syscall.SIGKILL)
			p.wait()
		} else if code := p.stop(syscall.SIGTERM); code != 0 {
			t.Errorf("exit code is %d, want 0; after a race it is 66", code)
		}
		close(stop)
		writing.halt()
		others.Wait()
		if text := p.stderr(); strings.Contains(text, "DATA RACE") {
			t.Fatalf("the race detector has found something:\n%s", text)
		}
	}
	recovered(t, data, h)
}

// stress uses the server in one of many ways, repeatedly, until stop.
func stress(addr string, kind int, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return // the server has been stopped
		}
		c.SetDeadline(time.Now().Add(2 * time.Second))
		switch kind {
		case 0: // replays
			io.WriteString(c, "{\"from\":1,\"read\":500}\n")
			io.CopyN(io.Discard, c, 50_000)
		case 1: // follows for a while
			io.WriteString(c, "{\"from\":1}\n")
			c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			io.Copy(io.Discard, c)
		case 2: // pulls
			ask(c, `{"from":3,"read":1}`)
		case 3:
			ask(c, `{"stat":true}`)
		case 4: // is reset in the middle of a line
			io.WriteString(c, `{"id":"1","entry":["`+strings.Repeat("x", 30_000))
			c.(*net.TCPConn).SetLinger(0)
		case 5:
			io.WriteString(c, "[]\n{}\nnonsense\n")
			io.Copy(io.Discard, c)
		case 6: // requests a read and disconnects without receiving
			io.WriteString(c, "{\"from\":1}\n")
		case 7: // is refused
			ask(c, `{"id":"1","entry":{"a":1,"a":2}}`)
		}
		c.Close()
	}
}
