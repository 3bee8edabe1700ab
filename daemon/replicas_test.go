package daemon

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"tcp-log-server/client"
	"tcp-log-server/internal/porttest"
)

// peer is a connection on which a test plays a client or a replica.
type peer struct {
	t  *testing.T
	nc net.Conn
	r  *bufio.Reader
}

func dialPeer(t *testing.T, addr string) *peer {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(30 * time.Second))
	return &peer{t, nc, bufio.NewReader(nc)}
}

func (p *peer) send(line string) {
	p.t.Helper()
	if _, err := io.WriteString(p.nc, line+"\n"); err != nil {
		p.t.Fatal(err)
	}
}

// line returns the next line except {"head":N}, which a replica gets each second.
func (p *peer) line() string {
	p.t.Helper()
	for {
		line, err := p.r.ReadString('\n')
		if err != nil {
			p.t.Fatalf("%v after %q", err, line)
		}
		if !strings.HasPrefix(line, `{"head":`) {
			return strings.TrimSuffix(line, "\n")
		}
	}
}

func (p *peer) want(line string) {
	p.t.Helper()
	if got := p.line(); got != line {
		p.t.Fatalf("got %s, want %s", got, line)
	}
}

// follow receives batches through an index, and reports that they are on disk.
func (p *peer) follow(through uint64) {
	p.t.Helper()
	for last := uint64(0); last < through; {
		var m struct {
			Batch struct {
				Index, Count uint64
				Size         int
			}
		}
		if err := json.Unmarshal([]byte(p.line()), &m); err != nil || m.Batch.Count == 0 {
			p.t.Fatalf("got %+v, %v, want a batch", m, err)
		}
		if _, err := p.r.Discard(m.Batch.Size); err != nil {
			p.t.Fatal(err)
		}
		last = m.Batch.Index + m.Batch.Count - 1
	}
	p.send(fmt.Sprintf(`{"durable":%d}`, through))
}

