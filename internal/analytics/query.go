package analytics

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/signalstack/signalstack/internal/pg"
)

// Filter narrows what is counted; an empty field lets everything through. Events
// have no kind, queue and endpoint, so such a filter leaves none of them.
type Filter struct {
	Tenant, Kind, Queue, Type, EndpointID string
}

// whole says whether nothing is left out by what the totals do not have.
func (f Filter) whole() bool { return f == Filter{Tenant: f.Tenant} }

// span is a stretch of time and the grain it is read from.
type span struct {
	grain    time.Duration
	from, to time.Time
}

// The grains of the rollups.
const (
	minuteGrain  = time.Minute
	quarterGrain = 15 * time.Minute
	hourGrain    = time.Hour
	dayGrain     = 24 * time.Hour
)

// cover gives the spans that make up from to to, which lie on quarters of an
// hour, with few rows in them: days, hours at their ends and quarters at the ends
// of these. No span is coarser than most.
func cover(from, to time.Time, most time.Duration) []span {
	var spans []span
	add := func(grain time.Duration, from, to time.Time) {
		if from.Before(to) {
			spans = append(spans, span{grain, from, to})
		}
	}
	for grain, coarser := quarterGrain, hourGrain; grain < most; grain, coarser = coarser, dayGrain {
		up, down := ceil(from, coarser), floor(to, coarser)
		if !up.Before(down) {
			most = grain
			break
		}
		add(grain, from, up)
		add(grain, down, to)
		from, to = up, down
	}
	add(most, from, to)
	return spans
}

// floor and ceil round to grains of UTC. The zero time, which Truncate counts
// from, lies on a day.
func floor(t time.Time, grain time.Duration) time.Time { return t.UTC().Truncate(grain) }

func ceil(t time.Time, grain time.Duration) time.Time {
	if f := floor(t, grain); !f.Equal(t) {
		return f.Add(grain)
	}
	return t.UTC()
}

// coarsestFor gives the coarsest grain whose rows never lie across one of the bounds.
func coarsestFor(bounds []time.Time) time.Duration {
	most := dayGrain
	for _, b := range bounds {
		for most > quarterGrain && !floor(b, most).Equal(b) {
			if most == dayGrain {
				most = hourGrain
			} else {
				most = quarterGrain
			}
		}
	}
	return most
}

// query is a statement in the making: its arguments so far.
type query struct{ args []any }

// arg adds an argument and gives its name in the text.
func (q *query) arg(v any) string {
	q.args = append(q.args, v)
	return "$" + strconv.Itoa(len(q.args))
}

// period is what is counted: some facts in some time, which begins and ends on
// the finest grain that is read.
type period struct {
	facts    []Fact
	outcome  string // "": any
	filter   Filter
	from, to time.Time
	coarsest time.Duration
	totals   bool // kind, queue, type and endpoint are not asked for
}

// rows gives the text of a subquery for all counts of a period, folded or not.
// One statement has one snapshot, so a fact that is being folded is seen once.
// Each span is a range of the rollups' key for each fact; the deltas are few.
func (q *query) rows(p period) string {
	where := q.where(p)
	columns, table := "at, tenant, fact, outcome, kind, queue, type, endpoint_id, bucket, n, sum_us", rollupOf
	if p.totals {
		columns, table = "at, tenant, fact, outcome, bucket, n, sum_us", func(time.Duration) string { return "analytics_totals" }
	}
	part := func(table, condition string, from, to time.Time) string {
		return fmt.Sprintf("\n\t\tSELECT %s FROM signalstack.%s\n\t\tWHERE %s AND at >= %s AND at < %s%s",
			columns, table, condition, q.arg(from), q.arg(to), where)
	}
	text := part("analytics_deltas", "true", p.from, p.to)
	for _, s := range cover(p.from, p.to, p.coarsest) {
		text += "\n\t\tUNION ALL" + part(table(s.grain), fmt.Sprintf("grain = %d", int(s.grain.Minutes())), s.from, s.to)
	}
	return text
}

// rollupOf names the partition of a grain.
func rollupOf(grain time.Duration) string {
	switch grain {
	case minuteGrain:
		return "analytics_minutes"
	case quarterGrain:
		return "analytics_quarters"
	case hourGrain:
		return "analytics_hours"
	default:
		return "analytics_days"
	}
}

func (q *query) where(p period) string {
	facts := make(pq.StringArray, len(p.facts))
	for i, f := range p.facts {
		facts[i] = string(f)
	}
	where := " AND fact = ANY (" + q.arg(facts) + "::text[])"
	for _, c := range []struct{ condition, value string }{
		{" AND outcome = %s", p.outcome},
		{" AND tenant = %s", p.filter.Tenant},
		{" AND kind = %s", p.filter.Kind},
		{" AND queue = %s", p.filter.Queue},
		{" AND type = %s", p.filter.Type},
		{" AND endpoint_id = %s::uuid", p.filter.EndpointID},
	} {
		if c.value != "" {
			where += fmt.Sprintf(c.condition, q.arg(c.value))
		}
	}
	return where
}

// endpointKey is the endpoint as a key of groups: "" for none.
const endpointKey = `CASE endpoint_id WHEN '00000000-0000-0000-0000-000000000000' THEN '' ELSE endpoint_id::text END`

// read runs f in a transaction with one snapshot, and gives it the database's
// time: all parts of an answer count the same facts.
func read(ctx context.Context, db *pg.DB, f func(tx *sqlx.Tx, now time.Time) error) error {
	return pg.InTx(ctx, db, func(tx *sqlx.Tx) error {
		// Compiling a statement takes longer than running it.
		if _, err := tx.ExecContext(ctx, `SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET LOCAL jit = off`); err != nil {
			return fmt.Errorf("set snapshot: %w", err)
		}
		var now time.Time
		if err := tx.GetContext(ctx, &now, `SELECT now()`); err != nil {
			return fmt.Errorf("read clock: %w", err)
		}
		return f(tx, now)
	})
}
