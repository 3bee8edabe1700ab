package access

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"tcp-log-server/segment"
)

// AddToken makes a random token and adds a line for it to the file at path. It creates the file if
// there is none. rights are read, write or both.
func AddToken(path, name, rights string) (string, error) {
	if name == "" || name[0] == '#' || strings.ContainsFunc(name, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }) {
		return "", fmt.Errorf("the name is %q, want one without white space that does not begin with #", name)
	}
	if _, _, ok := parseRights(rights); !ok {
		return "", fmt.Errorf("the rights are %q, want read, write or both", rights)
	}
	var random [32]byte
	rand.Read(random[:])
	secret := base64.RawURLEncoding.EncodeToString(random[:])
	return secret, edit(path, func(text []byte, tokens []token) ([]byte, error) {
		if slices.ContainsFunc(tokens, func(t token) bool { return t.name == name }) {
			return nil, fmt.Errorf("it has a token with the name %s: remove that first, or choose another name", name)
		}
		if len(text) > 0 && text[len(text)-1] != '\n' {
			text = append(text, '\n')
		}
		return fmt.Appendf(text, "%s %x %s\n", name, sha256.Sum256([]byte(secret)), rights), nil
	})
}

// RemoveToken removes the line of a token from the file at path. It refuses to remove the last one:
// a server would reject the file, and still admit the token.
func RemoveToken(path, name string) error {
	return edit(path, func(text []byte, tokens []token) ([]byte, error) {
		switch found := slices.ContainsFunc(tokens, func(t token) bool { return t.name == name }); {
		case !found:
			return nil, fmt.Errorf("it has no token with the name %s", name)
		case len(tokens) == 1:
			return nil, fmt.Errorf("%s is its only token, and a server reads no file without one: add another first, or stop the server and remove the file", name)
		}
		var kept [][]byte
		for _, line := range bytes.SplitAfter(text, []byte("\n")) {
			if words := bytes.Fields(line); len(words) == 0 || string(words[0]) != name {
				kept = append(kept, line)
			}
		}
		return bytes.Join(kept, nil), nil
	})
}

// ListTokens returns the names and the rights of the tokens in the file at path.
func ListTokens(path string) (list [][2]string, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	tokens, err := parseTokens(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, t := range tokens {
		rights := "both"
		switch {
		case !t.write:
			rights = "read"
		case !t.read:
			rights = "write"
		}
		list = append(list, [2]string{t.name, rights})
	}
	return list, nil
}

// edit replaces the content of the file at path by the result of change, atomically: every reader
// sees the old content or the new, even after a crash. The file keeps its mode and owner; a new one
// is readable only by its owner. Of two edits at a time, the second fails.
func edit(path string, change func(text []byte, tokens []token) ([]byte, error)) error {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target // keep the link
	}
	next, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there: the file of tokens is being edited; if that was interrupted, remove it", path+".new")
	}
	if err != nil {
		return err
	}
	defer os.Remove(next.Name()) // does nothing after the rename
	defer next.Close()
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if err := errors.Join(keepOwner(next, info), next.Chmod(info.Mode())); err != nil {
			return err
		}
	}
	tokens, err := parseTokens(text)
	if err == nil {
		text, err = change(text, tokens)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if _, err := next.Write(text); err != nil {
		return err
	}
	if err := errors.Join(next.Sync(), next.Close()); err != nil {
		return err
	}
	return segment.Rename(next.Name(), path)
}
