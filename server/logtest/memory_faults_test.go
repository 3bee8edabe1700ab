package logtest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"tcp-log-server/appends"
)

// exchange returns the entries of two calls with their last entries swapped.
func exchange(a, b call) (x, y []byte) {
	if a.count == 0 || b.count == 0 {
		return a.entries, b.entries
	}
	p, q := lines(a.entries), lines(b.entries)
	p[len(p)-1], q[len(q)-1] = q[len(q)-1], p[len(p)-1]
	return body(p), body(q)
}

func lines(entries []byte) []string {
	all := strings.Split(string(entries), "\n")
	return all[:len(all)-1]
}

// take stores the entries of an append that may be stored. The caller holds mu of kept.
func (l *memory) take(c call, n int) (r appends.Result, err error) {
	k := l.kept
	head := uint64(len(k.entries))
	if len(c.entries) > memoryMax && l.fault != "too large" {
		return r, fmt.Errorf("not stored: %d bytes are over the limit of %d", len(c.entries), memoryMax)
	}
	if want := c.on.Head; c.on.Kind == appends.Expect && want != head && l.fault != "expect ignored" {
		switch l.fault {
		case "unmet is stored":
			l.add(c, "x", 1)
		case "unmet head":
			head++
		case "unmet text":
			return r, fmt.Errorf("not stored: the head is %d", head)
		}
		if l.fault != "expect late" || want > head+1 || head == 0 {
			return r, &appends.ConditionError{Head: head, Want: want}
		}
	}
	if c.on.Kind == appends.Expect && l.fault == "met is refused" && n%5 == 4 {
		return r, &appends.ConditionError{Head: head, Want: c.on.Head}
	}
	now := time.Now().UnixMicro()
	if len(k.times) > 0 {
		now = max(now, k.times[len(k.times)-1])
	}
	if l.fault == "times back" && n%10 == 9 {
		now -= 1000
	}
	r.First = head + 1
	if l.fault == "first" && n%10 == 9 {
		r.First++
	}
	all := lines(c.entries)
	for i, e := range all {
		if l.fault == "loses the last" && i > 5 && i == len(all)-1 {
			break
		}
		if c.on.Kind != appends.Once {
			l.add(c, e, now)
			r.Time = now
			continue
		}
		at := slices.Index(k.entries, e)
		switch {
		case l.fault == "once last":
			for i, old := range k.entries {
				if old == e {
					at = i
				}
			}
		case l.fault == "once in one call" && at >= int(head):
			at = -1
		case l.fault == "once forgets" && at >= 0 && at < int(head)-2:
			at = -1
		}
		p := appends.Place{Index: uint64(at) + 1, Seen: true}
		if at < 0 {
			l.add(c, e, now)
			p = appends.Place{Index: uint64(len(k.entries))}
			r.Time = now
		}
		if p.Time = k.times[p.Index-1]; l.fault == "once time" {
			p.Time++
		}
		if l.fault == "once not seen" {
			p.Seen = false
		}
		r.Once = append(r.Once, p)
	}
	if l.fault == "time" && r.Time > 0 {
		r.Time++
	}
	return r, nil
}

// add stores an entry.
func (l *memory) add(c call, e string, now int64) {
	if l.fault == "altered" && len(e) > 2000 {
		e = e[:1000] + "y" + e[1001:]
	}
	l.kept.entries = append(l.kept.entries, e)
	l.kept.times = append(l.kept.times, now)
}
