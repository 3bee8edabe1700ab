package daemon

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"tcp-log-server/backup"
	"tcp-log-server/client"
	"tcp-log-server/engine"
	"tcp-log-server/internal/access/accesstest"
	"tcp-log-server/internal/porttest"
	"tcp-log-server/segment"
)

// TestReplica: a replica has the source's log, during appends and across restarts of both.
func TestReplica(t *testing.T) {
	config := sourceConfig(t)
	source := run(t, config)
	config.at(source.addr)
	writer := dialed(t, source.addr, client.Options{})
	fillSome(t, writer, 300)
	copying := copyConfig(t, source.addr)
	copied := run(t, copying)
	copying.at(copied.addr)
	fillSome(t, writer, 300)
	sameLogs(t, source.addr, copied.addr, client.Options{})
	if got, want := statAt(t, copied.addr, client.Options{}).Store, statAt(t, source.addr, client.Options{}).Store; got != want {
		t.Errorf("the replica's store is %s, the source's %s", got, want)
	}

	if err := copied.stop(); err != nil {
		t.Error(err)
	}
	fillSome(t, writer, 100)
	copied = run(t, copying)
	sameLogs(t, source.addr, copied.addr, client.Options{})

	if err := source.stop(); err != nil {
		t.Error(err)
	}
	eventually(t, "the replica to notice", func() bool {
		r := statAt(t, copied.addr, client.Options{}).Replica
		return !r.Connected && r.Error != ""
	})
	if got := strings.Count(logText(t, copied.addr, client.Options{}), "\n"); got != 700 {
		t.Errorf("without its source the replica has %d entries, want 700", got)
	}
	source = run(t, config)
	fillSome(t, dialed(t, source.addr, client.Options{}), 100)
	sameLogs(t, source.addr, copied.addr, client.Options{})
}

// TestReplicaFollow: followers of a replica get entries as they arrive.
func TestReplicaFollow(t *testing.T) {
	source := run(t, sourceConfig(t))
	copied := run(t, copyConfig(t, source.addr))
	writer := dialed(t, source.addr, client.Options{})
	fillSome(t, writer, 1)
	n := 0
	for e, err := range dialed(t, copied.addr, client.Options{}).Follow(t.Context(), 1, client.Through(20)) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; e.Index != uint64(n) {
			t.Fatalf("entry %d follows entry %d", e.Index, n-1)
		}
		if n < 20 {
			fillSome(t, writer, 1)
		}
		if n == 20 {
			break
		}
	}
}

