package jobs_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/pgtest"
	"github.com/signalstack/signalstack/internal/queue"
)

// freezer stands between a pool and the server. While it is frozen nothing goes
// through in either direction, and nothing is lost but the answers to some commits.
type freezer struct {
	dsn    string
	gate   sync.RWMutex // held to freeze
	losses atomic.Int32 // how many answers to a COMMIT are yet to be lost
}

func newFreezer(t *testing.T, dsn string) *freezer {
	t.Helper()
	u, err := url.Parse(dsn)
	require.NoError(t, err)
	q := u.Query()
	network, address := "tcp", u.Host
	if dir := q.Get("host"); dir != "" {
		network, address = "unix", dir+"/.s.PGSQL."+u.Port()
	}
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	q.Del("host")
	q.Set("sslmode", "disable")
	u.Host, u.RawQuery = l.Addr().String(), q.Encode()
	f := &freezer{dsn: u.String()}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			var dialer net.Dialer
			server, err := dialer.DialContext(context.Background(), network, address)
			if err != nil {
				_ = client.Close()
				continue
			}
			var cut atomic.Bool
			go f.pump(client, server, func(sent []byte) bool {
				if bytes.Contains(sent, []byte("COMMIT")) && f.losses.Add(-1) >= 0 {
					cut.Store(true)
				}
				return true
			})
			go f.pump(server, client, func([]byte) bool { return !cut.Load() })
		}
	}()
	return f
}

// pump hands on what comes, and ends both connections before what pass refuses.
func (f *freezer) pump(from, to net.Conn, pass func([]byte) bool) {
	defer func() { _, _ = from.Close(), to.Close() }()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 && !pass(buf[:n]) {
			return
		}
		if n > 0 {
			f.gate.RLock()
			_, failed := to.Write(buf[:n])
			f.gate.RUnlock()
			if failed != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// freeze lets nothing through until thaw.
func (f *freezer) freeze() { f.gate.Lock() }
func (f *freezer) thaw()   { f.gate.Unlock() }

// reap runs a reaper on a pool until the test ends.
func reap(t *testing.T, db *pg.DB, lease time.Duration) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	reaper := &queue.Reaper{DB: db, Log: slog.New(slog.DiscardHandler), Interval: lease / 3, Lease: lease}
	go func() { _ = reaper.Run(ctx); close(done) }()
	t.Cleanup(func() { stop(); <-done })
}

// TestStallOfTheDatabaseBurnsNoAttempt freezes the database for nearly a lease, for
// workers and reaper alike. No worker died, so nothing may run twice, although the
// reaper hears from the database a moment before the workers do.
func TestStallOfTheDatabaseBurnsNoAttempt(t *testing.T) {
	t.Parallel()
	const n, lease = 30, 3 * time.Second
	dsn := pgtest.URL(t)
	workers, reapers := newFreezer(t, dsn), newFreezer(t, dsn)
	require.NoError(t, queue.EnsureAhead(t.Context(), pgtest.Open(t, dsn)))
	release := make(chan struct{})
	var runs atomic.Int32
	b := startOn(t, pgtest.Open(t, workers.dsn), func(ctx context.Context, _ jobs.Job) (jobs.Result, error) {
		runs.Add(1)
		select {
		case <-release:
			return jobs.Result{}, nil
		case <-ctx.Done():
			return jobs.Result{}, ctx.Err()
		}
	}, func(c *jobs.RunnerConfig) { c.Lease, c.Queues = lease, map[string]int{"default": n} })
	reap(t, pgtest.Open(t, reapers.dsn), lease)
	var ids []uuid.UUID
	for range n { // one by one, so that their leases run out at different moments
		ids = append(ids, b.add(t))
		<-time.After(lease / n / 2)
	}
	require.Eventually(t, func() bool { return runs.Load() == n }, 10*time.Second, 10*time.Millisecond)
	<-time.After(lease + lease/3) // the reaper has seen a whole lease of calm
	workers.freeze()
	reapers.freeze()
	<-time.After(lease - 100*time.Millisecond)
	reapers.thaw()
	<-time.After(100 * time.Millisecond)
	workers.thaw()
	<-time.After(lease / 2) // whoever would be reaped is by now
	close(release)
	for _, id := range ids {
		job := b.await(t, id, queue.Succeeded)
		require.Len(t, job.Attempts, 1)
	}
	require.Equal(t, int32(n), runs.Load())
	require.Zero(t, b.runner.Stale())
}

// TestWorkerThatStoodStillChangesNothingWhenItWakes freezes the connections of one
// of two workers past its lease. Half of its jobs end while it stands still, the
// other half run on; all of them run again elsewhere when it wakes.
func TestWorkerThatStoodStillChangesNothingWhenItWakes(t *testing.T) {
	t.Parallel()
	const n, lease = 6, time.Second
	dsn := pgtest.URL(t)
	direct, f := pgtest.Open(t, dsn), newFreezer(t, dsn)
	require.NoError(t, queue.EnsureAhead(t.Context(), direct))
	finish := make(chan struct{})
	var begun, canceled atomic.Int32
	sleeper := startOn(t, pgtest.Open(t, f.dsn), func(ctx context.Context, _ jobs.Job) (jobs.Result, error) {
		if begun.Add(1) <= n/2 {
			<-finish
			return jobs.Result{}, nil
		}
		<-ctx.Done()
		canceled.Add(1)
		return jobs.Result{}, ctx.Err()
	}, func(c *jobs.RunnerConfig) { c.Lease, c.Queues = lease, map[string]int{"default": n} })
	var ids []uuid.UUID
	for range n {
		ids = append(ids, sleeper.add(t))
	}
	require.Eventually(t, func() bool { return begun.Load() == n }, 10*time.Second, 10*time.Millisecond)

	f.freeze()
	var again atomic.Int32
	over := make(chan struct{})
	other := startOn(t, direct, func(context.Context, jobs.Job) (jobs.Result, error) {
		again.Add(1)
		<-over
		return jobs.Result{}, nil
	}, func(c *jobs.RunnerConfig) { c.Lease = lease })
	reap(t, direct, lease)
	close(finish)
	require.Eventually(t, func() bool { return again.Load() == n }, 15*time.Second, 10*time.Millisecond)
	f.thaw()
	require.Eventually(t, func() bool { return sleeper.runner.Stale() == n }, 15*time.Second, 10*time.Millisecond, "every outcome is dropped")
	require.Equal(t, int32(n-n/2), canceled.Load(), "what still ran was told to stop")
	close(over)
	for _, id := range ids {
		job := other.await(t, id, queue.Succeeded)
		require.Len(t, job.Attempts, 2)
		require.Equal(t, queue.OutcomeCrashed, job.Attempts[0].Outcome)
		require.Equal(t, queue.OutcomeSucceeded, job.Attempts[1].Outcome)
		require.NotEqual(t, job.Attempts[0].Worker, job.Attempts[1].Worker, "the second run stands")
	}
	require.Zero(t, other.runner.Stale())
}
