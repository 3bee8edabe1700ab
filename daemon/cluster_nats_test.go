package daemon

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"tcp-log-server/client"
	"tcp-log-server/internal/porttest"
)

// natsTrio starts three NATS servers with the accounts that docs/CLUSTER.md shows, and returns their
// addresses with its user, which may also publish to more.
func natsTrio(t *testing.T, more ...string) (urls string) {
	t.Helper()
	doc, err := os.ReadFile("../docs/CLUSTER.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile("(?s)<!-- cluster: permissions -->\n```\n(.*?)```").FindSubmatch(doc)
	if m == nil {
		t.Fatal("docs/CLUSTER.md has no block of permissions")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "accounts.conf")
	accounts := string(m[1])
	for _, subject := range more {
		accounts = strings.Replace(accounts, `"log.lane.*"`, fmt.Sprintf(`"log.lane.*", %q`, subject), 1)
	}
	if err := os.WriteFile(file, []byte(accounts), 0o600); err != nil {
		t.Fatal(err)
	}
	var routes []*url.URL
	var ports []int
	for range 3 {
		addr := porttest.Addr(t)
		routes = append(routes, &url.URL{Scheme: "nats-route", Host: addr})
		var port int
		fmt.Sscanf(addr, "127.0.0.1:%d", &port)
		ports = append(ports, port)
	}
	var all []string
	for i := range 3 {
		opts, err := natsserver.ProcessConfigFile(file)
		if err != nil {
			t.Fatal(err)
		}
		opts.ServerName, opts.Host, opts.Port, opts.NoLog, opts.NoSigs = fmt.Sprint("n", i), "127.0.0.1", natsserver.RANDOM_PORT, true, true
		opts.JetStream, opts.StoreDir, opts.SyncAlways = true, filepath.Join(dir, opts.ServerName), true
		opts.Cluster = natsserver.ClusterOpts{Name: "nats", Host: "127.0.0.1", Port: ports[i]}
		opts.Routes = routes
		s, err := natsserver.NewServer(opts)
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
		if !s.ReadyForConnections(20 * time.Second) {
			t.Fatal("a NATS server does not listen")
		}
		all = append(all, strings.Replace(s.ClientURL(), "nats://", "nats://gateway:secret@", 1))
	}
	return strings.Join(all, ",")
}

// TestNATSPermissions: servers on a NATS cluster need no more permissions than docs/CLUSTER.md gives
// them, and with those nobody can destroy the log.
func TestNATSPermissions(t *testing.T) {
	urls := natsTrio(t)
	var servers []*running
	for i := range 2 {
		config := NewConfig(filepath.Join(t.TempDir(), fmt.Sprint(i)))
		config.Port, config.Cluster.URL = 0, urls
		if config.Cluster.Stream != "log" {
			t.Fatalf("the stream is %s by default, and the document names log", config.Cluster.Stream)
		}
		servers = append(servers, run(t, config))
	}
	fillSome(t, dialed(t, servers[0].addr, client.Options{}), 100)
	fillSome(t, dialed(t, servers[1].addr, client.Options{}), 50)
	if got, want := logText(t, servers[1].addr, client.Options{}), logText(t, servers[0].addr, client.Options{}); got != want || strings.Count(got, "\n") != 150 {
		t.Errorf("one server has\n%.500s\nand another\n%.500s", got, want)
	}
	if got := asked(t, servers[0].addr, `{"digest":{"from":1,"through":150,"replicas":true}}`); !strings.Contains(got, "on NATS servers") || !strings.Contains(got, "`tcp-log-server fsck` on the copy") {
		t.Errorf("verifying the replicas is answered with %s", got)
	}

	nc, err := nats.Connect(urls)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "log")
	if err != nil {
		t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	config.DenyPurge, config.MaxMsgs = false, 1
	_, updated := js.UpdateStream(t.Context(), config)
	for what, err := range map[string]error{
		"edited": updated, "purged": stream.Purge(t.Context()), "deleted": js.DeleteStream(t.Context(), "log"), "shortened": stream.DeleteMsg(t.Context(), 1),
	} {
		if err == nil {
			t.Errorf("the stream can be %s", what)
		}
	}
	if got := strings.Count(logText(t, servers[0].addr, client.Options{}), "\n"); got != 150 {
		t.Errorf("there are %d entries, want 150", got)
	}
}

// TestMessageThatIsNone follows docs/CLUSTER.md after another program has put a message into the stream:
// the servers name it, the log before it is copied, and a new stream begins with that.
func TestMessageThatIsNone(t *testing.T) {
	urls := natsTrio(t, "log2.lane.*", "$JS.API.>")
	config := NewConfig(filepath.Join(t.TempDir(), "first"))
	config.Port, config.Cluster.URL = 0, urls
	first := run(t, config)
	fillSome(t, dialed(t, first.addr, client.Options{}), 50)
	nc, err := nats.Connect(urls)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "log.lane.other", []byte("of another program")); err != nil {
		t.Fatal(err)
	}
	named := func(addr string) bool {
		return strings.Contains(statAt(t, addr, client.Options{}).Failed, `see docs/CLUSTER.md, "A foreign message"`)
	}
	eventually(t, "the server names it", func() bool { return named(first.addr) })
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	first = run(t, config)
	if !named(first.addr) {
		t.Error("a server that is started then does not name it")
	}
	copying := copyConfig(t, first.addr)
	copied := run(t, copying)
	eventually(t, "the copy has all", func() bool { return statAt(t, copied.addr, client.Options{}).Head == 50 })
	want := logText(t, copied.addr, client.Options{})
	for _, d := range []*running{copied, first} {
		if err := d.stop(); err != nil {
			t.Fatal(err)
		}
	}
	config.Cluster.Stream, config.Cluster.Seed = "log2", copying.Data
	next := run(t, config)
	fillSome(t, dialed(t, next.addr, client.Options{}), 5)
	if got := logText(t, next.addr, client.Options{}); !strings.HasPrefix(got, want) || strings.Count(got, "\n") != 55 {
		t.Errorf("the next stream has\n%.500s\nwant 5 more than\n%.500s", got, want)
	}
}
