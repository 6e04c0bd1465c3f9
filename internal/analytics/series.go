package analytics

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/signalstack/signalstack/internal/pg"
)

const (
	// maxPoints bounds one answer.
	maxPoints = 10_000
	// maxSeries is how many groups are told apart; the rest is summed up.
	maxSeries = 50
)

// Wanted is what a time series shows.
type Wanted struct {
	Bucket  Bucket
	Metric  string
	GroupBy string
	Filter  Filter
}

// NewTimeSeries reads a metric over time. The period is rounded outwards to whole
// buckets. Minutes come from the rollup by the minute, which is kept for
// minutesKept; an older one is refused, as the others cannot tell it.
func NewTimeSeries(ctx context.Context, db *pg.DB, asked Asked, want Wanted) (TimeSeries, error) {
	var s TimeSeries
	err := read(ctx, db, func(tx *sqlx.Tx, now time.Time) error {
		cal := calendar{want.Bucket, asked.Zone}
		from, to, err := asked.period(now, cal.defaultFrom)
		if err != nil {
			return err
		}
		if want.Bucket == Minute && from.Before(now.Add(-minutesKept)) {
			return refused("/query/from", "minutes are kept for %d days; choose a later from or a larger bucket", int(minutesKept.Hours()/24))
		}
		bounds, ok := cal.bounds(from, to, maxPoints)
		if !ok {
			return tooManyPoints()
		}
		groups, err := readSeries(ctx, tx, want, bounds)
		if err != nil {
			return err
		}
		s = TimeSeries{
			Bucket: want.Bucket, TZ: asked.Zone.String(), Metric: want.Metric, GroupBy: want.GroupBy,
			From: bounds[0], To: bounds[len(bounds)-1], Series: []Series{},
		}
		m := metricNamed(want.Metric)
		for _, g := range groups {
			s.Series = append(s.Series, g.series(m, bounds))
		}
		return nil
	})
	if err != nil {
		return TimeSeries{}, fmt.Errorf("read time series: %w", err)
	}
	return s, nil
}

func tooManyPoints() error {
	return refused("/query/bucket", "the answer would have more than %d points; choose a larger bucket, a shorter period or fewer groups", maxPoints)
}

// slots is the tallies of a group by the bucket of time.
type slots struct {
	group  string
	rest   int64
	bySlot []tally
}

func (g slots) series(m metric, bounds []time.Time) Series {
	s := Series{Group: g.group, Rest: g.rest, Points: make([]Point, len(g.bySlot))}
	for i := range g.bySlot {
		s.Points[i] = Point{Start: bounds[i], Value: m.value(&g.bySlot[i])}
	}
	return s
}

// seriesText counts by the bucket and group. Groups beyond maxSeries, by volume,
// become one. When that makes too many points, only the largest group is read, for
// it to say so.
func seriesText(q *query, want Wanted, m metric, bounds []time.Time) string {
	n := len(bounds) - 1
	most := minuteGrain
	if want.Bucket != Minute {
		most = coarsestFor(bounds)
	}
	bucket := "-1::smallint" // most rows differ in the bucket only
	if m.timed {
		bucket = "bucket"
	}
	rows := q.rows(period{
		facts: m.facts, outcome: m.outcome, filter: want.Filter, from: bounds[0], to: bounds[n], coarsest: most,
		totals: want.Filter.whole() && slices.Contains([]string{groupNone, "outcome", "tenant"}, want.GroupBy),
	})
	own, rest := q.arg(maxSeries), q.arg(maxSeries+1)
	return `
	WITH counts AS MATERIALIZED (
		SELECT width_bucket(at, ` + q.arg(texts(bounds)) + `::timestamptz[]) - 1 AS slot, ` + groupColumn(want.GroupBy) + ` AS grp,
		       fact, CASE fact WHEN 'job' THEN outcome ELSE '' END AS outcome, ` + bucket + ` AS bucket, sum(n) AS n, sum(sum_us) AS sum_us
		FROM (` + rows + `) AS c
		GROUP BY 1, 2, 3, 4, 5
	), placed AS (
		SELECT grp, row_number() OVER (ORDER BY sum(n) DESC, grp) AS place, count(*) OVER () AS keys FROM counts GROUP BY grp
	)
	SELECT CASE WHEN place <= ` + own + ` THEN grp ELSE '' END AS grp, least(place, ` + rest + `)::int AS place, keys,
	       slot, fact, outcome, bucket, sum(n)::bigint AS n, sum(sum_us)::bigint AS sum_us
	FROM counts JOIN placed USING (grp)
	WHERE place = 1 OR least(keys, ` + rest + `) * ` + q.arg(n) + ` <= ` + q.arg(maxPoints) + `
	GROUP BY 1, 2, 3, 4, 5, 6, 7
	ORDER BY 2`
}

// readSeries gives the groups, the largest first.
func readSeries(ctx context.Context, tx pg.Querier, want Wanted, bounds []time.Time) ([]slots, error) {
	q, n := &query{}, len(bounds)-1
	text := seriesText(q, want, metricNamed(want.Metric), bounds)
	var found []struct {
		count
		Group string `db:"grp"`
		Place int    `db:"place"`
		Keys  int64  `db:"keys"`
	}
	if err := tx.SelectContext(ctx, &found, text, q.args...); err != nil {
		return nil, err
	}
	var groups []slots
	for _, row := range found {
		if min(row.Keys, maxSeries+1)*int64(n) > maxPoints {
			return nil, tooManyPoints()
		}
		if len(groups) < row.Place { // rows come in the order of the places
			groups = append(groups, slots{group: row.Group, rest: restOf(row.Place, row.Keys, maxSeries), bySlot: make([]tally, n)})
		}
		groups[len(groups)-1].bySlot[row.Slot].add(row.count)
	}
	if len(groups) == 0 && want.GroupBy == groupNone {
		groups = []slots{{bySlot: make([]tally, n)}}
	}
	return groups, nil
}

// defaultFrom is where a series begins that ends at to, when nobody says.
func (c calendar) defaultFrom(to time.Time) time.Time {
	last := c.start(to.Add(-1))
	switch c.bucket {
	case Hour:
		return last.Add(-23 * time.Hour)
	case Day:
		return dayStart(last, -29)
	case Week:
		return dayStart(last, -7*11)
	default:
		return last.Add(-59 * time.Minute)
	}
}
