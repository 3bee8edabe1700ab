package fsck

import (
	"cmp"
	"fmt"
	"strings"
)

// ranges writes indices in words, not more than a number of ranges of them: max,
// or rangesMax if that is 0.
type ranges struct {
	max         int
	first, last uint64
	text        []string
	more        bool
}

const rangesMax = 16

func (r *ranges) add(first, last uint64) {
	if r.last > 0 && first == r.last+1 {
		r.last = last
		return
	}
	r.push()
	r.first, r.last = first, last
}

func (r *ranges) push() {
	switch {
	case r.last == 0:
	case len(r.text) == cmp.Or(r.max, rangesMax):
		r.more = true
	case r.first == r.last:
		r.text = append(r.text, fmt.Sprint(r.first))
	default:
		r.text = append(r.text, fmt.Sprintf("%d to %d", r.first, r.last))
	}
}

func (r ranges) String() string {
	r.push()
	s := strings.Join(r.text, ", ")
	if r.more {
		s += " and more"
	}
	return s
}
