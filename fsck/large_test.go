package fsck

import (
	"bytes"
	"os"
	"testing"
	"time"

	"tcp-log-server/engine"
)

// TestSwollenBlob makes a blob larger than could be read in time: its size says
// that it is damaged, and the repair restores it.
func TestSwollenBlob(t *testing.T) {
	dir := newStore(t, both)
	if err := os.Truncate(blobOf(dir, 3), 1<<42); err != nil {
		t.Skip("the file system has no such files:", err)
	}
	began := time.Now()
	if c := runCheck(t, Options{Data: dir}); !c.has(BlobDamaged) || c.Errors != 1 {
		t.Errorf("a check finds:\n%s", c)
	}
	if _, code, said := runRepair(t, RepairOptions{Options: Options{Data: dir}}); code != ExitCorrected {
		t.Errorf("a repair: exit code %d:\n%s", code, said)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("took %v: the blob was read", took)
	}
}

// TestLargeBlob checks a blob that is read piece by piece: intact, and with one byte
// altered.
func TestLargeBlob(t *testing.T) {
	dir := t.TempDir()
	config := engine.NewConfig(dir)
	config.SettleEvery = time.Millisecond
	buildStore(t, config, 3, func(engine.Stats) bool { return true })
	l := openFor(t, config)
	entry := append(append([]byte{'"'}, bytes.Repeat([]byte{'x'}, largeBlob)...), '"', '\n')
	done := make(chan error, 1)
	l.Append(entry, 1, engine.Condition{}, func(_ engine.Result, err error) { done <- err })
	must(t, <-done)
	await(t, "the log to settle", func() bool { return l.Stats().Settled == 4 })
	must(t, l.Close())
	if c := runCheck(t, Options{Data: dir}); c.Errors > 0 || c.Hints > 0 {
		t.Fatalf("whole:\n%s", c)
	}
	var path string
	for _, name := range names(t, dir) {
		if fi, err := os.Stat(dir + "/" + name); err == nil && fi.Size() == int64(len(entry)-1) {
			path = dir + "/" + name
		}
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	must(t, err)
	defer f.Close()
	_, err = f.WriteAt([]byte{'y'}, largeBlob/2)
	must(t, err)
	if c := runCheck(t, Options{Data: dir}); !c.has(BlobDamaged) || c.Errors != 1 || c.findings[0].Got == "" {
		t.Errorf("with another byte:\n%s", c)
	}
}
