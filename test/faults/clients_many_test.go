package faults

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// TestManyConnections: the server serves 10,000 connections at once, with a few KiB
// each. It refuses one more, and accepts new ones once others have left.
func TestManyConnections(t *testing.T) {
	const connections = 10_000
	needDescriptors(t, connections+1000)
	p := server(t, options{Env: []string{fmt.Sprintf("MAX_CONNECTIONS=%d", connections), "LOOSE_MAX=0"}})
	quiet := p.memory("VmRSS")
	cr := dialMany(t, p.addr, connections, func(i int, c net.Conn) error {
		reply, err := ask(c, fmt.Sprintf(`{"id":"%d","entry":{"n":%d}}`, i, i))
		if err == nil && !strings.HasPrefix(reply, fmt.Sprintf(`{"id":"%d","index":`, i)) {
			err = fmt.Errorf("reply is %s", reply)
		}
		return err
	})
	each := (p.memory("VmRSS") - quiet) / connections
	t.Logf("%d KiB for each of %d connections", each>>10, connections)
	if each > 64<<10 {
		t.Errorf("a connection that has written takes %d KiB, want 64 at most", each>>10)
	}
	p.checkMemory(clientsMemory)

	late, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	late.SetDeadline(time.Now().Add(patience))
	if b, err := io.ReadAll(late); err != nil || string(b) != "{\"error\":\"too many connections\"}\n" {
		t.Errorf("one connection too many got %q, %v", b, err)
	}
	// The others are not affected.
	for i := 0; i < connections; i += connections / 50 {
		if reply, err := ask(cr.conns[i], `{"id":"again","entry":[]}`); err != nil || !strings.HasPrefix(reply, `{"id":"again","index":`) {
			t.Errorf("connection %d got %s, %v", i, reply, err)
		}
	}
	cr.close()
	eventually(t, "another connection is served", func() bool {
		c, err := net.Dial("tcp", p.addr)
		if err != nil {
			return false
		}
		defer c.Close()
		reply, err := ask(c, `{"id":"late","entry":[]}`)
		return err == nil && strings.HasPrefix(reply, `{"id":"late","index":`)
	})
	p.clean()
	fsck(t, p.data)
}

// TestClosedConnectionsLeaveNothing: after 1,000 connections of every kind have come
// and gone, the server has as many goroutines and, except for a few, descriptors as
// before.
func TestClosedConnectionsLeaveNothing(t *testing.T) {
	const connections = 1000
	needDescriptors(t, 2*connections+100)
	p := server(t, options{Env: []string{"METRICS=127.0.0.1:0", "PPROF=1", "LOOSE_MAX=0"}})
	e := p.await("metrics")
	profile := fmt.Sprintf("http://%v/debug/pprof/goroutine?debug=1", e["address"])
	if _, ok := e["port"]; ok {
		profile = fmt.Sprintf("http://%v:%v/debug/pprof/goroutine?debug=1", e["address"], e["port"])
	}
	goroutines := func() (n int) {
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := client.Get(profile)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		line, err := bufio.NewReader(resp.Body).ReadString('\n')
		if _, serr := fmt.Sscanf(line, "goroutine profile: total %d", &n); serr != nil {
			t.Fatalf("the profile begins with %q: %v, %v", line, serr, err)
		}
		return n
	}
	descriptors := func() int {
		names, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.pid))
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	fillLog(t, p.addr, 2000, 1000)
	eventually(t, "the log to be idle", func() bool { n := goroutines(); time.Sleep(100 * time.Millisecond); return goroutines() == n })
	before, files := goroutines(), descriptors()
	cr := dialMany(t, p.addr, connections, func(i int, c net.Conn) error {
		switch i % 6 {
		case 0: // has written
			_, err := ask(c, `{"id":"1","entry":[]}`)
			return err
		case 1: // follows
			_, err := ask(c, `{"from":3000}`)
			return err
		case 2: // requests a read and receives nothing
			_, err := io.WriteString(c, "{\"from\":1}\n")
			return err
		case 3: // is in the middle of a line
			_, err := io.WriteString(c, `{"id":"1","entry":["`+strings.Repeat("x", 20_000))
			return err
		case 4: // has sent invalid JSON
			_, err := ask(c, `nonsense`)
			return err
		}
		return nil // has sent nothing
	})
	if n := goroutines(); n < before+connections/2 {
		t.Errorf("%d goroutines serve %d connections, %d did before: is this the right profile?", n, connections, before)
	}
	cr.close()
	// The server keeps up to 16 ended reads, each with its file.
	files += 16
	if !poll(patience, func() bool { return goroutines() <= before && descriptors() <= files }) {
		t.Errorf("%d goroutines and %d descriptors are left of %d and %d", goroutines(), descriptors(), before, files)
	}
	p.clean()
}
