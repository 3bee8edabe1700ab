package server

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tcp-log-server/appends"
	"tcp-log-server/engine"
	"tcp-log-server/internal/access"
	"tcp-log-server/internal/access/accesstest"
)

// appendEach appends count entries to the log, one batch each, and waits for all of them.
func appendEach(t *testing.T, log Log, count int) {
	t.Helper()
	done := make(chan error, count)
	for n := range count {
		log.Append(fmt.Appendf(nil, `{"n":%d}`+"\n", n), 1, appends.Condition{}, func(_ appends.Result, err error) { done <- err })
	}
	for range count {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

// TestManyReplicas: replicas that begin anywhere while the log grows all receive the same.
func TestManyReplicas(t *testing.T) {
	noLeaks(t)
	log := openDisk(t)
	fill(t, log, 1000, 500)
	h := start(t, copied(log), Config{})
	const replicas, through = 100, 1300
	var following sync.WaitGroup
	for i := range replicas {
		from := min(1+i*20, 1001)
		c := h.dial()
		c.send(fmt.Sprintf(`{"replicate":{"from":%d,"name":"%d"}}`, from, i))
		following.Go(func() {
			c.line()
			c.wantBatches(log, uint64(from), through)
			c.send(fmt.Sprintf(`{"durable":%d}`, through))
		})
	}
	appendEach(t, log, 300)
	following.Wait()
	poll(t, "the word of all replicas", func() bool {
		s := h.Stats()
		return s.Replicas == replicas && s.ReplicaBehind == 0
	})
}

// TestSlowReplica: a replica that takes nothing delays nobody, holds no more memory than another
// peer, and is cut after a while.
func TestSlowReplica(t *testing.T) {
	noLeaks(t)
	log := openDisk(t)
	fill(t, log, 20_000, 2000) // more than any buffer holds
	h := start(t, copied(log), Config{WriteTimeout: 2 * time.Second})
	slow := h.dial()
	slow.nc.(*net.TCPConn).SetReadBuffer(4 << 10)
	slow.replicate(`"from":1,"name":"slow"`, 20_000)
	quick := h.dial()
	quick.replicate(`"from":20001,"name":"quick"`, 20_000)
	writer := h.dial()
	for n := 1; n <= 20; n++ {
		writer.append(n, 1)
		writer.want(ack(n, 20_000+n))
		quick.wantBatches(log, uint64(20_000+n), uint64(20_000+n))
	}
	h.memory.mu.Lock()
	held := h.memory.used
	h.memory.mu.Unlock()
	if held > 2<<20 {
		t.Errorf("%d bytes are held for a replica that takes nothing", held)
	}
	poll(t, "the slow replica to be cut", func() bool { return len(h.Replicas()) == 1 })
	if name := h.Replicas()[0].Name; name != "quick" {
		t.Errorf("%s is left", name)
	}
}

// TestReplicaUnderTLS: with a certificate, or with a token until it is revoked.
func TestReplicaUnderTLS(t *testing.T) {
	noLeaks(t)
	authority := accesstest.NewAuthority(t)
	cert, key := authority.Issue(t, "server", time.Now().Add(time.Hour))
	certificates, err := access.LoadCertificates(access.Files{Cert: cert, Key: key, ClientCA: authority.Path, Optional: true})
	if err != nil {
		t.Fatal(err)
	}
	log := openDisk(t)
	fill(t, log, 2000, 2000)
	revoked := false
	tokens := func(hash [32]byte) (string, Rights) {
		if revoked {
			return "", Rights{}
		}
		return guests(hash)
	}
	h := start(t, copied(log), Config{TLS: certificates.Config(), Tokens: tokens})
	dial := func(config *tls.Config) *client {
		nc, err := tls.Dial("tcp", h.addr, config)
		if err != nil {
			t.Fatal(err)
		}
		return newClient(t, nc)
	}
	certified := dial(authority.Client(t, cert, key))
	certified.replicate(`"from":1,"name":"certified"`, 2000)
	certified.wantBatches(log, 1, 2000)
	guest := dial(authority.Client(t, "", ""))
	guest.send(tokenLine("both"))
	guest.replicate(`"from":1,"name":"guest"`, 2000)
	guest.wantBatches(log, 1, 2000)
	revoked = true
	h.Reauthorize()
	io.Copy(io.Discard, guest.r)
	poll(t, "the end of a stream", func() bool { return len(h.Replicas()) == 1 })
	appendEach(t, log, 1)
	certified.wantBatches(log, 2001, 2001)
}

// TestEndOfAReplica: a replica that ends its side, or the connection, ends the stream.
func TestEndOfAReplica(t *testing.T) {
	noLeaks(t)
	log := openDisk(t)
	h := start(t, copied(log), Config{})
	half, gone := h.dial(), h.dial()
	half.replicate(`"from":1`, 0)
	gone.replicate(`"from":1`, 0)
	half.half()
	half.wantEnd()
	gone.nc.Close()
	poll(t, "the streams to end", func() bool { return len(h.Replicas()) == 0 })
}

// TestReplicaAtShutdown: a replica that is near the head gets everything that was acknowledged
// before the server ends; one that is far from it does not keep the server.
func TestReplicaAtShutdown(t *testing.T) {
	noLeaks(t)
	log := openDisk(t)
	fill(t, log, 12_000, 1000) // more than any buffer holds
	h := start(t, copied(log), Config{})
	near, far, writer := h.dial(), h.dial(), h.dial()
	near.replicate(`"from":12001`, 12_000)
	far.replicate(`"from":1`, 12_000)
	far.batch()
	writer.append(1, 1000)
	writer.half()
	var ended sync.WaitGroup
	ended.Go(func() {
		for n := 1; n <= 1000; n++ {
			writer.want(ack(n, 12_000+n))
		}
		writer.wantEnd()
	})
	ended.Go(func() {
		near.wantBatches(log, 12_001, 13_000)
		near.wantEnd()
	})
	poll(t, "the writes to be stored", func() bool { head, _ := log.Head(t.Context()); return head == 13_000 })
	began := time.Now()
	go func() { // it takes input slowly
		for buf := make([]byte, 64<<10); ; time.Sleep(time.Millisecond) {
			if _, err := far.nc.Read(buf); err != nil {
				return
			}
		}
	}()
	h.shutdown()
	ended.Wait()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the shutdown took %v", took)
	}
	late := &script{pieces: []string{`{"replicate":{"from":1}}` + "\n"}}
	if err := h.Converse(late, Conversation{}); err == nil {
		t.Errorf("after the shutdown a conversation says %q", late.out.String())
	}
}

// TestReplicasInOrder: Replicas has them by name.
func TestReplicasInOrder(t *testing.T) {
	noLeaks(t)
	h := start(t, copied(openMemory(t)), Config{})
	var names []string
	for _, name := range strings.Split("c,a,b,a", ",") {
		h.dial().replicate(`"from":1,"name":"`+name+`"`, 0)
	}
	for _, r := range h.Replicas() {
		names = append(names, r.Name)
	}
	if want := []string{"a", "a", "b", "c"}; !slices.Equal(names, want) {
		t.Errorf("the replicas are %q, want %q", names, want)
	}
}

// TestDamagedSource: a replica receives everything up to an entry that the disk has altered,
// never that entry, and is told which it is.
func TestDamagedSource(t *testing.T) {
	noLeaks(t)
	config := engine.NewConfig(t.TempDir())
	config.LooseMax = 0
	log := openEngine(t, config)
	for n := range 100 {
		done := make(chan error, 1)
		log.Append(fmt.Appendf(nil, `{"number":%d}`+"\n", n+1), 1, appends.Condition{}, func(_ appends.Result, err error) { done <- err })
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	paths, err := filepath.Glob(filepath.Join(config.Data, "segments", "*.seg"))
	if err != nil || len(paths) != 1 {
		t.Fatalf("the segments are %q, %v", paths, err)
	}
	data, err := os.ReadFile(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(paths[0], os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("!"), int64(bytes.Index(data, []byte(`"number":57`))+1)); err != nil {
		t.Fatal(err)
	}
	c := start(t, log, Config{}).dial()
	c.send(`{"replicate":{"from":1}}`)
	c.line()
	for n := uint64(1); n <= 56; n++ {
		c.wantBatches(log, n, n)
	}
	if line := c.line(); !strings.HasPrefix(line, `{"index":57,"error":"`) {
		t.Errorf("after entry 56 comes %s", line)
	}
	c.wantEnd()
}
