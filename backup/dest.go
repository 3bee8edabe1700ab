package backup

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"tcp-log-server/segment"
)

// dest is the directory of the backup, locked as a server would lock it.
type dest struct {
	dir  string
	lock *segment.Lock
	segs []*segment.File // of the earlier backup
	head uint64          // its head
	// records is the last entry with a record in the index; it grows as the index is extended.
	// settled is its value in the earlier backup, which also has all the blobs through it, or 0 if
	// there is no earlier backup.
	records, settled uint64
	whole            bool // has segments, so it is a log
}

func (d *dest) segments() string      { return filepath.Join(d.dir, "segments") }
func (d *dest) wal() string           { return filepath.Join(d.dir, "wal") }
func (d *dest) blobs() string         { return filepath.Join(d.dir, "blobs") }
func (d *dest) in(name string) string { return filepath.Join(d.dir, "incoming", name) }

// staged is where the new set of segments is prepared.
func (d *dest) staged() string { return d.in("segments") }

// previous is where the old set is kept briefly, if directories cannot be exchanged.
func (d *dest) previous() string { return d.in("previous") }

// exists reports whether there is a log that must stay complete.
func (d *dest) exists() bool { return d.whole }

// openDest checks the destination, refuses one that is not for this log, and locks it. It changes
// nothing, except that it creates the directory and LOCK.
func openDest(config Config, src *source) (*dest, error) {
	d := &dest{dir: config.Dest}
	if err := d.checkOwn(src.id); err != nil {
		return nil, err
	}
	if err := segment.MakeDir(d.dir); err != nil {
		return nil, err
	}
	var err error
	if d.lock, err = segment.LockStore(d.dir); err != nil {
		return nil, err
	}
	err = d.load(src)
	if err == nil {
		err = d.checkEpochs(src)
	}
	if err != nil {
		d.close()
		return nil, err
	}
	return d, nil
}

func (d *dest) close() { d.lock.Close() }

// checkEpochs refuses a directory whose log is in an epoch that this log does not know.
func (d *dest) checkEpochs(src *source) error {
	epochs, err := segment.ReadEpochs(d.dir)
	if err != nil {
		return err
	}
	if _, ok := epochs.Leads(src.epochs); !ok {
		return fmt.Errorf("%w: the epochs of %s are %s, those of this log %s: one was promoted without the other", ErrOther, d.dir, epochs, src.epochs)
	}
	return nil
}

// checkOwn refuses a directory that holds anything except a backup of the store id.
func (d *dest) checkOwn(id segment.StoreID) error {
	entries, err := os.ReadDir(d.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	foreign, known := "", false
	for _, e := range entries {
		switch e.Name() {
		case "segments", "wal", "blobs", "incoming":
			known = known || e.IsDir()
		case segment.ReplicaName, segment.FencedName:
			return fmt.Errorf("%w: %s holds the file %s: it is a log that is, or was, run as a server", ErrOther, d.dir, e.Name())
		case "LOCK", segment.BackupMark, segment.LostFound, segment.EpochName:
		default:
			foreign = e.Name()
		}
	}
	if foreign != "" && !known {
		return fmt.Errorf("%w: %s holds other things (%s): name an empty directory, or one that does not exist", ErrOther, d.dir, foreign)
	}
	named := false
	for _, dir := range []string{d.wal(), d.blobs(), d.in("")} {
		found, ok, err := segment.FindMark(dir)
		if err != nil {
			return err
		}
		if ok && found != id {
			return fmt.Errorf("%w: %s is a backup of store %s, this log is store %s", ErrOther, d.dir, found, id)
		}
		named = named || ok
	}
	firsts, err := segment.List(d.segments())
	if err != nil {
		return err
	}
	if len(firsts) > 0 {
		seg, err := segment.CaptureFile(filepath.Join(d.segments(), segment.Name(firsts[0])))
		if err == nil && !seg.Known() {
			err = seg.Check()
		}
		if err != nil {
			return d.damaged(err)
		}
		if seg.Header.Store != id {
			return fmt.Errorf("%w: %s holds store %s, this log is store %s", ErrOther, d.dir, seg.Header.Store, id)
		}
		named = true
	}
	if known && !named {
		for _, dir := range []string{d.segments(), d.wal(), d.blobs(), d.in("")} {
			if inside, err := os.ReadDir(dir); len(inside) > 0 || err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%w: nothing in %s says which log it belongs to: name an empty directory, or one that does not exist", ErrOther, d.dir)
			}
		}
	}
	return nil
}

func (d *dest) damaged(err error) error {
	return fmt.Errorf("the earlier backup is unusable: %w; run `tcp-log-server fsck %s`, or name a new directory", err, d.dir)
}

// load reads the state of the earlier backup and compares it with the source.
func (d *dest) load(src *source) error {
	if _, err := os.Lstat(d.segments()); errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(d.previous()); err == nil {
			// A crash came between the two renames that replace an exchange.
			if err := os.Rename(d.previous(), d.segments()); err != nil {
				return err
			}
		}
	}
	store, err := segment.Capture(segment.Dirs{Data: d.dir})
	if err != nil {
		return d.damaged(err)
	}
	if err := errors.Join(store.Chain(), store.IndexErr); err != nil {
		return d.damaged(err)
	}
	d.segs, d.records = store.Files, store.Records
	if n := len(d.segs); n > 0 {
		d.whole, d.head, d.settled = true, d.segs[n-1].Last, d.records
	}
	if d.whole && d.records > d.head {
		return d.damaged(fmt.Errorf("%w: the index has records through %d, the segments end at %d", segment.ErrDamaged, d.records, d.head))
	}
	return d.compare(src)
}

