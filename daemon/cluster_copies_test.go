package daemon

import (
	"bufio"
	"net"
	"strings"
	"testing"
	"time"

	"tcp-log-server/client"
	"tcp-log-server/engine"
	"tcp-log-server/fsck"
)

// asked returns a server's answer to a message.
func asked(t *testing.T, addr, message string) string {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := nc.Write([]byte(message + "\n")); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(nc).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(line, "\n")
}

// fsckDirectory checks the log in a directory that no server uses, and returns the result of fsck.
func fsckDirectory(t *testing.T, data string) fsck.Summary {
	t.Helper()
	sum, err := fsck.Check(t.Context(), fsck.Options{Data: data, OnFinding: func(f fsck.Finding) {
		if f.Severity != fsck.Hint {
			t.Errorf("fsck: %s: %s: %s", f.Kind, f.File, f.Message)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// TestReplicaOfCluster: a replica in a directory follows any node of a cluster, switches to another when
// that one is gone, by itself or after a restart, and is an ordinary log with the cluster's entries,
// times and id.
func TestReplicaOfCluster(t *testing.T) {
	k := startTrio(t)
	fillSome(t, dialed(t, k.addr(0), client.Options{}), 200)
	fillSome(t, dialed(t, k.addr(1), client.Options{}), 100)
	copying := copyConfig(t, k.addr(0)+","+k.addr(1))
	copied := run(t, copying)
	fillSome(t, dialed(t, k.addr(2), client.Options{}), 100)
	sameLogs(t, k.addr(0), copied.addr, client.Options{})

	k.stop(t, 0)
	fillSome(t, dialed(t, k.addr(1), client.Options{}), 50)
	sameLogs(t, k.addr(1), copied.addr, client.Options{})
	if err := copied.stop(); err != nil {
		t.Error(err)
	}
	fillSome(t, dialed(t, k.addr(1), client.Options{}), 50)
	copying.Source.Addr = k.addr(2)
	copied = run(t, copying)
	sameLogs(t, k.addr(2), copied.addr, client.Options{})
	store, digest := statAt(t, k.addr(2), client.Options{}).Store, digestAt(t, k.addr(2), 500)
	if got := statAt(t, copied.addr, client.Options{}).Store; got != store {
		t.Errorf("the replica's store is %s, the cluster's %s", got, store)
	}
	if err := copied.stop(); err != nil {
		t.Error(err)
	}
	sum := fsckDirectory(t, copying.Data)
	if sum.Entries != 500 || !strings.Contains(digest, sum.Digest) {
		t.Errorf("fsck finds %d entries with the digest %s, want 500 with that of the cluster, %s", sum.Entries, sum.Digest, digest)
	}
}

// TestReplicaOfClusterPromoted: a promoted replica continues on its own. The cluster cannot be fenced,
// says so, and continues too.
func TestReplicaOfClusterPromoted(t *testing.T) {
	k := startTrio(t)
	fillSome(t, dialed(t, k.addr(0), client.Options{}), 20)
	copying := copyConfig(t, k.addr(0))
	copied := run(t, copying)
	sameLogs(t, k.addr(0), copied.addr, client.Options{})
	if err := copied.stop(); err != nil {
		t.Error(err)
	}
	if _, err := engine.Promote(engine.NewConfig(copying.Data)); err != nil {
		t.Fatal(err)
	}
	copied = run(t, copying) // as a replica again, which it no longer is
	eventually(t, "the replica to stop", func() bool { return statAt(t, copied.addr, client.Options{}).Replica.Stopped != "" })
	stopped := statAt(t, copied.addr, client.Options{}).Replica.Stopped
	if want := "which cannot be fenced, and continues in epoch 1"; !strings.Contains(stopped, want) {
		t.Errorf("the replica has stopped: %s; want %q in it", stopped, want)
	}
	fillSome(t, dialed(t, k.addr(1), client.Options{}), 1)
}
