package fsck

import (
	"os"
	"path/filepath"
	"testing"

	"tcp-log-server/segment"
)

// TestRepairWithoutBlobs: for a log that keeps no blobs, a repair makes segments of the entries in the
// blobs of a copy, and no directory of blobs.
func TestRepairWithoutBlobs(t *testing.T) {
	dir := newStore(t, removed)
	from := newCopy(t, dir, removed)
	must(t, os.RemoveAll(filepath.Join(dir, "blobs")))
	t.Chdir(t.TempDir()) // where a directory of that name would be made
	o := Options{Data: dir, Blobs: segment.Memory}
	if c := runCheck(t, o); !c.has(BlobMissing) {
		t.Fatalf("without the blobs:\n%s", c)
	}
	res, code, said := runRepair(t, RepairOptions{Options: o, From: from})
	if code != ExitCorrected || res.Outcome.Steps == 0 {
		t.Errorf("exit code %d after %d steps:\n%s", code, res.Outcome.Steps, said)
	}
	if names, err := os.ReadDir("."); len(names) > 0 || err != nil {
		t.Errorf("the repair made %v, %v", names, err)
	}
	c := runCheck(t, o)
	if len(c.findings) > 0 {
		t.Errorf("after the repair:\n%s", c)
	}
}

// TestLostWithoutBlobs: nor does it make one for entries that were recorded as lost, if the copy lacks
// others.
func TestLostWithoutBlobs(t *testing.T) {
	dir := newStore(t, removed)
	from := newCopy(t, dir, removed)
	must(t, os.Remove(blobOf(from, 5)))
	must(t, os.Remove(blobOf(dir, 3)))
	if _, code, said := runRepair(t, RepairOptions{Options: Options{Data: dir}, AcceptLoss: true}); code != ExitCorrected {
		t.Fatalf("exit code %d:\n%s", code, said)
	}
	must(t, os.RemoveAll(filepath.Join(dir, "blobs")))
	t.Chdir(t.TempDir())
	_, code, said := runRepair(t, RepairOptions{Options: Options{Data: dir, Blobs: segment.Memory}, From: from})
	if code != ExitErrors {
		t.Errorf("exit code %d:\n%s", code, said)
	}
	if names, err := os.ReadDir("."); len(names) > 0 || err != nil {
		t.Errorf("the repair made %v, %v", names, err)
	}
}
