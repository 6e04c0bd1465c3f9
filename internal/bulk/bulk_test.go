package bulk_test

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/bulk"
	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/pgtest"
)

// newDB has a table of items, 1 to n, and one of what was done with them.
func newDB(t *testing.T, n int) *pg.DB {
	t.Helper()
	db := pgtest.New(t)
	_, err := db.ExecContext(t.Context(), `
		CREATE TABLE items (n bigint PRIMARY KEY);
		CREATE TABLE done (n bigint NOT NULL, operation uuid NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp())`)
	require.NoError(t, err)
	_, err = db.ExecContext(t.Context(), `INSERT INTO items SELECT generate_series(1, $1::bigint)`, n)
	require.NoError(t, err)
	return db
}

// numbers does the items up to the one that the operation names, by noting them.
// during is called in each slice with its items.
func numbers(name string, during func(ctx context.Context, tx *sqlx.Tx, items []int) error) bulk.Kind {
	after := func(op bulk.Operation) int {
		n, _ := strconv.Atoi(op.Position)
		return n
	}
	slice := func(items []int, limit int, op bulk.Operation) bulk.Slice {
		s := bulk.Slice{Position: op.Position, Items: len(items), End: len(items) < limit}
		if len(items) > 0 {
			s.Position = strconv.Itoa(items[len(items)-1])
		}
		return s
	}
	const next = `SELECT n FROM items WHERE n > $1 AND n <= $3 ORDER BY n LIMIT $2`
	return bulk.Kind{
		Name: name,
		Count: func(ctx context.Context, tx *sqlx.Tx, op bulk.Operation, limit int) (bulk.Slice, error) {
			var items []int
			err := tx.SelectContext(ctx, &items, next, after(op), limit, op.Spec)
			return slice(items, limit, op), err
		},
		Do: func(ctx context.Context, tx *sqlx.Tx, op bulk.Operation, limit int, passOver bool) (bulk.Slice, error) {
			var items []int
			if err := tx.SelectContext(ctx, &items, next, after(op), limit, op.Spec); err != nil || passOver {
				return slice(items, limit, op), err
			}
			s := slice(items, limit, op)
			s.Made = 2 * len(items)
			for _, n := range items {
				if _, err := tx.ExecContext(ctx, `INSERT INTO done (n, operation) VALUES ($1, $2)`, n, op.ID); err != nil {
					return s, err
				}
			}
			if during != nil {
				return s, during(ctx, tx, items)
			}
			return s, nil
		},
	}
}

// run starts a runner that ends with the test, or when the function it gives is called.
func run(t *testing.T, db *pg.DB, kinds ...bulk.Kind) (stop func()) {
	t.Helper()
	r := &bulk.Runner{DB: db, Log: slog.New(slog.DiscardHandler), Kinds: kinds, Poll: 10 * time.Millisecond}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { _ = r.Run(ctx); close(ended) }()
	stop = func() { cancel(); <-ended }
	t.Cleanup(stop)
	return stop
}

func insert(t *testing.T, db *pg.DB, kind string, rate int) uuid.UUID {
	t.Helper()
	return insertUpTo(t, db, kind, rate, 1_000_000)
}

func insertUpTo(t *testing.T, db *pg.DB, kind string, rate, most int) uuid.UUID {
	t.Helper()
	op, err := bulk.Insert(t.Context(), db, bulk.New{ID: uuid.Must(uuid.NewV7()), Tenant: "default", Kind: kind, Spec: []byte(strconv.Itoa(most)), Rate: rate})
	require.NoError(t, err)
	require.Equal(t, bulk.Running, op.State)
	require.Nil(t, op.Total)
	return op.ID
}

func get(t *testing.T, db *pg.DB, kind string, id uuid.UUID) bulk.Operation {
	t.Helper()
	op, err := bulk.Get(t.Context(), db, kind, "operation", id)
	require.NoError(t, err)
	return op
}

// await waits until the operation has ended and gives it.
func await(t *testing.T, db *pg.DB, kind string, id uuid.UUID) bulk.Operation {
	t.Helper()
	require.Eventually(t, func() bool {
		op, err := bulk.Get(context.Background(), db, kind, "operation", id)
		return err == nil && op.State != bulk.Running
	}, 60*time.Second, 10*time.Millisecond)
	return get(t, db, kind, id)
}

