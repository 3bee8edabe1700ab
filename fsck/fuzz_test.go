package fsck

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// fuzzMemory is what a check of a mutated tiny store may allocate in bytes: it is bounded
// by the size of its files, not by their claims.
const fuzzMemory = 64 << 20

// mutate carries out a script on the store in dir: five bytes for each step, for which
// file, what to do, where, and with which byte.
func mutate(t testing.TB, dir string, script []byte) {
	for ; len(script) >= 5; script = script[5:] {
		files := names(t, dir)
		if len(files) == 0 {
			return
		}
		path := filepath.Join(dir, files[int(script[0])%len(files)])
		other := filepath.Join(dir, files[int(script[4])%len(files)])
		at, val := int(script[2])|int(script[3])<<8, script[4]
		b, err := os.ReadFile(path)
		if err != nil {
			continue // a directory or a link by now
		}
		write := func(b []byte) { os.WriteFile(path, b, 0o600) }
		switch script[1] % 13 {
		case 0, 1, 2:
			if len(b) > 0 {
				b[at%len(b)] ^= max(val, 1)
				write(b)
			}
		case 3:
			write(b[:at%(len(b)+1)])
		case 4:
			write(append(b, make([]byte, at%4096)...))
		case 5:
			os.Remove(path)
		case 6: // swap
			if o, err := os.ReadFile(other); err == nil {
				os.WriteFile(other, b, 0o600)
				write(o)
			}
		case 7:
			os.Remove(path)
			os.Mkdir(path, 0o700)
		case 8:
			os.Remove(path)
			os.Symlink(other, path)
		case 9: // a part of the file again, elsewhere in it
			if len(b) > 0 {
				i := at % len(b)
				write(append(append(append([]byte(nil), b[:i]...), b[int(val)%len(b):]...), b[i:]...))
			}
		case 10: // a part is removed
			if len(b) > 0 {
				i := at % len(b)
				write(append(b[:i:i], b[min(len(b), i+int(val)):]...))
			}
		case 11: // the name changes
			name := []byte(filepath.Base(path))
			name[at%len(name)] = "0123456789abcdef.x"[int(val)%18]
			os.Rename(path, filepath.Join(filepath.Dir(path), string(name)))
		case 12: // swollen, without using space on the disk
			os.Truncate(path, int64(len(b))+int64(at)<<8)
		}
	}
}

// FuzzFsck checks and repairs mutated stores: no panic, no hang, bounded memory, and a
// repair that says that the log is intact tells the truth.
func FuzzFsck(f *testing.F) {
	f.Add([]byte{0, 0, 9, 0, 1})
	f.Add([]byte{4, 3, 70, 0, 0, 5, 5, 0, 0, 0})
	f.Add([]byte{5, 6, 0, 0, 4})
	f.Add([]byte{6, 11, 0, 0, 9, 4, 11, 0, 0, 9})
	f.Add([]byte{4, 8, 0, 0, 5, 5, 12, 255, 255, 0, 6, 12, 255, 255, 0})
	f.Add([]byte{4, 9, 112, 0, 64, 4, 10, 90, 0, 40})
	f.Add([]byte{0, 7, 0, 0, 0, 6, 7, 0, 0, 0, 5, 8, 0, 0, 4})
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 60 {
			return
		}
		dir := filepath.Join(t.TempDir(), "data")
		newTiny(t, dir)
		mutate(t, dir, script)
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for _, quick := range []bool{true, false} {
			n := 0
			sum, err := Check(ctx, Options{Data: dir, Quick: quick, Workers: 2, OnFinding: func(Finding) { n++ }})
			if ctx.Err() != nil {
				t.Fatal("the check hangs")
			}
			if err == nil && int64(n) != sum.Errors+sum.Hints {
				t.Errorf("%d findings, and the summary says %d and %d", n, sum.Errors, sum.Hints)
			}
		}
		runtime.ReadMemStats(&after)
		if n := after.TotalAlloc - before.TotalAlloc; n > fuzzMemory {
			t.Errorf("the checks allocate %d bytes", n)
		}
		res, err := Repair(ctx, RepairOptions{Options: Options{Data: dir, Workers: 2}, AcceptLoss: true, Prune: true, LooseMax: 4})
		if ctx.Err() != nil {
			t.Fatal("the repair hangs")
		}
		if err != nil || res.After.Errors > 0 {
			return // there is nothing, or only a person can judge it
		}
		entries, _, err := served(t, tinyConfig(dir))
		if err != nil {
			t.Errorf("the log is whole, and the daemon refuses: %v", err)
		}
		for index, text := range entries {
			if text != tinyEntry(index) {
				t.Errorf("the daemon serves %q at %d, want %q", text, index, tinyEntry(index))
			}
		}
	})
}
