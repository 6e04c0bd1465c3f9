package pg_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/pgtest"
)

func TestInTxKeepsNothingOfAFailureOrAPanic(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	_, err := db.ExecContext(t.Context(), `CREATE TABLE t (n int)`)
	require.NoError(t, err)
	insert := func(tx *sqlx.Tx) error { _, err := tx.ExecContext(t.Context(), `INSERT INTO t VALUES (1)`); return err }
	wrong := errors.New("wrong")
	require.ErrorIs(t, pg.InTx(t.Context(), db, func(tx *sqlx.Tx) error { return errors.Join(insert(tx), wrong) }), wrong)
	require.Panics(t, func() {
		_ = pg.InTx(t.Context(), db, func(tx *sqlx.Tx) error { _ = insert(tx); panic("boom") })
	})
	var n int
	require.NoError(t, db.GetContext(t.Context(), &n, `SELECT count(*) FROM t`))
	require.Zero(t, n)
	require.NoError(t, pg.InTx(t.Context(), db, insert))
	require.NoError(t, db.GetContext(t.Context(), &n, `SELECT count(*) FROM t`))
	require.Equal(t, 1, n)
}

func TestInTxRunsADeadlockAgain(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	_, err := db.ExecContext(t.Context(), `CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t VALUES (1, 0), (2, 0)`)
	require.NoError(t, err)
	// Both hold their first row before either asks for its second.
	var first sync.WaitGroup
	first.Add(2)
	run := func(a, b int) error {
		var once sync.Once
		return pg.InTx(context.Background(), db, func(tx *sqlx.Tx) error {
			if _, err := tx.Exec(`UPDATE t SET n = n + 1 WHERE id = $1`, a); err != nil {
				return err
			}
			once.Do(func() { first.Done(); first.Wait() })
			_, err := tx.Exec(`UPDATE t SET n = n + 1 WHERE id = $1`, b)
			return err
		})
	}
	errs := make(chan error, 2)
	go func() { errs <- run(1, 2) }()
	go func() { errs <- run(2, 1) }()
	require.NoError(t, <-errs)
	require.NoError(t, <-errs)
	var sum int
	require.NoError(t, db.GetContext(t.Context(), &sum, `SELECT sum(n) FROM t`))
	require.Equal(t, 4, sum)
}

// blackHole forwards to the server of a URL until it is told to swallow.
func blackHole(t *testing.T, dsn string) (string, *atomic.Bool) {
	t.Helper()
	u, err := url.Parse(dsn)
	require.NoError(t, err)
	target := u.Host
	network := "tcp"
	if host := u.Query().Get("host"); host != "" {
		network, target = "unix", host+"/.s.PGSQL.5432"
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	swallow := &atomic.Bool{}
	pipe := func(dst, src net.Conn) {
		buf := make([]byte, 32<<10)
		for {
			n, err := src.Read(buf)
			if err != nil {
				_ = dst.Close()
				return
			}
			if swallow.Load() {
				continue
			}
			if _, err := dst.Write(buf[:n]); err != nil {
				return
			}
		}
	}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial(network, target)
			if err != nil {
				_ = client.Close()
				continue
			}
			go pipe(server, client)
			go pipe(client, server)
		}
	}()
	q := u.Query()
	q.Del("host")
	q.Set("sslmode", "disable")
	u.RawQuery, u.Host = q.Encode(), l.Addr().String()
	return u.String(), swallow
}

func TestDeadNetworkEndsAQueryAndThePoolHeals(t *testing.T) {
	t.Parallel()
	dsn, swallow := blackHole(t, pgtest.URL(t))
	db, err := pg.Open(dsn, pg.Options{Role: "test", StatementTimeout: 200 * time.Millisecond})
	require.NoError(t, err)
	defer func() { _ = db.Close() }()
	require.NoError(t, db.PingContext(t.Context()))
	swallow.Store(true)
	start := time.Now()
	_, err = db.ExecContext(context.Background(), `SELECT 1`)
	require.Error(t, err)
	require.True(t, pg.IsAway(err), "%v", err)
	require.Less(t, time.Since(start), 10*time.Second)
	swallow.Store(false)
	require.Eventually(t, func() bool { return db.PingContext(context.Background()) == nil }, 10*time.Second, 20*time.Millisecond)
}

func TestErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	_, err := db.ExecContext(t.Context(), `CREATE TABLE t (n int CONSTRAINT t_key PRIMARY KEY, r int CHECK (r > 0)); INSERT INTO t VALUES (1, 1)`)
	require.NoError(t, err)
	fails := func(sql string) error { _, err := db.ExecContext(t.Context(), sql); return err }
	unique := fails(`INSERT INTO t VALUES (1, 1)`)
	require.True(t, pg.IsUnique(unique, "t_key"))
	require.False(t, pg.IsUnique(unique, "other"))
	require.True(t, pg.IsBadData(unique))
	require.True(t, pg.IsBadData(fails(`INSERT INTO t VALUES (2, 0)`)))
	require.True(t, pg.IsAway(fails(`SET statement_timeout = 10; SELECT pg_sleep(5)`)))
	require.False(t, pg.IsAway(fails(`SELECT nonsense`)))
	require.Nil(t, fault.As(pg.Fault(fails(`SELECT nonsense`))))

	refused, err := pg.Open("postgres://x@127.0.0.1:1/x?sslmode=disable", pg.Options{Role: "test"})
	require.NoError(t, err)
	away := pg.Fault(refused.PingContext(t.Context()))
	require.Equal(t, fault.Unavailable, fault.As(away).Kind)
	require.Positive(t, fault.As(away).RetryAfter)
}

func TestDatabaseURLErrorDoesNotShowThePassword(t *testing.T) {
	t.Parallel()
	for _, dsn := range []string{
		"postgres://user:hunter2@host:port/db", "mysql://u:hunter2@h/x", "POSTGRES://u:hunter2@h/x", "hunter2", "password='hunter2",
		"host=h password=hunter2 user", "postgres://u:hunter2@h/x?sslmode=hunter2", "host=h port=hunter2", "postgres://u@h/x?connect_timeout=hunter2",
		"postgres://u:%hunter2@h/x", "postgres://u@h/x?sslmode=%hunter2", "host=h sslmode=hunter2",
	} {
		_, err := pg.Open(dsn, pg.Options{Role: "test"})
		require.ErrorIs(t, err, pg.ErrBadURL, dsn)
		require.NotContains(t, err.Error(), "hunter2", dsn)
		require.Contains(t, err.Error(), "postgres://user:password@host:5432/name")
	}
}

func TestFaultSaysWhatBecameOfATransaction(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	_, err := db.ExecContext(t.Context(), `
		CREATE TABLE t (n int);
		CREATE FUNCTION hang_up() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN new; END $$;
		CREATE CONSTRAINT TRIGGER hang_up AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION hang_up()`)
	require.NoError(t, err)
	run := func(sql string) *fault.Error {
		f := fault.As(pg.Fault(pg.InTx(t.Context(), db, func(tx *sqlx.Tx) error {
			_, err := tx.ExecContext(t.Context(), sql)
			return err
		})))
		require.NotNil(t, f, sql)
		require.Equal(t, fault.Unavailable, f.Kind)
		return f
	}
	require.Equal(t, fault.InDoubt, run(`INSERT INTO t VALUES (1)`).Outcome, "COMMIT failed")
	require.Equal(t, fault.Nothing, run(`SELECT pg_terminate_backend(pg_backend_pid())`).Outcome, "before COMMIT")
	require.Equal(t, fault.InDoubt, fault.As(pg.Fault(io.ErrUnexpectedEOF)).Outcome, "a statement of its own")
	require.Equal(t, fault.Nothing, fault.As(pg.Fault(&net.OpError{Op: "dial", Err: io.EOF})).Outcome)
}

