package analytics

import (
	"math"
	"time"
)

// Durations are counted in buckets whose bounds grow by a factor of 2^(1/4) from
// 1 us to beyond 24 h.
const (
	perDoubling = 4
	firstBound  = time.Microsecond
	buckets     = 148 // the last one holds all that is longer

	// noBucket stands where there is no duration.
	noBucket = -1
)

// maxError is the error bound of a percentile: it lies in the bucket of the exact
// value, so their quotient is smaller than this.
var maxError = math.Exp2(1.0 / perDoubling)

// bucketOf gives the bucket of a duration. The first holds everything below
// firstBound, each other one what is at least its lower bound.
func bucketOf(d time.Duration) int {
	if d < firstBound {
		return 0
	}
	b := 1 + int(perDoubling*math.Log2(float64(d)/float64(firstBound)))
	// The logarithm of a duration near a bound may fall on either side of it.
	if float64(d) < lowerBound(b) {
		b--
	} else if float64(d) >= lowerBound(b+1) {
		b++
	}
	return min(b, buckets-1)
}

// lowerBound is where a bucket begins, in nanoseconds.
func lowerBound(bucket int) float64 {
	if bucket == 0 {
		return 0
	}
	return float64(firstBound) * math.Exp2(float64(bucket-1)/perDoubling)
}

// histogram counts durations by bucket; nil has none.
type histogram []int64

// add counts n durations of a bucket.
func (h *histogram) add(bucket int, n int64) {
	if bucket < 0 || bucket >= buckets {
		return // a newer version may know more buckets than this one
	}
	if *h == nil {
		*h = make(histogram, buckets)
	}
	(*h)[bucket] += n
}

func (h histogram) count() (n int64) {
	for _, c := range h {
		n += c
	}
	return n
}

// percentile gives the duration that percent of a hundred durations do not
// exceed (nearest rank), in nanoseconds; false when there are none. Inside a
// bucket it interpolates along the logarithm.
func (h histogram) percentile(percent int64) (float64, bool) {
	n := h.count()
	if n == 0 {
		return 0, false
	}
	rank := max(1, (n*percent+99)/100)
	before := int64(0)
	for b, c := range h {
		if before+c < rank {
			before += c
			continue
		}
		low, high := lowerBound(b), lowerBound(b+1)
		// The ranks of a bucket stand in the middles of equal parts, so a value is
		// never on a bound.
		part := (float64(rank-before) - 0.5) / float64(c)
		if low == 0 {
			return high * part, true
		}
		return low * math.Pow(high/low, part), true
	}
	return 0, false
}

// toMS turns nanoseconds into milliseconds with three digits after the point.
func toMS(ns float64) float64 { return math.Round(ns/1000) / 1000 }
