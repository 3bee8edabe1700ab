package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	bucketsMax     = 1000
	bucketsDefault = 100
)

// histogram answers GET /histogram. It does not count entries: it asks the log for the first entry
// of each bucket.
func (h *Handler) histogram(w http.ResponseWriter, r *http.Request) {
	if !h.mayRead(w, r) {
		return
	}
	span, buckets, err := parseHistogram(r)
	if err != nil {
		(&fault{http.StatusBadRequest, err.Error()}).answer(w)
		return
	}
	ctx, cancel := context.WithTimeoutCause(r.Context(), h.countTime, errTooLong)
	defer cancel()
	g, err := h.counted(ctx, span, buckets)
	if err != nil && context.Cause(ctx) == errTooLong {
		(&fault{http.StatusServiceUnavailable, fmt.Sprintf(tooLong, h.countTime)}).answer(w)
		return
	}
	if err != nil {
		h.failed(w, r, err)
		return
	}
	answerJSON(w, g)
}

// countTime is how long a histogram may take. In a cluster each edge may need a request to another
// machine.
const countTime = 20 * time.Second

// tooLong is the answer after countTime.
const tooLong = "not available now: counting took longer than %v: ask for fewer buckets, or later"

var errTooLong = errors.New("counting took too long")

// counted waits for its turn, and then counts.
func (h *Handler) counted(ctx context.Context, s span, buckets int) (*histogram, error) {
	select {
	case h.counting <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-h.counting }()
	return h.count(ctx, s, buckets)
}

// histogram is the answer to GET /histogram.
type histogram struct {
	Since  *stamp   `json:"since"` // nil if the log is empty and the request has none
	Until  *stamp   `json:"until"`
	Head   uint64   `json:"head"`
	First  uint64   `json:"first"`
	Counts []uint64 `json:"counts"`
}

// stamp is a time in µs since 1970 UTC.
type stamp int64

func (s stamp) MarshalText() ([]byte, error) {
	return time.UnixMicro(int64(s)).UTC().AppendFormat(nil, "2006-01-02T15:04:05.000000Z"), nil
}

// span is a time span from since until before until, in µs since 1970 UTC. Either may be unknown.
type span struct {
	since, until       int64
	hasSince, hasUntil bool
}

// parseHistogram returns the parameters of the request.
func parseHistogram(r *http.Request) (s span, buckets int, err error) {
	values, err := parameters(r, []string{"buckets", "since", "until"})
	if err != nil {
		return s, 0, err
	}
	if s.since, s.hasSince, err = instant(values, "since"); err != nil {
		return s, 0, err
	}
	if s.until, s.hasUntil, err = instant(values, "until"); err != nil {
		return s, 0, err
	}
	if s.hasSince && s.hasUntil && s.since >= s.until {
		return s, 0, errors.New(`"since" is not before "until"`)
	}
	buckets = bucketsDefault
	if values.Has("buckets") {
		text := values.Get("buckets")
		if buckets, err = strconv.Atoi(text); err != nil || buckets < 1 || buckets > bucketsMax {
			return s, 0, fmt.Errorf(`"buckets" is %q, want a whole number from 1 to %d`, shorten(text), bucketsMax)
		}
	}
	return s, buckets, nil
}

// instant parses a time of RFC 3339, and returns the first microsecond not before it.
func instant(values url.Values, name string) (at int64, ok bool, err error) {
	if !values.Has(name) {
		return 0, false, nil
	}
	var t time.Time
	text := strings.ToUpper(strings.ReplaceAll(values.Get(name), " ", "+")) // as in appendMember
	if t.UnmarshalText([]byte(text)) != nil {
		return 0, false, fmt.Errorf(`%q is %q, want a time such as "2026-11-28T09:00:00Z"`, name, shorten(values.Get(name)))
	}
	if at = t.UnixMicro(); t.Nanosecond()%1000 > 0 {
		at++
	}
	return at, true, nil
}

