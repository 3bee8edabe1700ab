package archive

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"tcp-log-server/internal/bucket"
	"tcp-log-server/segment"
)

var (
	// ErrOther: the archive is of another log.
	ErrOther = errors.New("is the archive of another log")
	// ErrInUse: another directory, or a server that started later, archives there.
	ErrInUse = errors.New("is in use")
	// ErrDiverged: the archive has entries that this log does not have.
	ErrDiverged = errors.New("is not the archive of this directory's log")
)

// refuses reports whether a retry would be useless.
func refuses(err error) bool {
	return errors.Is(err, ErrOther) || errors.Is(err, ErrInUse) || errors.Is(err, ErrDiverged)
}

// moved is the error of a log whose archive is to move while entries are only in the old one.
func moved(local segment.Archived, url string) error {
	return fmt.Errorf("it is %s, but entries of this log through %d are only in %s: set ARCHIVE to that, or copy its objects to the new place and change the url in the file %s",
		url, local.Through, local.URL, segment.ArchiveName)
}

// claim makes this run of the server the owner of the archive, and learns what the bucket has.
func (k *Keeper) claim(ctx context.Context) error {
	for {
		l, err := list(ctx, k.Bucket)
		if err != nil {
			return err
		}
		if err := k.sameLog(ctx, l); err != nil {
			return err
		}
		newest, err := k.mayClaim(ctx, l)
		if err != nil {
			return err
		}
		if err := k.learn(ctx, l); err != nil {
			return err
		}
		host, _ := os.Hostname()
		own, err := json.Marshal(Owner{Instance: k.local.Instance, Run: k.run, Host: host, Time: time.Now().UTC().Format(time.RFC3339)})
		if err != nil {
			return err
		}
		err = k.put(ctx, ownerKey(newest+1), own, true)
		if errors.Is(err, bucket.ErrExists) {
			if o, oerr := readOwner(ctx, k.Bucket, newest+1); oerr != nil {
				return oerr
			} else if o.Run != k.run {
				continue // another server has just started
			}
			err = nil // the first attempt succeeded, but its answer was lost
		}
		if err != nil {
			return err
		}
		k.owner, k.claimed, k.looked = newest+1, true, time.Now()
		k.since = k.looked
		if len(k.lost(k.files())) == 0 {
			k.publish(0) // there may be nothing to upload for a long time
		}
		for _, n := range l.owners {
			_ = k.Bucket.Delete(ctx, ownerKey(n)) // leftovers are harmless
		}
		for _, i := range k.strays {
			if err := k.Bucket.Delete(ctx, i.Key()); err != nil {
				k.claimed = false
				return err
			}
		}
		k.Logger.Info().Str("event", "archive").Str("archive", k.Bucket.String()).Uint64("through", k.Stats().Through).Msg("archiving the log")
		return nil
	}
}

// sameLog checks that the archive is of this log, and creates it if there is none.
func (k *Keeper) sameLog(ctx context.Context, l *listing) error {
	if err := k.begin(ctx, l); err != nil {
		return err
	}
	found, err := readInfo(ctx, k.Bucket)
	if err == nil && found.Store != k.log.Store() {
		err = fmt.Errorf("%s %w: its store is %s, this one is %s; name another prefix for this log, or the directory of that log", k.Bucket, ErrOther, found.Store, k.log.Store())
	}
	if err != nil || k.written {
		return err
	}
	if err := segment.WriteArchived(k.Dirs.Data, k.local); err != nil {
		return err
	}
	k.written = true
	return nil
}

