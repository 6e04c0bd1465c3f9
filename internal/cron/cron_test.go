package cron_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/cron"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	require.NoError(t, err)
	return loc
}

// fires gives what fires after a time and before another one.
func fires(t testing.TB, expression, zoneName, after, before string) []string {
	t.Helper()
	e, err := cron.Parse(expression)
	require.NoError(t, err)
	loc := zone(t, zoneName)
	at, err := time.ParseInLocation("2006-01-02 15:04:05", after, loc)
	require.NoError(t, err)
	end, err := time.ParseInLocation("2006-01-02 15:04:05", before, loc)
	require.NoError(t, err)
	all := []string{}
	for {
		var ok bool
		if at, ok = e.Next(at, loc); !ok || !at.Before(end) {
			return all
		}
		all = append(all, at.In(loc).Format("01-02 15:04 -0700"))
	}
}

func TestFixedHourFiresOnceOnDaysOfChange(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		expression, zone, after, before string
		want                            []string
	}{
		"skipped":          {"30 2 * * *", "Europe/Berlin", "2027-03-27 12:00:00", "2027-03-29 12:00:00", []string{"03-28 03:00 +0200", "03-29 02:30 +0200"}},
		"skipped many":     {"*/10 2 * * *", "Europe/Berlin", "2027-03-28 00:00:00", "2027-03-28 12:00:00", []string{"03-28 03:00 +0200"}},
		"repeated":         {"30 2 * * *", "Europe/Berlin", "2027-10-30 12:00:00", "2027-11-01 00:00:00", []string{"10-31 02:30 +0200"}},
		"repeated, NY":     {"30 1 * * *", "America/New_York", "2027-11-06 12:00:00", "2027-11-08 00:00:00", []string{"11-07 01:30 -0400"}},
		"half an hour":     {"15 2 * * *", "Australia/Lord_Howe", "2027-10-02 12:00:00", "2027-10-04 00:00:00", []string{"10-03 02:30 +1100"}},
		"half repeated":    {"45 1 * * *", "Australia/Lord_Howe", "2027-04-03 12:00:00", "2027-04-05 00:00:00", []string{"04-04 01:45 +1100"}},
		"skipped midnight": {"0 0 * * *", "America/Sao_Paulo", "2017-10-14 12:00:00", "2017-10-16 12:00:00", []string{"10-15 01:00 -0200", "10-16 00:00 -0200"}},
		"skipped day":      {"0 0 30 12 *", "Pacific/Apia", "2011-12-01 00:00:00", "2012-01-05 00:00:00", []string{"12-31 00:00 +1400"}},
		"no change":        {"30 9 * * *", "Asia/Kolkata", "2027-03-28 00:00:00", "2027-03-29 00:00:00", []string{"03-28 09:30 +0530"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.want, fires(t, c.expression, c.zone, c.after, c.before))
		})
	}
}

func TestHourlyFires23And25Times(t *testing.T) {
	t.Parallel()
	for _, expression := range []string{"0 * * * *", "@hourly", "30 * * * *", "15 0-23 * * *"} {
		require.Len(t, fires(t, expression, "Europe/Berlin", "2027-03-27 23:59:59", "2027-03-29 00:00:00"), 23, expression)
		require.Len(t, fires(t, expression, "Europe/Berlin", "2027-10-30 23:59:59", "2027-11-01 00:00:00"), 25, expression)
		require.Len(t, fires(t, expression, "America/New_York", "2027-03-13 23:59:59", "2027-03-15 00:00:00"), 23, expression)
		require.Len(t, fires(t, expression, "America/New_York", "2027-11-06 23:59:59", "2027-11-08 00:00:00"), 25, expression)
	}
}

func TestExpressions(t *testing.T) {
	t.Parallel()
	for expression, want := range map[string]string{
		"@daily": "03-02 00:00", "@weekly": "03-07 00:00", "@monthly": "04-01 00:00", "@yearly": "01-01 00:00",
		"0 12 * JAN MON":  "01-03 12:00",
		"0 12 13 * FRI":   "03-05 12:00", // either day, as in Vixie's cron
		"0 12 */2 * FRI":  "03-05 12:00", // both, as one begins with *
		"0 12 ? * 7":      "03-07 12:00",
		"0 0 * * FRI-SUN": "03-05 00:00",
		"5/20 9 * * *":    "03-02 09:05",
		"0 0 29 2 *":      "02-29 00:00",
		"0 0 29 2 */7":    "02-29 00:00", // and a Sunday
		"59 59 23 * * *":  "03-01 23:59",
	} {
		e, err := cron.Parse(expression)
		require.NoError(t, err, expression)
		at, ok := e.Next(time.Date(2027, 3, 1, 12, 0, 0, 500, time.UTC), time.UTC)
		require.True(t, ok, expression)
		require.Equal(t, want, at.Format("01-02 15:04"), expression)
	}
}

