package jobs_test

import (
	"encoding/json"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/jobs"
)

// drawWait draws a duration as a policy spells it.
func drawWait(t *rapid.T, label string, least time.Duration) time.Duration {
	return time.Duration(rapid.Int64Range(int64(least), int64(720*time.Hour)).Draw(t, label))
}

// drawExponential draws a valid policy with its cap.
func drawExponential(t *rapid.T, jitter string) (jobs.Policy, time.Duration) {
	base := drawWait(t, "base", time.Millisecond)
	limit := drawWait(t, "cap", base)
	return jobs.Policy{
		Strategy: "exponential", Base: base.String(), Cap: limit.String(), Jitter: jitter,
		Factor: rapid.Float64Range(1, 100).Draw(t, "factor"),
	}, limit
}

func drawAttempt(t *rapid.T) int {
	return rapid.OneOf(rapid.IntRange(1, 100), rapid.IntRange(1, math.MaxInt), rapid.Just(math.MaxInt)).Draw(t, "attempt")
}

// drawRandom draws what rand.Float64 may give; its largest value is the one below 1.
func drawRandom(t *rapid.T) float64 {
	return rapid.Float64Range(0, math.Nextafter(1, 0)).Draw(t, "random")
}

func TestExponentialWaitsGrowToTheCap(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p, limit := drawExponential(t, "none")
		require.Empty(t, p.Validate())
		base, err := time.ParseDuration(p.Base)
		require.NoError(t, err)
		attempt, random := drawAttempt(t), drawRandom(t)
		wait := p.Next(attempt, random)
		require.GreaterOrEqual(t, wait, base)
		require.LessOrEqual(t, wait, limit)
		require.Equal(t, base, p.Next(1, random))
		require.Equal(t, wait, p.Next(attempt, drawRandom(t)), "without jitter chance has no say")
		if attempt < math.MaxInt {
			require.LessOrEqual(t, wait, p.Next(attempt+1, random))
		}
	})
}

func TestJitterStaysWithinItsBounds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p, _ := drawExponential(t, "none")
		attempt, random := drawAttempt(t), drawRandom(t)
		exact := p.Next(attempt, random)

		p.Jitter = "full"
		full := p.Next(attempt, random)
		require.GreaterOrEqual(t, full, time.Duration(0))
		require.LessOrEqual(t, full, exact)
		require.Zero(t, p.Next(attempt, 0))

		p.Jitter = "proportional"
		proportional := p.Next(attempt, random)
		require.GreaterOrEqual(t, float64(proportional)+1, 0.8*float64(exact))
		require.LessOrEqual(t, float64(proportional), 1.2*float64(exact)+1)
	})
}

func TestLadderGivesItsRungsAndRepeatsTheLast(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p := jobs.Policy{Strategy: "ladder", Jitter: "none"}
		rungs := make([]time.Duration, rapid.IntRange(1, 100).Draw(t, "rungs"))
		for i := range rungs {
			rungs[i] = drawWait(t, "rung", 0)
			p.Ladder = append(p.Ladder, rungs[i].String())
		}
		require.Empty(t, p.Validate())
		for i, rung := range rungs {
			require.Equal(t, rung, p.Next(i+1, drawRandom(t)))
		}
		beyond := rapid.IntRange(len(rungs), math.MaxInt).Draw(t, "beyond")
		require.Equal(t, rungs[len(rungs)-1], p.Next(beyond, drawRandom(t)))
	})
}

// Whatever stands in the table, a job must go on: no wait is negative or beyond
// the longest there is, with jitter.
func TestAnyPolicyGivesAWaitWithinBounds(t *testing.T) {
	t.Parallel()
	text := rapid.OneOf(rapid.Just(""), rapid.String(), rapid.Map(rapid.Int64(), func(n int64) string { return time.Duration(n).String() }))
	rapid.Check(t, func(t *rapid.T) {
		p := jobs.Policy{
			Strategy: rapid.SampledFrom([]string{"", "exponential", "ladder", "?"}).Draw(t, "strategy"),
			Base:     text.Draw(t, "base"), Cap: text.Draw(t, "cap"), Ladder: rapid.SliceOf(text).Draw(t, "ladder"),
			Factor: rapid.OneOf(rapid.Float64(), rapid.SampledFrom([]float64{math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64})).Draw(t, "factor"),
			Jitter: rapid.SampledFrom([]string{"", "full", "proportional", "none", "?"}).Draw(t, "jitter"),
		}
		wait := p.Next(rapid.Int().Draw(t, "attempt"), drawRandom(t))
		require.GreaterOrEqual(t, wait, time.Duration(0))
		require.LessOrEqual(t, wait, 720*time.Hour*12/10)
	})
}

