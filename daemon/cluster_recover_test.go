package daemon

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tcp-log-server/client"
	"tcp-log-server/internal/cluster"
	"tcp-log-server/internal/porttest"
)

// blocksOf returns the files of a node's replica.
func blocksOf(t *testing.T, data string) []string {
	t.Helper()
	blocks, err := filepath.Glob(filepath.Join(data, "cluster", "jetstream", "$G", "streams", "log", "msgs", "*.blk"))
	if err != nil || len(blocks) == 0 {
		t.Fatal("the replica has no blocks: ", err)
	}
	return blocks
}

// image copies the directory of a running node, as a power cut might leave it.
func image(t *testing.T, data string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "image")
	from := os.DirFS(data)
	err := fs.WalkDir(from, ".", func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // renamed or removed meanwhile
		}
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, path), 0o700)
		}
		text, err := fs.ReadFile(from, path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, path), text, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// noteMessages makes an image say that no more messages than these were synced.
func noteMessages(t *testing.T, data string, messages int) {
	t.Helper()
	text, err := json.Marshal(map[string]any{"messages": messages, "clean": false})
	if err == nil {
		err = os.WriteFile(filepath.Join(data, "cluster", "REPLICA"), text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// recovered recovers the log of a node, and returns the result with the digest that a server on it
// reports.
func recovered(t *testing.T, data string, acceptLoss bool) (got Recovered, digest string) {
	t.Helper()
	to := filepath.Join(t.TempDir(), "last")
	got, err := RecoverNode(t.Context(), data, to, acceptLoss)
	if err != nil {
		t.Fatal(err)
	}
	config := sourceConfig(t)
	config.Data = to
	if err := Run(t.Context(), config); err == nil || !strings.Contains(err.Error(), "promote") {
		t.Errorf("a server on the log before it is promoted ends with %v", err)
	}
	config.Source = &Source{Addr: porttest.Addr(t)}
	d := run(t, config)
	if s := statAt(t, d.addr, client.Options{}); s.Head != got.Head || s.Store != got.Store {
		t.Errorf("the log is %s with %d entries, want %s with %d", s.Store, s.Head, got.Store, got.Head)
	}
	if got.Head > 0 {
		digest = digestAt(t, d.addr, got.Head)
	}
	if err := d.stop(); err != nil {
		t.Error(err)
	}
	return got, digest
}

// TestRecoverNode: a stopped node has everything that was acknowledged while it ran, including what a
// power cut kept from its replica but not from its Raft log.
func TestRecoverNode(t *testing.T) {
	source := sourceConfig(t)
	d := run(t, source)
	fillSome(t, dialed(t, d.addr, client.Options{}), 40)
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}
	k := newTrio(t)
	k.configs[0].Cluster.Seed = source.Data
	k.start(t, 0, 1, 2)
	a, b := dialed(t, k.addr(0), client.Options{}), dialed(t, k.addr(1), client.Options{})
	for i := range 12 {
		fillSome(t, a, 6)
		for range 2 { // the second finds it in the log
			if _, _, err := b.AppendOnce(t.Context(), []byte(`{"once":`+string(rune('0'+i%10))+`}`)); err != nil {
				t.Fatal(err)
			}
		}
	}
	const head = 40 + 12*6 + 10
	want := statAt(t, k.addr(0), client.Options{})
	if want.Head != head {
		t.Fatalf("the log has %d entries, want %d", want.Head, head)
	}
	digest := digestAt(t, k.addr(0), head)
	k.awaitWhole(t, 0, head)

	data := k.configs[2].Data
	if _, err := RecoverNode(t.Context(), data, filepath.Join(t.TempDir(), "x"), false); err == nil || !strings.Contains(err.Error(), "stop the node first") {
		t.Errorf("what a node that runs has is recovered: %v", err)
	}
	whole, torn, damaged, nameless, unlogged := image(t, data), image(t, data), image(t, data), image(t, data), image(t, data)
	for i := range 3 {
		k.stop(t, i)
	}
	for name, dir := range map[string]string{"stopped": data, "killed": whole} {
		if got, found := recovered(t, dir, false); found != digest || got.Store != want.Store || got.Node != "c" {
			t.Errorf("%s: %+v with the digest %s, want %s", name, got, found, digest)
		}
	}
	if _, err := RecoverNode(t.Context(), data, t.TempDir(), false); err == nil || !strings.Contains(err.Error(), "already exists") {
		t.Errorf("into a directory that is there: %v", err)
	}

	// The end of the replica never reached the disk, but the Raft log did.
	block := blocksOf(t, torn)[0]
	info, err := os.Stat(block)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(block, info.Size()*2/3); err != nil {
		t.Fatal(err)
	}
	noteMessages(t, torn, 1)
	got, found := recovered(t, torn, false)
	if found != digest || got.Late == 0 {
		t.Errorf("after a power cut: %+v with the digest %s, want %s", got, found, digest)
	}

	// Damage is reported, and the log before it can be recovered.
	text, err := os.ReadFile(blocksOf(t, damaged)[0])
	if err != nil {
		t.Fatal(err)
	}
	text[len(text)*2/3] ^= 4
	if err := os.WriteFile(blocksOf(t, damaged)[0], text, 0o600); err != nil {
		t.Fatal(err)
	}
	noteMessages(t, damaged, 60)
	to := filepath.Join(t.TempDir(), "last")
	if _, err := RecoverNode(t.Context(), damaged, to, false); err == nil || !strings.Contains(err.Error(), "1.blk, offset") {
		t.Errorf("with a flipped bit: %v", err)
	}
	if _, err := os.Stat(to); err == nil {
		t.Error("with a flipped bit there is a log nevertheless")
	}
	got, _ = recovered(t, damaged, true)
	if got.Head == 0 || got.Head >= head || !strings.Contains(got.Missing, "1.blk, offset") {
		t.Errorf("with a flipped bit, and accepting that: %+v", got)
	}

	// Without its name a log has another, and all of its entries.
	for i, spoil := range []func(path string) error{
		func(path string) error { return os.WriteFile(path, []byte(`{"name":"log"}`), 0o600) },
		func(path string) error { return os.Remove(path) },
	} {
		if err := spoil(filepath.Join(filepath.Dir(filepath.Dir(blocksOf(t, nameless)[0])), "meta.inf")); err != nil {
			t.Fatal(err)
		}
		if _, err := RecoverNode(t.Context(), nameless, to, false); err == nil || !strings.Contains(err.Error(), "which log this is: ") || !strings.Contains(err.Error(), "meta.inf") {
			t.Errorf("without its name, %d: %v", i, err)
		}
		got, found = recovered(t, nameless, true)
		if found != digest || got.Store == want.Store || got.Missing != "" || !strings.Contains(got.Nameless, "meta.inf") {
			t.Errorf("without its name, %d, and accepting that: %+v", i, got)
		}
	}

	// A node without its Raft log may have agreed to more than its replica has.
	groups, err := filepath.Glob(filepath.Join(unlogged, "cluster", "jetstream", "SYS", "_js_", "S-*"))
	if err != nil || len(groups) != 1 {
		t.Fatalf("the node has the groups %q, want one of a stream: %v", groups, err)
	}
	for _, gone := range []string{filepath.Join(groups[0], "msgs"), groups[0]} {
		if err := os.RemoveAll(gone); err != nil {
			t.Fatal(err)
		}
		if _, err := RecoverNode(t.Context(), unlogged, to, false); err == nil || !strings.Contains(err.Error(), "Raft log is not there") {
			t.Errorf("without %s: %v", gone, err)
		}
		got, found = recovered(t, unlogged, true)
		if found != digest || !strings.Contains(got.Missing, "Raft log is not there") {
			t.Errorf("without %s, and accepting that: %+v with the digest %s, want %s", gone, got, found, digest)
		}
	}

	// An empty log is not recovered.
	if err := os.WriteFile(blocksOf(t, unlogged)[0], make([]byte, 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := RecoverNode(t.Context(), unlogged, to, true); err == nil || !strings.Contains(err.Error(), "after message 0") {
		t.Errorf("without its first message, and accepting that: %v", err)
	}

	// Fewer messages than noted are damage too; a directory without a note is not read at all.
	noteMessages(t, data, 1000)
	if _, err := RecoverNode(t.Context(), data, to, false); err == nil || !strings.Contains(err.Error(), "had 1000 messages") {
		t.Errorf("with fewer messages than there were: %v", err)
	}
	got, found = recovered(t, data, true)
	if found != digest || !strings.Contains(got.Missing, "had 1000 messages") {
		t.Errorf("with fewer messages than there were, and accepting that: %+v with the digest %s, want %s", got, found, digest)
	}
	if err := os.Remove(filepath.Join(data, "cluster", "REPLICA")); err != nil {
		t.Fatal(err)
	}
	if _, err := RecoverNode(t.Context(), data, to, true); err == nil || !strings.Contains(err.Error(), "REPLICA") {
		t.Errorf("without the file that says how much there was: %v", err)
	}
	for _, left := range []string{to, to + ".unfinished"} {
		if _, err := os.Lstat(left); err == nil {
			t.Errorf("%s is left", left)
		}
	}

	// Where the new directory may be.
	if _, err := RecoverNode(t.Context(), damaged, filepath.Join(damaged, "cluster", "last"), true); err == nil || !strings.Contains(err.Error(), "is left as it is") {
		t.Errorf("into the directory of the node: %v", err)
	}
	if _, err := RecoverNode(t.Context(), damaged, to+"/", true); err != nil {
		t.Errorf("to a name with a slash at its end: %v", err)
	}
	if _, err := RecoverNode(t.Context(), damaged, to, true); err == nil || !strings.Contains(err.Error(), "already exists") {
		t.Errorf("a second time: %v", err)
	}

	// Directories that do not belong to a node.
	if _, err := RecoverNode(t.Context(), source.Data, to, false); err == nil || !strings.Contains(err.Error(), "is not a node's directory") {
		t.Errorf("the directory of a server: %v", err)
	}
	if _, err := cluster.FetchAgain(source.Data); err == nil || !strings.Contains(err.Error(), "NATS_URL") {
		t.Errorf("to repair the directory of a server beside NATS: %v", err)
	}
}