func TestMistakesNameTheField(t *testing.T) {
	t.Parallel()
	for expression, want := range map[string]string{
		"": "", "* * * *": "", "* * * * * * *": "", "@often": "", "TZ=UTC 0 0 * * *": "",
		"60 * * * *": "minute", "* 24 * * *": "hour", "* * 0 * *": "day of month", "* * * 13 *": "month", "* * * FOO *": "month",
		"* * * * 8": "day of week", "* * L * *": "day of month", "* * * * MON#2": "day of week", "61 * * * * *": "second",
		"*/0 * * * *": "minute", "*/99 * * * *": "minute", "? * * * *": "minute", "5-1 * * * *": "minute", "1,,2 * * * *": "minute",
		"-1 * * * *": "minute", "+1 * * * *": "minute", "0 0 30 2 *": "day of month", "0 0 31 4,6,9,11 ?": "day of month",
		"1e1 * * * *": "minute", "* * * * 5-": "day of week", "*/ * * * *": "minute", "** * * * *": "minute",
	} {
		_, err := cron.Parse(expression)
		var wrong *cron.Error
		require.ErrorAs(t, err, &wrong, "%q", expression)
		require.Equal(t, want, wrong.Field, "%q: %v", expression, err)
	}
}

// reference reads an expression of five or six fields in the most obvious way.
type reference struct {
	match  [6][60]bool
	either bool
	hourly bool
}

func newReference(expression string) *reference {
	parts := strings.Fields(expression)
	if len(parts) == 5 {
		parts = append([]string{"0"}, parts...)
	}
	r := &reference{}
	for i, last := range []int{59, 59, 23, 31, 12, 6} {
		first := 0
		if i == 3 || i == 4 {
			first = 1
		}
		for _, item := range strings.Split(parts[i], ",") {
			span, stepText, _ := strings.Cut(item, "/")
			step, _ := strconv.Atoi(stepText)
			from, to := first, last
			if span != "*" {
				a, b, ranged := strings.Cut(span, "-")
				from, _ = strconv.Atoi(a)
				if to = from; ranged {
					to, _ = strconv.Atoi(b)
				}
			}
			for n := from; n <= to; n += max(1, step) {
				r.match[i][n] = true
			}
		}
	}
	r.either = parts[3][0] != '*' && parts[5][0] != '*'
	r.hourly = !slices.Contains(r.match[2][:24], false)
	return r
}

// matches says whether the clock on the wall shows what the expression says.
func (r *reference) matches(wall time.Time) bool {
	if !r.match[1][wall.Minute()] || !r.match[0][wall.Second()] || !r.match[2][wall.Hour()] || !r.match[4][int(wall.Month())] {
		return false
	}
	day, weekday := r.match[3][wall.Day()], r.match[5][int(wall.Weekday())]
	return r.either && (day || weekday) || day && weekday
}

// walk looks at the clock at every step and calls fired for each expression that
// fires. A clock that was put forward has shown all that it passed over; of one that
// was put back only what it has not shown before counts, but for hourly ones.
func walk(from, to time.Time, step time.Duration, loc *time.Location, all []*reference, fired func(i int, at time.Time)) {
	shown := wall(from.Add(-step), loc)
	for at := from; at.Before(to); at = at.Add(step) {
		now := wall(at, loc)
		for i, r := range all {
			if r.hourly {
				if r.matches(now) {
					fired(i, at)
				}
				continue
			}
			for w := shown.Add(step); !w.After(now); w = w.Add(step) {
				if r.matches(w) {
					fired(i, at)
					break
				}
			}
		}
		if now.After(shown) {
			shown = now
		}
	}
}

func wall(at time.Time, loc *time.Location) time.Time {
	_, offset := at.In(loc).Zone()
	return at.UTC().Add(time.Duration(offset) * time.Second)
}

// decades have what is peculiar to each zone: Apia left out a day in 2011 and Sao
// Paulo ended its summer time in 2019.
var decades = map[string]int{
	"Europe/Berlin": 2024, "America/New_York": 2024, "Australia/Lord_Howe": 2024, "Asia/Kolkata": 2024,
	"America/Sao_Paulo": 2010, "Pacific/Apia": 2010, "Africa/Casablanca": 2024, "Asia/Tehran": 2014,
}

