package archive

import (
	"context"
	"time"

	"tcp-log-server/internal/bucket"
	"tcp-log-server/segment"
)

// lateFor is how long a replaced server may still be uploading.
const lateFor = 10 * time.Minute

// late returns the keys of objects that the server before this one uploaded after it was replaced.
// If its increments reach further, they would count in place of this server's; its segments would
// in any case. The caller deletes the objects once it has checked that it is still the owner, so
// nothing that was listed before is from a successor.
func (k *Keeper) late(ctx context.Context, segs []*segment.File) (late []string, err error) {
	if time.Since(k.since) > lateFor {
		return nil, nil
	}
	known := make(map[Increment]bool)
	for _, i := range k.obsolete {
		known[i] = true
	}
	err = k.Bucket.List(ctx, openDir, "", func(o bucket.Object) error {
		if i, ok := parseIncrement(o.Key); ok && i.First > k.sealedEnd && !known[i] {
			late = append(late, o.Key)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if !k.over {
		return late, nil // the server before had the same segments
	}
	var found []bucket.Object
	err = k.Bucket.List(ctx, segmentsDir, SegmentKey(k.sealedEnd), func(o bucket.Object) error {
		if first, ok := parseSegmentKey(o.Key); ok && first > k.sealedEnd {
			found = append(found, o)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, o := range found {
		foreign, err := k.foreign(ctx, o, segs)
		if err != nil {
			return nil, err
		}
		if foreign {
			late = append(late, o.Key)
		}
	}
	return late, nil
}

// foreign reports whether o, a segment unknown to this keeper, is from another directory. It may
// also be this keeper's own, uploaded with the answer lost. That one may be the only copy by now,
// so it stays.
func (k *Keeper) foreign(ctx context.Context, o bucket.Object, segs []*segment.File) (bool, error) {
	first, _ := parseSegmentKey(o.Key)
	for _, s := range segs {
		switch {
		case s.First != first:
		case !s.Sealed:
			return true, nil
		default:
			f, err := segment.OpenRegular(s.Path)
			if err != nil {
				return false, err
			}
			defer f.Close()
			fi, err := f.Stat()
			if err != nil {
				return false, err
			}
			same, err := k.same(ctx, o.Key, o.Size, f, fi.Size())
			return !same, err
		}
	}
	return first > segs[0].First, nil
}
