package analytics

import (
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/signalstack/signalstack/internal/pg"
)

const (
	// maxGroups is how many keys are told apart; the rest is summed up.
	maxGroups = 100
	// maxDays bounds the period of a summary.
	maxDays = 1000
	// defaultDays is its period when none is asked for: today and the days before.
	defaultDays = 7
)

// Summarize counts what happened in a period. It is rounded outwards to quarters
// of an hour.
func Summarize(ctx context.Context, db *pg.DB, asked Asked, filter Filter) (Summary, error) {
	var s Summary
	err := read(ctx, db, func(tx *sqlx.Tx, now time.Time) error {
		days := calendar{Day, asked.Zone}
		bounds, err := asked.days(now, days)
		if err != nil {
			return err
		}
		from, to := bounds[0], bounds[len(bounds)-1]
		s = Summary{Period: Period{from.In(asked.Zone), to.In(asked.Zone), asked.Zone.String()}}
		if err := s.readTotals(ctx, tx, period{facts: allFacts(), filter: filter, from: from, to: to, coarsest: dayGrain}); err != nil {
			return err
		}
		if s.Days, err = readDays(ctx, tx, bounds, asked.Zone, filter); err != nil {
			return err
		}
		begun := days.start(now)
		today, err := readDays(ctx, tx, []time.Time{begun, days.next(begun)}, asked.Zone, filter)
		if err != nil {
			return err
		}
		s.Today = today[0]
		return nil
	})
	if err != nil {
		return Summary{}, fmt.Errorf("summarize: %w", err)
	}
	return s, nil
}

// days gives the bounds of the days that have a part in the period; the first and
// the last are its own.
func (a Asked) days(now time.Time, days calendar) ([]time.Time, error) {
	from, to, err := a.period(now, func(to time.Time) time.Time { return dayStart(days.start(to.Add(-1)), 1-defaultDays) })
	if err != nil {
		return nil, err
	}
	from, to = floor(from, quarterGrain), ceil(to, quarterGrain)
	bounds, ok := days.bounds(from, to, maxDays)
	if !ok {
		return nil, refused("/query/from", "the period has more than %d days; choose a later from", maxDays)
	}
	bounds[0], bounds[len(bounds)-1] = from, to
	return bounds, nil
}

func allFacts() []Fact { return []Fact{EventAccepted, JobCreated, AttemptEnded, JobEnded} }

// totalsText adds the counts up once and then by each dimension; the keys of a
// dimension beyond maxGroups, by volume, become one. Key "" of dimension "" is the
// whole.
func totalsText(q *query, p period) string {
	rows, most, rest := q.rows(p), q.arg(maxGroups), q.arg(maxGroups+1)
	return `
	WITH facts AS MATERIALIZED (
		SELECT fact, CASE fact WHEN 'job' THEN outcome ELSE '' END AS outcome, kind, queue, type, endpoint_id, bucket,
		       sum(n) AS n, sum(sum_us) AS sum_us
		FROM (` + rows + `) AS c
		GROUP BY 1, 2, 3, 4, 5, 6, 7
	), keyed AS (
		SELECT d.dimension, d.key, fact, outcome, bucket, sum(n) AS n, sum(sum_us) AS sum_us
		FROM facts, LATERAL (VALUES ('', ''), ('kind', kind), ('queue', queue), ('type', type), ('endpoint', ` + endpointKey + `)) AS d (dimension, key)
		WHERE fact <> 'event' OR d.dimension IN ('', 'type')
		GROUP BY 1, 2, 3, 4, 5
	), placed AS (
		SELECT dimension, key, count(*) OVER (PARTITION BY dimension) AS keys,
		       row_number() OVER (PARTITION BY dimension ORDER BY sum(n) FILTER (WHERE fact <> 'attempt') DESC NULLS LAST, key) AS place
		FROM keyed
		GROUP BY dimension, key
	)
	SELECT dimension, CASE WHEN place <= ` + most + ` THEN key ELSE '' END AS key, least(place, ` + rest + `)::int AS place, keys,
	       fact, outcome, bucket, sum(n)::bigint AS n, sum(sum_us)::bigint AS sum_us
	FROM keyed JOIN placed USING (dimension, key)
	GROUP BY 1, 2, 3, 4, 5, 6, 7
	ORDER BY 1, 3`
}

