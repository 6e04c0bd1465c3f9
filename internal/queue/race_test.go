package queue_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/analytics"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

// addAndCount enqueues as the ways in do, with the facts in the same transaction.
func addAndCount(ctx context.Context, tx *sqlx.Tx, batch []queue.NewJob) error {
	if err := queue.Enqueue(ctx, tx, batch); err != nil {
		return err
	}
	var deltas []analytics.Delta
	for _, j := range batch {
		deltas = append(deltas, analytics.Delta{Fact: analytics.JobCreated, Tenant: j.Tenant, Kind: j.Kind, Queue: j.Queue})
	}
	return analytics.Record(ctx, tx, deltas)
}

func enqueueCounted(t *testing.T, db *pg.DB, batch ...queue.NewJob) {
	t.Helper()
	require.NoError(t, pg.InTx(t.Context(), db, func(tx *sqlx.Tx) error { return addAndCount(t.Context(), tx, batch) }))
}

// TestEveryLeaseEndsOnceWhenWorkersRaceTheReaper settles 1,000 claims in the very
// moment in which their leases run out.
func TestEveryLeaseEndsOnceWhenWorkersRaceTheReaper(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	const n = 1000
	batch := make([]queue.NewJob, n)
	for i := range batch {
		batch[i] = newJob(func(j *queue.NewJob) {
			if i%10 == 0 { // each key with one job, so that all can be claimed
				j.OrderingKey = fmt.Sprintf("k%d", i)
			}
		})
	}
	enqueueCounted(t, db, batch...)
	claims := claim(t, claimer(db), n)
	require.Len(t, claims, n)
	rand.Shuffle(n, func(i, j int) { claims[i], claims[j] = claims[j], claims[i] })
	settled, reaped := map[queue.Held]queue.State{}, map[uuid.UUID]queue.Reaped{}
	errs := make([]error, 2)
	settle := func(at int) {
		var states map[queue.Held]queue.State
		errs[0] = pg.InTx(context.Background(), db, func(tx *sqlx.Tx) (err error) {
			states, err = settleAndCount(context.Background(), tx, settlements(claims[at:at+20]))
			return err
		})
		for h, state := range states {
			settled[h] = state
		}
	}
	settle(0) // so that both have some, however the race goes; the last ones are the reaper's
	// The leases run out one after the other, as fast as they are settled.
	_, err := db.ExecContext(t.Context(), `
		UPDATE signalstack.running SET lease_until = now() + n * interval '200 microseconds'
		FROM (SELECT job_id, row_number() OVER (ORDER BY job_id) AS n FROM signalstack.running) AS r WHERE r.job_id = running.job_id`)
	require.NoError(t, err)

	var racing sync.WaitGroup
	racing.Go(func() {
		for at := 20; at < n-20 && errs[0] == nil; at += 20 {
			settle(at)
		}
	})
	racing.Go(func() {
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
			got, err := queue.Reap(context.Background(), db, time.Time{}, 600*time.Millisecond)
			for _, r := range got {
				reaped[r.ID] = r
			}
			var left int
			if err == nil { // else it takes a slow moment for an outage
				errs[1] = db.Get(&left, `SELECT count(*) FROM signalstack.running`)
			}
			if err == nil && left == 0 {
				return
			}
		}
	})
	racing.Wait()
	require.NoError(t, errs[0])
	require.NoError(t, errs[1])
	t.Logf("%d settled, %d reaped", len(settled), len(reaped))
	require.NotEmpty(t, settled)
	require.NotEmpty(t, reaped)
	require.Equal(t, n, len(settled)+len(reaped), "each lease has one end")
	for _, c := range claims {
		_, bySettle := settled[held(c)]
		_, byReap := reaped[c.ID]
		require.NotEqual(t, bySettle, byReap, "job %s", c.ID)
	}
	require.Equal(t, len(reaped), count(t, db, "attempts WHERE outcome = 'crashed'"))
	require.Equal(t, n-count(t, db, "ready"), count(t, db, "attempts WHERE state <> 'retrying'"))
	checkInvariants(t, db)
}

// settlements ends claims one way or the other.
func settlements(claims []queue.Claimed) []queue.Settlement {
	ends := []queue.State{queue.Succeeded, queue.Failed, queue.Retrying}
	batch := make([]queue.Settlement, len(claims))
	for i, c := range claims {
		batch[i] = queue.Settlement{
			JobID: c.ID, Lease: c.Lease, Tenant: c.Tenant, OrderingKey: c.OrderingKey, Skips: c.Skips, State: ends[i%len(ends)], Outcome: queue.OutcomeError,
		}
		if c.Attempt == c.MaxAttempts {
			batch[i].State = queue.Failed
		}
	}
	return batch
}

// idAt is a UUIDv7 of a clock that is off.
func idAt(off time.Duration) uuid.UUID {
	id := uuid.Must(uuid.NewV7())
	first := queue.FirstID(time.Now().Add(off))
	copy(id[:6], first[:6])
	return id
}