func count(t *testing.T, q pg.Querier, query string, args ...any) int {
	t.Helper()
	var n int
	require.NoError(t, q.GetContext(t.Context(), &n, `SELECT count(*) FROM `+query, args...))
	return n
}

// once requires that each of n items was done once.
func once(t *testing.T, db *pg.DB, id uuid.UUID, n int) {
	t.Helper()
	require.Equal(t, n, count(t, db, `done WHERE operation = $1`, id))
	require.Equal(t, n, count(t, db, `(SELECT DISTINCT n FROM done WHERE operation = $1) AS d`, id))
}

func TestEachItemIsDoneOnceByRunnersThatDie(t *testing.T) {
	t.Parallel()
	const items = 3000
	db := newDB(t, items)
	// Every few slices the server cuts the connection in the middle, as the end of a
	// process would.
	var slices atomic.Int64
	cut := func(ctx context.Context, tx *sqlx.Tx, _ []int) error {
		if slices.Add(1)%4 == 0 {
			_, err := tx.ExecContext(ctx, `SELECT pg_terminate_backend(pg_backend_pid())`)
			return err
		}
		return nil
	}
	id := insert(t, db, "numbers", bulk.MaxRate)
	for range 3 {
		run(t, db, numbers("numbers", cut))
	}
	// And one after the other is stopped, wherever it is. They cut too: one that is fast
	// may do all by itself.
	for i := range 5 {
		stop := run(t, db, numbers("numbers", cut))
		require.Eventually(t, func() bool { return get(t, db, "numbers", id).Done >= int64(i*items/10) }, 30*time.Second, time.Millisecond)
		stop()
	}
	op := await(t, db, "numbers", id)
	require.Equal(t, bulk.Done, op.State)
	require.Equal(t, int64(items), *op.Total)
	require.Equal(t, int64(items), op.Done)
	require.Equal(t, int64(2*items), op.Made)
	require.Zero(t, op.Skipped)
	require.NotNil(t, op.StartedAt)
	require.NotNil(t, op.FinishedAt)
	require.GreaterOrEqual(t, slices.Load(), int64(4), "one was cut")
	once(t, db, id, items)
}

func TestAnotherRunnerGoesOnWhenOneHangs(t *testing.T) {
	t.Parallel()
	db := newDB(t, 500)
	id := insert(t, db, "numbers", bulk.MaxRate)
	hung := make(chan struct{})
	var first sync.Once
	stop := run(t, db, numbers("numbers", func(ctx context.Context, _ *sqlx.Tx, _ []int) error {
		first.Do(func() { close(hung) })
		<-ctx.Done()
		return ctx.Err()
	}))
	<-hung
	run(t, db, numbers("numbers", nil))
	other := insert(t, db, "numbers", bulk.MaxRate)
	require.Equal(t, bulk.Done, await(t, db, "numbers", other).State, "what hangs holds up no other")
	require.Equal(t, bulk.Running, get(t, db, "numbers", id).State)
	stop()
	require.Equal(t, bulk.Done, await(t, db, "numbers", id).State)
	once(t, db, id, 500)
}

func TestItemsThatCannotBeDoneArePassedOver(t *testing.T) {
	t.Parallel()
	const items = 700
	db := newDB(t, items)
	bad := map[int]string{1: "data", 333: "panic", 334: "data", items: "panic"}
	id := insert(t, db, "numbers", bulk.MaxRate)
	run(t, db, numbers("numbers", func(ctx context.Context, tx *sqlx.Tx, items []int) error {
		for _, n := range items {
			switch bad[n] {
			case "data":
				_, err := tx.ExecContext(ctx, `SELECT 'x'::int`)
				return err
			case "panic":
				panic("\x00 of " + strconv.Itoa(n))
			}
		}
		return nil
	}))
	op := await(t, db, "numbers", id)
	require.Equal(t, bulk.Done, op.State, op.LastError)
	require.Equal(t, int64(items), op.Done)
	require.Equal(t, int64(len(bad)), op.Skipped)
	require.Contains(t, op.LastError, "of 700")
	once(t, db, id, items-len(bad))
	for n := range bad {
		require.Zero(t, count(t, db, `done WHERE n = $1`, n))
	}
}

