package access

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func sum(token string) string {
	h := sha256.Sum256([]byte(token))
	return hex.EncodeToString(h[:])
}

func TestTokens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens")
	text := "# who may come in\n\n  alice " + sum("a") + " both\r\nbob\t" + strings.ToUpper(sum("b")) + " read\nc " + sum("c") + " write"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	tokens, err := LoadTokens(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		token, name string
		read, write bool
	}{
		{"a", "alice", true, true},
		{"b", "bob", true, false},
		{"c", "c", false, true},
		{"d", "", false, false},
		{"", "", false, false},
		{sum("a"), "", false, false}, // the hash is not the token
	} {
		name, read, write := tokens.Rights(sha256.Sum256([]byte(tt.token)))
		if name != tt.name || read != tt.read || write != tt.write {
			t.Errorf("token %q is %q, read %v, write %v; want %+v", tt.token, name, read, write, tt)
		}
	}

	// An invalid file changes nothing.
	if err := os.WriteFile(path, []byte("alice\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := tokens.Reload(); !errors.Is(err, ErrTokens) {
		t.Errorf("error is %v, want ErrTokens", err)
	}
	if _, read, _ := tokens.Rights(sha256.Sum256([]byte("a"))); !read {
		t.Error("a file that could not be taken has taken the tokens")
	}
	if err := os.WriteFile(path, []byte("x "+sum("x")+" read\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := tokens.Reload(); err != nil {
		t.Fatal(err)
	}
	if _, read, _ := tokens.Rights(sha256.Sum256([]byte("a"))); read {
		t.Error("a token that is gone from the file has its rights still")
	}
}

func TestBadTokens(t *testing.T) {
	for name, tt := range map[string]struct{ text, says string }{
		"empty":        {"", "has no tokens"},
		"comments":     {"# nobody\n", "has no tokens"},
		"two words":    {"a " + sum("a"), "line 1: not a file of tokens: it has 2 words"},
		"four words":   {"\na " + sum("a") + " read write", "line 2: not a file of tokens: it has 4 words"},
		"not a hash":   {"a secret read", "not a SHA-256"},
		"short hash":   {"a " + sum("a")[:62] + " read", "not a SHA-256"},
		"long hash":    {"a " + sum("a") + "00 read", "not a SHA-256"},
		"rights":       {"a " + sum("a") + " all", `the rights are "all", want read, write or both`},
		"name twice":   {"a " + sum("a") + " read\na " + sum("b") + " read", `line 2: not a file of tokens: line 1 has the name "a" too`},
		"token twice":  {"a " + sum("a") + " read\nb " + sum("a") + " both", "line 2: not a file of tokens: line 1 has the token too"},
		"endless line": {strings.Repeat("x", 1<<20), "line 1"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "tokens")
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := LoadTokens(path)
			if !errors.Is(err, ErrTokens) || !strings.Contains(err.Error(), tt.says) || !strings.HasPrefix(err.Error(), path) {
				t.Errorf("error is %v, want ErrTokens that names the file and says %q", err, tt.says)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("the error repeats what may be a token: %v", err)
			}
		})
	}
	if _, err := LoadTokens(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error is %v, want one of a file that does not exist", err)
	}
}
