package repair

import (
	"cmp"
	"fmt"
	"strings"
)

// Ranges formats indices as text: `1 to 7, 9 and more`.
type Ranges struct {
	// Max is the most ranges that it writes, 16 if it is 0.
	Max         int
	first, last uint64
	text        []string
	more        bool
}

// Add adds the indices first to last, which come after all that were added before.
func (r *Ranges) Add(first, last uint64) {
	if r.last > 0 && first == r.last+1 {
		r.last = last
		return
	}
	r.push()
	r.first, r.last = first, last
}

// Full reports whether there is no room for another range.
func (r *Ranges) Full() bool { return len(r.text) >= cmp.Or(r.Max, 16)-1 }

func (r *Ranges) push() {
	switch {
	case r.last == 0:
	case len(r.text) == cmp.Or(r.Max, 16):
		r.more = true
	case r.first == r.last:
		r.text = append(r.text, fmt.Sprint(r.first))
	default:
		r.text = append(r.text, fmt.Sprintf("%d to %d", r.first, r.last))
	}
}

func (r Ranges) String() string {
	r.push()
	s := strings.Join(r.text, ", ")
	if r.more {
		s += " and more"
	}
	return s
}