// readTotals fills in all that is not by the day.
func (s *Summary) readTotals(ctx context.Context, tx pg.Querier, p period) error {
	q := &query{}
	text := totalsText(q, p)
	var found []struct {
		count
		Dimension string `db:"dimension"`
		Key       string `db:"key"`
		Place     int    `db:"place"`
		Keys      int64  `db:"keys"`
	}
	if err := tx.SelectContext(ctx, &found, text, q.args...); err != nil {
		return fmt.Errorf("read totals: %w", err)
	}
	tallies := map[string][]*tallied{}
	for _, row := range found {
		groups := tallies[row.Dimension]
		if len(groups) < row.Place { // rows come in the order of the places
			groups = append(groups, &tallied{key: row.Key, rest: restOf(row.Place, row.Keys, maxGroups)})
			tallies[row.Dimension] = groups
		}
		groups[len(groups)-1].add(row.count)
	}
	all := &tally{}
	if whole := tallies[""]; len(whole) > 0 {
		all = &whole[0].tally
	}
	s.Events, s.Jobs, s.SuccessRate, s.DurationMS = all.events, all.jobs(), all.successRate(), all.durationsMS()
	s.ByKind, s.ByQueue = groupsOf(tallies["kind"], false), groupsOf(tallies["queue"], false)
	s.ByType, s.ByEndpoint = groupsOf(tallies["type"], true), groupsOf(tallies["endpoint"], false)
	return nil
}

// restOf is how many keys the group in a place sums up, 0 for one of its own.
func restOf(place int, keys, most int64) int64 {
	if int64(place) <= most {
		return 0
	}
	return keys - most
}

// tallied is the tally of a key, or of the rest of them.
type tallied struct {
	tally
	key  string
	rest int64
}

func groupsOf(all []*tallied, withEvents bool) []Group {
	groups := make([]Group, len(all))
	for i, t := range all {
		groups[i] = Group{Key: t.key, Rest: t.rest, JobCounts: t.jobs(), SuccessRate: t.successRate(), DurationMS: t.durationsMS()}
		if withEvents {
			groups[i].Events = &t.events
		}
	}
	return groups
}

func (t *tally) jobs() JobCounts {
	return JobCounts{
		Created: t.created, Succeeded: t.succeeded, Failed: t.failed, Canceled: t.canceled,
		Attempts: t.attempts, Retried: t.retried(),
	}
}

func (t *tally) durationsMS() Durations {
	return Durations{P50: t.percentileMS(50), P95: t.percentileMS(95), P99: t.percentileMS(99), Avg: t.averageMS()}
}

// readDays counts by the day; the first and the last may be parts of days.
func readDays(ctx context.Context, tx pg.Querier, bounds []time.Time, zone *time.Location, filter Filter) ([]DayCounts, error) {
	q := &query{}
	rows := q.rows(period{
		facts: []Fact{EventAccepted, JobCreated, JobEnded}, filter: filter, from: bounds[0], to: bounds[len(bounds)-1],
		coarsest: coarsestFor(bounds[1 : len(bounds)-1]), totals: filter.whole(),
	})
	var found []count
	err := tx.SelectContext(ctx, &found, `
	SELECT width_bucket(at, `+q.arg(texts(bounds))+`::timestamptz[]) - 1 AS slot, fact, outcome, sum(n)::bigint AS n
	FROM (`+rows+`) AS c
	GROUP BY 1, 2, 3`, q.args...)
	if err != nil {
		return nil, fmt.Errorf("read days: %w", err)
	}
	tallies := make([]tally, len(bounds)-1)
	for _, c := range found {
		tallies[c.Slot].add(c)
	}
	days := make([]DayCounts, len(tallies))
	for i, t := range tallies {
		days[i] = DayCounts{
			Date: bounds[i].In(zone).Format(time.DateOnly), Events: t.events, Created: t.created,
			Succeeded: t.succeeded, Failed: t.failed, Canceled: t.canceled,
		}
	}
	return days, nil
}

// texts gives times as PostgreSQL reads them.
func texts(times []time.Time) pq.StringArray {
	all := make(pq.StringArray, len(times))
	for i, t := range times {
		all[i] = t.UTC().Format(time.RFC3339)
	}
	return all
}
