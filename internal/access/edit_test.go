//go:build unix

package access

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestEditTokens: an added token is admitted with its rights, a removed one is not, and the rest of
// the file and its mode stay unchanged.
func TestEditTokens(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "tokens"), filepath.Join(dir, "link")
	other := fmt.Sprintf("old %x write", sha256.Sum256([]byte("old")))
	const comment = "# who may do what\n\n"
	if err := os.WriteFile(path, []byte(comment+other), 0o640); err != nil { // without a newline at the end
		t.Fatal(err)
	}
	if err := os.Symlink("tokens", link); err != nil {
		t.Fatal(err)
	}
	tokens, err := LoadTokens(link)
	if err != nil {
		t.Fatal(err)
	}
	secrets := map[string]string{}
	for _, rights := range []string{"read", "write", "both"} {
		secret, err := AddToken(link, rights, rights)
		if err != nil {
			t.Fatal(err)
		}
		if len(secret) < 40 || secrets[secret] != "" {
			t.Errorf("the token is %q", secret)
		}
		secrets[secret] = rights
	}
	if err := tokens.Reload(); err != nil {
		t.Fatal(err)
	}
	for secret, rights := range secrets {
		name, read, write := tokens.Rights(sha256.Sum256([]byte(secret)))
		if name != rights || read != (rights != "write") || write != (rights != "read") {
			t.Errorf("the token for %s has the name %s, may read: %v, may write: %v", rights, name, read, write)
		}
	}
	if err := RemoveToken(link, "write"); err != nil {
		t.Fatal(err)
	}
	list, err := ListTokens(link)
	if got := fmt.Sprint(list); err != nil || got != "[[old write] [read read] [both both]]" {
		t.Errorf("the tokens are %s, %v", got, err)
	}
	text, _ := os.ReadFile(path)
	if !strings.HasPrefix(string(text), comment+other+"\n") || strings.Count(string(text), "\n") != 5 {
		t.Errorf("the file holds\n%s", text)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the mode is %v, %v", info.Mode(), err)
	}
	if to, err := os.Readlink(link); err != nil || to != "tokens" {
		t.Errorf("the link leads to %q, %v", to, err)
	}

	for what, edit := range map[string]func() error{
		"a name that is taken":     func() error { _, err := AddToken(path, "old", "read"); return err },
		"a name of two words":      func() error { _, err := AddToken(path, "two words", "read"); return err },
		"a comment as name":        func() error { _, err := AddToken(path, "#x", "read"); return err },
		"other rights":             func() error { _, err := AddToken(path, "new", "all"); return err },
		"a name that is not there": func() error { return RemoveToken(path, "write") },
		"an edit under way": func() error {
			if err := os.WriteFile(path+".new", nil, 0o600); err != nil {
				return nil
			}
			defer os.Remove(path + ".new")
			return RemoveToken(path, "old")
		},
	} {
		if err := edit(); err == nil {
			t.Errorf("%s: there is no error", what)
		}
		if now, _ := os.ReadFile(path); string(now) != string(text) {
			t.Errorf("%s: the file has changed to\n%s", what, now)
		}
	}

	// The last one stays: a server would refuse the file without it.
	for _, name := range []string{"old", "read"} {
		if err := RemoveToken(path, name); err != nil {
			t.Fatal(err)
		}
	}
	if err := RemoveToken(path, "both"); err == nil || !strings.Contains(err.Error(), "only token") {
		t.Errorf("removing the last token: %v", err)
	}
	// A file that is not a token file is left alone.
	if err := os.WriteFile(path, []byte("hello\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := AddToken(path, "new", "read"); err == nil {
		t.Error("a token is added to another file")
	}
	if names, _ := filepath.Glob(filepath.Join(dir, "*.new")); len(names) > 0 {
		t.Errorf("left over: %q", names)
	}
}

// TestEditKeepsOwner: root edits the file of the server's user, who can still read it.
func TestEditKeepsOwner(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if os.Chown(path, 12345, 23456) != nil {
		t.Skip("only root can give a file away")
	}
	before, _ := os.Stat(path)
	if _, err := AddToken(path, "a", "both"); err != nil {
		t.Fatal(err)
	}
	after, _ := os.Stat(path)
	owner := func(info os.FileInfo) string {
		s := info.Sys().(*syscall.Stat_t)
		return fmt.Sprint(s.Uid, ":", s.Gid)
	}
	if os.SameFile(before, after) || owner(after) != owner(before) {
		t.Errorf("the owner was %s, is %s", owner(before), owner(after))
	}
}
