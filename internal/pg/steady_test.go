package pg_test

import (
	"context"
	"errors"
	"testing"

	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/pgtest"
)

// single is a pool of one connection to the server itself, on a fresh database.
func single(t *testing.T) *pg.DB {
	t.Helper()
	dsn := pgtest.URL(t)
	if direct := pgtest.Direct(t, dsn); direct != "" {
		dsn = direct
	}
	db, err := pg.Open(dsn, pg.Options{Role: "test", MaxConns: 1})
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// add adds numbers in a steady transaction.
func add(ctx context.Context, db *pg.DB, a, b int) (sum int, err error) {
	err = pg.InSteadyTx(ctx, db, func(tx *sqlx.Tx) error { return tx.GetContext(ctx, &sum, `SELECT $1::int + $2::int`, a, b) })
	return sum, err
}

// plans is how many statements the connection keeps prepared.
func plans(t *testing.T, db *pg.DB) (n int) {
	t.Helper()
	require.NoError(t, db.GetContext(t.Context(), &n, `SELECT count(*) FROM pg_prepared_statements`))
	return n
}

func seqScan(t *testing.T, q pg.Querier) (on bool) {
	t.Helper()
	require.NoError(t, q.GetContext(t.Context(), &on, `SELECT current_setting('enable_seqscan') = 'on'`))
	return on
}

func TestSteadyTransactionsPlanOnceAndLeaveNothingElse(t *testing.T) {
	t.Parallel()
	db := single(t)
	for i := range 3 {
		sum, err := add(t.Context(), db, i, 1)
		require.NoError(t, err)
		require.Equal(t, i+1, sum)
	}
	require.Equal(t, 1, plans(t, db))
	require.NoError(t, pg.InSteadyTx(t.Context(), db, func(tx *sqlx.Tx) error {
		require.False(t, seqScan(t, tx))
		return nil
	}))
	require.True(t, seqScan(t, db))
	wrong := errors.New("wrong")
	require.ErrorIs(t, pg.InSteadyTx(t.Context(), db, func(*sqlx.Tx) error { return wrong }), wrong)
	require.NoError(t, pg.InTx(t.Context(), db, func(tx *sqlx.Tx) error {
		require.True(t, seqScan(t, tx), "after one that was rolled back too")
		var n int
		return tx.GetContext(t.Context(), &n, `SELECT $1::int`, 1)
	}))
	require.Equal(t, 1, plans(t, db), "other transactions plan for their arguments")
}

// lib/pq watches the context of a transaction that it begins itself, and would act on
// it at the end of the next one.
func TestSteadyTransactionsFollowOthersWhoseContextEnds(t *testing.T) {
	t.Parallel()
	db := single(t)
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		require.NoError(t, pg.InTx(ctx, db, func(tx *sqlx.Tx) error { _, err := tx.ExecContext(ctx, `SELECT 1`); return err }))
		cancel()
		_, err := add(t.Context(), db, 1, 2)
		require.NoError(t, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	require.ErrorIs(t, pg.InSteadyTx(ctx, db, func(tx *sqlx.Tx) error {
		cancel()
		_, err := tx.ExecContext(ctx, `SELECT pg_sleep(10)`)
		return err
	}), context.Canceled)
	sum, err := add(t.Context(), db, 1, 2)
	require.NoError(t, err)
	require.Equal(t, 3, sum)
}

func TestStalePlansAreMadeAnew(t *testing.T) {
	t.Parallel()
	db := single(t)
	_, err := db.ExecContext(t.Context(), `CREATE TABLE t (n int); INSERT INTO t VALUES (1)`)
	require.NoError(t, err)
	read := func() (n string, err error) {
		err = pg.InSteadyTx(t.Context(), db, func(tx *sqlx.Tx) error { return tx.GetContext(t.Context(), &n, `SELECT n FROM t WHERE $1`, true) })
		return n, err
	}
	_, err = read()
	require.NoError(t, err)
	_, err = db.ExecContext(t.Context(), `ALTER TABLE t ALTER n TYPE text USING 'one'`)
	require.NoError(t, err)
	n, err := read()
	require.NoError(t, err)
	require.Equal(t, "one", n)
}

func TestKeptReadsArePlannedOnce(t *testing.T) {
	t.Parallel()
	db := single(t)
	_, err := db.ExecContext(t.Context(), `CREATE TABLE t (n int); INSERT INTO t VALUES (1)`)
	require.NoError(t, err)
	read := func() (n string) {
		require.NoError(t, db.GetContext(pg.Kept(t.Context()), &n, `SELECT n FROM t WHERE $1`, true))
		return n
	}
	require.Equal(t, "1", read())
	require.Equal(t, "1", read())
	require.Equal(t, 1, plans(t, db))
	require.True(t, seqScan(t, db))

	_, err = db.ExecContext(t.Context(), `ALTER TABLE t ALTER n TYPE text USING 'one'`)
	require.NoError(t, err)
	require.Equal(t, "one", read(), "a plan that no longer fits is made anew")
	_, err = db.ExecContext(t.Context(), `DEALLOCATE ALL`)
	require.NoError(t, err)
	require.Equal(t, "one", read(), "as is one that a pooler forgot")
}

// A pooler that passes our parameters on is told by its forgetting what was prepared.
func TestAPoolerThatForgetsPlansIsFoundOut(t *testing.T) {
	t.Parallel()
	db := single(t)
	_, err := add(t.Context(), db, 1, 2)
	require.NoError(t, err)
	_, err = db.ExecContext(t.Context(), `DEALLOCATE ALL`)
	require.NoError(t, err)
	for range 3 {
		sum, err := add(t.Context(), db, 1, 2)
		require.NoError(t, err)
		require.Equal(t, 3, sum)
		require.Zero(t, plans(t, db))
	}
}
