// Package position keeps a reader's position in a log in a file.
package position

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"tcp-log-server/segment"
)

// Position is a position in a log.
type Position struct {
	Store string `json:"store"` // the name of the log
	Index uint64 `json:"index"` // of the last entry read, 0 for none
	// Head is the log's head if Index is beyond it: the reader waits for the entry after Index.
	Head uint64 `json:"head,omitempty"`
}

// Load reads the file at path. found is false if there is none.
func Load(path string) (p Position, found bool, err error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return p, false, nil
	}
	if err != nil {
		return p, false, err
	}
	var content struct {
		Store *string
		Index *uint64
		Head  uint64
	}
	if err := json.Unmarshal(text, &content); err != nil || content.Store == nil || content.Index == nil {
		return p, false, fmt.Errorf(`%s holds %.60q, want {"store":"…","index":N}; remove it to begin again`, path, text)
	}
	return Position{*content.Store, *content.Index, content.Head}, true, nil
}

// Save replaces the file at path, durably and atomically: readers find the old position or the new,
// even after a crash.
func (p Position) Save(path string) error {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target // keep the link
	}
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	next, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	defer next.Close()
	if _, err := next.Write(append(text, '\n')); err != nil {
		return err
	}
	if err := errors.Join(next.Sync(), next.Close()); err != nil {
		return err
	}
	return segment.Rename(next.Name(), path)
}