func TestItemsThatAKindSkipsAreCounted(t *testing.T) {
	t.Parallel()
	const items = 500
	db := newDB(t, items)
	kind := numbers("numbers", nil)
	do := kind.Do
	kind.Do = func(ctx context.Context, tx *sqlx.Tx, op bulk.Operation, limit int, passOver bool) (bulk.Slice, error) {
		s, err := do(ctx, tx, op, limit, passOver)
		if s.Items > 0 && op.Position == "" { // only the first slice
			s.Skipped, s.Why = 3, "the third was no number"
		}
		return s, err
	}
	id := insert(t, db, "numbers", bulk.MaxRate)
	run(t, db, kind)
	op := await(t, db, "numbers", id)
	require.Equal(t, []any{bulk.Done, int64(items), int64(3), "the third was no number"}, []any{op.State, op.Done, op.Skipped, op.LastError})
}

func TestOperationFailsWhenItsKindSaysThatThereIsNoUse(t *testing.T) {
	t.Parallel()
	db := newDB(t, 500)
	id := insert(t, db, "numbers", bulk.MaxRate)
	run(t, db, numbers("numbers", func(_ context.Context, _ *sqlx.Tx, items []int) error {
		if items[0] > 1 {
			return bulk.Permanentf("the rule is gone")
		}
		return nil
	}))
	op := await(t, db, "numbers", id)
	require.Equal(t, bulk.Failed, op.State)
	require.Equal(t, "the rule is gone", op.LastError)
	require.Equal(t, int64(200), op.Done)
	require.NotNil(t, op.FinishedAt)
	once(t, db, id, 200)
}

func TestOtherErrorsAreTriedAgain(t *testing.T) {
	t.Parallel()
	db := newDB(t, 500)
	id := insert(t, db, "numbers", bulk.MaxRate)
	var tries atomic.Int64
	run(t, db, numbers("numbers", func(context.Context, *sqlx.Tx, []int) error {
		if tries.Add(1) <= 3 {
			return errors.New("not now")
		}
		return nil
	}))
	op := await(t, db, "numbers", id)
	require.Equal(t, bulk.Done, op.State)
	require.Equal(t, "not now", op.LastError)
	require.Zero(t, op.Skipped)
	once(t, db, id, 500)
}

func TestCancelIsTheEnd(t *testing.T) {
	t.Parallel()
	const items = 100_000
	db := newDB(t, items)
	id := insert(t, db, "numbers", 2000)
	for range 2 {
		run(t, db, numbers("numbers", nil))
	}
	require.Eventually(t, func() bool { return get(t, db, "numbers", id).Done > 0 }, 30*time.Second, 5*time.Millisecond)
	op, err := bulk.Cancel(t.Context(), db, "numbers", "operation", id)
	require.NoError(t, err)
	require.Equal(t, bulk.Canceled, op.State)
	require.Less(t, op.Done, int64(items))
	require.NotNil(t, op.FinishedAt)
	once(t, db, id, int(op.Done))
	// Runners look at it again, and at another one, and leave it alone.
	next := insert(t, db, "numbers", bulk.MaxRate)
	require.Eventually(t, func() bool { return get(t, db, "numbers", next).Done > 0 }, 30*time.Second, 5*time.Millisecond)
	require.Equal(t, op, get(t, db, "numbers", id))
	once(t, db, id, int(op.Done))

	_, err = bulk.Cancel(t.Context(), db, "numbers", "operation", id)
	require.Equal(t, fault.Conflict, fault.As(err).Kind)
	require.Equal(t, "operation_ended", fault.As(err).Code)
	_, err = bulk.Cancel(t.Context(), db, "another kind", "operation", next)
	require.Equal(t, fault.NotFound, fault.As(err).Kind)
}

