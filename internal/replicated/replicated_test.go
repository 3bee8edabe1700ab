package replicated

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/rs/zerolog"

	"tcp-log-server/appends"
)

func trio(t *testing.T) []*server.Server {
	var nodes []*server.Server
	var routes string
	ports := []int{}
	for i := range 3 {
		ports = append(ports, 17222+i)
		routes += fmt.Sprintf("nats://127.0.0.1:%d,", 17222+i)
	}
	for i := range 3 {
		o := &server.Options{ServerName: fmt.Sprint("n", i), Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true, JetStream: true, StoreDir: t.TempDir(), SyncAlways: true, MaxPayload: 8 << 20,
			Cluster: server.ClusterOpts{Name: "x", Host: "127.0.0.1", Port: ports[i]}, Routes: server.RoutesFromStr(strings.TrimSuffix(routes, ","))}
		s, err := server.NewServer(o)
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		nodes = append(nodes, s)
		t.Cleanup(s.Shutdown)
	}
	return nodes
}

func gateway(t *testing.T, s *server.Server, head string) *Log {
	t.Helper()
	nc, err := nats.Connect("", append(Options(), nats.InProcessServer(s))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	l, err := Open(ctx, Config{Conn: nc, Stream: "log", Create: true, Replicas: 3, Head: head, GiveUp: 10 * time.Second, Logger: zerolog.New(os.Stderr).Level(zerolog.WarnLevel)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		l.Close(ctx)
	})
	return l
}

func put(t *testing.T, l *Log, on appends.Condition, entries ...string) (appends.Result, error) {
	t.Helper()
	type answer struct {
		r   appends.Result
		err error
	}
	got := make(chan answer, 1)
	l.Append([]byte(strings.Join(entries, "\n")+"\n"), len(entries), on, func(r appends.Result, err error) { got <- answer{r, err} })
	select {
	case a := <-got:
		return a.r, a.err
	case <-time.After(20 * time.Second):
		t.Fatal("an append is not completed")
		return appends.Result{}, nil
	}
}

func TestTry(t *testing.T) {
	began := time.Now()
	nodes := trio(t)
	a := gateway(t, nodes[0], HeadLeader)
	t.Log("opened", time.Since(began))
	b := gateway(t, nodes[1], HeadQuorum)
	t.Log("opened", time.Since(began))
	for i := range 200 {
		r, err := put(t, a, appends.Condition{}, fmt.Sprintf(`{"a":%d}`, i))
		if err != nil {
			t.Fatal(err)
		}
		_ = r
	}
	t.Log("200", time.Since(began))
	for _, l := range []*Log{a, b} {
		s := time.Now()
		head, err := l.Head(t.Context())
		t.Log(head, err, time.Since(s))
	}
	r, err := put(t, b, appends.Condition{Kind: appends.Expect, Head: 200}, `{"b":1}`)
	t.Log(r, err)
	r, err = put(t, b, appends.Condition{Kind: appends.Expect, Head: 200}, `{"b":1}`)
	t.Log(r, err)
	if err := b.AwaitOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err = put(t, b, appends.Condition{Kind: appends.Once}, `{"b":1}`, `{"c":1}`, `{"c":1}`, `{"a":7}`)
	t.Log(r, err)
	n := 0
	head := a.Known()
	err = a.Read(t.Context(), 1, head, func(first uint64, count int, entries []byte, at int64, err error) error {
		n += count
		return err
	})
	t.Log(head, n, err)
	i, err := a.Since(t.Context(), 1)
	t.Log(i, err)
	i, err = a.Since(t.Context(), time.Now().UnixMicro())
	t.Log(i, err)
	c := gateway(t, nodes[2], HeadLeader)
	n = 0
	err = c.Read(t.Context(), 50, c.Known(), func(first uint64, count int, entries []byte, at int64, err error) error {
		if n == 0 {
			t.Log(first, string(entries))
		}
		n += count
		return err
	})
	t.Log(c.Known(), n, err)
}