func TestConnectsWithoutTLSWhereTheURLLeavesItOpen(t *testing.T) {
	t.Parallel()
	u, err := url.Parse(pgtest.URL(t))
	require.NoError(t, err)
	for _, mode := range []string{"", "prefer", "allow"} {
		q := u.Query()
		q.Del("sslmode")
		if mode != "" {
			q.Set("sslmode", mode)
		}
		u.RawQuery = q.Encode()
		require.NoError(t, pgtest.Open(t, u.String()).PingContext(t.Context()), mode)
	}
}

func TestListenHearsAndComesBack(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	heard := make(chan string, 10)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- pg.Listen(ctx, db, "news", func(p string) { heard <- p }) }()
	require.Empty(t, <-heard)
	_, err := db.ExecContext(t.Context(), `NOTIFY news, 'one'`)
	require.NoError(t, err)
	require.Equal(t, "one", <-heard)
	_, err = db.ExecContext(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE datname = current_database() AND query = 'LISTEN "news"'`)
	require.NoError(t, err)
	require.Empty(t, <-heard, "a new connection says that something may have been missed")
	_, err = db.ExecContext(t.Context(), `NOTIFY news, 'two'`)
	require.NoError(t, err)
	require.Equal(t, "two", <-heard)
	stop()
	require.NoError(t, <-done)
}

func TestGroupSharesACommitAndAnswersEach(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var commits atomic.Int32
		gate := make(chan struct{})
		g := pg.NewGroup(pg.GroupConfig[int]{MaxSize: 100, MaxWaiting: 100}, func(_ context.Context, items []int) []pg.Outcome[int] {
			commits.Add(1)
			<-gate
			out := make([]pg.Outcome[int], len(items))
			for i, n := range items {
				if out[i].Value = 2 * n; n == 13 {
					out[i].Err = errors.New("thirteen")
				}
			}
			return out
		})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { g.Run(ctx, 1); close(done) }()
		var wg sync.WaitGroup
		for n := range 50 {
			wg.Go(func() {
				got, err := g.Do(context.Background(), n)
				if n == 13 {
					require.EqualError(t, err, "thirteen")
					return
				}
				require.NoError(t, err)
				require.Equal(t, 2*n, got)
			})
		}
		synctest.Wait() // one batch is being committed, and all others wait for it
		close(gate)
		wg.Wait()
		require.LessOrEqual(t, commits.Load(), int32(2))
		stop()
		<-done
	})
}

func TestGroupRefusesWhenTooManyWaitAndSurvivesAPanic(t *testing.T) {
	t.Parallel()
	g := pg.NewGroup(pg.GroupConfig[int]{MaxSize: 1, MaxWaiting: 1}, func(context.Context, []int) []pg.Outcome[int] { panic("boom") })
	ctx, stop := context.WithCancel(t.Context())
	stop()
	_, err := g.Do(ctx, 1) // nobody runs the group yet, and the caller has gone
	require.Equal(t, fault.Unavailable, fault.As(err).Kind)
	_, err = g.Do(t.Context(), 2)
	require.Equal(t, "overloaded", fault.As(err).Code)
	g.Run(ctx, 1) // answers what waits, panics and all, then ends
	_, err = g.Do(ctx, 3)
	require.Error(t, err)
}

func TestMigrationsGoUpDownUp(t *testing.T) {
	t.Parallel()
	db, err := pg.Open(pgtest.Empty(t), pg.Options{Role: "test", Unbounded: true})
	require.NoError(t, err)
	defer func() { _ = db.Close() }()
	require.ErrorIs(t, pg.CheckSchema(t.Context(), db), pg.ErrOldSchema)
	log := slog.New(slog.DiscardHandler)
	require.NoError(t, pg.MigrateUp(t.Context(), db, log))
	require.NoError(t, pg.CheckSchema(t.Context(), db))
	p, err := pg.Migrator(t.Context(), db, log)
	require.NoError(t, err)
	_, err = db.ExecContext(t.Context(), `GRANT EXECUTE ON FUNCTION signalstack.enqueue TO pg_monitor`)
	require.NoError(t, err)
	mayCall := func() (may bool) {
		require.NoError(t, db.GetContext(t.Context(), &may, `
			SELECT bool_and(has_function_privilege('pg_monitor', oid, 'EXECUTE') AND NOT has_function_privilege('pg_signal_backend', oid, 'EXECUTE'))
			FROM pg_proc WHERE pronamespace = 'signalstack'::regnamespace AND proname LIKE 'enqueue%'`))
		return may
	}
	_, err = p.DownTo(t.Context(), 15)
	require.NoError(t, err)
	require.True(t, mayCall(), "a function that is replaced is called by those who might before")
	require.NoError(t, pg.MigrateUp(t.Context(), db, log))
	require.True(t, mayCall())
	_, err = p.DownTo(t.Context(), 0)
	require.NoError(t, err)
	var left []string
	require.NoError(t, db.SelectContext(t.Context(), &left, `
		SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
		WHERE nspname = 'signalstack' AND relkind IN ('r', 'p', 'S') AND relname NOT LIKE 'schema_version%'
		UNION ALL SELECT proname FROM pg_proc JOIN pg_namespace n ON n.oid = pronamespace WHERE nspname = 'signalstack'`))
	require.Empty(t, left, "the way down leaves nothing")
	require.ErrorIs(t, pg.CheckSchema(t.Context(), db), pg.ErrOldSchema)
	require.NoError(t, pg.MigrateUp(t.Context(), db, log))
	_, err = db.ExecContext(t.Context(), `INSERT INTO signalstack.schema_version (version_id, is_applied) VALUES (99999, true)`)
	require.NoError(t, err)
	require.NoError(t, pg.CheckSchema(t.Context(), db), "a newer schema is tolerated")
}

func TestFourMigrateAtOnce(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Empty(t)
	errs := make(chan error, 4)
	for range 4 {
		go func() {
			db, err := pg.Open(dsn, pg.Options{Role: "test", Unbounded: true})
			if err == nil {
				err = pg.MigrateUp(context.Background(), db, slog.New(slog.DiscardHandler))
				_ = db.Close()
			}
			errs <- err
		}()
	}
	for range 4 {
		require.NoError(t, <-errs)
	}
	require.NoError(t, pg.CheckSchema(t.Context(), pgtest.Open(t, dsn)))
}

// Bytes are held until the answer, and for those who have gone until the next batch,
// which leaves them out.
func TestGroupBoundsTheBytesItHolds(t *testing.T) {
	t.Parallel()
	busy, release := make(chan struct{}), make(chan struct{})
	var committed []int
	g := pg.NewGroup(pg.GroupConfig[int]{MaxSize: 100, MaxWaiting: 100, MaxBytes: 10, MaxBatchBytes: 6, Bytes: func(n int) int { return n }},
		func(_ context.Context, items []int) []pg.Outcome[int] {
			if len(committed) == 0 {
				close(busy)
				<-release
			}
			committed = append(committed, items...)
			return make([]pg.Outcome[int], len(items))
		})
	ctx, stop := context.WithCancel(t.Context())
	var running, calling sync.WaitGroup
	running.Go(func() { g.Run(ctx, 1) })
	calling.Go(func() { _, _ = g.Do(t.Context(), 2) })
	<-busy
	gone, leave := context.WithCancel(t.Context())
	leave()
	_, err := g.Do(gone, 8)
	require.ErrorIs(t, err, context.Canceled)
	_, err = g.Do(t.Context(), 1)
	require.Equal(t, "overloaded", fault.As(err).Code)
	close(release)
	calling.Wait()
	require.Eventually(t, func() bool { _, err = g.Do(t.Context(), 1); return err == nil }, 30*time.Second, time.Millisecond)
	_, err = g.Do(t.Context(), 99)
	require.NoError(t, err, "one alone may exceed the bound")
	stop()
	running.Wait()
	require.Equal(t, []int{2, 1, 99}, committed)
}
