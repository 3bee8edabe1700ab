// Package access reads from files which clients a server admits, by token or by certificate. Both
// files can be reloaded while they are in use. An unusable file changes nothing.
package access

import (
	"bufio"
	"bytes"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
)

// ErrTokens is wrapped by every error about the content of a token file.
var ErrTokens = errors.New("not a file of tokens")

// token is one line of a token file.
type token struct {
	hash        [32]byte
	name        string
	read, write bool
}

// Tokens are the tokens of a file, which has a line for each: a name, the SHA-256 of the token in
// hexadecimal, and its rights: read, write or both. Blank lines and lines that begin with # are
// ignored. All methods may be called from any goroutine.
type Tokens struct {
	path string
	now  atomic.Pointer[[]token]
}

// LoadTokens reads the file at path. Its errors wrap ErrTokens if the file is readable but is not a
// token file, or has no tokens.
func LoadTokens(path string) (*Tokens, error) {
	t := &Tokens{path: path}
	return t, t.Reload()
}

// Reload reads the file again. After an error, the old tokens stay valid.
func (t *Tokens) Reload() error {
	text, err := os.ReadFile(t.path)
	if err != nil {
		return err
	}
	list, err := parseTokens(text)
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("%w: it has no tokens, so no client would be admitted; want lines `name sha256-of-token rights`, as `tcp-log-server token add` writes them", ErrTokens)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", t.path, err)
	}
	t.now.Store(&list)
	return nil
}

func parseTokens(text []byte) (list []token, err error) {
	names, hashes := map[string]int{}, map[[32]byte]int{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	number := 0
	for lines.Scan() {
		number++
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		tok, err := parseToken(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w: %w", number, ErrTokens, err)
		}
		if before, twice := names[tok.name]; twice {
			return nil, fmt.Errorf("line %d: %w: line %[4]d has the name %[3]q too", number, ErrTokens, tok.name, before)
		}
		if before, twice := hashes[tok.hash]; twice {
			return nil, fmt.Errorf("line %d: %w: line %d has the token too", number, ErrTokens, before)
		}
		names[tok.name], hashes[tok.hash] = number, number
		list = append(list, tok)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("line %d: %w: %w", number+1, ErrTokens, err)
	}
	return list, nil
}

// parseToken reads one line. Its errors never contain the hash: if it is the token itself by
// mistake, it must not get into the log.
func parseToken(line string) (tok token, err error) {
	words := strings.Fields(line)
	if len(words) != 3 {
		return tok, fmt.Errorf("it has %d words, want 3: name, SHA-256 of the token, rights", len(words))
	}
	tok.name = words[0]
	if n, err := hex.Decode(tok.hash[:], []byte(words[1])[:min(len(words[1]), 64)]); err != nil || n != 32 || len(words[1]) != 64 {
		return tok, errors.New("the second word is not a SHA-256, want 64 hexadecimal digits: printf %s TOKEN | sha256sum")
	}
	var ok bool
	if tok.read, tok.write, ok = parseRights(words[2]); !ok {
		return tok, fmt.Errorf("the rights are %q, want read, write or both", words[2])
	}
	return tok, nil
}

func parseRights(s string) (read, write, ok bool) {
	switch s {
	case "read":
		return true, false, true
	case "write":
		return false, true, true
	case "both":
		return true, true, true
	}
	return false, false, false
}

// Rights returns the name and rights of the token with the given SHA-256, or no rights if there is
// none. The time it takes depends on the number of tokens, not on the hash.
func (t *Tokens) Rights(hash [32]byte) (name string, read, write bool) {
	for _, tok := range *t.now.Load() {
		if subtle.ConstantTimeCompare(hash[:], tok.hash[:]) == 1 {
			name, read, write = tok.name, tok.read, tok.write
		}
	}
	return name, read, write
}
