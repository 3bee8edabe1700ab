package fsck

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"tcp-log-server/engine"
	"tcp-log-server/segment"
)

// Sizes of the stores measured in docs/FSCK.md.
const (
	benchPacked = 1_000_000
	benchLoose  = 65_000
	benchEntry  = 200
)

// benchText returns an entry of benchEntry bytes.
func benchText(dst []byte, index int) []byte {
	head := fmt.Appendf(dst, `{"n":%d,"text":"`, index)
	pad := benchEntry - (len(head) - len(dst)) - 2
	return append(append(head, bytes.Repeat([]byte{'x'}, pad)...), `"}`...)
}

// benchStore makes a settled store of n entries.
func benchStore(b *testing.B, n, looseMax int) string {
	b.Helper()
	dir := filepath.Join(b.TempDir(), "data")
	c := engine.NewConfig(dir)
	c.LooseMax, c.SettleEvery = looseMax, time.Millisecond
	l, err := engine.Open(c)
	must(b, err)
	const run = 500
	var pending sync.WaitGroup
	for at := 0; at < n; at += run {
		var body []byte
		for i := range run {
			body = append(benchText(body, at+i), '\n')
		}
		pending.Add(1)
		l.Append(body, run, engine.Condition{}, func(_ engine.Result, err error) {
			if err != nil {
				b.Error(err)
			}
			pending.Done()
		})
	}
	pending.Wait()
	for l.Stats().Settled < uint64(n) {
		time.Sleep(10 * time.Millisecond)
	}
	must(b, l.Close())
	return dir
}

// BenchmarkPacked checks a million packed entries, and hashes the same entries
// in memory, one by one, on all cores: the check may take twice as long.
func BenchmarkPacked(b *testing.B) {
	dir := benchStore(b, benchPacked, 0)
	b.Run("fsck", func(b *testing.B) {
		for b.Loop() {
			sum, err := Check(context.Background(), Options{Data: dir})
			if err != nil || sum.Errors > 0 || sum.Entries != benchPacked || sum.Digest == "" {
				b.Fatalf("%+v, %v", sum, err)
			}
		}
		perEntry(b, benchPacked)
	})
	b.Run("hash", func(b *testing.B) {
		text := make([]byte, 0, benchPacked*benchEntry)
		for i := range benchPacked {
			text = benchText(text, i)
		}
		for b.Loop() {
			cores := runtime.GOMAXPROCS(0)
			var all sync.WaitGroup
			for core := range cores {
				all.Go(func() {
					for i := core * benchPacked / cores; i < (core+1)*benchPacked/cores; i++ {
						segment.Sum(text[i*benchEntry : (i+1)*benchEntry])
					}
				})
			}
			all.Wait()
		}
		perEntry(b, benchPacked)
	})
}

// BenchmarkLoose checks 65,000 blobs, and runs b3sum over the same files: the
// check may take one and a half times as long.
func BenchmarkLoose(b *testing.B) {
	dir := benchStore(b, benchLoose, -1)
	b.Run("fsck", func(b *testing.B) {
		for b.Loop() {
			sum, err := Check(context.Background(), Options{Data: dir})
			if err != nil || sum.Errors > 0 || sum.Blobs != benchLoose {
				b.Fatalf("%+v, %v", sum, err)
			}
		}
		perEntry(b, benchLoose)
	})
	b.Run("b3sum", func(b *testing.B) {
		if _, err := exec.LookPath("b3sum"); err != nil {
			b.Skip("there is no b3sum")
		}
		list := filepath.Join(b.TempDir(), "list")
		var paths []string
		for _, name := range names(b, filepath.Join(dir, "blobs")) {
			paths = append(paths, filepath.Join(dir, "blobs", name))
		}
		sort.Strings(paths)
		must(b, os.WriteFile(list, []byte(strings.Join(paths, "\x00")), 0o600))
		for b.Loop() {
			cmd := exec.Command("xargs", "-0", "-a", list, "b3sum")
			if err := cmd.Run(); err != nil {
				b.Fatal(err)
			}
		}
		perEntry(b, benchLoose)
	})
}

func perEntry(b *testing.B, n int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/entry")
}

// TestB3sum compares b3sum over the directory of blobs with the names that the check
// considers correct.
func TestB3sum(t *testing.T) {
	if _, err := exec.LookPath("b3sum"); err != nil {
		t.Skip("there is no b3sum")
	}
	dir := newStore(t, removed)
	flip(t, blobOf(dir, 3), 2)
	damaged := map[string]string{} // path to actual hash
	for _, f := range runCheck(t, Options{Data: dir}).findings {
		if f.Kind == BlobDamaged {
			damaged[f.File] = f.Got
		}
	}
	blobs := names(t, filepath.Join(dir, "blobs"))
	for _, name := range blobs {
		path := filepath.Join(dir, "blobs", name)
		out, err := exec.Command("b3sum", "--no-names", path).Output()
		must(t, err)
		want := strings.ReplaceAll(name, "/", "")
		if got, ok := damaged[path]; ok {
			want = got
		}
		if got := strings.TrimSpace(string(out)); got != want {
			t.Errorf("b3sum of %s is %s, the check says %s", path, got, want)
		}
	}
	if len(damaged) != 1 || len(blobs) < 40 {
		t.Errorf("%d blobs, %d damaged", len(blobs), len(damaged))
	}
}
