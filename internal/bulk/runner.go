package bulk

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

// Kind says what one sort of operation does. Both functions go on from the
// operation's Position, in an order that does not change, and have no effects but
// those of the transaction. A slice that finds little must end all the same: they
// bound what they look at, not only what they find.
type Kind struct {
	Name string
	// Count counts the items of a slice; limit is a measure of how large it may be.
	Count func(ctx context.Context, tx *sqlx.Tx, op Operation, limit int) (Slice, error)
	// Do does up to limit items, or, to pass them over, only says which they are.
	Do func(ctx context.Context, tx *sqlx.Tx, op Operation, limit int, passOver bool) (Slice, error)
}

// Slice is what one step came to.
type Slice struct {
	Position string // after the slice
	Items    int
	Skipped  int    // those of the items that were looked at and could not be done
	Why      string // why the last of these could not; last_error says it
	Made     int    // what came of the items
	End      bool   // nothing comes after it
}

// permanent is an error that trying again does not mend.
type permanent struct{ error }

// Permanentf is the error of a Kind that ends the operation as failed.
func Permanentf(format string, args ...any) error { return permanent{fmt.Errorf(format, args...)} }

const (
	// maxBatch is how many items a slice has when nothing goes wrong.
	maxBatch = 200
	// maxMade is what may come of a slice before the next one is made smaller.
	maxMade = 5000
	// failuresMost is how many slices may fail in a row for reasons that are neither
	// the data nor an absent database. With the waits between them it is ten minutes.
	failuresMost = 20
	// longestWait is the longest time between a failure and the next try.
	longestWait = 30 * time.Second
)

// Runner does operations. Any number may run on one database.
type Runner struct {
	DB    *pg.DB
	Log   *slog.Logger
	Kinds []Kind // operations of others are left to processes that know them
	Poll  time.Duration
}

