package analytics

import (
	"context"
	"fmt"
	"time"

	"github.com/signalstack/signalstack/internal/pg"
)

// SeenType counts the events of one type.
type SeenType struct {
	Tenant string    `db:"tenant"`
	Type   string    `db:"type"`
	Events int64     `db:"events"`
	Warned int64     `db:"warned"`
	Day    time.Time `db:"day"` // of the newest
}

// SeenTypes counts the events since a time, which is rounded down to a day of UTC, by
// tenant and type; an empty tenant is all. It reads one row for each type and day.
func SeenTypes(ctx context.Context, q pg.Querier, tenant string, since, now time.Time) ([]SeenType, error) {
	text := &query{}
	rows := text.rows(period{
		facts: []Fact{EventAccepted, EventWarned}, filter: Filter{Tenant: tenant},
		from: floor(since, dayGrain), to: ceil(now.Add(dayGrain), dayGrain), coarsest: dayGrain,
	})
	var seen []SeenType
	err := q.SelectContext(ctx, &seen, `
		SELECT tenant, type, sum(n) FILTER (WHERE fact = 'event')::bigint AS events, coalesce(sum(n) FILTER (WHERE fact = 'event_warned'), 0)::bigint AS warned, max(at) AS day
		FROM (`+rows+`) AS c
		GROUP BY tenant, type
		HAVING sum(n) FILTER (WHERE fact = 'event') > 0`, text.args...)
	if err != nil {
		return nil, fmt.Errorf("count events by type: %w", err)
	}
	return seen, nil
}
