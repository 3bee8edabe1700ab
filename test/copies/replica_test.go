package copies

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"testing"
	"time"
)

// TestReplicaFromS3: a new replica begins with the content of its source's archive, and gets the rest
// from the source, which continues meanwhile.
func TestReplicaFromS3(t *testing.T) {
	t.Parallel()
	s3 := Start(t)
	env := s3.Env(s3.Endpoint)
	source := serve(t, env, filepath.Join(t.TempDir(), "source"), "ARCHIVE="+s3.URL, "ARCHIVE_EVERY=1s", "LOOSE_MAX=0", "FAULT_SEGMENT_SIZE=65536")
	h := newHistory()
	stop := h.start(t, source, 4, time.Millisecond)
	c := source.dial(t)
	source.await(t, c, "some of it is archived", func(s status) bool { return s.Archive.Through > 1000 })
	var listed struct{ Head uint64 }
	if err := json.Unmarshal(run(t, env, "stat", "--json", s3.URL), &listed); err != nil || listed.Head <= 1000 {
		t.Errorf("stat of the archive has the head %d, %v, want that of the server or a later one", listed.Head, err)
	}
	data := filepath.Join(t.TempDir(), "copy")
	copied := serveBy(t, command(t, env, "replica", source.addr, "--name", "copy", "--from", s3.URL), data, "LOOSE_MAX=0")
	if !bytes.Contains(copied.said(), []byte(`"event":"restored"`)) {
		t.Errorf("the replica does not begin with what the archive has: %s", copied.said())
	}
	stop()
	head, err := stat(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	copied.await(t, copied.dial(t), "the replica has everything", func(s status) bool { return s.Head == head.Head })
	copied.stop(t)
	source.await(t, c, "everything is archived", archived)
	source.stop(t)
	if got := same(t, env, s3.URL, data); got != head.Head {
		t.Errorf("the replica has %d entries, want %d", got, head.Head)
	}
	h.cat(t, env, data, head.Head)
	if err := h.failed(); err != nil {
		t.Error(err)
	}
}