// TestReplicaRefuses: a replica refuses every kind of append, and says where to append.
func TestReplicaRefuses(t *testing.T) {
	source := run(t, sourceConfig(t))
	fillSome(t, dialed(t, source.addr, client.Options{}), 3)
	copied, url, _ := runHTTP(t, copyConfig(t, source.addr))
	sameLogs(t, source.addr, copied.addr, client.Options{})
	want := "not stored: this is a replica of " + source.addr + ": append there"
	nc, err := net.Dial("tcp", copied.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	in := bufio.NewReader(nc)
	for _, message := range []string{
		`{"id":"x","entry":{}}`, `{"id":"x","entry":{},"once":true}`, `{"id":"x","entry":{},"if":3}`, `{"id":"x","entry":{},"if":99}`,
		`{"id":"x","entries":[{},{}]}`, `{"id":"x","entry":{"n":1},"receipt":true}`,
	} {
		if _, err := nc.Write([]byte(message + "\n")); err != nil {
			t.Fatal(err)
		}
		if line, err := in.ReadString('\n'); err != nil || !strings.Contains(line, `"id":"x","error":"`+want+`"`) {
			t.Errorf("%s is answered %q, %v, want the error %s", message, line, err, want)
		}
	}
	answer, err := http.Post(url+"entries", "application/json", strings.NewReader(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if body, err := io.ReadAll(answer.Body); err != nil || !strings.Contains(string(body), want) || answer.StatusCode < 400 {
		t.Errorf("over HTTP the answer is %s %q, %v", answer.Status, body, err)
	}
	if head := statAt(t, copied.addr, client.Options{}).Head; head != 3 {
		t.Errorf("the replica has %d entries, want 3", head)
	}
	if s := statAt(t, copied.addr, client.Options{}); s.Failed != "" {
		t.Errorf("stat says that the replica has failed: %s", s.Failed)
	}
}

// httpText returns the answer of a URL.
func httpText(t *testing.T, url string) string {
	t.Helper()
	answer, err := http.Get(url)
	if err != nil {
		return err.Error()
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.Status + " " + string(body)
}

// TestReplicaWaits: a replica without a log waits for its source, and says so; then it is ready.
func TestReplicaWaits(t *testing.T) {
	addr := porttest.Addr(t)
	copying := copyConfig(t, addr)
	copying.Metrics = porttest.Addr(t)
	log := &events{}
	copying.Logger = zerolog.New(log)
	ready := make(chan net.Addr, 1)
	copying.OnReady = func(addr net.Addr) { ready <- addr }
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, copying) }()
	waits := "503 Service Unavailable starting: waiting for " + addr + " to say which log this is to be a replica of: "
	eventually(t, "/readyz to say that it waits", func() bool { return strings.Contains(httpText(t, "http://"+copying.Metrics+"/readyz"), waits) })
	if !strings.Contains(log.String(), `"event":"waiting"`) {
		t.Errorf("the log does not say that the replica waits:\n%s", log)
	}
	select {
	case <-ready:
		t.Fatal("the replica is ready without a log")
	default:
	}
	config := sourceConfig(t)
	config.at(addr)
	source := run(t, config)
	fillSome(t, dialed(t, source.addr, client.Options{}), 5)
	sameLogs(t, source.addr, (<-ready).String(), client.Options{})
	if got := httpText(t, "http://"+copying.Metrics+"/readyz"); got != "200 OK ready\n" {
		t.Errorf("/readyz says %s", got)
	}
	for _, metric := range []string{"tcp_log_server_replica_connected 1\n", "tcp_log_server_replica_stopped 0\n", "tcp_log_server_replica_behind_entries 0\n", "tcp_log_server_replica_behind_seconds 0\n", "tcp_log_server_replica_verified 5\n"} {
		if text := httpText(t, "http://"+copying.Metrics+"/metrics"); !strings.Contains(text, metric) {
			t.Errorf("the metrics have no line %s", metric)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run returns %v", err)
	}
	// Stopping it ends the wait.
	copying = copyConfig(t, porttest.Addr(t))
	ctx, cancel = context.WithCancel(t.Context())
	go func() { ended <- Run(ctx, copying) }()
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run returns %v while it waits", err)
	}
}

// TestReplicaOfBackup: a replica can begin with a backup of the source.
func TestReplicaOfBackup(t *testing.T) {
	config := sourceConfig(t)
	source := run(t, config)
	writer := dialed(t, source.addr, client.Options{})
	fillSome(t, writer, 100)
	copying := copyConfig(t, source.addr)
	if _, err := backup.Run(t.Context(), backup.Config{Data: config.Data, Dest: copying.Data}); err != nil {
		t.Fatal(err)
	}
	fillSome(t, writer, 100)
	copied := run(t, copying)
	sameLogs(t, source.addr, copied.addr, client.Options{})
	if s := statAt(t, copied.addr, client.Options{}); s.Appends.Entries > 100 {
		t.Errorf("the replica has fetched %d entries, want the 100 that were not in the backup", s.Appends.Entries)
	}
}

// TestReplicaStops: a replica of another log, and one with an extra entry, stop replicating, say why, and
// keep serving.
func TestReplicaStops(t *testing.T) {
	source := run(t, sourceConfig(t))
	fillSome(t, dialed(t, source.addr, client.Options{}), 10)
	for name, tt := range map[string]struct {
		prepare func(data string)
		says    string
	}{
		"another log": {
			func(data string) {
				other := run(t, sourceConfig(t))
				fillSome(t, dialed(t, other.addr, client.Options{}), 5)
				copying := copyConfig(t, other.addr)
				copying.Data = data
				copied := run(t, copying)
				sameLogs(t, other.addr, copied.addr, client.Options{})
				if err := copied.stop(); err != nil {
					t.Fatal(err)
				}
			}, "this one is "},
		"an entry more": {
			func(data string) {
				copying := copyConfig(t, source.addr)
				copying.Data = data
				copied := run(t, copying)
				sameLogs(t, source.addr, copied.addr, client.Options{})
				if err := copied.stop(); err != nil {
					t.Fatal(err)
				}
				appendAsPlain(t, data)
			}, "ends with 10"},
	} {
		t.Run(name, func(t *testing.T) {
			copying := copyConfig(t, source.addr)
			tt.prepare(copying.Data)
			copying.Metrics = porttest.Addr(t)
			log := &events{}
			copying.Logger = zerolog.New(log)
			copied := run(t, copying)
			eventually(t, "the replica to stop", func() bool { return statAt(t, copied.addr, client.Options{}).Replica.Stopped != "" })
			s := statAt(t, copied.addr, client.Options{})
			if !strings.Contains(s.Replica.Stopped, tt.says) {
				t.Errorf("the replica has stopped: %s; want %q in it", s.Replica.Stopped, tt.says)
			}
			if got := httpText(t, "http://"+copying.Metrics+"/readyz"); !strings.HasPrefix(got, "503 Service Unavailable replication has stopped: ") {
				t.Errorf("/readyz says %s", got)
			}
			if n := strings.Count(log.String(), "replication has stopped: "); n != 1 {
				t.Errorf("the log says %d times that replication has stopped, want once:\n%s", n, log)
			}
			if got := strings.Count(logText(t, copied.addr, client.Options{}), "\n"); got != int(s.Head) || got == 0 {
				t.Errorf("%d entries can be read, the head is %d", got, s.Head)
			}
		})
	}
}

// appendAsPlain appends an entry to the log of a replica, which nothing should do.
func appendAsPlain(t *testing.T, data string) {
	t.Helper()
	if err := segment.RemoveReplica(data); err != nil {
		t.Fatal(err)
	}
	log, err := engine.Open(engine.NewConfig(data))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	log.Append([]byte("{}\n"), 1, engine.Condition{}, func(_ engine.Result, err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestReplicaTLS: a replica connects with TLS and a token that may read and write; a read-only token is
// refused.
func TestReplicaTLS(t *testing.T) {
	authority := accesstest.NewAuthority(t)
	config := sourceConfig(t)
	config.TLSCert, config.TLSKey = authority.Issue(t, "localhost", time.Now().Add(time.Hour))
	config.Tokens = filepath.Join(t.TempDir(), "tokens")
	var lines string
	for _, rights := range []string{"both", "read"} {
		lines += fmt.Sprintf("%s %x %s\n", rights, sha256.Sum256([]byte(rights)), rights)
	}
	if err := os.WriteFile(config.Tokens, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	source := run(t, config)
	admitted := client.Options{TLS: authority.Client(t, "", ""), Token: "both"}
	fillSome(t, dialed(t, source.addr, admitted), 10)
	copying := copyConfig(t, source.addr)
	copying.Source.Connect.TLS, copying.Source.Connect.Token = admitted.TLS, "both"
	copied := run(t, copying)
	sameLogs(t, source.addr, copied.addr, admitted)
	if err := copied.stop(); err != nil {
		t.Error(err)
	}
	copying.Source.Connect.Token = "read"
	copied = run(t, copying)
	eventually(t, "the token to be refused", func() bool {
		return strings.Contains(statAt(t, copied.addr, client.Options{}).Replica.Stopped, "unauthorized: this token may not replicate")
	})
}

// TestReplicaSettings: impossible settings are refused before anything is done.
func TestReplicaSettings(t *testing.T) {
	for says, change := range map[string]func(*Config){
		"the source is empty":                      func(c *Config) { c.Source.Addr = "" },
		"a replica cannot keep its log in memory":  func(c *Config) { c.Data = engine.Memory },
		`from is "backups", want the URL`:          func(c *Config) { c.Source.From = "backups" },
		"from: what an archive has goes into data": func(c *Config) { c.Source.From, c.WAL = "file:///tmp", "/tmp" },
		"name has 300 bytes, want 255 at most":     func(c *Config) { c.Source.Name = strings.Repeat("x", 300) },
	} {
		config := copyConfig(t, "127.0.0.1:1")
		change(&config)
		if err := Run(t.Context(), config); err == nil || !strings.HasPrefix(err.Error(), says) {
			t.Errorf("Run returns %v, want %q", err, says)
		}
	}
}
