package copies

import (
	"errors"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"tcp-log-server/client"
)

// TestRestoreUntil restores a log as of each full second, and as of the times of entries: the
// restored log has exactly the entries that were stored before.
func TestRestoreUntil(t *testing.T) {
	t.Parallel()
	s3 := Start(t)
	env := s3.Env(s3.Endpoint)
	p := serve(t, env, filepath.Join(t.TempDir(), "data"), "ARCHIVE="+s3.URL, "ARCHIVE_EVERY=1s", "LOOSE_MAX=0", "FAULT_SEGMENT_SIZE=16384")
	c := p.dial(t)
	h := newHistory()
	var times []time.Time // of the entries, in order
	span := 3300 * time.Millisecond
	if testing.Short() {
		span = 1300 * time.Millisecond
	}
	for len(times) == 0 || times[len(times)-1].Before(times[0].Add(span)) {
		entry := text(0, len(times)+1)
		res, err := c.Put(t.Context(), client.Write{Entries: [][]byte{[]byte(entry)}, Receipt: true})
		h.note(entry, res.Index, err)
		if err != nil || res.Time.IsZero() {
			t.Fatalf("append %d: %v, stored at %v", len(times)+1, err, res.Time)
		}
		times = append(times, res.Time)
		time.Sleep(5 * time.Millisecond) // so that each second has some entries, and not too many
	}
	p.await(t, c, "everything is archived", archived)
	p.stop(t)

	first, last := times[0], times[len(times)-1]
	until := []time.Time{times[len(times)/2], last, last.Add(time.Microsecond), last.Add(time.Hour)}
	for at := first.Truncate(time.Second).Add(time.Second); !at.After(last); at = at.Add(time.Second) {
		until = append(until, at, at.Add(500*time.Millisecond))
	}
	for _, at := range until {
		// In another time zone, which denotes the same time.
		name := at.In(time.FixedZone("", 3600)).Format(time.RFC3339Nano)
		want := uint64(sort.Search(len(times), func(i int) bool { return !times[i].Before(at) }))
		dir := filepath.Join(t.TempDir(), "restored")
		run(t, env, "restore", "--until", name, s3.URL, dir)
		if head := same(t, env, s3.URL, dir); head != want {
			t.Errorf("restored until %s, the log ends with entry %d, want %d", name, head, want)
		}
		h.cat(t, env, dir, want)
	}

	// Before the first entry the log is empty.
	dir := filepath.Join(t.TempDir(), "restored")
	out, err := command(t, env, "restore", "--until", first.Format(time.RFC3339Nano), s3.URL, dir).CombinedOutput()
	if exit := (&exec.ExitError{}); !errors.As(err, &exit) || !strings.Contains(string(out), "nothing to restore") {
		t.Errorf("restored until the time of the first entry: %v, %s", err, out)
	}
	absent(t, dir)
	if len(until) < 6 {
		t.Errorf("no full second is between %v and %v", first, last)
	}
}
