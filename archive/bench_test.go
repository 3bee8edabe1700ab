package archive

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"tcp-log-server/engine"
)

// BenchmarkArchive archives a log of eight segments of 64 MiB to a directory, and restores and
// checks it.
func BenchmarkArchive(b *testing.B) {
	dir := b.TempDir()
	l := openLog(b, filepath.Join(dir, "data"), func(c *engine.Config) { c.SegmentSize = 64 << 20 })
	entry := `{"text":"` + strings.Repeat("x", 188) + "\"}\n"
	const batch, batches = 2000, 1300
	body := []byte(strings.Repeat(entry, batch))
	for range batches {
		done := make(chan error, 1)
		l.Append(body, batch, engine.Condition{}, func(_ engine.Result, err error) { done <- err })
		must(b, <-done)
	}
	l.sealed(b)
	report := func(b *testing.B) {
		b.SetBytes(batch * batches * int64(len(entry)))
		b.ReportMetric(float64(batch*batches*b.N)/b.Elapsed().Seconds(), "entries/s")
	}
	b.Run("upload", func(b *testing.B) {
		for b.Loop() {
			k := newKeeper(l, openBucket(b, filepath.Join(b.TempDir(), "bucket")))
			must(b, k.remember())
			must(b, k.round(context.Background()))
		}
		report(b)
	})
	k := archiveOnce(b, l, openBucket(b, filepath.Join(dir, "bucket")))
	b.Run("check", func(b *testing.B) {
		for b.Loop() {
			a, err := Open(context.Background(), k.Bucket)
			must(b, err)
			if sum, err := a.Check(context.Background(), CheckOptions{}); err != nil || sum.Errors > 0 {
				b.Fatal(sum, err)
			}
		}
		report(b)
	})
	b.Run("restore", func(b *testing.B) {
		for b.Loop() {
			_, err := Restore(context.Background(), k.Bucket, RestoreConfig{Dir: filepath.Join(b.TempDir(), "restored")})
			must(b, err)
		}
		report(b)
	})
}
