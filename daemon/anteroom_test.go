package daemon

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"tcp-log-server/client"
)

// TestAnteroom: a client of a node that waits for the others is told so after GIVE_UP, and nothing is
// stored. Once the others are there, clients are served.
func TestAnteroom(t *testing.T) {
	configs := threeNodes(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	configs[0].Listener, configs[0].Cluster.GiveUp = ln, time.Second
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, configs[0]) }()
	addr := ln.Addr().String()

	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	fmt.Fprint(c, `{"id":"x","entry":{"n":1}}`+"\n"+`{"stat":true}`+"\n")
	answers := bufio.NewScanner(c)
	for _, want := range []string{`{"id":"x","error":"not stored: the server starts: waiting for the cluster: `, `{"error":"not available now: the server starts: waiting for the cluster: `} {
		if !answers.Scan() || !strings.HasPrefix(answers.Text(), want) {
			t.Errorf("the answer is %s, %v, want %s…", answers.Text(), answers.Err(), want)
		}
	}
	if answers.Scan() {
		t.Errorf("after that comes %s", answers.Text())
	}

	for _, config := range configs[1:] {
		run := func() { ended <- Run(ctx, config) }
		go run()
	}
	appending := dialed(t, addr, client.Options{})
	var index uint64
	eventually(t, "an append is stored", func() bool {
		index, err = appending.Append(t.Context(), []byte(`{"n":2}`))
		return err == nil
	})
	if index != 1 {
		t.Errorf("index %d, want 1: nothing that was refused is stored", index)
	}
	cancel()
	for range configs {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// TestAnteroomTLS: over TLS a client is told in TLS.
func TestAnteroomTLS(t *testing.T) {
	certified := httptest.NewTLSServer(nil)
	defer certified.Close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	a := newAnteroom(ln.(*net.TCPListener), time.Millisecond, &tls.Config{Certificates: certified.TLS.Certificates}, func() string { return "it rains" })
	defer a.close()
	c, err := tls.Dial("tcp", ln.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Minute))
	fmt.Fprintln(c, `{"id":"x","entry":[]}`)
	line, err := bufio.NewReader(c).ReadString('\n')
	if want := `{"id":"x","error":"not stored: the server starts: it rains"}` + "\n"; line != want || err != nil {
		t.Errorf("the answer is %q, %v, want %q", line, err, want)
	}
}

// TestAnteroomHands: waiting connections are handed over in order of arrival.
func TestAnteroomHands(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := newAnteroom(ln.(*net.TCPListener), time.Hour, nil, func() string { return "" })
	var own []string
	dial := func() {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		own = append(own, c.LocalAddr().String())
	}
	for range 5 {
		dial()
	}
	eventually(t, "they wait", func() bool { a.mu.Lock(); defer a.mu.Unlock(); return len(a.guests) == 5 })
	handed := a.leave()
	defer handed.Close()
	dial()
	for _, want := range own {
		c, err := handed.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if got := c.RemoteAddr().String(); got != want {
			t.Errorf("the next connection is from %s, want %s", got, want)
		}
	}
}

// TestAnteroomFull: while many connections are being told why they wait, others are closed without an
// answer.
func TestAnteroomFull(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	a := newAnteroom(ln.(*net.TCPListener), 0, nil, func() string { return "so" })
	defer a.close()
	ask := func() string {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(time.Minute))
		fmt.Fprint(c, "{\"stat\":true}\n")
		line, _ := bufio.NewReader(c).ReadString('\n')
		return line
	}
	if got, want := ask(), `{"error":"not available now: the server starts: so"}`+"\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	a.mu.Lock()
	for len(a.talking) < guestsMax+10 { // the first may still be among them
		c, _ := net.Pipe()
		a.talking[c] = struct{}{}
	}
	a.mu.Unlock()
	if got := ask(); got != "" {
		t.Errorf("one more is told %q", got)
	}
}
