package engine

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tcp-log-server/segment"
)

// TestResidueEndsAppends: while the name of a segment that could not be begun may exist,
// not even a batch that fits into the previous one is stored.
func TestResidueEndsAppends(t *testing.T) {
	t.Parallel()
	config := testConfig(t)
	l := openLog(t, config)
	d := l.store.(*disk)
	mustAppend(t, l, numbered(1, 3)...)
	// With another file in its place the name cannot be removed.
	path := filepath.Join(d.dir, segment.Name(4))
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	create := d.create
	d.create = func(string, segment.Header, int64) (*segment.Writer, error) {
		d.create = create
		return nil, &segment.ResidueError{Path: path, Err: errors.New("the disk said no")}
	}
	large := `{"large":"` + strings.Repeat("x", 4000) + `"}`
	for i, entry := range []string{large, `{"small":1}`, large, `{"small":2}`} {
		if r := <-submit(l, entry); !errors.Is(r.err, ErrNotStored) || errors.Is(r.err, ErrFailed) {
			t.Fatalf("append %d: %v, want not stored", i, r.err)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, `{"small":3}`, large)
	if got := readAll(t, l); len(got) != 5 || got[3] != `{"small":3}` {
		t.Errorf("the log holds %.200q", got)
	}
}

// TestStartOnResidue: an empty segment whose indices the one before holds is moved aside,
// wherever in the chain it is; anything else that overlaps is refused.
func TestStartOnResidue(t *testing.T) {
	t.Parallel()
	made := makeStore(t, 0)
	n := len(made.firsts)
	for _, tt := range []struct {
		name  string
		first uint64
		spoil func(s *storeFiles, path string)
		fine  bool
	}{
		{"in the middle", made.firsts[1] + 2, nil, true},
		{"at the end", made.firsts[n-1] + 2, nil, true},
		{"without zeros", made.firsts[1] + 2, func(s *storeFiles, path string) { s.must(os.Truncate(path, segment.HeaderSize)) }, true},
		{"of another store", made.firsts[1] + 2, func(s *storeFiles, path string) {
			s.must(os.Remove(path))
			w, err := segment.Create(filepath.Dir(path), segment.Header{Store: segment.StoreID{9}, First: made.firsts[1] + 2}, 1<<20)
			s.must(err)
			s.must(w.Close())
		}, false},
		{"with a batch", made.firsts[1] + 2, func(s *storeFiles, path string) {
			begun, err := segment.CaptureFile(path)
			s.must(err)
			w, err := segment.Resume(begun.Segment(), 0)
			s.must(err)
			s.must(w.Commit(append(make([]byte, segment.BatchHeaderSize), "{}\n"...), 1, time.Now()))
			s.must(w.Close())
		}, false},
		{"with bytes behind", made.firsts[1] + 2, func(s *storeFiles, path string) {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			s.must(err)
			_, err = f.WriteAt([]byte("x"), 5000)
			s.must(errors.Join(err, f.Close()))
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := made.copy(t)
			dir := filepath.Join(s.config.Data, "segments")
			sound, err := segment.CaptureFile(filepath.Join(dir, segment.Name(made.firsts[0])))
			s.must(err)
			w, err := segment.Create(dir, segment.Header{Store: sound.Header.Store, First: tt.first, Prev: 1}, 1<<20)
			s.must(err)
			s.must(w.Close())
			if tt.spoil != nil {
				tt.spoil(s, w.Path)
			}
			before := tree(t, s.config.Data)
			l, err := Open(s.config)
			if !tt.fine {
				if !errors.Is(err, ErrDamaged) {
					t.Fatalf("opened: %v, want a refusal", err)
				}
				if tree(t, s.config.Data) != before {
					t.Error("a refused store was changed")
				}
				return
			}
			s.must(err)
			mustAppend(t, l, `{"more":1}`)
			if got, want := readAll(t, l), append(slices.Clone(recoverContents()), `{"more":1}`); !slices.Equal(got, want) {
				t.Errorf("the log holds %d entries, want %d", len(got), len(want))
			}
			s.must(l.Close())
			checkStore(t, s.config)
			aside, err := filepath.Glob(filepath.Join(s.config.Data, segment.LostFound, "segments-*"+segment.Suffix))
			if err != nil || len(aside) != 1 {
				t.Errorf("lost+found holds %v, want the segment", aside)
			}
		})
	}
}