// TestClockOfTheProcessDecidesNothing runs a job's way with the clock of whoever
// makes ids and wakes promoters five minutes off: only the ids show it.
func TestClockOfTheProcessDecidesNothing(t *testing.T) {
	t.Parallel()
	for _, off := range []time.Duration{-5 * time.Minute, 0, 5 * time.Minute} {
		t.Run(off.String(), func(t *testing.T) {
			t.Parallel()
			db := newDB(t)
			require.NoError(t, queue.EnsurePartitions(t.Context(), db, time.Now().Add(off))) // may be another day
			skewed := func(change ...func(*queue.NewJob)) queue.NewJob {
				return newJob(append(change, func(j *queue.NewJob) { j.ID = idAt(off) })...)
			}
			// Between jobs of clocks that are right: the order of coming is the database's.
			first, second, third := newJob(), skewed(), newJob()
			soon := skewed(func(j *queue.NewJob) { j.Delay = 50 * time.Millisecond })
			late := skewed(func(j *queue.NewJob) { j.Delay = time.Minute })
			for _, j := range []queue.NewJob{first, second, third, soon, late} {
				enqueueCounted(t, db, j)
			}
			c := lazy(db)
			for _, want := range []queue.NewJob{first, second, third} {
				got := claim(t, c, 1)
				require.Len(t, got, 1)
				require.Equal(t, want.ID, got[0].ID, "in the order of coming, not of ids")
				require.Equal(t, 1, count(t, db, "running WHERE lease_until - started_at = interval '1 minute' AND started_at > now() - interval '30 seconds'"))
				require.Len(t, settleCounted(t, db, settlements(got)...), 1)
			}
			require.Empty(t, claim(t, c, 10))

			p := queue.NewPromoter(db, discard())
			p.Wake(time.Now().Add(off)) // by the clock of the worker
			require.NoError(t, p.Pass(t.Context()))
			require.Eventually(t, func() bool {
				p.Wake(time.Now().Add(off))
				return p.Pass(t.Context()) == nil && count(t, db, "ready") == 1
			}, 10*time.Second, 5*time.Millisecond)
			c.Forget()
			got := claim(t, c, 10)
			require.Len(t, got, 1, "five minutes bring no job forward")
			require.Equal(t, soon.ID, got[0].ID)
			require.GreaterOrEqual(t, got[0].ReadyAt.Sub(got[0].CreatedAt), 50*time.Millisecond)
			require.Len(t, settleCounted(t, db, settlements(got)...), 1)
			require.Equal(t, late.ID, leftOver(t, db))
			checkInvariants(t, db)
		})
	}
}

func settleCounted(t *testing.T, db *pg.DB, s ...queue.Settlement) (states map[queue.Held]queue.State) {
	t.Helper()
	require.NoError(t, pg.InTx(t.Context(), db, func(tx *sqlx.Tx) (err error) {
		states, err = settleAndCount(t.Context(), tx, s)
		return err
	}))
	return states
}

func leftOver(t *testing.T, db *pg.DB) (id uuid.UUID) {
	t.Helper()
	require.NoError(t, db.GetContext(t.Context(), &id, `SELECT job_id FROM signalstack.scheduled`))
	return id
}

// TestDeadlocksAreRunAgain has two transactions take the same two ordering keys one
// after the other, in opposite orders: the server ends one of them, and its caller
// does not notice.
func TestDeadlocksAreRunAgain(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	enqueueCounted(t, db, newJob(keyed("a")), newJob(keyed("b")))
	claims := map[string]queue.Claimed{}
	for _, c := range claim(t, claimer(db), 2) {
		claims[c.OrderingKey] = c
	}
	require.Len(t, claims, 2)
	var meet, done sync.WaitGroup
	meet.Add(2)
	errs, tries := make([]error, 2), make([]int, 2)
	for i, keys := range [][]string{{"a", "b"}, {"b", "a"}} {
		done.Go(func() {
			next := newJob(keyed(keys[1]))
			errs[i] = pg.InTx(context.Background(), db, func(tx *sqlx.Tx) error {
				tries[i]++
				if _, err := settleAndCount(context.Background(), tx, settlements([]queue.Claimed{claims[keys[0]]})); err != nil {
					return err
				}
				if tries[i] == 1 { // each holds its first key
					meet.Done()
					meet.Wait()
				}
				return addAndCount(context.Background(), tx, []queue.NewJob{next})
			})
		})
	}
	done.Wait()
	require.NoError(t, errs[0])
	require.NoError(t, errs[1])
	require.GreaterOrEqual(t, tries[0]+tries[1], 3, "one was run again")
	require.Equal(t, 2, count(t, db, "ready"), "the next of each key")
	checkInvariants(t, db)
}

// TestBatchesOfOverlappingKeysDoNotDeadlock has writers and workers use many keys
// in one call each, in any order: none of them has to be run again.
func TestBatchesOfOverlappingKeysDoNotDeadlock(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	const writers, rounds, keys = 3, 10, 8
	ctx := context.Background()
	var calls, tries, ends atomic.Int32
	inTx := func(f func(*sqlx.Tx) error) {
		calls.Add(1)
		err := pg.InTx(ctx, db, func(tx *sqlx.Tx) error {
			tries.Add(1)
			return f(tx)
		})
		if err != nil {
			t.Errorf("a caller noticed: %v", err)
			ends.Store(writers * rounds * keys) // the workers need not wait
		}
	}
	var working sync.WaitGroup
	for range writers {
		working.Go(func() {
			for range rounds {
				batch := make([]queue.NewJob, keys)
				for i, key := range rand.Perm(keys) {
					batch[i] = newJob(keyed(fmt.Sprintf("k%d", key)))
				}
				inTx(func(tx *sqlx.Tx) error { return addAndCount(ctx, tx, batch) })
			}
		})
		working.Go(func() {
			c := claimer(db)
			for ends.Load() < writers*rounds*keys {
				claims, err := c.Claim(ctx, keys/2)
				if err != nil {
					t.Errorf("claim: %v", err)
					return
				}
				if len(claims) == 0 {
					continue
				}
				var states map[queue.Held]queue.State
				inTx(func(tx *sqlx.Tx) (err error) {
					states, err = settleAndCount(ctx, tx, settlements(claims))
					return err
				})
				for _, state := range states {
					if state.Final() {
						ends.Add(1)
					}
				}
			}
		})
	}
	working.Wait()
	require.Equal(t, calls.Load(), tries.Load())
	require.Equal(t, 0, count(t, db, "ordered"))
	checkInvariants(t, db)
}
