package legacy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/opt"
)

// Default names of the original server's directories.
const (
	LevelDBName = ".tcp-log-server.leveldb"
	BlobsName   = ".tcp-log-server.blobs"
)

// Directory is the log of a stopped original server of version 6, 9 or 10.
type Directory struct {
	db      *leveldb.DB
	copy    string // the directory of db
	blobs   string
	version Generation
	last    uint64
}

// OpenDirectory opens the LevelDB in level, which has the list of hashes, and the
// directory blobs. LevelDB writes when it opens a directory, so OpenDirectory works
// on a copy, made with links to the large files. The error wraps ErrRunning if a
// server has the directory open, and ErrFormat if it does not belong to one.
func OpenDirectory(level, blobs string) (d *Directory, err error) {
	if _, err := os.Stat(filepath.Join(level, "CURRENT")); err != nil {
		return nil, fmt.Errorf("%w: %s is not a LevelDB: %w", ErrFormat, level, err)
	}
	if fi, err := os.Stat(blobs); err != nil || !fi.IsDir() {
		return nil, fmt.Errorf("%w: there are no blobs in %s", ErrFormat, blobs)
	}
	if locked(filepath.Join(level, "LOCK")) {
		return nil, fmt.Errorf("%w on %s: stop it, or import from its address", ErrRunning, level)
	}
	d = &Directory{blobs: blobs}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.Close())
			d = nil
		}
	}()
	if d.copy, err = os.MkdirTemp("", "tcp-log-server-import-"); err != nil {
		return d, err
	}
	if err := copyLevelDB(level, d.copy); err != nil {
		return d, err
	}
	if d.db, err = leveldb.OpenFile(d.copy, &opt.Options{ErrorIfMissing: true, Strict: opt.StrictAll}); err != nil {
		return d, fmt.Errorf("%w: LevelDB in %s: %w", ErrFormat, level, err)
	}
	return d, d.findLast()
}

// copyLevelDB copies a LevelDB. It links to the tables, which never change.
func copyLevelDB(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		source, err := filepath.Abs(filepath.Join(from, e.Name()))
		if err != nil {
			return err
		}
		target := filepath.Join(to, e.Name())
		switch ext := filepath.Ext(e.Name()); {
		case ext == ".ldb" || ext == ".sst":
			if err := os.Symlink(source, target); err == nil {
				continue
			}
		case e.Name() == "CURRENT" || ext == ".log" || strings.HasPrefix(e.Name(), "MANIFEST-"):
		default:
			continue // not the lock and LevelDB's log
		}
		if err := copyFile(source, target); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// streamPrefix begins every key of version 6.
var streamPrefix = []byte("log!")

// findLast finds the last index and the version.
func (d *Directory) findLast() error {
	it := d.db.NewIterator(nil, nil)
	defer it.Release()
	if !it.Last() {
		return it.Error() // an empty log
	}
	d.version = Pulling
	if bytes.HasPrefix(it.Key(), streamPrefix) {
		d.version = Streaming
	}
	index, _, err := d.record(it.Key(), it.Value())
	d.last = index
	return err
}

// record decodes one row of the list.
func (d *Directory) record(key, value []byte) (index uint64, hash string, err error) {
	if d.version == Streaming {
		key = bytes.TrimPrefix(key, streamPrefix)
		if err := json.Unmarshal(value, &hash); err != nil {
			return 0, "", fmt.Errorf("%w: %.80q is not a hash", ErrFormat, value)
		}
	} else {
		hash = string(value)
	}
	if raw, err := hex.DecodeString(hash); err != nil || len(raw) != sha256.Size {
		return 0, "", fmt.Errorf("%w: %.80q is not a hash", ErrFormat, value)
	}
	index, err = unpackIndex(key)
	return index, hash, err
}

// Last returns the index of the last entry, or 0 if there is none.
func (d *Directory) Last() uint64 { return d.last }

// Read yields the entries from index from on, in order, each verified against its
// hash in the list. It yields an entry with ErrMissing for an index that the list
// does not have, and one with ErrDamaged if the blob is missing or has another hash.
// An error ends the read: that of ctx or of LevelDB, or one that wraps ErrFormat.
func (d *Directory) Read(ctx context.Context, from uint64) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		it := d.db.NewIterator(nil, nil)
		defer it.Release()
		next := max(from, 1)
		for it.Next() {
			if ctx.Err() != nil {
				yield(Entry{}, context.Cause(ctx))
				return
			}
			index, hash, err := d.record(it.Key(), it.Value())
			if err != nil {
				yield(Entry{}, err)
				return
			}
			for ; next < index; next++ {
				if !yield(Entry{Index: next, Err: ErrMissing}, nil) {
					return
				}
			}
			if index < next {
				continue
			}
			next++
			if !yield(d.blob(index, hash), nil) {
				return
			}
		}
		if err := it.Error(); err != nil {
			yield(Entry{}, fmt.Errorf("%w: LevelDB, after index %d: %w", ErrFormat, next-1, err))
		}
	}
}

// blob reads the text of an entry.
func (d *Directory) blob(index uint64, hash string) Entry {
	name := hash[:2] + "/" + hash[2:]
	e := Entry{Index: index, Hash: hash}
	text, err := os.ReadFile(filepath.Join(d.blobs, filepath.FromSlash(name)))
	if errors.Is(err, fs.ErrNotExist) {
		e.Err = fmt.Errorf("%w: there is no blob %s", ErrDamaged, name)
	} else if err != nil {
		e.Err = fmt.Errorf("%w: %w", ErrDamaged, err)
	} else if sum := sha256.Sum256(text); hex.EncodeToString(sum[:]) != hash {
		e.Err = fmt.Errorf("%w: blob %s hashes to %x", ErrDamaged, name, sum)
	} else {
		e.Text = text
	}
	return e
}

// Close closes the directory and removes the copy.
func (d *Directory) Close() error {
	var errs []error
	if d.db != nil {
		errs = append(errs, d.db.Close())
	}
	if d.copy != "" {
		errs = append(errs, os.RemoveAll(d.copy))
	}
	return errors.Join(errs...)
}
