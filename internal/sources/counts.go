package sources

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/signalstack/signalstack/internal/pg"
)

// tally is what became of deliveries since the last flush.
type tally struct {
	accepted, duplicates, rejected int64
	lastAccepted, lastRejected     time.Time // of the database
	reason                         string    // of the last rejection
}

func (t tally) plus(later tally) tally {
	t.accepted += later.accepted
	t.duplicates += later.duplicates
	t.rejected += later.rejected
	if later.lastAccepted.After(t.lastAccepted) {
		t.lastAccepted = later.lastAccepted
	}
	if later.lastRejected.After(t.lastRejected) {
		t.lastRejected, t.reason = later.lastRejected, later.reason
	}
	return t
}

// counter gathers tallies of sources that exist, which bounds it.
type counter struct {
	mu      sync.Mutex
	pending map[uuid.UUID]tally
}

func (c *counter) add(id uuid.UUID, t tally) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pending == nil {
		c.pending = map[uuid.UUID]tally{}
	}
	c.pending[id] = c.pending[id].plus(t)
}

func (c *counter) take() map[uuid.UUID]tally {
	c.mu.Lock()
	defer c.mu.Unlock()
	taken := c.pending
	c.pending = nil
	return taken
}

// flush writes what was gathered. What could not be written is kept for the next
// time; only when the answer to a COMMIT is lost may it then count twice.
func (c *counter) flush(ctx context.Context, db *pg.DB) error {
	taken := c.take()
	if len(taken) == 0 {
		return nil
	}
	err := pg.InTx(ctx, db, func(tx *sqlx.Tx) error { return addCounts(ctx, tx, taken) })
	if err != nil {
		for id, t := range taken {
			c.add(id, t)
		}
	}
	return err
}

// addCounts adds tallies in one statement. The rows are locked in the order of their
// ids, so that two processes cannot wait for each other in a circle; sources that
// were deleted meanwhile have none.
func addCounts(ctx context.Context, q pg.Querier, tallies map[uuid.UUID]tally) error {
	var ids, acceptedAt, rejectedAt, reasons pq.StringArray
	var accepted, duplicates, rejected pq.Int64Array
	text := func(t time.Time) string { return place{at: t}.text() }
	for _, id := range slices.SortedFunc(maps.Keys(tallies), func(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) }) {
		t := tallies[id]
		ids, acceptedAt, rejectedAt = append(ids, id.String()), append(acceptedAt, text(t.lastAccepted)), append(rejectedAt, text(t.lastRejected))
		accepted, duplicates = append(accepted, t.accepted), append(duplicates, t.duplicates)
		rejected, reasons = append(rejected, t.rejected), append(reasons, t.reason)
	}
	_, err := q.ExecContext(ctx, `
		WITH d AS (
		    SELECT source_id, accepted, duplicates, rejected, nullif(accepted_at, '')::timestamptz AS accepted_at,
		           nullif(rejected_at, '')::timestamptz AS rejected_at, reason
		    FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], $7::text[])
		         AS d (source_id, accepted, duplicates, rejected, accepted_at, rejected_at, reason)
		), locked AS MATERIALIZED (
		    SELECT source_id FROM signalstack.source_counts WHERE source_id = ANY ($1::uuid[]) ORDER BY source_id FOR NO KEY UPDATE
		)
		UPDATE signalstack.source_counts AS c
		SET accepted = c.accepted + d.accepted, duplicates = c.duplicates + d.duplicates, rejected = c.rejected + d.rejected,
		    last_accepted_at = greatest(c.last_accepted_at, d.accepted_at),
		    last_rejected_at = greatest(c.last_rejected_at, d.rejected_at),
		    last_rejected_reason = CASE WHEN d.rejected_at >= coalesce(c.last_rejected_at, '-infinity') THEN d.reason ELSE c.last_rejected_reason END
		FROM d JOIN locked USING (source_id)
		WHERE c.source_id = d.source_id`, ids, accepted, duplicates, rejected, acceptedAt, rejectedAt, reasons)
	if err != nil {
		return fmt.Errorf("count deliveries: %w", err)
	}
	return nil
}

// flushEvery is how often counts are written while there are any.
const flushEvery = time.Second

// Run writes counts until ctx ends, and then what is left.
func (a *API) Run(ctx context.Context) {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*flushEvery)
			defer cancel()
			if err := a.counter.flush(last, a.db); err != nil {
				a.log.WarnContext(ctx, "the last counts of sources were not written", "error", err)
			}
			return
		case <-tick.C:
		}
		err := a.counter.flush(ctx, a.db)
		if err != nil && !failing && ctx.Err() == nil {
			a.log.WarnContext(ctx, "counts of sources could not be written; trying again until they can", "error", err)
		}
		failing = err != nil
	}
}
