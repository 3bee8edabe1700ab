package position

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPosition: a saved position is loaded, even through a link, and no other file remains.
func TestPosition(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "state"), filepath.Join(dir, "link")
	if _, found, err := Load(path); found || err != nil {
		t.Errorf("no file: %v, %v", found, err)
	}
	if err := os.WriteFile(path+".new", []byte("left by a crash, and longer than what comes now, by far, so that it shows"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path, link); err != nil {
		t.Skip(err)
	}
	for i, at := range []string{path, link, path} {
		want := Position{Store: "3f", Index: uint64(i), Head: uint64(i) / 2}
		if err := want.Save(at); err != nil {
			t.Fatal(err)
		}
		if got, found, err := Load(link); got != want || !found || err != nil {
			t.Errorf("it holds %v, %v, %v, want %v", got, found, err, want)
		}
	}
	names, err := os.ReadDir(dir)
	if len(names) != 2 || err != nil {
		t.Errorf("the directory has %v, %v", names, err)
	}
}

// TestLoadOther: a file without a position is an error, not a beginning.
func TestLoadOther(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	for _, text := range []string{"", "57", "{}", `{"store":"3f"}`, `{"index":5}`, `{"store":"3f","index":-1}`, `{"store":"3f","index":5`} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := Load(path); err == nil || !strings.Contains(err.Error(), path+" holds ") || !strings.HasSuffix(err.Error(), "; remove it to begin again") {
			t.Errorf("of %q: %v", text, err)
		}
	}
}