// statOf returns the status of the daemon.
func statOf(t *testing.T, d *running) Stat {
	t.Helper()
	c, err := client.Dial(t.Context(), d.addr, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return ask(t, c)
}

// ready returns the answer of /readyz.
func ready(t *testing.T, addr string) (int, string) {
	t.Helper()
	res, err := http.Get("http://" + addr + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	return res.StatusCode, strings.TrimSpace(string(text))
}

// TestSyncReplicas: an append is acknowledged, and visible, once a replica has it; without a replica its
// outcome is unknown after the timeout; and the server says what is missing.
func TestSyncReplicas(t *testing.T) {
	defer func(d time.Duration) { syncTimeout = d }(syncTimeout)
	syncTimeout = 2 * time.Second
	config := NewConfig(t.TempDir())
	config.Port, config.SyncReplicas, config.Metrics = 0, 1, porttest.Addr(t)
	d := run(t, config)
	const missing = "SYNC_REPLICAS is 1, but 0 replicas are connected: appends wait, and after 2s their outcome is unknown"
	if code, text := ready(t, config.Metrics); code != http.StatusServiceUnavailable || text != missing {
		t.Errorf("/readyz says %d, %s", code, text)
	}
	writer := dialPeer(t, d.addr)
	writer.send(`{"id":"1","entry":[1]}`)
	writer.want(`{"id":"1","error":"outcome unknown: entries through index 1 are on this server's disk, but only 0 of 1 replicas had them after 2s"}`)
	if s := statOf(t, d); s.SyncReplicas == nil || *s.SyncReplicas != (SyncReplicas{Need: 1, Unknown: 1, Missing: missing}) || len(s.Replicas) != 0 || s.Head != 1 || s.Failed != "" || s.Epoch != 1 {
		t.Errorf("the status is %+v, %+v", s, s.SyncReplicas)
	}

	replica := dialPeer(t, d.addr)
	replica.send(`{"replicate":{"from":1,"name":"ann"}}`)
	replica.line()
	replica.follow(1)
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if code, _ := ready(t, config.Metrics); code == http.StatusOK {
			break
		} else if time.Now().After(deadline) {
			t.Fatal("the server is not ready with its replica")
		}
	}
	syncWriter := dialPeer(t, d.addr)
	syncWriter.send(`{"id":"2","entry":[2]}`)
	reader := dialPeer(t, d.addr)
	replica.line() // the batch is there, but not acknowledged
	reader.send(`{"last":1,"read":1}`)
	reader.want(`{"index":1,"entry":[1]}`)
	replica.r.Discard(len("[2]\n"))
	replica.send(`{"durable":2}`)
	syncWriter.want(`{"id":"2","index":2}`)
	reader.send(`{"last":1,"read":1}`)
	reader.want(`{"index":2,"entry":[2]}`)
	s := statOf(t, d)
	if s.SyncReplicas.Missing != "" || s.SyncReplicas.Connected != 1 || len(s.Replicas) != 1 {
		t.Fatalf("the status is %+v, %+v", s, s.SyncReplicas)
	}
	if r := s.Replicas[0]; r.Name != "ann" || r.Address != "127.0.0.1" || r.Durable != 2 || r.Behind != 0 || time.Since(r.Since) > time.Minute {
		t.Errorf("the replica is %+v", r)
	}
	if err := d.stop(); err != nil {
		t.Error(err)
	}
}

// TestSyncReplicasAtTheEnd: a server that is stopped waits for replicas as long as for its disk, and then
// answers the waiting appends.
func TestSyncReplicasAtTheEnd(t *testing.T) {
	config := NewConfig(t.TempDir())
	config.Port, config.SyncReplicas = 0, 2
	d := run(t, config)
	slow, quick := dialPeer(t, d.addr), dialPeer(t, d.addr)
	for name, p := range map[string]*peer{"slow": slow, "quick": quick} {
		p.send(`{"replicate":{"from":1,"name":"` + name + `"}}`)
		p.line()
	}
	writer := dialPeer(t, d.addr)
	writer.send(`{"id":"1","entry":[1]}`)
	quick.follow(1)
	ended := make(chan error, 1)
	began := time.Now()
	go func() { ended <- d.stop() }()
	slow.follow(1)
	writer.want(`{"id":"1","index":1}`)
	writer.nc.Close()
	for _, p := range []*peer{slow, quick} {
		io.Copy(io.Discard, p.r)
		p.nc.Close()
	}
	if err := <-ended; err != nil || time.Since(began) > shutdownTime {
		t.Errorf("the daemon ended after %v: %v", time.Since(began), err)
	}

	d = run(t, config)
	writer = dialPeer(t, d.addr)
	writer.send(`{"id":"2","entry":[2]}`)
	for statOf(t, d).SyncReplicas.Waiting == 0 {
		time.Sleep(time.Millisecond)
	}
	go func() { ended <- d.stop() }()
	writer.want(`{"id":"2","error":"outcome unknown: entries through index 2 are on this server's disk, but only 0 of 2 replicas had them when the server was stopped"}`)
	writer.nc.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestFenced: a replica in a later epoch fences the log permanently.
func TestFenced(t *testing.T) {
	config := NewConfig(t.TempDir())
	config.Port, config.Metrics = 0, porttest.Addr(t)
	d := run(t, config)
	writer := dialPeer(t, d.addr)
	writer.send(`{"id":"1","entry":[1]}`)
	writer.want(`{"id":"1","index":1}`)
	promoted := dialPeer(t, d.addr)
	promoted.send(`{"replicate":{"from":7,"epoch":2,"name":"ann","store":"` + statOf(t, d).Store + `"}}`)
	if line := promoted.line(); !strings.HasPrefix(line, `{"error":"this log is fenced: it is in epoch 1, and \"ann\" at 127.0.0.1 in epoch 2`) {
		t.Errorf("the promoted replica is told %s", line)
	}
	for round := range 2 {
		writer := dialPeer(t, d.addr)
		writer.send(`{"id":"2","entry":[2]}`)
		if line := writer.line(); !strings.HasPrefix(line, `{"id":"2","error":"not stored: fenced: `) {
			t.Errorf("round %d: an append is answered %s", round, line)
		}
		writer.send(`{"from":1,"read":1}`)
		writer.want(`{"index":1,"entry":[1]}`)
		if s := statOf(t, d); s.Fenced == nil || *s.Fenced != (Fenced{2, `"ann" at 127.0.0.1`}) || !strings.HasPrefix(s.Failed, "fenced: ") || s.Epoch != 1 {
			t.Errorf("round %d: the status is %+v, fenced %+v", round, s, s.Fenced)
		}
		if code, text := ready(t, config.Metrics); code != http.StatusServiceUnavailable || !strings.HasPrefix(text, "fenced: ") {
			t.Errorf("round %d: /readyz says %d, %s", round, code, text)
		}
		if err := d.stop(); err != nil {
			t.Error(err)
		}
		if round == 0 {
			d = run(t, config)
		}
	}
}