// count divides the span into buckets, according to the current log.
func (h *Handler) count(ctx context.Context, s span, buckets int) (*histogram, error) {
	head, err := h.config.Server.Head(ctx)
	if err != nil {
		return nil, err
	}
	if err := h.complete(ctx, &s, head); err != nil {
		return nil, err
	}
	if !s.hasSince {
		return &histogram{First: 1, Counts: []uint64{}}, nil
	}
	e := edges{ctx: ctx, handler: h, at: make([]uint64, buckets+1), span: s}
	if err := e.find(0, 1, head+1); err != nil {
		return nil, err
	}
	if err := e.find(buckets, e.at[0], head+1); err != nil {
		return nil, err
	}
	if err := e.between(0, buckets); err != nil {
		return nil, err
	}
	g := &histogram{Since: new(stamp(s.since)), Until: new(stamp(s.until)), Head: head, First: e.at[0], Counts: make([]uint64, buckets)}
	for i := range g.Counts {
		g.Counts[i] = e.at[i+1] - e.at[i]
	}
	return g, nil
}

// complete sets the unknown ends of the span so that it contains the log's entries through head. If
// there are none, both ends may stay unknown.
func (h *Handler) complete(ctx context.Context, s *span, head uint64) (err error) {
	first, last := s.until-1, s.since
	switch {
	case s.hasSince && s.hasUntil:
		return nil
	case head > 0:
		if first, err = h.firstTime(ctx, 1, min(head, timesMax)); err != nil {
			return err
		}
		if first == 0 && !s.hasSince {
			return errNoTimes
		}
		if last, err = h.firstTime(ctx, head, head); err != nil {
			return err
		}
		last = cmp.Or(last, time.Now().UnixMicro())
	case !s.hasSince && !s.hasUntil:
		return nil
	}
	if !s.hasSince {
		s.since = first
		if s.hasUntil {
			s.since = min(first, s.until-1)
		}
	}
	if !s.hasUntil {
		s.until = max(last, s.since) + 1
	}
	s.hasSince, s.hasUntil = true, true
	return nil
}

// errNoTimes: the first timesMax entries are damaged or lost.
var errNoTimes = errors.New("no entry at the beginning has a time that can be read")

// timesMax is how many entries are searched for the first with a known time.
const timesMax = 1 << 16

// errFound ends a read that has found what it needs.
var errFound = errors.New("found")

// firstTime returns the first known time among the entries from..through, 0 if there is none.
func (h *Handler) firstTime(ctx context.Context, from, through uint64) (at int64, err error) {
	err = h.config.Log.Read(ctx, from, through, func(_ uint64, _ int, _ []byte, time int64, _ error) error {
		if at = time; at != 0 {
			return errFound
		}
		return nil
	})
	if errors.Is(err, errFound) {
		err = nil
	}
	return at, err
}

// edges are the first indices of the buckets, and the index after the last bucket.
type edges struct {
	ctx     context.Context
	handler *Handler
	span    span
	at      []uint64
}

// find finds edge i. It keeps the result in low..high, even if the times of the log go back.
func (e *edges) find(i int, low, high uint64) error {
	n := int64(len(e.at) - 1)
	whole, rest := (e.span.until-e.span.since)/n, (e.span.until-e.span.since)%n
	// Computed without rounding, and without a product that overflows.
	time := e.span.since + int64(i)*whole + int64(i)*rest/n
	index, err := e.handler.config.Server.Since(e.ctx, time)
	e.at[i] = min(max(index, low), high)
	return err
}

// between finds the edges between i and j, which are known.
func (e *edges) between(i, j int) error {
	if j-i < 2 {
		return nil
	}
	middle := i + (j-i)/2
	if e.at[i] == e.at[j] {
		e.at[middle] = e.at[i]
	} else if err := e.find(middle, e.at[i], e.at[j]); err != nil {
		return err
	}
	if err := e.between(i, middle); err != nil {
		return err
	}
	return e.between(middle, j)
}
