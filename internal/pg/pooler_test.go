package pg_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/events"
	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/pgtest"
	"github.com/signalstack/signalstack/internal/queue"
)

const directSetting = "SIGNALSTACK_DIRECT_DATABASE_URL"

// pooledURL gives the URL of a fresh database through PgBouncer, without one past it.
func pooledURL(t *testing.T) string {
	t.Helper()
	if os.Getenv("TEST_POOLER_URL") == "" {
		t.Skip("there is no pooler; make test-pgbouncer has one")
	}
	return pgtest.URL(t)
}

// forgetful forwards to the server of a URL and keeps our parameters from it, as a
// pooler does that was told to ignore them: the server gets others of their length.
func forgetful(t *testing.T, dsn string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	require.NoError(t, err)
	network, target := "tcp", u.Host
	if host := u.Query().Get("host"); host != "" {
		network, target = "unix", host+"/.s.PGSQL.5432"
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	serve := func(client net.Conn) {
		defer func() { _ = client.Close() }()
		server, err := net.Dial(network, target)
		if err != nil {
			return
		}
		defer func() { _ = server.Close() }()
		startup := make([]byte, 4096)
		n, err := client.Read(startup)
		if err != nil {
			return
		}
		for _, known := range []string{"client_connection_check_interval", "statement_timeout", "idle_in_transaction_session_timeout"} {
			startup = bytes.ReplaceAll(startup, []byte(known), []byte("x."+known[2:]))
		}
		_, _ = server.Write(startup[:n])
		go func() { _, _ = io.Copy(client, server) }()
		_, _ = io.Copy(server, client)
	}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go serve(client)
		}
	}()
	return "postgres://" + u.User.String() + "@" + l.Addr().String() + u.Path + "?sslmode=disable"
}

func bounded(t *testing.T, dsn string) *pg.DB {
	t.Helper()
	db, err := pg.Open(dsn, pg.Options{Role: "test", StatementTimeout: 300 * time.Millisecond})
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// bounds are the settings that hold for a statement.
func bounds(t *testing.T, q pg.Querier) []string {
	t.Helper()
	var got []string
	require.NoError(t, q.SelectContext(t.Context(), &got, `
		SELECT current_setting(s) FROM unnest('{statement_timeout,client_connection_check_interval,idle_in_transaction_session_timeout}'::text[]) AS s`))
	return got
}

// requireBoundTransactions says that each transaction has its bounds and leaves
// nothing of them with a connection that others use next.
func requireBoundTransactions(t *testing.T, db *pg.DB) {
	t.Helper()
	set, unset := []string{"300ms", "5s", "1min"}, []string{"0", "0", "0"}
	for range 3 {
		require.NoError(t, pg.InTx(t.Context(), db, func(tx *sqlx.Tx) error {
			require.Equal(t, set, bounds(t, tx))
			return nil
		}))
		require.Equal(t, unset, bounds(t, db))
	}
	tx, err := db.BeginTxx(t.Context(), &sql.TxOptions{Isolation: sql.LevelRepeatableRead})
	require.NoError(t, err)
	require.Equal(t, set, bounds(t, tx))
	require.NoError(t, tx.Rollback())
	require.Equal(t, unset, bounds(t, db))
	err = pg.InTx(t.Context(), db, func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(t.Context(), `SELECT pg_sleep(10)`)
		return err
	})
	require.ErrorContains(t, err, "statement timeout")
	require.True(t, pg.IsAway(err))
}

func TestTransactionsAreBoundedThroughAPooler(t *testing.T) {
	t.Parallel()
	t.Run("that refuses parameters", func(t *testing.T) {
		t.Parallel()
		requireBoundTransactions(t, bounded(t, pooledURL(t)))
	})
	t.Run("that ignores them", func(t *testing.T) {
		t.Parallel()
		requireBoundTransactions(t, bounded(t, forgetful(t, pgtest.Empty(t))))
	})
}

func TestConnectionsToTheServerItselfAreBounded(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{"300ms", "5s", "1min"}, bounds(t, bounded(t, pgtest.Empty(t))))
}

func TestClientsOfAPoolerGetTheirOwnRows(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, pooledURL(t))
	var wg sync.WaitGroup
	wrong := make(chan int, 16)
	for client := range 16 {
		wg.Go(func() {
			for n := range 150 {
				var got int
				if err := db.GetContext(context.Background(), &got, `SELECT $1::int`, client*1000+n); err != nil || got != client*1000+n {
					wrong <- client
					return
				}
			}
		})
	}
	wg.Wait()
	require.Empty(t, wrong)
}

