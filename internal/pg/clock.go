package pg

import (
	"context"
	"fmt"
	"time"
)

// Now gives the database's time: that of the transaction where q is one.
func Now(ctx context.Context, q Querier) (time.Time, error) {
	var now time.Time
	if err := q.GetContext(ctx, &now, `SELECT now()`); err != nil {
		return time.Time{}, fmt.Errorf("read the clock: %w", err)
	}
	return now, nil
}

// UTC gives a time of a column as it is shown; nil stays nil.
func UTC(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}
