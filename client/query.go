package client

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"
)

// ReadOption is an option for a Read or a Follow. For each option used except Last, the server
// must have the feature of its name; else the read ends with ErrUnsupported before it has
// yielded anything.
type ReadOption func(*query)

// Since begins at the first entry that was stored at t or later, by the server's clock. If there
// is none yet, a Follow begins with the next entry that is appended, or, if it had to reconnect
// before that, again with the first at t or later.
func Since(t time.Time) ReadOption { return func(q *query) { q.since = &t } }

// Last begins with the last n entries that the log has now, or all if it has fewer.
func Last(n uint64) ReadOption {
	return func(q *query) {
		if q.last = n; n == 0 {
			q.fault(usage("Last is 0, want 1 or more"))
		}
	}
}

// Through ends after the entry with the given index. A Follow waits for it if the log has not
// reached it; a Read ends at the head in any case.
func Through(index uint64) ReadOption {
	return func(q *query) {
		if q.through = index; index == 0 {
			q.fault(usage("Through is 0, want an index"))
		}
	}
}

// Where yields only the entries that contain object. An object contains another one if it has
// each of its members, with a value that contains the other's; arrays and everything else must
// be equal in canonical form. The count of a Read is then that of the entries that it yields.
func Where(object json.RawMessage) ReadOption {
	return func(q *query) {
		where, err := check(object)
		switch {
		case err != nil:
			q.fault(usage("Where: %v", err))
		case where[0] != '{':
			q.fault(usage("Where is %.40s, want an object", where))
		default:
			q.where = bytes.Clone(where)
		}
	}
}

// WithTime asks for the Time of entries. It is zero if the server does not know it.
func WithTime() ReadOption { return func(q *query) { q.time = true } }

// WithHash asks for the Hash of entries.
func WithHash() ReadOption { return func(q *query) { q.hash = true } }

// WithProgress calls f from time to time while a read with Where finds nothing: all entries
// before next have been examined, so a later read may begin there. f runs on the goroutine that
// reads.
func WithProgress(f func(next uint64)) ReadOption { return func(q *query) { q.progress = f } }

// query is what a read asks for, except the index at which it begins.
type query struct {
	count      uint64
	since      *time.Time
	last       uint64
	through    uint64
	where      []byte
	time, hash bool
	progress   func(next uint64)

	needs []string // the features that the server must have
	err   error    // the first error in an option
}

func (q *query) fault(err error) {
	if q.err == nil {
		q.err = err
	}
}

// newQuery returns the query for a read from index from on, which is 0 if an option says where
// it begins.
func newQuery(from, count uint64, options []ReadOption) (query, error) {
	q := query{count: count}
	for _, option := range options {
		option(&q)
	}
	switch {
	case q.since != nil && q.last > 0:
		q.fault(usage("a read has both Since and Last, want one of them"))
	case from > 0 && (q.since != nil || q.last > 0):
		q.fault(usage("a read begins at index %d, and has Since or Last, want one of them", from))
	case from == 0 && q.since == nil && q.last == 0:
		q.fault(usage("a read begins at index 1 or later, not at 0"))
	}
	for _, feature := range []struct {
		name  string
		asked bool
	}{{"since", q.since != nil}, {"through", q.through > 0}, {"where", q.where != nil}, {"time", q.time}, {"hash", q.hash}} {
		if feature.asked {
			q.needs = append(q.needs, feature.name)
		}
	}
	return q, q.err
}

// skips reports whether entries from next on may be missing in the answer.
func (q *query) skips(next uint64) bool { return q.where != nil || next == 0 }

// request returns the message for the query, which begins at from, or, if that is 0, where since
// says.
func (q *query) request(from uint64) []byte {
	b := []byte(`{"from":`)
	if from > 0 {
		b = strconv.AppendUint(b, from, 10)
	} else {
		// The server's times are whole microseconds.
		t := q.since.Add(time.Microsecond - 1).Truncate(time.Microsecond).UTC()
		b = append(t.AppendFormat([]byte(`{"since":"`), time.RFC3339Nano), '"')
	}
	if q.count > 0 {
		b = strconv.AppendUint(append(b, `,"read":`...), q.count, 10)
	}
	if q.through > 0 {
		b = strconv.AppendUint(append(b, `,"through":`...), q.through, 10)
	}
	if q.time {
		b = append(b, `,"time":true`...)
	}
	if q.hash {
		b = append(b, `,"hash":true`...)
	}
	if q.where != nil {
		b = append(append(b, `,"where":`...), q.where...)
	}
	return append(b, "}\n"...)
}

// readRequest returns the message for a read of count entries.
func readRequest(from, count uint64) []byte {
	q := query{count: count}
	return q.request(from)
}
