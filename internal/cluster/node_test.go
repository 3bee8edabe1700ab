//go:build !nocluster

package cluster_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"tcp-log-server/internal/cluster"
	"tcp-log-server/internal/cluster/clustertest"
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
	})
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// publish appends messages n, n+1, … to a log.
func publish(t testing.TB, js jetstream.JetStream, from, to int) {
	t.Helper()
	for n := from; n < to; n++ {
		ctx, cancel := context.WithTimeout(t.Context(), clustertest.Timeout)
		_, err := js.Publish(ctx, "log.a", message(n))
		cancel()
		if err != nil {
			t.Fatalf("message %d: %v", n, err)
		}
	}
}

func message(n int) []byte { return fmt.Appendf(nil, "message %d of the log", n) }

func TestCluster(t *testing.T) {
	var opts clustertest.Options
	if os.Getenv("CLUSTER_LOG") != "" {
		l := zerolog.New(zerolog.ConsoleWriter{Out: os.Stderr, TimeFormat: time.StampMilli})
		opts.Log = &l
	}
	began := time.Now()
	c := clustertest.Start(t, opts)
	t.Log("ready after", time.Since(began))
	js := createLog(t, c.Conn(0), 3)
	publish(t, js, 0, 100)
	t.Log("100 messages after", time.Since(began))
	c.Stop(0)
	t.Log("stopped after", time.Since(began))
}
