package engine

import (
	"errors"
	"fmt"
	"time"
)

// errRecord: an index record does not match the entry in the segments.
var errRecord = fmt.Errorf("%w: the record is not that of the entry", ErrDamaged)

// compareEvery is how long the settler waits between two segments that it compares with
// the index.
const compareEvery = time.Second

// compared is how far the settler has compared the records that existed at the start with
// the entries in the segments. The start itself compares only the last record.
type compared struct {
	next, last uint64 // what is left to compare
}

// compare compares the records of one segment's entries, oldest segment first. A record of
// another entry does no harm while the log runs, since entries are read from their
// segments and those stay; but if a segment were missing, no start and no copy would be
// complete.
func (s *settler) compare() {
	seg, first := s.d.find(s.compared.next)
	if seg == nil {
		s.compared.next = first // the segments before it have been removed
		return
	}
	last := min(seg.Last(), s.compared.last)
	err := s.d.proved(s.compared.next, last)
	s.compared.next = last + 1
	if errors.Is(err, errRecord) {
		s.compared.next = s.compared.last + 1 // report only the first
		s.d.log.Error().Err(err).Str("event", "mismatch").
			Msg("the index is not that of the segments, perhaps that of another copy of this log; nothing is lost: stop the server and run `tcp-log-server fsck --repair " + s.d.cfg.Data + "`")
	}
}

// due reports whether there is something left to compare.
func (c *compared) due() bool { return c.next <= c.last }
