package analytics

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// durations draws evenly over the orders of magnitude, and near the bounds.
func durations() *rapid.Generator[time.Duration] {
	return rapid.Custom(func(t *rapid.T) time.Duration {
		if rapid.Bool().Draw(t, "near a bound") {
			return time.Duration(lowerBound(rapid.IntRange(0, buckets-1).Draw(t, "bucket"))) + time.Duration(rapid.IntRange(-1, 1).Draw(t, "off"))
		}
		return time.Duration(math.Exp2(rapid.Float64Range(0, 46.2).Draw(t, "log2 of ns"))) // up to 24 h
	})
}

func TestBucketHoldsItsDurations(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := durations().Draw(t, "duration")
		b := bucketOf(d)
		if d >= 0 && (float64(d) < lowerBound(b) || float64(d) >= lowerBound(b+1)) {
			t.Fatalf("%s is not from %v ns to %v ns", d, lowerBound(b), lowerBound(b+1))
		}
	})
	require.Less(t, bucketOf(24*time.Hour), buckets-1, "24 h has a bucket of its own")
	require.Equal(t, buckets-1, bucketOf(math.MaxInt64))
	require.Zero(t, bucketOf(math.MinInt64))
}

func TestPercentilesAreWithinTheBound(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOfN(durations(), 1, 400).Draw(t, "durations")
		var h histogram
		for _, d := range all {
			h.add(bucketOf(d), 1)
		}
		slices.Sort(all)
		for _, percent := range []int64{1, 50, 95, 99, 100} {
			exact := float64(all[max(0, int(math.Ceil(float64(percent)*float64(len(all))/100))-1)])
			got, ok := h.percentile(percent)
			if !ok {
				t.Fatalf("no p%d of %d durations", percent, len(all))
			}
			if exact < float64(firstBound) { // one bucket for all of them
				if got < 0 || got > float64(firstBound) {
					t.Fatalf("p%d is %v, exactly it is %v", percent, got, exact)
				}
				continue
			}
			if quotient := got / exact; quotient >= maxError || quotient <= 1/maxError {
				t.Fatalf("p%d is %v, exactly it is %v", percent, got, exact)
			}
		}
	})
	_, ok := histogram(nil).percentile(50)
	require.False(t, ok)
}