func TestDecadeAgainstWalk(t *testing.T) {
	t.Parallel()
	expressions := []string{"0 * * * *", "30 2 * * *", "0 0 * * *", "*/15 1-3 * * *", "0 12 1 * 1", "45 1 * * 0", "17 */6 * * *", "0 3 */2 * 0"}
	random := rand.New(rand.NewPCG(1, 2))
	for range 12 {
		expressions = append(expressions, randomExpression(random, false))
	}
	for name, year := range decades {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			years := 10
			if testing.Short() || underRace {
				years = 2
			}
			from := time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)
			require.Greater(t, check(t, from, from.AddDate(years, 0, 0), time.Minute, zone(t, name), expressions), 20_000)
		})
	}
}

// TestChangesAgainstWalk goes by the second through the hours around each change.
func TestChangesAgainstWalk(t *testing.T) {
	t.Parallel()
	for name, year := range decades {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(3, 4))
			loc := zone(t, name)
			at, end := time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(year+10, 1, 1, 0, 0, 0, 0, time.UTC)
			for changes := 0; changes < 8; changes++ {
				_, change := at.In(loc).ZoneBounds()
				if change.IsZero() || change.After(end) {
					return
				}
				var expressions []string
				for range 8 {
					expressions = append(expressions, randomExpression(random, true))
				}
				check(t, change.Add(-2*time.Hour).UTC(), change.Add(4*time.Hour).UTC(), time.Second, loc, expressions)
				at = change
			}
		})
	}
}

// check compares all that Next gives with the walk.
func check(t *testing.T, from, to time.Time, step time.Duration, loc *time.Location, expressions []string) (found int) {
	t.Helper()
	references, compiled, at := make([]*reference, len(expressions)), make([]*cron.Expression, len(expressions)), make([]time.Time, len(expressions))
	for i, text := range expressions {
		var err error
		compiled[i], err = cron.Parse(text)
		require.NoError(t, err, text)
		references[i], at[i] = newReference(text), from.Add(-time.Second)
	}
	walk(from, to, step, loc, references, func(i int, want time.Time) {
		found++
		got, ok := compiled[i].Next(at[i], loc)
		if !ok || !got.Equal(want) {
			require.Equal(t, want.In(loc).String(), got.In(loc).String(), "%q after %s", expressions[i], at[i].In(loc))
		}
		at[i] = got
	})
	for i := range expressions {
		got, _ := compiled[i].Next(at[i], loc)
		require.False(t, got.Before(to), "%q fires at %s and should not", expressions[i], got.In(loc))
	}
	return found
}

// randomExpression makes an expression that fires now and then, often in the hours in
// which clocks are changed.
func randomExpression(r *rand.Rand, seconds bool) string {
	list := func(low, high, most int) string {
		var items []string
		for range 1 + r.IntN(most) {
			n := low + r.IntN(high-low+1)
			items = append(items, strconv.Itoa(n))
			if m := n + r.IntN(high-n+1); r.IntN(3) == 0 {
				items[len(items)-1] = fmt.Sprintf("%d-%d/%d", n, m, 1+r.IntN(5))
			}
		}
		return strings.Join(items, ",")
	}
	pick := func(choices ...string) string { return choices[r.IntN(len(choices))] }
	parts := []string{
		pick("0", "*/15", list(0, 59, 3)), pick("*", "*/3", "0-4", list(0, 3, 2), list(0, 23, 3)),
		pick("*", "*", "*/3", list(1, 28, 3)), pick("*", "*", list(1, 12, 4)), pick("*", "*", list(0, 6, 2)),
	}
	if seconds {
		parts = slices.Insert(parts, 0, pick("0", "*/7", list(0, 59, 2)))
	}
	return strings.Join(parts, " ")
}

func BenchmarkNext(b *testing.B) {
	loc := zone(b, "Europe/Berlin")
	for _, expression := range []string{"*/5 * * * * *", "30 2 * * *", "0 0 29 2 *"} {
		b.Run(expression, func(b *testing.B) {
			e, err := cron.Parse(expression)
			require.NoError(b, err)
			at := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
			for b.Loop() {
				at, _ = e.Next(at, loc)
				if at.Year() > 2100 {
					at = time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
				}
			}
		})
	}
}
