// Package legacy reads logs of the original tcp-log-server, the npm package, to
// bring them over: from its running server (server.go), whichever version of the
// protocol it speaks, or from its directories (directory.go). It changes nothing
// of either.
//
// The original keeps an entry as the JSON text that it serialized, named by the
// SHA-256 of that, and a list of these hashes in LevelDB.
package legacy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"tcp-log-server/canonical"
)

var (
	// ErrSource: the source cannot be read on, and why.
	ErrSource = errors.New("the original server")
	// ErrMissing: the source has no entry of this index, though it has later ones.
	ErrMissing = errors.New("the original has no entry of this index")
	// ErrDamaged: what the source has of the entry is not what was stored.
	ErrDamaged = errors.New("damaged in the original")
	// ErrFormat: the directories are not those of an original server.
	ErrFormat = errors.New("not the directory of an original server")
	// ErrRunning: the original server has its directory open.
	ErrRunning = errors.New("the original server is running")
)

// Entry is one entry of the original, or why it cannot be had.
type Entry struct {
	Index uint64
	// Text is the JSON text as the original has it. It is valid until the next
	// entry comes.
	Text []byte
	// Err wraps ErrMissing or ErrDamaged where there is no Text to be trusted.
	Err error
	// Hash is the SHA-256 that the original's list has, where that is known, in hex.
	Hash string
}

// Canonical returns the entry as this log stores it, or why it cannot: e.Err, or
// one of canonical's refusals.
func (e Entry) Canonical(dst []byte) ([]byte, error) {
	if e.Err != nil {
		return dst, e.Err
	}
	text := bytes.TrimSpace(e.Text)
	form, n, err := canonical.Append(dst, text)
	switch {
	case err != nil:
		return dst, err
	case n != len(text):
		return dst, fmt.Errorf("more than one value, the second at byte %d of the entry", n)
	case len(form) == len(dst) || !bytes.ContainsRune([]byte("{[n"), rune(form[len(dst)])):
		return dst, errors.New("no object, array or null")
	}
	return form, nil
}

// placeholder is what stands in the place of an entry that this log does not take.
type placeholder struct {
	Refused *refused `json:"refused"`
}

type refused struct {
	Index  uint64 `json:"index"`
	Error  string `json:"error"`
	SHA256 string `json:"sha256,omitempty"` // of the text
	Text   string `json:"text,omitempty"`
	Base64 []byte `json:"base64,omitempty"` // the text, where it is not UTF-8
}

// maxKept is the length in bytes up to which a placeholder keeps the text.
const maxKept = 1 << 20

// Placeholder returns, in canonical form, an entry to stand in the place of one
// that is refused because of why. It keeps the text, up to 1 MiB of it, as a
// string, so that nothing of it is lost.
func (e Entry) Placeholder(why error) ([]byte, error) {
	r := &refused{Index: e.Index, Error: why.Error(), SHA256: e.SHA256()}
	if e.Err == nil && len(e.Text) <= maxKept {
		if utf8.Valid(e.Text) {
			r.Text = string(e.Text)
		} else {
			r.Base64 = e.Text
		}
	}
	text, err := json.Marshal(placeholder{r})
	if err != nil {
		return nil, err
	}
	form, _, err := canonical.Append(nil, text)
	return form, err
}

// StoodFor reports whether value is a placeholder of this entry.
func (e Entry) StoodFor(value []byte) bool {
	var p placeholder
	if !bytes.HasPrefix(value, []byte(`{"refused":`)) || json.Unmarshal(value, &p) != nil || p.Refused == nil {
		return false
	}
	return p.Refused.Index == e.Index && p.Refused.SHA256 == e.SHA256()
}

// SHA256 is the hash of the text or, where there is none to be trusted, that which
// the original's list has, in hex; "" if nothing says.
func (e Entry) SHA256() string {
	if e.Err != nil {
		return e.Hash
	}
	sum := sha256.Sum256(e.Text)
	return hex.EncodeToString(sum[:])
}
