package archive

import (
	"context"
	"fmt"
	"io"
	"slices"

	"tcp-log-server/internal/bucket"
	"tcp-log-server/segment"
)

// listing is the result of one List of an archive.
type listing struct {
	log, epoch bool             // whether log.json and EPOCH exist
	segments   map[uint64]int64 // sizes of the sealed segments, by first index
	increments []Increment      // in the order of their keys
	index      map[uint64]int64 // sizes of the index files, by first index
	owners     []uint64         // numbers, ascending
	strays     []bucket.Object  // objects whose keys do not fit the layout
	wrongSize  []bucket.Object  // increments that do not have the size in their names
	bytes      map[string]int64 // of all objects, by directory
}

// list lists the archive. Increments are listed before segments, so an increment that its segment
// replaces during the call is in the result as one or the other.
func list(ctx context.Context, b bucket.Bucket) (*listing, error) {
	l := &listing{segments: make(map[uint64]int64), index: make(map[uint64]int64), bytes: make(map[string]int64)}
	err := b.List(ctx, "", "", func(o bucket.Object) error {
		l.add(o)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return l, nil
}

func (l *listing) add(o bucket.Object) {
	if first, ok := parseSegmentKey(o.Key); ok {
		l.segments[first] = o.Size
		l.bytes[segmentsDir] += o.Size
	} else if first, ok := parseIndexKey(o.Key); ok {
		l.index[first] = o.Size
		l.bytes[indexDir] += o.Size
	} else if i, ok := parseIncrement(o.Key); ok {
		if o.Size != i.End-i.Offset {
			l.wrongSize = append(l.wrongSize, o)
			return
		}
		l.increments = append(l.increments, i)
		l.bytes[openDir] += o.Size
	} else if n, ok := parseOwnerKey(o.Key); ok {
		l.owners = append(l.owners, n)
	} else {
		switch o.Key {
		case logKey:
			l.log = true
		case epochKey:
			l.epoch = true
		default:
			l.strays = append(l.strays, o)
		}
	}
}

// part is one segment of an archive: an object, or the increments of a segment that is not sealed
// yet.
type part struct {
	first, last uint64
	size        int64       // as much of the segment as the archive has
	increments  []Increment // in order; nil for a sealed segment
	sum         uint32      // checksum that the next segment follows, if known is set
	known       bool
}

func (p part) sealed() bool { return p.increments == nil }

// key names the part in messages: the object, or the last increment.
func (p part) key() string {
	if p.sealed() {
		return SegmentKey(p.first)
	}
	return p.increments[len(p.increments)-1].Key()
}

// keyAt names the object that has, or would have, the byte at offset of the segment.
func (p part) keyAt(offset int64) string {
	for _, i := range p.increments {
		if offset < i.End {
			return i.Key()
		}
	}
	return p.key()
}

// open returns the chain of increments of the segment first, from its header on. Of several chains
// it returns the one that reaches furthest.
func (l *listing) open(first uint64) (way []Increment) {
	byOffset := make(map[int64][]Increment)
	var offsets []int64
	for _, i := range l.increments {
		if i.First == first {
			byOffset[i.Offset] = append(byOffset[i.Offset], i)
			offsets = append(offsets, i.Offset)
		}
	}
	slices.Sort(offsets)
	reach := make(map[int64]int64) // how far the chain from an offset reaches
	best := make(map[int64]Increment)
	for _, at := range slices.Backward(offsets) {
		for _, i := range byOffset[at] {
			if to := max(i.End, reach[i.End]); to > reach[at] {
				reach[at], best[at] = to, i
			}
		}
	}
	for i, ok := best[0]; ok; i, ok = best[i.End] {
		way = append(way, i)
	}
	return way
}

// parts returns the segments of the archive in order, through the first gap after the last object.
// It reads a footer only where no other object follows directly. With an error that wraps
// segment.ErrDamaged it still returns the parts as far as the names tell.
func (l *listing) parts(ctx context.Context, b bucket.Bucket) (all []part, err error) {
	sealed := make([]uint64, 0, len(l.segments))
	for first := range l.segments {
		sealed = append(sealed, first)
	}
	slices.Sort(sealed)
	var damage error
	for n, first := range sealed {
		if k := len(all); k > 0 && all[k-1].last == 0 {
			all[k-1].last = first - 1
		}
		p := part{first: first, size: l.segments[first]}
		if n+1 == len(sealed) || len(l.between(first, sealed[n+1])) > 0 {
			f, err := readFooter(ctx, b, first, p.size)
			switch {
			case err == nil:
				p.last, p.sum, p.known = f.Last, f.Sum, true
			case damaged(err):
				damage = err
				if p.last = first; n+1 < len(sealed) {
					p.last = sealed[n+1] - 1
				}
			default:
				return nil, err
			}
		}
		all = append(all, p)
		if p.last > 0 {
			limit := uint64(0)
			if n+1 < len(sealed) {
				limit = sealed[n+1]
			}
			all = l.continued(all, limit)
		}
	}
	if len(sealed) == 0 {
		all = l.continued(nil, 0)
	}
	return all, damage
}

// between returns the first indices of the segments that begin with an increment between the
// segment first and the object limit.
func (l *listing) between(first, limit uint64) (firsts []uint64) {
	for _, i := range l.increments {
		if i.First > first && i.First < limit && i.Offset == 0 {
			firsts = append(firsts, i.First)
		}
	}
	return firsts
}

// continued appends the segments that follow all as increments and begin before limit; 0 is no
// limit.
func (l *listing) continued(all []part, limit uint64) []part {
	for {
		next := uint64(1)
		if n := len(all); n > 0 {
			next = all[n-1].last + 1
		}
		way := l.open(next)
		if len(way) == 0 || limit > 0 && next >= limit {
			return all
		}
		end := way[len(way)-1]
		all = append(all, part{first: next, last: end.Last, size: end.End, increments: way, sum: end.Sum, known: true})
	}
}

// readFooter reads the footer of the sealed segment first, whose object has size bytes. The error
// wraps segment.ErrDamaged if there is no valid footer.
func readFooter(ctx context.Context, b bucket.Bucket, first uint64, size int64) (segment.Footer, error) {
	key := SegmentKey(first)
	wrong := func(err error) error {
		return &segment.DamageError{Path: objectPath(b, key), Offset: max(size-segment.FooterSize, 0), First: first, Err: err}
	}
	if size < segment.HeaderSize+segment.FooterSize {
		return segment.Footer{}, wrong(fmt.Errorf("%w: the object has %d bytes and cannot be a sealed segment", segment.ErrDamaged, size))
	}
	text, err := getRange(ctx, b, key, size-segment.FooterSize, segment.FooterSize)
	if err != nil {
		return segment.Footer{}, err
	}
	f, ok, err := segment.ParseFooter(text, size)
	switch {
	case err != nil:
		return f, wrong(err)
	case !ok:
		return f, wrong(fmt.Errorf("%w: the object does not end with a footer", segment.ErrDamaged))
	case f.First != first:
		return f, wrong(fmt.Errorf("%w: footer has first index %d, the name says %d", segment.ErrDamaged, f.First, first))
	}
	return f, nil
}

// getRange reads length bytes of an object from offset on.
func getRange(ctx context.Context, b bucket.Bucket, key string, offset, length int64) ([]byte, error) {
	text := make([]byte, length)
	s := &stream{ctx: ctx, b: b, pieces: []piece{{key: key, size: offset + length}}, size: offset + length}
	defer s.Close()
	if _, err := s.ReadAt(text, offset); err != nil {
		return nil, err
	}
	return text, nil
}

// getAll reads a small object.
func getAll(ctx context.Context, b bucket.Bucket, key string) ([]byte, error) {
	r, err := b.Get(ctx, key, 0, -1)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", objectPath(b, key), err)
	}
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(r, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", objectPath(b, key), err)
	}
	return text, nil
}

// objectPath names an object in messages.
func objectPath(b bucket.Bucket, key string) string { return b.String() + "/" + key }
