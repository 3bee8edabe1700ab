package segment

import (
	"os"
	"path/filepath"
	"testing"
)

// TestLinkAside: the file stays in its place, and a file that replaces it there does not
// change lost+found.
func TestLinkAside(t *testing.T) {
	data := t.TempDir()
	path := filepath.Join(data, "file")
	for _, text := range []string{"one", "two"} {
		tmp := filepath.Join(data, "tmp")
		if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Rename(tmp, path); err != nil {
			t.Fatal(err)
		}
		now, err := LinkAside(data, path, "test")
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{path, now} {
			if got, err := os.ReadFile(path); err != nil || string(got) != text {
				t.Errorf("%s holds %q (%v), want %q", path, got, err, text)
			}
		}
	}
	for name, want := range map[string]string{"file": "one", "file.2": "two"} {
		if got, err := os.ReadFile(filepath.Join(data, LostFound, name)); err != nil || string(got) != want {
			t.Errorf("lost+found has %q as %s (%v), want %q", got, name, err, want)
		}
	}
	if _, err := LinkAside(data, filepath.Join(data, "none"), "test"); err == nil {
		t.Error("a file that does not exist is linked")
	}
}

// TestAsideThatFails: a file that cannot be moved to lost+found leaves neither a note nor a
// part of it there.
func TestAsideThatFails(t *testing.T) {
	data := t.TempDir()
	path := filepath.Join(data, "file")
	writeFile(t, path, []byte("text"))
	if _, err := CopyAside(data, path, 0, 4, "test"); err != nil {
		t.Fatal(err)
	}
	before := tree(t, data)
	none := filepath.Join(data, "none")
	for name, err := range map[string]error{
		"copy of nothing":        func() error { _, err := CopyAside(data, none, 0, 4, "test"); return err }(),
		"copy that cannot begin": func() error { _, err := CopyAside(data, data, 0, 4, "test"); return err }(),
		"move of nothing":        func() error { _, err := MoveAside(data, none, "test"); return err }(),
		"link to nothing":        func() error { _, err := LinkAside(data, none, "test"); return err }(),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if after := tree(t, data); after != before {
		t.Errorf("there is now\n%swant\n%s", after, before)
	}
}
