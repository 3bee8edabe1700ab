package replicated

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"tcp-log-server/internal/cluster/clustertest"
	"tcp-log-server/server/logtest"
)

// trio is a cluster of three nodes that holds one or more logs.
type trio struct {
	*clustertest.Cluster
	logs atomic.Int32
}

func newTrio(t testing.TB) *trio { return &trio{Cluster: clustertest.Start(t, clustertest.Options{})} }

// name returns the name of a stream that no other test uses.
func (c *trio) name() string { return fmt.Sprintf("log%d", c.logs.Add(1)) }

// gateway opens the log of a stream through a node.
func (c *trio) gateway(t testing.TB, node int, stream string, change ...func(*Config)) *Log {
	t.Helper()
	config := Config{
		Conn: c.Conn(node, Options()...), Stream: stream, Create: true, Replicas: len(c.Members), Head: HeadLeader,
		GiveUp: 20 * time.Second, Logger: zerolog.New(os.Stderr).Level(zerolog.ErrorLevel),
	}
	for _, f := range change {
		f(&config)
	}
	return open(t, config)
}

// TestLog runs the tests of all logs on a cluster.
func TestLog(t *testing.T) {
	c := newTrio(t)
	for _, head := range []string{HeadLeader, HeadQuorum} {
		t.Run(head, func(t *testing.T) {
			if head == HeadQuorum && testing.Short() {
				t.Skip("one kind of head is enough")
			}
			logtest.Run(t, func(t *testing.T) logtest.Harness {
				stream := c.name()
				node := 0
				var log *Log
				open := func(t testing.TB) logtest.Log {
					log = c.gateway(t, node%3, stream, func(c *Config) { c.Head = head })
					node++
					return log
				}
				return logtest.Harness{
					Log: open(t), Reopen: open,
					Close: func(t testing.TB) {
						ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
						defer cancel()
						if err := log.Close(ctx); err != nil {
							t.Error(err)
						}
					},
				}
			})
		})
	}
}
