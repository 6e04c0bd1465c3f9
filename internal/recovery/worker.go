package recovery

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/signalstack/signalstack/internal/bulk"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

// Bulk is what workers do of operations on jobs.
func Bulk() bulk.Kind { return bulk.Kind{Name: kindName, Count: count, Do: do} }

// scanFor is how many rows are looked at for a slice of so many jobs.
func scanFor(limit int) int { return 50 * limit }

// walk is the way over the jobs of an operation that was asked for at a time; zero is
// now.
func (s spec) walk(tenant string, asked time.Time) walk {
	w := walk{JobFilter: s.Filter, action: s.Action, tenant: tenant, by: asked}
	if tenant == allTenants {
		w.tenant = ""
	}
	return w
}

func walkOf(op bulk.Operation) (walk, spec, error) {
	s, err := readSpec(op)
	if err != nil {
		return walk{}, spec{}, bulk.Permanentf("%w", err)
	}
	return s.walk(op.Tenant, op.CreatedAt), s, nil
}

func count(ctx context.Context, tx *sqlx.Tx, op bulk.Operation, limit int) (bulk.Slice, error) {
	w, _, err := walkOf(op)
	if err != nil {
		return bulk.Slice{}, err
	}
	found, err := w.count(ctx, tx, op.Position, scanFor(limit))
	return bulk.Slice{Position: cmp.Or(found.last, op.Position), Items: found.found, End: found.end}, err
}

func do(ctx context.Context, tx *sqlx.Tx, op bulk.Operation, limit int, passOver bool) (bulk.Slice, error) {
	w, s, err := walkOf(op)
	if err != nil {
		return bulk.Slice{}, err
	}
	// How far it looks goes by the size of slices that do well, not by the rate.
	found, err := w.next(ctx, tx, op.Position, scanFor(max(1, op.Batch)), limit)
	if err != nil {
		return bulk.Slice{}, err
	}
	slice := bulk.Slice{Position: cmp.Or(found.last, op.Position), Items: found.found, End: found.end}
	if passOver || len(found.ids) == 0 {
		return slice, nil
	}
	switch s.Action {
	case actRetry:
		retried, passed, err := queue.RetryMany(ctx, tx, found.ids, queue.Reopening{Priority: s.Priority, EndedBy: op.CreatedAt})
		if err != nil {
			return bulk.Slice{}, err
		}
		slice.Made = retried
		if n := len(passed); n > 0 {
			slice.Why = fmt.Sprintf("job %s was skipped: %s", passed[n-1].ID, passed[n-1].Why)
		}
	case actCancel:
		canceled, asked, err := queue.CancelMany(ctx, tx, found.ids)
		if err != nil {
			return bulk.Slice{}, err
		}
		slice.Made = canceled + asked
		if slice.Made < slice.Items {
			slice.Why = "some jobs were skipped: they ended meanwhile"
		}
	default:
		return bulk.Slice{}, bulk.Permanentf("there is no action %q", s.Action)
	}
	slice.Skipped = slice.Items - slice.Made
	return slice, nil
}

// dryTime is how long a dry run may count, and dryScan how many rows a step of it looks
// at. Each step is a transaction of its own: no snapshot is held for long.
const (
	dryTime = 8 * time.Second
	dryScan = 20_000
)

// dryRun says what an operation would do now.
func dryRun(ctx context.Context, db *pg.DB, s spec, tenant string) (JobsDryRun, error) {
	w, after, d := s.walk(tenant, time.Time{}), "", JobsDryRun{}
	for stop := time.Now().Add(dryTime); time.Now().Before(stop); {
		var found stretch
		err := pg.InSteadyTx(ctx, db, func(tx *sqlx.Tx) (err error) {
			found, err = w.count(ctx, tx, after, dryScan)
			return err
		})
		if err != nil {
			return JobsDryRun{}, err
		}
		if d.Jobs += found.free; found.end {
			d.JobsExact = true
			return d, nil
		}
		after = found.last
	}
	return d, nil
}