func TestPolicySurvivesJSON(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		p, _ := drawExponential(t, rapid.SampledFrom([]string{"", "full", "proportional", "none"}).Draw(t, "jitter"))
		b, err := json.Marshal(p)
		require.NoError(t, err)
		var back jobs.Policy
		require.NoError(t, json.Unmarshal(b, &back))
		require.Equal(t, p, back)
	})
	b, err := json.Marshal(jobs.DefaultPolicy())
	require.NoError(t, err)
	require.JSONEq(t, `{"strategy":"exponential","base":"5s","factor":2,"cap":"1h","jitter":"full"}`, string(b))
}

func TestZeroPolicyIsTheDefaultOne(t *testing.T) {
	t.Parallel()
	require.Empty(t, jobs.Policy{}.Validate())
	require.Empty(t, jobs.DefaultPolicy().Validate())
	for attempt := range 20 {
		require.Equal(t, jobs.DefaultPolicy().Next(attempt, 0.5), jobs.Policy{}.Next(attempt, 0.5))
	}
	require.Equal(t, 10*time.Second, jobs.Policy{Jitter: "none"}.Next(2, 0))
	require.Equal(t, 2*time.Hour, jobs.Policy{Base: "2h", Jitter: "none"}.Next(9, 0), "a long base lifts the default cap")
}

func TestStandardLadderLastsThreeDays(t *testing.T) {
	t.Parallel()
	p := jobs.StandardLadder()
	require.Empty(t, p.Validate())
	var least, total time.Duration
	for attempt := 1; attempt < 10; attempt++ {
		least += p.Next(attempt, 0)
		total += p.Next(attempt, 0.5)
	}
	require.Equal(t, 75*time.Hour+35*time.Minute+5*time.Second, total.Round(time.Second))
	require.InDelta(t, 0.8*total.Hours(), least.Hours(), 1e-6)
	require.Equal(t, 4*time.Second, jobs.Policy{Strategy: "ladder", Ladder: []string{"5s"}}.Next(1, 0), "a ladder's jitter is proportional")
}

func TestEveryMistakeOfAPolicyIsReported(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		policy jobs.Policy
		want   []string
	}{
		"strategy":                   {jobs.Policy{Strategy: "linear"}, []string{"/strategy"}},
		"jitter":                     {jobs.Policy{Jitter: "some"}, []string{"/jitter"}},
		"all of exponential":         {jobs.Policy{Base: "0s", Factor: 0.5, Cap: "1000h", Jitter: "x"}, []string{"/base", "/factor", "/cap", "/jitter"}},
		"no durations":               {jobs.Policy{Base: "5", Cap: "soon"}, []string{"/base", "/cap"}},
		"negative":                   {jobs.Policy{Base: "-1s", Factor: -2}, []string{"/base", "/factor"}},
		"no number":                  {jobs.Policy{Factor: math.NaN()}, []string{"/factor"}},
		"infinite":                   {jobs.Policy{Factor: math.Inf(1)}, []string{"/factor"}},
		"cap below base":             {jobs.Policy{Base: "1m", Cap: "30s"}, []string{"/cap"}},
		"ladder in exponential":      {jobs.Policy{Strategy: "exponential", Ladder: []string{"1s"}}, []string{"/ladder"}},
		"ladder without waits":       {jobs.Policy{Strategy: "ladder"}, []string{"/ladder"}},
		"bad rungs":                  {jobs.Policy{Strategy: "ladder", Ladder: []string{"1s", "-1s", "", "721h"}}, []string{"/ladder/1", "/ladder/2", "/ladder/3"}},
		"too many rungs":             {jobs.Policy{Strategy: "ladder", Ladder: slices.Repeat([]string{"1s"}, 101)}, []string{"/ladder"}},
		"exponential in ladder":      {jobs.Policy{Strategy: "ladder", Ladder: []string{"1s"}, Base: "1s", Factor: 2, Cap: "1h"}, []string{"/base", "/factor", "/cap"}},
		"right ladder":               {jobs.Policy{Strategy: "ladder", Ladder: []string{"0s", "720h"}, Jitter: "full"}, nil},
		"right exponential":          {jobs.Policy{Strategy: "exponential", Base: "1ms", Factor: 100, Cap: "720h", Jitter: "none"}, nil},
		"exponential of one wait":    {jobs.Policy{Base: "5m", Factor: 1, Cap: "5m"}, nil},
		"cap alone below the base's": {jobs.Policy{Cap: "1s"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.want, pointersOf(c.policy.Validate()))
		})
	}
}

func pointersOf(mistakes []fault.Detail) []string {
	var pointers []string
	for _, m := range mistakes {
		pointers = append(pointers, m.Pointer)
	}
	return pointers
}
