package replicated

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
)

// TestTailPlaced: each gateway reads the tail from the node that it is connected to.
func TestTailPlaced(t *testing.T) {
	c := newTrio(t)
	stream := c.name()
	put(t, c.gateway(t, 0, stream), always, "0")
	for i := range 9 {
		l := c.gateway(t, i%3, stream)
		own := func() (own int) {
			s, err := l.js.Stream(t.Context(), stream)
			if err != nil {
				return -1
			}
			list := s.ListConsumers(t.Context())
			for info := range list.Info() {
				if info.Cluster != nil && info.Cluster.Leader == l.conn.ConnectedServerName() {
					own++
				}
			}
			return own
		}
		eventually(t, fmt.Sprintf("gateway %d has a consumer on its node", i), func() bool { return own() >= 1+i/3 })
		put(t, l, always, fmt.Sprint(i+1))
	}
}

// TestTailNode chooses the node for the tail.
func TestTailNode(t *testing.T) {
	all := []Replica{{Name: "a", Leader: true}, {Name: "b"}, {Name: "c", Offline: true}}
	for _, c := range []struct{ connected, avoid, want string }{
		{"a", "", "a"}, {"b", "", "b"}, {"c", "", "a"}, {"d", "", "a"}, {"", "", "a"},
		{"b", "b", "a"}, {"b", "a", "b"}, {"a", "a", ""}, {"c", "a", ""},
	} {
		if got := tailNode(c.connected, c.avoid, all); got != c.want {
			t.Errorf("connected to %q, not from %q: %q, want %q", c.connected, c.avoid, got, c.want)
		}
	}
	if got := tailNode("a", "", nil); got != "" {
		t.Errorf("from %q, and no replica is known", got)
	}
}

// consumers makes consumers on the nodes of a fake, which send heartbeats and no messages. It returns a
// function that lists the nodes on which they were made.
func (f *fake) consumers(nodes ...string) (made func() []string) {
	var mu sync.Mutex
	var on []string
	for subject, answer := range map[string]func(*nats.Msg){
		"$JS.API.CONSUMER.CREATE.log.*": func(msg *nats.Msg) {
			mu.Lock()
			node := nodes[len(on)%len(nodes)]
			on = append(on, node)
			mu.Unlock()
			name := msg.Subject[strings.LastIndexByte(msg.Subject, '.')+1:]
			f.answer(msg, fmt.Sprintf(`{"stream_name":"log","name":%q,"config":{"name":%[1]q,"ack_policy":"none"},"cluster":{"leader":%q}}`, name, node))
		},
		"$JS.API.CONSUMER.DELETE.log.*": func(msg *nats.Msg) { f.answer(msg, `{"success":true}`) },
		"$JS.API.CONSUMER.MSG.NEXT.log.*": func(msg *nats.Msg) {
			tick := time.NewTicker(tailHeartbeat / 4)
			go func() {
				defer tick.Stop()
				for range 60 {
					<-tick.C
					if f.conn.PublishMsg(&nats.Msg{Subject: msg.Reply, Header: nats.Header{"Status": {"100"}, "Description": {"Idle Heartbeat"}}}) != nil {
						return
					}
				}
			}()
		},
	} {
		if _, err := f.conn.Subscribe(subject, answer); err != nil {
			f.t.Fatal(err)
		}
	}
	return func() []string { mu.Lock(); defer mu.Unlock(); return append([]string(nil), on...) }
}

// syncBuffer is a buffer for a log that is read while it is written.
type syncBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// TestTailLate: a consumer that is alive but delivers no stored messages is made again on another node,
// and the log says so. Meanwhile the missing messages are fetched.
func TestTailLate(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.replicas = []*jetstream.PeerInfo{{Name: "b", Active: time.Second}, {Name: "c", Active: time.Second}} // a leads
	made := f.consumers("b", "a", "b", "a", "b", "b", "a")
	var log syncBuffer
	l := f.gateway(5*time.Second, func(c *Config) { c.Logger = zerolog.New(&log) })
	eventually(t, "a consumer is made on the leader, since nobody is connected to a node", func() bool { return len(made()) >= 2 })
	f.put(message{}, "1")
	eventually(t, "it is counted", func() bool { return l.Known() == 1 })
	eventually(t, "a consumer is made on another node than the leader", func() bool { return len(made()) >= 3 })
	eventually(t, "the log says why", func() bool { return strings.Contains(log.String(), `"from":"a"`) })
}

// TestSlowReplica: if the replica that was asked does not answer, the leader is asked, and not one
// message after another.
func TestSlowReplica(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	l := f.gateway(5 * time.Second)
	f.mu.Lock()
	f.silent = true
	f.mu.Unlock()
	before := func() int { f.mu.Lock(); defer f.mu.Unlock(); return f.asked }()
	var want []string
	for i := range 300 {
		want = append(want, fmt.Sprint(i))
		f.put(message{}, want[i])
	}
	eventually(t, "all is counted", func() bool { return l.Known() == 300 })
	f.mu.Lock()
	asked := f.asked - before
	f.mu.Unlock()
	if got := readAll(t, l, 1, 300); !slices.Equal(got, want) {
		t.Errorf("the log has %v", got)
	}
	if asked > 8 {
		t.Errorf("a replica that does not answer was asked %d times", asked)
	}
}
