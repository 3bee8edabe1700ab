//go:build cluster

package server

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"tcp-log-server/internal/cluster/clustertest"
	"tcp-log-server/internal/replicated"
)

// With the build tag cluster, tests that take any log run over one on three machines: `go test
// -tags cluster ./server`, which takes minutes. The machines are nodes of one cluster in this
// process, and each log is its own stream there.

func init() { anyLog = openReplicated }

var (
	clusterOf = sync.OnceValue(func() *clustertest.Cluster { return clustertest.Start(wholeRun, clustertest.Options{}) })
	wholeRun  = &run{}
	streams   atomic.Int64
)

// run is the part of a test that a cluster needs, for one that lasts as long as all tests.
type run struct {
	testing.TB
	cleanups []func()
}

func (r *run) Helper()          {}
func (r *run) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

func (r *run) TempDir() string {
	dir, err := os.MkdirTemp("", "cluster")
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (r *run) Fatal(args ...any)                 { panic(fmt.Sprint(args...)) }
func (r *run) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func TestMain(m *testing.M) {
	code := m.Run()
	for i := len(wholeRun.cleanups) - 1; i >= 0; i-- {
		wholeRun.cleanups[i]()
	}
	os.Exit(code)
}

// openReplicated opens an empty log on three machines.
func openReplicated(t *testing.T) Log {
	t.Helper()
	conn, err := clusterOf().Node(0).Connect(replicated.Options()...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	log, err := replicated.Open(ctx, replicated.Config{
		Conn: conn, Stream: fmt.Sprint("log", streams.Add(1)), Create: true, Replicas: 3,
		Head: replicated.HeadLeader, GiveUp: 10 * time.Second, Logger: zerolog.Nop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := log.Close(ctx); err != nil {
			t.Errorf("closing the log: %v", err)
		}
		conn.Close()
	})
	return log
}
