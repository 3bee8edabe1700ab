package legacy_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/syndtr/goleveldb/leveldb"

	"tcp-log-server/internal/legacy"
)

// packIndex encodes indices up to 2^16+250 as lexicographic-integer does.
func packIndex(n uint64) string {
	switch x := n - 251; {
	case n < 251:
		return fmt.Sprintf("%02x", n)
	case x < 256:
		return fmt.Sprintf("fb%02x", x)
	default:
		return fmt.Sprintf("fc%04x", x)
	}
}

// put writes one entry of an original log to dir.
func put(t testing.TB, db *leveldb.DB, dir string, version int, index uint64, text string) {
	t.Helper()
	sum := sha256.Sum256([]byte(text))
	hash := hex.EncodeToString(sum[:])
	key, value := packIndex(index), hash
	if version == 6 {
		key, value = "log!"+key, `"`+hash+`"`
	}
	if err := db.Put([]byte(key), []byte(value), nil); err != nil {
		t.Fatal(err)
	}
	blob := filepath.Join(dir, legacy.BlobsName, hash[:2], hash[2:])
	if err := errors.Join(os.MkdirAll(filepath.Dir(blob), 0o700), os.WriteFile(blob, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
}

// build writes an original log of n entries, except those that are left out.
func build(t testing.TB, version int, n uint64, without ...uint64) (dir string) {
	t.Helper()
	dir = t.TempDir()
	db, err := leveldb.OpenFile(filepath.Join(dir, legacy.LevelDBName), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, legacy.BlobsName), 0o700); err != nil {
		t.Fatal(err)
	}
	for index := uint64(1); index <= n; index++ {
		if !slices.Contains(without, index) {
			put(t, db, dir, version, index, textOf(index))
		}
		if index == n/2 { // some of it in tables, some in the journal
			if err := errors.Join(db.Close()); err != nil {
				t.Fatal(err)
			}
			if db, err = leveldb.OpenFile(filepath.Join(dir, legacy.LevelDBName), nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func textOf(index uint64) string { return fmt.Sprintf(`{"a":%d}`, index) }

func open(t testing.TB, dir string) *legacy.Directory {
	t.Helper()
	d, err := legacy.OpenDirectory(filepath.Join(dir, legacy.LevelDBName), filepath.Join(dir, legacy.BlobsName))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestDirectory(t *testing.T) {
	for _, version := range []int{6, 9} {
		for _, n := range []uint64{0, 1, 250, 251, 600} {
			d := open(t, build(t, version, n))
			if d.Last() != n {
				t.Errorf("version %d: the last index is %d, want %d", version, d.Last(), n)
			}
			for _, from := range []uint64{1, 200, 600} {
				next := from
				for e, err := range d.Read(context.Background(), from) {
					if err != nil || e.Err != nil || e.Index != next || string(e.Text) != textOf(next) {
						t.Fatalf("version %d, index %d: %+v, %v", version, next, e, err)
					}
					next++
				}
				if next != max(n+1, from) {
					t.Errorf("version %d with %d entries ends before %d", version, n, next)
				}
			}
		}
	}
}

func TestDirectoryDamage(t *testing.T) {
	dir := build(t, 9, 10, 4)
	blobOf := func(index uint64) string {
		sum := sha256.Sum256([]byte(textOf(index)))
		hash := hex.EncodeToString(sum[:])
		return filepath.Join(dir, legacy.BlobsName, hash[:2], hash[2:])
	}
	if err := errors.Join(os.Remove(blobOf(6)), os.WriteFile(blobOf(8), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	want := map[uint64]error{4: legacy.ErrMissing, 6: legacy.ErrDamaged, 8: legacy.ErrDamaged}
	next := uint64(1)
	for e, err := range open(t, dir).Read(context.Background(), 1) {
		if err != nil || e.Index != next {
			t.Fatalf("index %d: %+v, %v", next, e, err)
		}
		if !errors.Is(e.Err, want[next]) || (e.Err == nil) != (want[next] == nil) || e.Err != nil && strings.Contains(e.Err.Error(), dir) {
			t.Errorf("index %d: %v, want %v", next, e.Err, want[next])
		}
		if form, err := e.Canonical(nil); (err == nil) != (want[next] == nil) || err == nil && string(form) != textOf(next) {
			t.Errorf("index %d: %s, %v", next, form, err)
		}
		next++
	}
	if next != 11 {
		t.Errorf("the read ended before %d", next)
	}
}

func TestDirectoryFormat(t *testing.T) {
	dir := build(t, 9, 3)
	db, err := leveldb.OpenFile(filepath.Join(dir, legacy.LevelDBName), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Put([]byte("zz"), []byte("x"), nil), db.Close()); err != nil {
		t.Fatal(err)
	}
	none := t.TempDir()
	for _, dirs := range [][2]string{
		{filepath.Join(dir, legacy.LevelDBName), filepath.Join(dir, legacy.BlobsName)}, // holds something else
		{none, filepath.Join(dir, legacy.BlobsName)},
		{filepath.Join(build(t, 9, 3), legacy.LevelDBName), filepath.Join(none, "nothing")},
	} {
		if d, err := legacy.OpenDirectory(dirs[0], dirs[1]); !errors.Is(err, legacy.ErrFormat) {
			t.Errorf("%v: %v, %v, want ErrFormat", dirs, d, err)
		}
	}
}

func TestCanonical(t *testing.T) {
	deep := strings.Repeat("[", 200) + strings.Repeat("]", 200)
	for text, want := range map[string]string{
		`{"b":1.0,"a":[]}`: `{"a":[],"b":1}`, `null`: `null`, ` [1] `: `[1]`,
		`"text"`: "no object", `3`: "no object", `{}{}`: "more than one", `["\ud83d"]`: "lone surrogate",
		`{"a":1,"a":2}`: "duplicate member", deep: "levels", `{`: "",
	} {
		e := legacy.Entry{Index: 5, Text: []byte(text)}
		form, err := e.Canonical(nil)
		if err == nil {
			if string(form) != want {
				t.Errorf("%s is %s, want %s", text, form, want)
			}
			continue
		}
		if !strings.Contains(err.Error(), want) || strings.HasPrefix(want, "{") {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
		// Its placeholder includes it, and is recognized.
		held, perr := e.Placeholder(err)
		var p struct{ Refused struct{ Text string } }
		if perr != nil || json.Unmarshal(held, &p) != nil || p.Refused.Text != text || !e.StoodFor(held) {
			t.Errorf("%s is kept as %s, %v", text, held, perr)
		}
		other := legacy.Entry{Index: 5, Text: []byte(text + " ")}
		if other.StoodFor(held) || (legacy.Entry{Index: 6, Text: e.Text}).StoodFor(held) {
			t.Errorf("%s is taken for another entry's", held)
		}
	}
	bytes := legacy.Entry{Index: 1, Text: []byte("[\"\xff\"]")}
	if held, err := bytes.Placeholder(errors.New("x")); err != nil || !strings.Contains(string(held), `"base64":"WyL/Il0="`) {
		t.Errorf("%s, %v", held, err)
	}
}
