package replicated

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// TestReplicas: a replica keeps up while everything that it lacks is under way to it, and no longer once
// the leader has not heard from it for a while. Without a leader no replica leads.
func TestReplicas(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		replica jetstream.PeerInfo
		want    bool
	}{
		{"has everything", jetstream.PeerInfo{Current: true, Active: time.Second}, true},
		{"a message on its way", jetstream.PeerInfo{Lag: 1, Active: time.Second}, true},
		{"far behind", jetstream.PeerInfo{Lag: onItsWay + 1, Active: time.Second}, false},
		{"not known how far behind", jetstream.PeerInfo{Active: time.Second}, false},
		{"out of touch", jetstream.PeerInfo{Current: true, Active: stale}, false},
		{"never heard of", jetstream.PeerInfo{Current: true}, false},
		{"offline", jetstream.PeerInfo{Current: true, Active: time.Second, Offline: true}, false},
	} {
		c := &jetstream.ClusterInfo{Leader: "a", Replicas: []*jetstream.PeerInfo{&tt.replica}}
		if got := replicas(c); len(got) != 2 || !got[0].Leader || got[1].Current != tt.want {
			t.Errorf("%s: %+v, want current: %v", tt.name, got, tt.want)
		}
	}
	c := &jetstream.ClusterInfo{Replicas: []*jetstream.PeerInfo{{Name: "a"}, {Name: "b"}}}
	if got := replicas(c); len(got) != 2 || got[0].Leader || got[1].Leader {
		t.Errorf("without a leader: %+v, want a and b, neither of which leads", got)
	}
}
