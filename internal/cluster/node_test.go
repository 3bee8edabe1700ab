//go:build !nocluster

package cluster_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"tcp-log-server/internal/cluster"
	"tcp-log-server/internal/cluster/clustertest"
	"tcp-log-server/segment"
)

// createLog creates the stream of a log, as package replicated does.
func createLog(t testing.TB, nc *nats.Conn, replicas int) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), clustertest.Timeout)
	defer cancel()
	_, err = js.CreateStream(ctx, jetstream.StreamConfig{
		Name: cluster.DefaultStream, Subjects: []string{"log.>"}, Replicas: replicas,
		Storage: jetstream.FileStorage, DenyDelete: true, DenyPurge: true, AllowDirect: true,
		Metadata: map[string]string{"log": rand.Text()},
	})
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// publish appends messages from, from+1 and so on to a log.
func publish(t testing.TB, js jetstream.JetStream, from, to int) {
	t.Helper()
	publishThese(t, js, from, to, message)
}

// publishLarge publishes messages of 256 KiB.
func publishLarge(t testing.TB, js jetstream.JetStream, from, to int) {
	t.Helper()
	publishThese(t, js, from, to, largeMessage)
}

func largeMessage(n int) []byte { return append(message(n), make([]byte, 256<<10)...) }

func publishThese(t testing.TB, js jetstream.JetStream, from, to int, message func(int) []byte) {
	t.Helper()
	for n := from; n < to; n++ {
		ctx, cancel := context.WithTimeout(t.Context(), clustertest.Timeout)
		_, err := js.Publish(ctx, "log.a", message(n))
		for errors.Is(err, jetstream.ErrNoStreamResponse) && ctx.Err() == nil { // there is no leader: it is not stored
			_, err = js.Publish(ctx, "log.a", message(n))
		}
		cancel()
		if err != nil {
			t.Fatalf("message %d: %v", n, err)
		}
	}
}

func message(n int) []byte { return fmt.Appendf(nil, "message %d of the log", n) }

// options returns the options for a test's cluster; CLUSTER_LOG=1 shows what its nodes log.
func options() (opts clustertest.Options) {
	if os.Getenv("CLUSTER_LOG") != "" {
		l := zerolog.New(zerolog.ConsoleWriter{Out: os.Stderr, TimeFormat: time.StampMilli}).Level(zerolog.WarnLevel).With().Timestamp().Logger()
		opts.Log = &l
	}
	return opts
}

// TestStart starts a cluster, appends, and checks its status.
func TestStart(t *testing.T) {
	began := time.Now()
	c := clustertest.Start(t, options())
	t.Log("ready after", time.Since(began))
	js := createLog(t, c.Conn(0), 3)
	publish(t, js, 0, 100)
	c.Caught(100)
	status := c.Node(1).Status(t.Context())
	if !status.Ready || status.Node != "b" || status.Leader == "" || status.Meta == "" || len(status.Members) != 3 {
		t.Errorf("status %+v", status)
	}
	c.Stop(2)
	status = c.Node(1).Status(t.Context())
	if m := status.Members[2]; m.Connected || m.Problem != "it does not answer" || m.Addr != c.Members[2].Addr {
		t.Errorf("after node c has stopped, its status is %+v", m)
	}
	publish(t, c.JetStream(0), 100, 120) // through the remaining two
	c.Start(2)
	c.Caught(120)
}

// TestAlone starts a cluster of one node, twice.
func TestAlone(t *testing.T) {
	opts := options()
	opts.Size = 1
	c := clustertest.Start(t, opts)
	publish(t, createLog(t, c.Conn(0), 1), 0, 20)
	c.Stop(0)
	c.Start(0)
	c.Ready()
	c.Caught(20)
	publish(t, c.JetStream(0), 20, 30)
	checkMessages(t, c, 30, message)
}

// checkMessages checks that each node's replica has the messages 0 to n, and that readers get them.
func checkMessages(t *testing.T, c *clustertest.Cluster, n int, message func(int) []byte) {
	t.Helper()
	for i := range c.Members {
		if c.Node(i) == nil {
			continue
		}
		for _, v := range c.Node(i).Verify(t.Context()) {
			if v.Problem == "" && v.Messages != uint64(n) {
				v.Problem = "it has another number of messages"
			}
			if v.Problem != "" && v.Problem != "it does not answer" {
				t.Errorf("node %s, asked by %s: %+v, want %d messages", v.Node, c.Members[i].Name, v, n)
			}
		}
		s, err := c.JetStream(i).Stream(t.Context(), cluster.DefaultStream)
		if err != nil {
			t.Fatal(err)
		}
		for seq := range n {
			m, err := s.GetMsg(t.Context(), uint64(seq+1))
			if err != nil {
				t.Fatalf("message %d: %v", seq, err)
			}
			if !bytes.Equal(m.Data, message(seq)) {
				t.Fatalf("message %d has %d bytes and begins with %.40q, want %.40q", seq, len(m.Data), m.Data, message(seq))
			}
		}
	}
}

// TestLocked starts a second node on a directory.
func TestLocked(t *testing.T) {
	opts := options()
	opts.Size = 1
	c := clustertest.Start(t, opts)
	if n, err := cluster.Start(c.Config(0)); !errors.Is(err, segment.ErrLocked) {
		t.Errorf("got %v, want %v", err, segment.ErrLocked)
		if err == nil {
			n.Close()
		}
	}
}

// TestClose: a node joins everything that it started, even one that waits for the others.
func TestClose(t *testing.T) {
	c := clustertest.New(t, options())
	c.Start(0)
	c.Close()
	c = clustertest.Start(t, options())
	publish(t, createLog(t, c.Conn(0), 3), 0, 5)
	c.Close()
	var left string
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		left = ""
		for g := range strings.SplitSeq(string(stacks), "\n\n") {
			if (strings.Contains(g, "nats-server/v2") || strings.Contains(g, "internal/cluster.")) && !strings.Contains(g, "TestClose") {
				left += g + "\n\n"
			}
		}
		if left == "" {
			return
		}
	}
	t.Errorf("goroutines are left:\n%s", left)
}