// The zone is among the few parameters that PgBouncer keeps for each client. Times
// are shown in it.
func TestTimesAreShownInUTCThroughAPooler(t *testing.T) {
	t.Parallel()
	db := pgtest.Open(t, pooledURL(t))
	_, err := db.ExecContext(t.Context(), `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET timezone = %L', current_database(), 'Asia/Kathmandu'); END $$`)
	require.NoError(t, err)
	_, _ = db.ExecContext(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()`) // and so ourselves
	require.Eventually(t, func() bool {
		var now time.Time
		err := db.GetContext(context.Background(), &now, `SELECT now() FROM pg_settings WHERE name = 'TimeZone' AND reset_val = 'Asia/Kathmandu'`)
		return err == nil && now.Format("-07:00") == "+00:00"
	}, 10*time.Second, 20*time.Millisecond)
}

func TestListenThroughAPoolerSaysThatItIsDeaf(t *testing.T) {
	t.Parallel()
	err := pg.Listen(t.Context(), bounded(t, pooledURL(t)), "news", func(string) { t.Error("heard something") })
	require.ErrorIs(t, err, pg.ErrDeaf)
	require.ErrorContains(t, err, directSetting)
}

func TestListenEndsWhileItProbes(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(t.Context(), time.Second)
	defer stop()
	require.NoError(t, pg.Listen(ctx, bounded(t, pooledURL(t)), "news", func(string) { t.Error("heard something") }))
}

func TestMigrationsRefuseAPooler(t *testing.T) {
	t.Parallel()
	for name, pooled := range map[string]func(*testing.T) string{
		"that refuses parameters": pooledURL, "that ignores them": func(t *testing.T) string { return forgetful(t, pgtest.Empty(t)) },
	} {
		t.Run(name, func(t *testing.T) {
			db, err := pg.Open(pooled(t), pg.Options{Role: "migrate", Unbounded: true})
			require.NoError(t, err)
			defer func() { _ = db.Close() }()
			err = pg.MigrateUp(t.Context(), db, slog.New(slog.DiscardHandler))
			require.ErrorContains(t, err, directSetting)
			require.False(t, pg.IsAway(err), "nobody waits for a pooler to become a server")
		})
	}
}

// polling is a worker behind a pooler that has no way past it.
type polling struct {
	db      *pg.DB
	running chan uuid.UUID
	log     bytes.Buffer // to be read after stop
	stop    func()
}

func startPolling(t *testing.T) *polling {
	t.Helper()
	db, err := pg.Open(pooledURL(t), pg.Options{Role: "work", MaxConns: 20})
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	require.NoError(t, queue.EnsureAhead(t.Context(), db))
	p := &polling{db: db, running: make(chan uuid.UUID, 10)}
	kinds := jobs.NewRegistry(jobs.Kind{
		Name: "test", Timeout: time.Minute, MaxAttempts: 3, Check: func(json.RawMessage, jobs.Later) []fault.Detail { return nil },
		Run: func(ctx context.Context, j jobs.Job) (jobs.Result, error) {
			p.running <- j.ID
			if string(j.Payload) != `"last"` {
				return jobs.Result{}, nil
			}
			<-ctx.Done()
			return jobs.Result{}, ctx.Err()
		},
	})
	log := slog.New(slog.NewTextHandler(&p.log, nil))
	runner := jobs.NewRunner(jobs.RunnerConfig{
		Queues: map[string]int{"default": 10, "paused": 10}, Lease: 10 * time.Second, Poll: 2 * time.Second,
		FullPass: 10 * time.Second, Grace: 10 * time.Second,
	}, db, db, kinds, log)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = runner.Run(ctx) })
	wg.Go(func() { _ = events.NewOutbox(events.OutboxConfig{KeyTTL: time.Hour}, db, kinds, log).Run(ctx) })
	p.stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(p.stop)
	return p
}

func (p *polling) add(t *testing.T, queueName, payload string, delay time.Duration) uuid.UUID {
	t.Helper()
	j := queue.NewJob{
		ID: uuid.Must(uuid.NewV7()), Tenant: "default", Kind: "test", Queue: queueName, Priority: 2, Payload: []byte(payload),
		Delay: delay, MaxAttempts: 3, Timeout: time.Minute, Retry: `{"strategy":"ladder","ladder":["1ms"],"jitter":"none"}`,
	}
	require.NoError(t, pg.InTx(t.Context(), p.db, func(tx *sqlx.Tx) error { return queue.Enqueue(t.Context(), tx, []queue.NewJob{j}) }))
	return j.ID
}

// await waits at most so long for a job to be in a state.
func (p *polling) await(t *testing.T, id uuid.UUID, state queue.State, atMost time.Duration) {
	t.Helper()
	require.Eventually(t, func() bool {
		job, err := jobs.Get(context.Background(), p.db, id)
		return err == nil && job.State == state
	}, atMost, 20*time.Millisecond, "job %s should become %s", id, state)
}

// slack is for a busy machine.
const slack = 3 * time.Second

func TestEverythingGoesOnByPollingBehindAPooler(t *testing.T) {
	t.Parallel()
	p := startPolling(t)
	require.NoError(t, queue.SetControl(t.Context(), p.db, queue.Control{Queue: "paused", Weight: 1, Paused: true}))
	p.await(t, p.add(t, "default", `1`, 0), queue.Succeeded, 2*time.Second+slack)
	p.await(t, p.add(t, "default", `1`, time.Second), queue.Succeeded, 5*time.Second+slack)
	for range len(p.running) {
		<-p.running
	}
	lasting := p.add(t, "default", `"last"`, 0)
	require.Equal(t, lasting, <-p.running)
	_, err := queue.Cancel(t.Context(), p.db, lasting)
	require.NoError(t, err)
	p.await(t, lasting, queue.Canceled, 2*time.Second+slack)

	held := p.add(t, "paused", `1`, 0)
	require.NoError(t, queue.SetControl(t.Context(), p.db, queue.Control{Queue: "paused", Weight: 1}))
	p.await(t, held, queue.Succeeded, 7*time.Second+slack)

	var id uuid.UUID
	require.NoError(t, p.db.GetContext(t.Context(), &id, `SELECT signalstack.send_event('a', '{}')`))
	require.Eventually(t, func() bool {
		var there bool
		err := p.db.GetContext(context.Background(), &there, `SELECT EXISTS (SELECT FROM signalstack.events WHERE id = $1)`, id)
		return err == nil && there
	}, 2*time.Second+slack, 20*time.Millisecond)
	p.stop()
	require.Contains(t, p.log.String(), "not listening for jobs; polling only")
	require.Contains(t, p.log.String(), "not listening for events from SQL; polling only")
	require.Contains(t, p.log.String(), directSetting)
}
