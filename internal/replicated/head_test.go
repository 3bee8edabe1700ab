package replicated

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// TestCheckLeader: how far the log goes is what its leader says while a majority is in touch with
// it, and never what a replica says in its place.
func TestCheckLeader(t *testing.T) {
	seen := func(name string, active time.Duration) *jetstream.PeerInfo {
		return &jetstream.PeerInfo{Name: name, Current: true, Active: active}
	}
	gone := seen("c", time.Second)
	gone.Offline = true
	for _, tt := range []struct {
		name     string
		leader   string
		replicas []*jetstream.PeerInfo
		want     bool
	}{
		{"both in touch", "a", []*jetstream.PeerInfo{seen("b", time.Second), seen("c", time.Second)}, true},
		{"one in touch", "a", []*jetstream.PeerInfo{seen("b", time.Second), seen("c", time.Minute)}, true},
		{"one in touch, one offline", "a", []*jetstream.PeerInfo{seen("b", time.Minute), gone}, false},
		{"none in touch", "a", []*jetstream.PeerInfo{seen("b", stale), seen("c", stale)}, false},
		{"none heard of yet", "a", []*jetstream.PeerInfo{seen("b", 0), seen("c", 0)}, false},
		{"no replicas known", "a", nil, false},
		{"a replica without a leader", "", []*jetstream.PeerInfo{seen("a", 0), seen("b", time.Second), seen("c", time.Second)}, false},
		{"a follower", "a", []*jetstream.PeerInfo{seen("a", time.Millisecond), seen("c", time.Second)}, false},
	} {
		info := &jetstream.StreamInfo{
			Config:  jetstream.StreamConfig{Replicas: 3},
			Cluster: &jetstream.ClusterInfo{Leader: tt.leader, Replicas: tt.replicas},
		}
		if err := checkLeader(info); (err == nil) != tt.want {
			t.Errorf("%s: error %v, want one: %v", tt.name, err, !tt.want)
		}
	}
	if err := checkLeader(&jetstream.StreamInfo{Config: jetstream.StreamConfig{Replicas: 1}}); err != nil {
		t.Errorf("a stream with one replica: %v", err)
	}
}
