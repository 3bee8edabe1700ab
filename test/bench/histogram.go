package main

import (
	"math/bits"
	"time"
)

// histogram counts durations in buckets whose width is at most 1/128 of the
// value, so that every percentile is exact to under 1 %. A sample costs one
// increment and no allocation.
type histogram struct {
	counts [histogramBuckets]uint64
	total  uint64
	max    int64
}

const (
	// subBits sets the precision: each power of two has 2^subBits buckets.
	subBits          = 7
	histogramBuckets = (64 - subBits) << subBits
)

// bucketOf maps small values to themselves and larger ones to their leading
// subBits+1 bits, without gaps between the bucket numbers.
func bucketOf(v uint64) int {
	if v < 1<<subBits {
		return int(v)
	}
	shift := bits.Len64(v) - subBits - 1
	return (shift+1)<<subBits + int(v>>shift) - 1<<subBits
}

// bucketTop returns the largest value in a bucket.
func bucketTop(i int) uint64 {
	if i < 1<<subBits {
		return uint64(i)
	}
	shift := i>>subBits - 1
	return (uint64(i&(1<<subBits-1)+1<<subBits)+1)<<shift - 1
}

func (h *histogram) record(ns int64) {
	ns = max(ns, 0)
	h.counts[bucketOf(uint64(ns))]++
	h.total++
	h.max = max(h.max, ns)
}

func (h *histogram) merge(o *histogram) {
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.total += o.total
	h.max = max(h.max, o.max)
}

// quantile returns the smallest recorded value, to the histogram's precision, that
// at least the fraction q of the samples do not exceed.
func (h *histogram) quantile(q float64) time.Duration {
	if h.total == 0 {
		return 0
	}
	rank := max(uint64(q*float64(h.total)+0.999999), 1)
	var seen uint64
	for i, n := range h.counts {
		if seen += n; seen >= rank {
			return time.Duration(min(int64(bucketTop(i)), h.max))
		}
	}
	return time.Duration(h.max)
}
