package archive

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"

	"tcp-log-server/internal/bucket"
	"tcp-log-server/segment"
)

var (
	// ErrNoArchive: there is no archive of a log under the bucket's prefix.
	ErrNoArchive = errors.New("there is no archive")
	// ErrDamaged: an object of the archive is missing or damaged.
	ErrDamaged = segment.ErrDamaged
)

// Archive is an archive as it was when it was opened. It is safe for concurrent use.
type Archive struct {
	b     bucket.Bucket
	store segment.StoreID
	epoch []byte // the content of EPOCH, nil if there is none
	// epochDamage says why epoch cannot be used.
	epochDamage error
	parts       []part
	// damage says why the end of the archive is unknown.
	damage error
	list   *listing
	index  []uint64 // first indices of the index files, ascending
}

// Open lists the archive in b and reads which log it is of. The error wraps ErrNoArchive if there
// is none, wraps ErrDamaged if log.json is damaged, or is the bucket's.
func Open(ctx context.Context, b bucket.Bucket) (*Archive, error) {
	info, err := readInfo(ctx, b)
	if errors.Is(err, bucket.ErrNotFound) {
		return nil, fmt.Errorf("%w in %s: it has no %s", ErrNoArchive, b, logKey)
	}
	if err != nil {
		return nil, err
	}
	l, err := list(ctx, b)
	if err != nil {
		return nil, err
	}
	a := &Archive{b: b, list: l, index: slices.Sorted(maps.Keys(l.index))}
	if a.store, err = parseStore(info.Store); err != nil {
		return nil, fmt.Errorf("%s: %w", objectPath(b, logKey), err)
	}
	if l.epoch {
		if a.epoch, err = getAll(ctx, b, epochKey); err != nil {
			return nil, err
		}
		if _, err := segment.ParseEpochs(a.epoch); err != nil {
			a.epochDamage = fmt.Errorf("%w: %s: %w", ErrDamaged, objectPath(b, epochKey), err)
		}
	}
	a.parts, err = l.parts(ctx, b)
	if err != nil && !damaged(err) {
		return nil, err
	}
	a.damage = err
	return a, nil
}

// readInfo reads log.json.
func readInfo(ctx context.Context, b bucket.Bucket) (info LogInfo, err error) {
	text, err := getAll(ctx, b, logKey)
	if err != nil {
		return info, err
	}
	err = json.Unmarshal(text, &info)
	_, storeErr := parseStore(info.Store)
	switch {
	case err != nil, storeErr != nil:
		return info, fmt.Errorf("%w: %s is not the JSON that names a log's store", ErrDamaged, objectPath(b, logKey))
	case info.Format != layoutFormat:
		return info, fmt.Errorf("%w: %s says format %d, this program reads %d", segment.ErrVersion, objectPath(b, logKey), info.Format, layoutFormat)
	}
	return info, nil
}

// parseStore is the inverse of segment.StoreID.String.
func parseStore(text string) (id segment.StoreID, err error) {
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != len(id) {
		return id, fmt.Errorf("%w: %q is not the id of a store", ErrDamaged, text)
	}
	return segment.StoreID(raw), nil
}

// Store is the ID of the log.
func (a *Archive) Store() segment.StoreID { return a.store }

// Head is the index of the last entry according to the names and the last footer, or 0 if there is
// none.
func (a *Archive) Head() uint64 {
	if n := len(a.parts); n > 0 {
		return a.parts[n-1].last
	}
	return 0
}

// find returns the number of the part that holds index, or of the last part before it.
func (a *Archive) find(index uint64) int {
	return sort.Search(len(a.parts), func(i int) bool { return a.parts[i].first > index }) - 1
}

// Complete checks by names alone that the archive is one chain of segments from index 1 on. If it
// is not, the archive may have had entries after the head.
func (a *Archive) Complete() error {
	if a.damage != nil {
		return a.damage
	}
	for _, o := range a.list.wrongSize {
		return fmt.Errorf("%w: %s has %d bytes, which is not what its name says", ErrDamaged, objectPath(a.b, o.Key), o.Size)
	}
	if len(a.parts) > 0 && a.parts[0].first != 1 {
		return fmt.Errorf("%w: no object of %s holds the entries 1 to %d: %s is missing", ErrDamaged, a.b, a.parts[0].first-1, SegmentKey(1))
	}
	for _, i := range a.orphans() {
		return fmt.Errorf("%w: %s does not follow what %s has before it: an object is missing", ErrDamaged, a.path(i.Key()), a.b)
	}
	return nil
}
