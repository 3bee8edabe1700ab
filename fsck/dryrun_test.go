package fsck

import (
	"os"
	"testing"

	"tcp-log-server/segment"
)

// TestDryRunGivenUp loses the end of the log, part of which is in blobs: entries are
// given up only by the step after the first, and the dry run counts them too.
func TestDryRunGivenUp(t *testing.T) {
	dir := newStore(t, both)
	files := segmentFiles(t, dir)
	must(t, os.Truncate(files[len(files)-1], segment.HeaderSize))
	remove(t, blobOf(dir, 58))
	remove(t, blobOf(dir, 59)) // and of 60
	if c := runCheck(t, Options{Data: dir}); c.has(BlobOrphan) {
		t.Errorf("blobs of entries that the index has are taken for orphans:\n%s", c)
	}
	dry, _, said := runRepair(t, RepairOptions{Options: Options{Data: dir}, DryRun: true})
	wet, code, done := runRepair(t, RepairOptions{Options: Options{Data: dir}})
	if code != ExitCorrected || wet.Outcome.GivenUp != 3 || wet.Outcome.Head != 57 {
		t.Fatalf("exit code %d, %+v:\n%s", code, wet.Outcome, done)
	}
	if dry.Outcome.GivenUp != wet.Outcome.GivenUp || dry.Outcome.Head != wet.Outcome.Head {
		t.Errorf("the dry run says %+v, the repair comes to %+v:\n%s", dry.Outcome, wet.Outcome, said)
	}
}
