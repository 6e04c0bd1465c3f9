package replays

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"github.com/signalstack/signalstack/internal/bulk"
	"github.com/signalstack/signalstack/internal/events"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

// Replayer routes stored events again.
type Replayer struct {
	db     *pg.DB
	router *events.Rerouter
}

// NewReplayer makes a replayer.
func NewReplayer(db *pg.DB, kinds *jobs.Registry, log *slog.Logger) *Replayer {
	return &Replayer{db: db, router: events.NewRerouter(kinds, log)}
}

// Bulk is what workers do of a replay by filter.
func (r *Replayer) Bulk() bulk.Kind { return bulk.Kind{Name: kindName, Count: r.count, Do: r.do} }

// scanFor is how many events are looked at for a slice of so many.
func scanFor(limit int) int { return 50 * limit }

func (r *Replayer) count(ctx context.Context, tx *sqlx.Tx, op bulk.Operation, limit int) (bulk.Slice, error) {
	s, err := readSpec(op)
	if err != nil || s.Filter == nil {
		return bulk.Slice{}, bulk.Permanentf("%w", cmp.Or(err, errNoFilter))
	}
	stretch, err := s.Filter.walk(op.Tenant, op.CreatedAt).Count(ctx, tx, op.Position, scanFor(limit))
	return bulk.Slice{Position: cmp.Or(stretch.Last, op.Position), Items: stretch.Found, End: stretch.End}, err
}

var errNoFilter = errors.New("the replay has no filter")

func (r *Replayer) do(ctx context.Context, tx *sqlx.Tx, op bulk.Operation, limit int, passOver bool) (bulk.Slice, error) {
	s, err := readSpec(op)
	if err != nil || s.Filter == nil {
		return bulk.Slice{}, bulk.Permanentf("%w", cmp.Or(err, errNoFilter))
	}
	// How far it looks goes by the size of slices that do well, not by the rate.
	found, stretch, err := s.Filter.walk(op.Tenant, op.CreatedAt).Next(ctx, tx, op.Position, scanFor(max(1, op.Batch)), limit)
	if err != nil {
		return bulk.Slice{}, err
	}
	slice := bulk.Slice{Position: cmp.Or(stretch.Last, op.Position), Items: stretch.Found, End: stretch.End}
	if passOver {
		return slice, nil
	}
	made, err := r.make(ctx, tx, found, s, op.Tenant, op.ID)
	slice.Made = len(made)
	return slice, err
}

// make writes the jobs of events, marked with the replay, in the caller's transaction.
func (r *Replayer) make(ctx context.Context, tx *sqlx.Tx, found []events.Stored, s spec, tenant string, id uuid.UUID) ([]queue.NewJob, error) {
	if len(found) == 0 {
		return nil, nil
	}
	made, err := r.router.Jobs(ctx, tx, found, s.through(tenant))
	if gone, ok := errors.AsType[events.RulesError](err); ok {
		return nil, bulk.Permanentf("%w", gone)
	}
	if err != nil {
		return nil, err
	}
	for i := range made {
		made[i].ReplayID = uuid.NullUUID{UUID: id, Valid: true}
		made[i].Priority = cmp.Or(s.Priority, made[i].Priority)
	}
	return made, jobs.Write(ctx, tx, made)
}

// How long a dry run may count events, which is a million a second and more, and how
// long it may route them.
const (
	countTime = 8 * time.Second
	routeTime = 3 * time.Second
)

// The size of a step of a dry run, in events looked at and in events routed.
const (
	dryRunScan  = 20_000
	dryRunBatch = 200
)

// dryRun says what a replay would do now. Counting reads no data, so it gets further
// in its time than routing.
func (r *Replayer) dryRun(ctx context.Context, s spec, tenant string) (DryRun, error) {
	w := s.Filter.walk(tenant, time.Time{})
	counted, whole, err := r.steps(ctx, countTime, func(tx *sqlx.Tx, after string) (events.Stretch, int, error) {
		stretch, err := w.Count(ctx, tx, after, dryRunScan)
		return stretch, stretch.Found, err
	})
	if err != nil {
		return DryRun{}, err
	}
	made, routed, err := r.steps(ctx, routeTime, func(tx *sqlx.Tx, after string) (events.Stretch, int, error) {
		found, stretch, err := w.Next(ctx, tx, after, scanFor(dryRunBatch), dryRunBatch)
		if err != nil {
			return events.Stretch{}, 0, err
		}
		made, err := r.router.Jobs(ctx, tx, found, s.through(tenant))
		return stretch, len(made), err
	})
	return DryRun{Events: counted, EventsExact: whole, Jobs: made, JobsExact: routed}, err
}

// steps walks until the end or the time is reached, adds up what the steps count, and
// says whether it is the end. Each step is a transaction of its own: no snapshot is held
// for long.
func (r *Replayer) steps(
	ctx context.Context, most time.Duration, step func(tx *sqlx.Tx, after string) (events.Stretch, int, error),
) (n int, end bool, err error) {
	after := ""
	for stop := time.Now().Add(most); time.Now().Before(stop); {
		var stretch events.Stretch
		var found int
		err := pg.InSteadyTx(ctx, r.db, func(tx *sqlx.Tx) error {
			var err error
			stretch, found, err = step(tx, after)
			return err
		})
		if err != nil {
			return 0, false, err
		}
		if n += found; stretch.End {
			return n, true, nil
		}
		after = stretch.Last
	}
	return n, false, nil
}
