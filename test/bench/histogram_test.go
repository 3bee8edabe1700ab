package main

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestHistogramBucketsHaveNoGaps(t *testing.T) {
	for i := range histogramBuckets - 1 {
		top := bucketTop(i)
		if bucketOf(top) != i || bucketOf(top+1) != i+1 {
			t.Fatalf("bucket %d ends at %d, which is in bucket %d, and the next is in %d",
				i, top, bucketOf(top), bucketOf(top+1))
		}
	}
}

func TestHistogramAgainstSorting(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	var h, other histogram
	var samples []int64
	for i := range 20_000 {
		v := int64(rng.ExpFloat64() * 1e6)
		samples = append(samples, v)
		if i%2 == 0 {
			h.record(v)
		} else {
			other.record(v)
		}
	}
	h.merge(&other)
	slices.Sort(samples)
	for _, q := range []float64{.001, .5, .9, .99, .999, 1} {
		want := samples[max(int(q*float64(len(samples))), 1)-1]
		got := int64(h.quantile(q))
		if got < want || float64(got) > float64(want)*1.01+1 {
			t.Errorf("quantile %v is %d, want %d", q, got, want)
		}
	}
	if new(histogram).quantile(.5) != 0 {
		t.Error("quantile of nothing is not 0")
	}
	if n := testing.AllocsPerRun(100, func() { h.record(12345) }); n != 0 {
		t.Errorf("recording allocates %v times", n)
	}
}
