package archive

import "context"

// Stat says what an archive holds, according to names and sizes.
type Stat struct {
	Store      string `json:"store"`
	Head       uint64 `json:"head"`
	Segments   int    `json:"segments"`   // sealed ones
	Increments int    `json:"increments"` // of segments that are not sealed
	Indexed    uint64 `json:"indexed"`    // entries with a record in the index
	Bytes      struct {
		Segments int64 `json:"segments"`
		Open     int64 `json:"open"`
		Index    int64 `json:"index"`
	} `json:"bytes"`
	Owner *Owner `json:"owner,omitempty"` // the server that archives, or the last one that did
}

// Stat counts what the archive holds. The error wraps ErrDamaged if the archive is not complete, or
// is the bucket's.
func (a *Archive) Stat(ctx context.Context) (Stat, error) {
	s := Stat{Store: a.store.String(), Head: a.Head(), Segments: len(a.list.segments), Indexed: a.indexed()}
	for _, p := range a.parts {
		s.Increments += len(p.increments)
	}
	s.Bytes.Segments, s.Bytes.Open, s.Bytes.Index = a.list.bytes[segmentsDir], a.list.bytes[openDir], a.list.bytes[indexDir]
	if n := len(a.list.owners); n > 0 {
		owner, err := readOwner(ctx, a.b, a.list.owners[n-1])
		if err != nil {
			return s, err
		}
		s.Owner = &owner
	}
	return s, a.Complete()
}
