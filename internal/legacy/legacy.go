// Package legacy reads logs of the original tcp-log-server, the npm package, for import: from a
// running server of any protocol version (server.go), or from the directories of a stopped one
// (directory.go). It changes neither.
//
// The original stores each entry as a file of JSON text, exactly as it serialized it, named by the
// SHA-256 of that text, and a list of these hashes in LevelDB.
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
	// ErrSource: the running server failed or gave an unexpected answer.
	ErrSource = errors.New("the original server")
	// ErrMissing: the source has later entries, but none at this index.
	ErrMissing = errors.New("the original has no entry of this index")
	// ErrDamaged: the entry in the source is not what was stored.
	ErrDamaged = errors.New("damaged in the original")
	// ErrFormat: the directories do not belong to an original server.
	ErrFormat = errors.New("not the directory of an original server")
	// ErrRunning: an original server has the directory open.
	ErrRunning = errors.New("the original server is running")
)

// Entry is one entry of the original, or the error of reading it.
type Entry struct {
	Index uint64
	// Text is the JSON text in the original. It is valid until the next entry is read.
	Text []byte
	// Err wraps ErrMissing or ErrDamaged if there is no reliable Text.
	Err error
	// Hash is the entry's SHA-256 in the original's list, in hex, or "" if unknown.
	Hash string
}

// Canonical appends the entry to dst in the form in which this log stores it. The error is e.Err or
// one of package canonical, or says that the text is more than one value, or a value that cannot be
// an entry.
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

// placeholder replaces an entry that this log refuses.
type placeholder struct {
	Refused *refused `json:"refused"`
}

type refused struct {
	Index  uint64 `json:"index"`
	Error  string `json:"error"`
	SHA256 string `json:"sha256,omitempty"` // of the text
	Text   string `json:"text,omitempty"`
	Base64 []byte `json:"base64,omitempty"` // the text, if it is not UTF-8
}

// maxKept is the length in bytes up to which a placeholder includes the text.
const maxKept = 1 << 20

// Placeholder returns an entry, in canonical form, that replaces this one, which was refused with
// the error why. It includes the text if that is at most 1 MiB long, in base64 if it is not UTF-8.
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

// StoodFor reports whether value is a placeholder for this entry.
func (e Entry) StoodFor(value []byte) bool {
	var p placeholder
	if !bytes.HasPrefix(value, []byte(`{"refused":`)) || json.Unmarshal(value, &p) != nil || p.Refused == nil {
		return false
	}
	return p.Refused.Index == e.Index && p.Refused.SHA256 == e.SHA256()
}

// SHA256 returns the hash of the text in hex. If there is no reliable text, it
// returns the hash in the original's list, or "" if that is unknown too.
func (e Entry) SHA256() string {
	if e.Err != nil {
		return e.Hash
	}
	sum := sha256.Sum256(e.Text)
	return hex.EncodeToString(sum[:])
}
