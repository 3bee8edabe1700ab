package metrics

import (
	"sort"
	"sync/atomic"
	"time"
)

// histogram counts observations by size, in buckets with fixed bounds. An observation takes two
// atomic additions and no lock. Any goroutine may observe.
type histogram struct {
	bounds []uint64 // the greatest value of each bucket except the last, ascending
	unit   float64  // divisor for shown values
	counts []atomic.Uint64
	sum    atomic.Uint64
}

func newHistogram(unit float64, bounds ...uint64) *histogram {
	return &histogram{bounds: bounds, unit: unit, counts: make([]atomic.Uint64, len(bounds)+1)}
}

// newDurations returns a histogram of durations from 50 µs, a sync of a good disk, to 10 s, when
// every client has given up.
func newDurations() *histogram {
	var bounds []uint64
	for _, d := range []time.Duration{
		50 * time.Microsecond, 100 * time.Microsecond, 200 * time.Microsecond, 500 * time.Microsecond,
		1 * time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond,
		10 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond,
		100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond,
		1 * time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second,
	} {
		bounds = append(bounds, uint64(d))
	}
	return newHistogram(float64(time.Second), bounds...)
}

func (h *histogram) observe(value uint64) {
	h.counts[sort.Search(len(h.bounds), func(i int) bool { return value <= h.bounds[i] })].Add(1)
	h.sum.Add(value)
}

// observeTime observes a duration. A negative one, after a clock change, counts as 0.
func (h *histogram) observeTime(d time.Duration) { h.observe(uint64(max(d, 0))) }

// write adds the histogram's family to the page. A concurrent observation may be in the sum and not
// yet in a bucket. The buckets and the count always agree.
func (h *histogram) write(p *page, name, help string) {
	p.family(name, "histogram", help)
	sum, count := h.sum.Load(), uint64(0)
	for i := range h.counts {
		count += h.counts[i].Load()
		bound := "+Inf"
		if i < len(h.bounds) {
			bound = number(h.show(h.bounds[i]))
		}
		p.sample(name+"_bucket", float64(count), "le", bound)
	}
	p.sample(name+"_sum", h.show(sum))
	p.sample(name+"_count", float64(count))
}

// show returns a value in the shown unit. It divides by a whole number, which gives 0.0002 where a
// multiplication gives 0.00019999999999999998.
func (h *histogram) show(value uint64) float64 { return float64(value) / h.unit }