// Run does slices of operations until ctx ends.
func (r *Runner) Run(ctx context.Context) error {
	tick := time.NewTicker(r.Poll)
	defer tick.Stop()
	away := false
	for {
		again, err := r.step(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !away:
			r.Log.WarnContext(ctx, "bulk operations do not go on; trying again until they can", "error", err)
		}
		away = err != nil
		if again {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// step does one slice of the operation whose turn it is and says whether there may be
// more to do at once. Its error is that of a database that does not answer.
func (r *Runner) step(ctx context.Context) (again bool, err error) {
	var op Operation
	found := false
	err = pg.InSteadyTx(ctx, r.DB, func(tx *sqlx.Tx) error {
		var err error
		if op, found, err = r.take(ctx, tx); err != nil || !found {
			return err
		}
		s, err := r.slice(ctx, tx, op)
		if err != nil {
			return err
		}
		return advance(ctx, tx, op, s)
	})
	switch {
	case err == nil:
		return found, nil
	case !found || ctx.Err() != nil:
		return false, err
	case pg.IsNoPartition(err):
		err = queue.EnsurePartitions(ctx, r.DB, time.Now())
		return err == nil, err
	}
	err = r.failed(ctx, op, err)
	return err == nil, err
}

// take locks the operation that is due and has waited longest. A transaction that
// nobody goes on with ends soon, so that another worker need not wait for it.
func (r *Runner) take(ctx context.Context, tx *sqlx.Tx) (Operation, bool, error) {
	names := make(pq.StringArray, len(r.Kinds))
	for i, k := range r.Kinds {
		names[i] = k.Name
	}
	var row struct {
		Operation
		Bound string `db:"bound"`
	}
	// Along the index of those that run, which are few.
	err := tx.GetContext(ctx, &row, `
		SELECT `+columns+`, set_config('idle_in_transaction_session_timeout', '10s', true) AS bound
		FROM signalstack.bulk_operations
		WHERE state = 'running' AND due_at <= now() AND kind = ANY ($1)
		ORDER BY touched_at LIMIT 1
		FOR UPDATE SKIP LOCKED`, names)
	if errors.Is(err, sql.ErrNoRows) {
		return Operation{}, false, nil
	}
	if err != nil {
		return Operation{}, false, fmt.Errorf("take bulk operation: %w", err)
	}
	return row.Operation, true, nil
}

// errPanicked is what an item comes to that the code does not survive.
var errPanicked = errors.New("the item could not be done")

func (r *Runner) slice(ctx context.Context, tx *sqlx.Tx, op Operation) (s Slice, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: panic: %v", errPanicked, p)
		}
	}()
	for _, k := range r.Kinds {
		switch {
		case k.Name != op.Kind:
		case op.Total == nil:
			return k.Count(ctx, tx, op, max(1, op.Batch))
		default:
			return k.Do(ctx, tx, op, max(1, min(op.Batch, op.Rate)), op.Batch == 0)
		}
	}
	return Slice{}, Permanentf("there is no bulk operation %q", op.Kind) // take asked for ours only
}

// advance writes where the operation stands after a slice. The next one may begin
// when the items of this one have had their time; what was missed counts up to a
// second.
func advance(ctx context.Context, tx *sqlx.Tx, op Operation, s Slice) error {
	if op.Total == nil {
		return exec(ctx, tx, `
			UPDATE signalstack.bulk_operations
			SET counted = counted + $2, position = CASE WHEN $3 THEN '' ELSE $4 END, total = CASE WHEN $3 THEN counted + $2 END,
			    batch = $5, failures = 0, started_at = coalesce(started_at, now()), touched_at = clock_timestamp()
			WHERE id = $1`, op.ID, s.Items, s.End, s.Position, grown(op, s))
	}
	skipped := s.Skipped
	if op.Batch == 0 {
		skipped = s.Items
	}
	return exec(ctx, tx, `
		UPDATE signalstack.bulk_operations
		SET done = done + $2, made = made + $3, skipped = skipped + $4, position = $5, batch = $6, failures = 0,
		    state = CASE WHEN $7 THEN 'done' ELSE state END, finished_at = CASE WHEN $7 THEN clock_timestamp() END,
		    last_error = coalesce(nullif($8, ''), last_error),
		    due_at = greatest(due_at, now() - interval '1 second') + $2 * interval '1 second' / rate, touched_at = clock_timestamp()
		WHERE id = $1`, op.ID, s.Items, s.Made, skipped, s.Position, grown(op, s), s.End, s.Why)
}

// grown is the size of the slice after one that went well.
func grown(op Operation, s Slice) int {
	batch := min(max(1, 2*op.Batch), maxBatch)
	if s.Made > maxMade {
		batch = min(batch, s.Items*maxMade/s.Made)
	}
	return max(1, batch)
}

// failed writes what a slice failed of, and how to go on: nothing of the slice has
// happened. Another worker may have gone on meanwhile; then there is nothing to say.
func (r *Runner) failed(ctx context.Context, op Operation, cause error) error {
	next := op
	next.State, next.Failures, next.Batch = Running, op.Failures+1, max(1, op.Batch/2)
	wait := min(longestWait, 100*time.Millisecond<<min(next.Failures, 10))
	p, hopeless := errors.AsType[permanent](cause)
	switch {
	case hopeless:
		cause, next.State = p.error, Failed
	case pg.IsBadData(cause) || errors.Is(cause, errPanicked):
		wait = 0
		if op.Batch == 1 && op.Total != nil {
			next.Batch = 0
		}
	case pg.IsAway(cause):
		next.Failures, wait = op.Failures, pg.RetryAfter
	case next.Failures >= failuresMost:
		next.State = Failed
	}
	if wait == 0 && next.Failures >= failuresMost { // counting fails on its data, or passing over does
		next.State = Failed
	}
	why := strings.ReplaceAll(strings.ToValidUTF8(cause.Error(), "\uFFFD"), "\x00", "\uFFFD") // what a text can hold
	r.Log.WarnContext(ctx, "a slice of a bulk operation failed", "kind", op.Kind, "id", op.ID, "items", op.Batch, "state", next.State, "error", why)
	return exec(ctx, r.DB, `
		UPDATE signalstack.bulk_operations
		SET state = $2, failures = $3, batch = $4, last_error = $5, due_at = greatest(due_at, now() + $6 * interval '1 millisecond'),
		    touched_at = clock_timestamp(), finished_at = CASE WHEN $2 = 'failed' THEN now() END
		WHERE id = $1 AND state = 'running' AND position = $7 AND batch = $8 AND failures = $9`,
		op.ID, string(next.State), next.Failures, next.Batch, why, wait.Milliseconds(), op.Position, op.Batch, op.Failures)
}

func exec(ctx context.Context, q pg.Querier, query string, args ...any) error {
	if _, err := q.ExecContext(ctx, query, args...); err != nil {
		return fmt.Errorf("write bulk operation: %w", err)
	}
	return nil
}
