package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tcp-log-server/cli"
	"tcp-log-server/internal/metrics/metricstest"
	"tcp-log-server/internal/porttest"
)

// watched is a running server with an endpoint for metrics.
type watched struct {
	*daemon
	metrics string // the address of the endpoint
}

// startWatched starts the server with METRICS, and settings beyond that.
func startWatched(t *testing.T, settings ...string) *watched {
	t.Helper()
	return watch(t, launch(t, append(settings, "METRICS=127.0.0.1:0")...))
}

// allMetrics returns the metrics of a replica with an archive, and those that a node of a cluster adds.
func allMetrics(t *testing.T) string {
	t.Helper()
	_, page := startCopies(t).ask(t, "/metrics")
	_, node := startWatched(t, "DATA="+filepath.Join(t.TempDir(), "node"), "CLUSTER_NODES=a="+porttest.Addr(t), "CLUSTER_NODE=a").ask(t, "/metrics")
	for line := range strings.Lines(node) {
		if strings.Contains(line, "tcp_log_server_cluster_") {
			page += line
		}
	}
	return page
}

// startCopies starts a replica with an archive, which has all metrics of a log in a directory.
func startCopies(t *testing.T) *watched {
	t.Helper()
	source := start(t, "DATA=memory")
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return watch(t, launchBy(t, exec.Command(path, "replica", source.addr), "METRICS=127.0.0.1:0",
		"DATA="+filepath.Join(t.TempDir(), "data"), "ARCHIVE=file://"+filepath.ToSlash(t.TempDir()), "ARCHIVE_KEEP_LOCAL=1GiB"))
}

// watch waits until d, a server with METRICS, listens.
func watch(t *testing.T, d *daemon) *watched {
	t.Helper()
	w := &watched{daemon: d}
	w.metrics = fmt.Sprintf("http://127.0.0.1:%v", w.event(t, "metrics")["port"])
	w.addr = fmt.Sprintf("127.0.0.1:%v", w.event(t, "listening")["port"])
	return w
}

// ask requests a path over HTTP.
func (w *watched) ask(t *testing.T, path string) (status int, body string) {
	t.Helper()
	client := http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(w.metrics + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// scrape returns the server's current metrics.
func (w *watched) scrape(t *testing.T) metricstest.Scrape {
	t.Helper()
	status, body := w.ask(t, "/metrics")
	s, err := metricstest.Parse(body)
	if status != 200 || err != nil {
		t.Fatalf("/metrics is %d, %v:\n%s", status, err, body)
	}
	return s
}

// until scrapes until the sample has the value want.
func (w *watched) until(t *testing.T, sample string, want float64) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		got, ok := w.scrape(t).Samples[sample]
		if ok && got == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is %v (%v), want %v", sample, got, ok, want)
		}
	}
}