// compare refuses a destination that is not a backup of an earlier state of the source. A restored
// log, or a backup on which a server was run, keeps its store ID but diverges.
func (d *dest) compare(src *source) error {
	if d.head > src.head {
		return fmt.Errorf("%w: %s has entries through %d, the log only through %d: is it an older copy?", ErrOther, d.dir, d.head, src.head)
	}
	for _, p := range d.segs {
		if p.Empty() {
			continue
		}
		if err := d.compareSegment(p, src); err != nil {
			return err
		}
	}
	if n := min(d.records, src.records); n > 0 {
		mine, err := readRecord(d.wal(), n)
		if err != nil {
			return d.damaged(err)
		}
		its, err := readRecord(src.wal, n)
		if err != nil {
			return err
		}
		if mine != its {
			return d.parted(n)
		}
	}
	return nil
}

func (d *dest) parted(index uint64) error {
	return fmt.Errorf("%w: entry %d in %s differs from the log's: the logs have diverged; name a new directory", ErrOther, index, d.dir)
}

// compareSegment compares a segment of the destination, up to its end, with the source's segment
// that it is a copy of, by the chain of checksums. If the source has no such segment, because it
// was removed or because the backup packed this one itself, only the last entry and its time are
// compared.
func (d *dest) compareSegment(p *segment.File, src *source) error {
	for _, q := range src.segs {
		if q.Header != p.Header {
			continue
		}
		same := q.Last == p.Last && q.Sum == p.Sum
		if q.Last > p.Last && !p.Sealed {
			// The batch that ended p must end at the same place in q.
			f, err := segment.OpenRegular(q.Path)
			if err != nil {
				return err
			}
			defer f.Close()
			scan, err := segment.ScanBatches(f, q.Path, p.End, nil)
			if err != nil {
				return err
			}
			same = scan.End == p.End && scan.Sum == p.LastSum
		}
		if !same {
			return d.parted(p.Last)
		}
		return nil
	}
	mine, err := entryRecord(p, p.Last)
	if err != nil {
		return d.damaged(err)
	}
	its, err := src.entry(p.Last)
	if err != nil {
		return err
	}
	if its != mine && !its.Lost() && !mine.Lost() {
		return d.parted(p.Last)
	}
	return nil
}

// entry returns the record of an entry of the source.
func (s *source) entry(index uint64) (segment.Record, error) {
	for _, q := range s.segs {
		if q.First <= index && index <= q.Last {
			return entryRecord(q, index)
		}
	}
	return readRecord(s.wal, index)
}

// entryRecord computes the record of an entry in a segment; that of a lost entry is zero.
func entryRecord(p *segment.File, index uint64) (rec segment.Record, err error) {
	f, err := segment.OpenRegular(p.Path)
	if err != nil {
		return rec, err
	}
	defer f.Close()
	_, err = segment.ScanBatches(f, p.Path, p.End, func(_ int64, h segment.BatchHeader, body []byte) error {
		if index < h.First || index > h.Last() || h.Lost() {
			return nil
		}
		for range index - h.First {
			body = body[bytes.IndexByte(body, '\n')+1:]
		}
		entry := body[:max(bytes.IndexByte(body, '\n'), 0)]
		rec = segment.Record{Hash: segment.Sum(entry), Time: h.Time, Size: uint32(len(entry))}
		return nil
	})
	return rec, err
}

func readRecord(dir string, index uint64) (segment.Record, error) {
	r := segment.NewRecords(dir, index)
	defer r.Close()
	return r.At(index)
}

// markText is the content of segment.BackupMark, for people.
const markText = "This directory is a backup, or a copy of one. To make it an independent log, remove this file.\n"

// mark writes segment.BackupMark, unless it exists.
func (d *dest) mark() error {
	f, err := os.OpenFile(filepath.Join(d.dir, segment.BackupMark), os.O_WRONLY|os.O_CREATE|os.O_EXCL, filePerm)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString(markText)
	return errors.Join(err, f.Close())
}

// prepare makes the directories of the backup and removes the useless leftovers of an interrupted
// run. Segments that the run had prepared are used again.
func (d *dest) prepare(b *backup) error {
	if err := b.step("prepare"); err != nil {
		return err
	}
	if err := d.mark(); err != nil {
		return err
	}
	// Before the entries: the epochs of a log may reach further than its entries.
	if err := segment.WriteEpochs(d.dir, b.src.epochs); err != nil {
		return err
	}
	for _, dir := range []string{d.in(""), d.wal(), d.blobs()} {
		if err := segment.MakeDir(dir); err != nil {
			return err
		}
		if err := segment.Mark(dir, b.src.id); err != nil {
			return err
		}
	}
	entries, err := os.ReadDir(d.in(""))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == "segments" {
			continue
		}
		if _, ok, _ := segment.FindMark(d.in("")); ok && e.Name() == "store-"+b.src.id.String() {
			continue
		}
		if err := os.RemoveAll(d.in(e.Name())); err != nil {
			return err
		}
	}
	return segment.MakeDir(d.staged())
}

// prune removes the files that are no longer needed: segments that the source has removed, and what
// was staged.
func (b *backup) prune() error {
	firsts, err := segment.List(b.dest.segments())
	if err != nil {
		return err
	}
	for _, first := range firsts {
		if first >= b.src.segs[0].First {
			break
		}
		if err := b.step("prune"); err != nil {
			return err
		}
		// Durably and in order: removing a later one first would break the chain.
		if err := segment.Remove(filepath.Join(b.dest.segments(), segment.Name(first))); err != nil {
			return err
		}
	}
	if err := b.step("clear"); err != nil {
		return err
	}
	return segment.ChangeNames(func() error { return os.RemoveAll(b.dest.in("")) }, b.dest.dir)
}