// begin creates log.json in a new archive.
func (k *Keeper) begin(ctx context.Context, l *listing) error {
	if l.log {
		return nil
	}
	text, err := json.Marshal(LogInfo{Format: layoutFormat, Store: k.log.Store()})
	if err != nil {
		return err
	}
	if n := len(l.segments) + len(l.increments) + len(l.owners); n > 0 && k.written {
		return fmt.Errorf("%w: %s is missing, but other objects of the archive exist: create it again with the content %s", ErrDamaged, objectPath(k.Bucket, logKey), text)
	} else if n > 0 {
		return fmt.Errorf("%s %w: it has %d objects of an archive, but no %s to say which log; use another prefix", k.Bucket, ErrOther, n, logKey)
	}
	note, err := segment.ReadArchived(k.Dirs.Data)
	if err != nil {
		return err
	}
	if note.Through > 0 {
		return fmt.Errorf("%w in %s, and entries of this log through %d are only there: is it mounted, and the right one?", ErrNoArchive, k.Bucket, note.Through)
	}
	if k.written {
		// Most likely the share is not mounted, or this is the wrong service.
		return fmt.Errorf("%w in %s, but there was one before: if it is lost for good, stop the server, remove %s, and start again to begin a new archive",
			ErrNoArchive, k.Bucket, filepath.Join(k.Dirs.Data, segment.ArchiveName))
	}
	if err := k.put(ctx, logKey, append(text, '\n'), true); !errors.Is(err, bucket.ErrExists) {
		return err
	}
	return nil
}

// mayClaim returns the number of the newest owner, or an error if that is another directory that
// must not be replaced.
func (k *Keeper) mayClaim(ctx context.Context, l *listing) (newest uint64, err error) {
	if len(l.owners) == 0 {
		return 0, nil
	}
	newest = l.owners[len(l.owners)-1]
	o, err := readOwner(ctx, k.Bucket, newest)
	if err != nil {
		return 0, err
	}
	k.over = o.Instance != k.local.Instance
	if k.over && !k.TakeOver {
		return 0, fmt.Errorf("%s %w by another directory of this log, on %s since %s: if that server is gone for good, set ARCHIVE_TAKE_OVER=1 for one start to archive from here; if not, name another prefix", k.Bucket, ErrInUse, o.Host, o.Time)
	}
	return newest, nil
}

func readOwner(ctx context.Context, b bucket.Bucket, n uint64) (o Owner, err error) {
	text, err := getAll(ctx, b, ownerKey(n))
	if err == nil {
		if err = json.Unmarshal(text, &o); err != nil {
			err = fmt.Errorf("%w: %s is not the JSON of an owner: %w; if no server archives there, delete it", ErrDamaged, objectPath(b, ownerKey(n)), err)
		}
	}
	return o, err
}

// lookEvery is how often an idle keeper checks that it still owns the archive.
const lookEvery = time.Minute