func TestRateHoldsOverAllRunners(t *testing.T) {
	t.Parallel()
	const items, rate = 150, 30
	db := newDB(t, items)
	id := insert(t, db, "numbers", rate)
	stops := []func(){run(t, db, numbers("numbers", nil)), run(t, db, numbers("numbers", nil))}
	require.Eventually(t, func() bool { return get(t, db, "numbers", id).Done > 0 }, 30*time.Second, 5*time.Millisecond)
	for _, stop := range stops { // what is in the row outlasts them
		stop()
	}
	for range 3 {
		run(t, db, numbers("numbers", nil))
	}
	require.Equal(t, bulk.Done, await(t, db, "numbers", id).State)
	once(t, db, id, items)
	// In no stretch of a second are there more than what the rate and a second that was
	// missed allow. Time only makes it fewer.
	var most int
	require.NoError(t, db.GetContext(t.Context(), &most, `
		SELECT max(n) FROM (SELECT count(*) OVER (ORDER BY at RANGE BETWEEN '900 ms' PRECEDING AND CURRENT ROW) AS n FROM done) AS w`))
	require.LessOrEqual(t, most, 3*rate)
	var lasted float64
	require.NoError(t, db.GetContext(t.Context(), &lasted, `SELECT extract(epoch FROM max(at) - min(at)) FROM done`))
	require.GreaterOrEqual(t, lasted, float64(items)/rate-2, "a second at once, and one that was missed")
}

func TestLargeOperationHoldsUpNoSmallOne(t *testing.T) {
	t.Parallel()
	db := newDB(t, 20_000)
	large := insert(t, db, "numbers", bulk.MaxRate)
	left := insert(t, db, "of a newer version", 1)
	run(t, db, numbers("numbers", nil))
	require.Eventually(t, func() bool { return get(t, db, "numbers", large).Done > 0 }, 30*time.Second, time.Millisecond)
	small := insertUpTo(t, db, "numbers", bulk.MaxRate, 10)
	ended := await(t, db, "numbers", small)
	require.Equal(t, []any{bulk.Done, int64(10)}, []any{ended.State, ended.Done})
	require.True(t, ended.FinishedAt.Before(*await(t, db, "numbers", large).FinishedAt))
	once(t, db, large, 20_000)
	op := get(t, db, "of a newer version", left)
	require.Equal(t, []any{bulk.Running, int64(0), (*int64)(nil)}, []any{op.State, op.Done, op.Total})
}

func TestOperationsThatEndedAreListedAndSwept(t *testing.T) {
	t.Parallel()
	db := newDB(t, 0)
	var ids []uuid.UUID
	for range 3 {
		op, err := bulk.InsertDone(t.Context(), db, bulk.New{ID: uuid.Must(uuid.NewV7()), Tenant: "acme", Kind: "numbers", Spec: []byte(`{}`), Rate: 1}, 1, 7)
		require.NoError(t, err)
		require.Equal(t, []any{bulk.Done, int64(1), int64(1), int64(7)}, []any{op.State, *op.Total, op.Done, op.Made})
		ids = append(ids, op.ID)
	}
	running := insert(t, db, "numbers", 1)
	list := func(f bulk.Filter) []uuid.UUID {
		f.Kind, f.Limit = "numbers", max(f.Limit, 2)
		ops, err := bulk.List(t.Context(), db, f)
		require.NoError(t, err)
		var all []uuid.UUID
		for _, op := range ops {
			all = append(all, op.ID)
		}
		return all
	}
	require.Equal(t, []uuid.UUID{running, ids[2]}, list(bulk.Filter{}))
	require.Equal(t, []uuid.UUID{ids[1], ids[0]}, list(bulk.Filter{After: ids[2].String()}))
	require.Equal(t, []uuid.UUID{running}, list(bulk.Filter{State: bulk.Running}))
	require.Equal(t, []uuid.UUID{ids[2], ids[1], ids[0]}, list(bulk.Filter{Tenant: "acme", Limit: 5}))
	_, err := db.ExecContext(t.Context(), `UPDATE signalstack.bulk_operations SET finished_at = now() - interval '1 hour' WHERE id <> $1`, ids[2])
	require.NoError(t, err)
	require.NoError(t, (&bulk.Sweeper{DB: db, Log: slog.New(slog.DiscardHandler), Keep: 30 * time.Minute}).Sweep(t.Context()))
	require.Equal(t, []uuid.UUID{running, ids[2]}, list(bulk.Filter{Limit: 5}))
}