// TestMetricsUnderLoad scrapes a server while clients write to it and follow it:
// counters never decrease, and in the end every count matches what the clients sent
// and received, to the byte.
func TestMetricsUnderLoad(t *testing.T) {
	w := startWatched(t, "DATA="+filepath.Join(t.TempDir(), "data"), "LOOSE_MAX=50")
	const writers, each = 4, 2000
	entry := func(writer, n int) string { return fmt.Sprintf(`{"n":%d,"writer":%d}`, n, writer) }
	var mu sync.Mutex
	var stored, sent, received int // bytes: of entries in the log, to the server, from it
	add := func(in, out, entries int) {
		mu.Lock()
		defer mu.Unlock()
		received, sent, stored = received+in, sent+out, stored+entries
	}
	follower, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer follower.Close()
	fmt.Fprintln(follower, `{"from":1}`)
	add(0, len(`{"from":1}`)+1, 0)
	var wg sync.WaitGroup
	wg.Go(func() {
		in, got := bufio.NewReader(follower), 0
		for lines := 0; lines < writers*each+1; lines++ { // the entries and {"current":true}
			line, err := in.ReadString('\n')
			if err != nil {
				t.Errorf("following: %v", err)
				return
			}
			got += len(line)
		}
		add(got, 0, 0)
	})
	for writer := range writers {
		wg.Go(func() {
			var all strings.Builder
			entries := 0
			for n := range each {
				e := entry(writer, n)
				entries += len(e) + 1
				fmt.Fprintf(&all, `{"id":"%d","entry":%s}`+"\n", n, e)
			}
			replies := talk(t, w.addr, all.String())
			if got := strings.Count(replies, `"index"`); got != each {
				t.Errorf("%d of %d writes were acknowledged", got, each)
			}
			add(len(replies), all.Len(), entries)
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	var before metricstest.Scrape
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		now := w.scrape(t)
		for name, value := range before.Samples {
			up := strings.HasSuffix(name, "_count") || strings.Contains(name, "_bucket{") || strings.Contains(name, "_total") || name == "tcp_log_server_head"
			if now.Samples[name] < value && up {
				t.Errorf("%s went from %v to %v", name, value, now.Samples[name])
			}
		}
		before = now
	}
	w.until(t, "tcp_log_server_sent_bytes_total", float64(received))
	w.until(t, "tcp_log_server_settle_backlog_entries", 0)
	w.until(t, "tcp_log_server_connections", 1)
	got := w.scrape(t).Samples
	for name, want := range map[string]int{
		"head": writers * each, "appended_entries_total": writers * each, "batch_entries_sum": writers * each,
		"appended_bytes_total": stored, "batch_bytes_sum": stored,
		"received_bytes_total": sent, "sent_bytes_total": received,
		"settled": writers * each, "loose_blobs": 50, "packed_entries": writers * each, "segments": 1,
		"accepted_connections_total": writers + 1,
		`readers{state="following"}`: 1, `readers{state="history"}`: 0,
		"readers_behind_entries": 0, "readers_behind_max_entries": 0,
	} {
		if value, ok := got["tcp_log_server_"+name]; !ok || value != float64(want) {
			t.Errorf("%s is %v, want %d", name, value, want)
		}
	}
	batches := got["tcp_log_server_batch_entries_count"]
	for _, name := range []string{"batch_bytes_count", "sync_seconds_count"} {
		if value := got["tcp_log_server_"+name]; value != batches || value < 1 || value > writers*each {
			t.Errorf("%s is %v, of %v batches", name, value, batches)
		}
	}
	// Header, batches with a header of 40 bytes or so each, and 48 bytes an entry of the index.
	if got, least := got["tcp_log_server_store_bytes"], float64(stored+writers*each*48); got < least || got > least+64+100*batches {
		t.Errorf("store_bytes is %v, want a little over %v", got, least)
	}
	if sum, acks := got["tcp_log_server_ack_seconds_sum"], got["tcp_log_server_ack_seconds_count"]; acks < 1 || acks > writers*each || sum <= 0 {
		t.Errorf("%v acknowledgements took %v s", acks, sum)
	}
	for name, value := range got {
		if strings.HasPrefix(name, "tcp_log_server_errors_total") && value != 0 {
			t.Errorf("%s is %v", name, value)
		}
	}
}

// TestErrorsByKind: each mistake of a client is counted under its kind.
func TestErrorsByKind(t *testing.T) {
	w := startWatched(t, "DATA=memory", "MAX_CONNECTIONS=1", "MAX_ENTRY=100")
	talk(t, w.addr, `{"id":"1","entry":{"a":1,"a":2}}`+"\n"+`{"id":"2","entry":{"a":"`+strings.Repeat("x", 100)+`"}}`+"\n[]\n{}\nnonsense\n")
	w.until(t, "tcp_log_server_connections", 0)
	c, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	w.until(t, "tcp_log_server_connections", 1)
	talk(t, w.addr, "")
	got := w.scrape(t).Samples
	for kind, want := range map[string]float64{
		"refused_entry": 2, "invalid_message": 3, "refused_connection": 1,
		"refused_batch": 0, "failed_sync": 0, "unstored_entry": 0, "unauthorized": 0, "accept": 0, "damaged_read": 0,
	} {
		if value, ok := got[`tcp_log_server_errors_total{kind="`+kind+`"}`]; !ok || value != want {
			t.Errorf("errors of kind %s are %v, want %v", kind, value, want)
		}
	}
}

// TestMetricsBeforeRecovery: the endpoint listens before the log is opened, so
// that a start that is slow, or fails, is visible.
func TestMetricsBeforeRecovery(t *testing.T) {
	data := t.TempDir()
	if err := os.Mkdir(filepath.Join(data, "segments"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(data, "segments", "00000000000000000001.seg"), []byte("no segment"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := launch(t, "DATA="+data, "METRICS=127.0.0.1:0")
	d.event(t, "metrics")
	if code := d.wait(t); code != cli.ExitFailure {
		t.Errorf("exit code is %d, want %d: %s", code, cli.ExitFailure, d.stderr.String())
	}
}

// TestMetricsAtTheEnd: while the server waits for connections to end it is alive and
// not ready; then it ends, even if clients of the endpoint still wait for an answer.
func TestMetricsAtTheEnd(t *testing.T) {
	w := startWatched(t, "DATA=memory", "PPROF=1")
	stays, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer stays.Close()
	w.event(t, "connected")
	stalled, err := net.Dial("tcp", strings.TrimPrefix(w.metrics, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer stalled.Close()
	io.WriteString(stalled, "GET /debug/pprof/profile?seconds=60 HTTP/1.1\r\nHost: x\r\n\r\n")
	if status, body := w.ask(t, "/readyz"); status != 200 || body != "ready\n" {
		t.Errorf("/readyz is %d %q", status, body)
	}
	begun := time.Now()
	w.cmd.Process.Signal(syscall.SIGTERM)
	w.event(t, "stopping")
	for {
		status, body := w.ask(t, "/readyz")
		if status == 503 && body == "stopping\n" {
			break
		}
		if status != 200 {
			t.Fatalf("/readyz is %d %q, want it to be stopping", status, body)
		}
	}
	if status, _ := w.ask(t, "/healthz"); status != 200 {
		t.Errorf("/healthz is %d while the server ends", status)
	}
	stays.Close()
	if code := w.wait(t); code != 0 || time.Since(begun) > 10*time.Second {
		t.Errorf("exit code is %d after %v, want 0: %s", code, time.Since(begun), w.stderr.String())
	}
}

// TestPprof: pprof is served only if PPROF is set.
func TestPprof(t *testing.T) {
	if status, _ := startWatched(t, "DATA=memory").ask(t, "/debug/pprof/"); status != 404 {
		t.Errorf("without PPROF /debug/pprof/ is %d, want 404", status)
	}
	if status, body := startWatched(t, "DATA=memory", "PPROF=1").ask(t, "/debug/pprof/goroutine?debug=1"); status != 200 || !strings.Contains(body, "goroutine profile") {
		t.Errorf("with PPROF /debug/pprof/goroutine is %d %.60q", status, body)
	}
}

func TestRefusedWatchSettings(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, tt := range []struct {
		setting string
		code    int
		says    string
	}{
		{"METRICS=9100", cli.ExitUsage, `metrics is "9100", want host:port`},
		{"PPROF=1", cli.ExitUsage, "pprof needs metrics"},
		{"METRICS=0.0.0.0:0", cli.ExitUsage, "INSECURE=1"},
		{"METRICS=" + taken.Addr().String(), cli.ExitFailure, "metrics: listen tcp " + taken.Addr().String()},
	} {
		data := filepath.Join(t.TempDir(), "data")
		d := launch(t, "DATA="+data, tt.setting)
		code := d.wait(t)
		if text := d.stderr.String(); code != tt.code || strings.Count(text, "\n") != 1 || !strings.Contains(text, tt.says) {
			t.Errorf("%s: exit code is %d, error %q, want %d and %q", tt.setting, code, text, tt.code, tt.says)
		}
		if _, err := os.Stat(data); err == nil {
			t.Errorf("%s: the log was opened all the same", tt.setting)
		}
	}
}

// TestMetricsTable compares the table of metrics in docs/OPERATIONS.md with those of
// the server.
func TestMetricsTable(t *testing.T) {
	page := allMetrics(t)
	help := make(map[string]string)
	var want strings.Builder
	want.WriteString("| metric | type | |\n|---|---|---|\n")
	for line := range strings.Lines(page) {
		words := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4)
		if len(words) < 4 || !strings.HasPrefix(words[2], "tcp_log_server_") {
			continue
		}
		switch words[1] {
		case "HELP":
			help[words[2]] = words[3]
		case "TYPE":
			fmt.Fprintf(&want, "| `%s` | %s | %s |\n", words[2], words[3], help[words[2]])
		}
	}
	const name, begin, end = "docs/OPERATIONS.md", "<!-- metrics -->\n", "<!-- /metrics -->"
	b, err := os.ReadFile(root + name)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(b), begin)
	table, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no %q and %q", name, begin, end)
	}
	if table == want.String() {
		return
	}
	if !*update {
		t.Fatalf("the table in %s is not what the server shows; run `go test -run MetricsTable -update .`; want\n%s", name, want.String())
	}
	if err := os.WriteFile(root+name, []byte(before+begin+want.String()+end+after), 0o644); err != nil {
		t.Fatal(err)
	}
}