// stillOwner checks that no other server has claimed the archive.
func (k *Keeper) stillOwner(ctx context.Context) error {
	newer := uint64(0)
	err := k.Bucket.List(ctx, ownerDir, ownerKey(k.owner), func(o bucket.Object) error {
		if n, ok := parseOwnerKey(o.Key); ok {
			newer = max(newer, n)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if k.looked = time.Now(); newer <= k.owner {
		return nil
	}
	o, err := readOwner(ctx, k.Bucket, newer)
	if err != nil {
		return err
	}
	return fmt.Errorf("%s %w by a server that was started later, on %s at %s: this one has stopped archiving; stop one of them", k.Bucket, ErrInUse, o.Host, o.Time)
}

// learn reads what the bucket has, and checks that the log continues it.
func (k *Keeper) learn(ctx context.Context, l *listing) error {
	parts, err := l.parts(ctx, k.Bucket)
	if err != nil {
		return err
	}
	k.sealed, k.sealedEnd, k.sealedSum = make(map[uint64]bool), 0, 0
	k.index, k.indexNext, k.epoch = make(map[uint64]bool), 1, ""
	open := make(map[uint64]Increment)
	for _, p := range parts {
		if p.sealed() {
			k.sealed[p.first] = true
			k.sealedEnd, k.sealedSum = p.last, p.sum
		} else {
			open[p.first] = p.increments[len(p.increments)-1]
		}
	}
	for first := range open { // a sealed segment after it covers it
		if first <= k.sealedEnd {
			delete(open, first)
		}
	}
	k.obsolete, k.strays = append(k.obsolete[:0], l.increments...), nil
	for _, i := range l.increments {
		if i.First > k.sealedEnd && !slices.Contains(l.open(i.First), i) {
			k.strays = append(k.strays, i)
		}
	}
	for _, o := range l.wrongSize { // they do not count, and a restore refuses an archive that has one
		if i, ok := parseIncrement(o.Key); ok {
			k.strays = append(k.strays, i)
		}
	}
	for first := range l.index {
		k.index[first] = true
	}
	if l.epoch {
		text, err := getAll(ctx, k.Bucket, epochKey)
		if err != nil {
			return err
		}
		k.epoch = string(text)
	}
	k.mu.Lock()
	k.open = open
	k.mu.Unlock()
	if n := len(parts); n > 0 {
		return k.goesOn(ctx, parts[n-1])
	}
	return nil
}

// goesOn checks that the last part of the archive is part of this log.
func (k *Keeper) goesOn(ctx context.Context, last part) error {
	segs := k.log.Segments()
	diverged := func(format string, args ...any) error {
		return fmt.Errorf("%s %w: "+format+"; name another prefix, or restore the log from there", append([]any{k.Bucket, ErrDiverged}, args...)...)
	}
	if n := len(segs); n == 0 || last.last > segs[n-1].Last() {
		head := uint64(0)
		if n > 0 {
			head = segs[n-1].Last()
		}
		return diverged("it has entries through %d, this log only through %d", last.last, head)
	}
	if last.first < segs[0].Header.First && last.last+1 != segs[0].Header.First {
		return k.sameEntry(ctx, last, diverged)
	}
	if last.sealed() {
		for _, s := range segs {
			if s.Header.First == last.last+1 && s.Header.Prev == last.sum {
				return nil
			}
		}
		return diverged("no segment here continues %s", last.key())
	}
	for _, s := range segs {
		if s.Header.First != last.first {
			continue
		}
		f, err := segment.OpenRegular(s.Path)
		if err != nil {
			return err
		}
		defer f.Close()
		scan, err := segment.ScanBatches(f, s.Path, last.size, nil)
		if err != nil {
			return err
		}
		if scan.End == last.size && scan.Sum == last.sum {
			return nil
		}
		return diverged("its segment with entries through %d is not the one here: the entries differ, or this log was a replica, whose segments are its own", last.last)
	}
	return diverged("no segment here begins at index %d, as %s does", last.first, last.key())
}

// sameEntry compares the last entry of the archive with its record, because this log has removed
// the segment that held it.
func (k *Keeper) sameEntry(ctx context.Context, last part, diverged func(string, ...any) error) error {
	recs, err := segment.ReadRecords(k.Dirs.WAL, last.last, last.last)
	if err != nil {
		return fmt.Errorf("the index does not say whether %s is the archive of this log: %w", k.Bucket, err)
	}
	a := &Archive{b: k.Bucket, parts: []part{last}}
	return a.Read(ctx, last.last, last.last, func(index uint64, entry []byte, at int64, err error) error {
		switch {
		case errors.Is(err, segment.ErrLost), err == nil && recs[0].Lost():
			return nil
		case err != nil:
			return err
		case segment.Sum(entry) != recs[0].Hash:
			return diverged("entry %d there is not the one here", index)
		}
		return nil
	})
}

// put stores a small object.
func (k *Keeper) put(ctx context.Context, key string, content []byte, create bool) error {
	if err := k.Bucket.Put(ctx, key, bytes.NewReader(content), int64(len(content)), create); err != nil {
		return fmt.Errorf("put %s: %w", objectPath(k.Bucket, key), err)
	}
	return nil
}
