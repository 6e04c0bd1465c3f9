package queue_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

// after makes a job wait for others.
func after(before ...queue.NewJob) func(*queue.NewJob) {
	return func(j *queue.NewJob) {
		for _, b := range before {
			j.After = append(j.After, b.ID)
		}
	}
}

func anyEnd(j *queue.NewJob) { j.AfterAny = true }

// resolve makes passes until nothing is marked.
func resolve(t *testing.T, db *pg.DB) {
	t.Helper()
	r := queue.NewResolver(db, discard())
	for count(t, db, "followed") > 0 {
		require.NoError(t, r.Pass(t.Context()))
	}
}

// claimedIDs claims and gives the ids.
func claimedIDs(t *testing.T, c *queue.Claimer) (ids []uuid.UUID) {
	t.Helper()
	for _, j := range claim(t, c, 100) {
		ids = append(ids, j.ID)
	}
	return ids
}

// reason is why a job was canceled.
func reason(t *testing.T, db *pg.DB, id uuid.UUID) (why string) {
	t.Helper()
	require.NoError(t, db.GetContext(t.Context(), &why, `SELECT error FROM signalstack.attempts WHERE job_id = $1 AND state = 'canceled'`, id))
	return why
}

func TestAJobComesWhenTheLastThatItWaitsForHasEnded(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	a, b := newJob(), newJob()
	both := newJob(after(a, b))
	enqueue(t, db, a, b, both)
	c := claimer(db)
	resolve(t, db) // what is said at the insert is looked at, and has not ended
	got := claim(t, c, 10)
	require.Len(t, got, 2)
	end(t, db, got[0], queue.Succeeded)
	resolve(t, db)
	require.Empty(t, claim(t, c, 10), "one of two has ended")
	settle(t, db, queue.Settlement{JobID: got[1].ID, Lease: got[1].Lease, State: queue.Retrying, Outcome: queue.OutcomeError, Delay: time.Hour})
	resolve(t, db)
	require.Empty(t, claimedIDs(t, lazy(db)), "one that is tried again has not ended")
	_, err := db.ExecContext(t.Context(), `UPDATE signalstack.scheduled SET run_at = now()`)
	require.NoError(t, err)
	require.NoError(t, queue.NewPromoter(db, discard()).Pass(t.Context()))
	again := claim(t, lazy(db), 10)
	require.Len(t, again, 1)
	end(t, db, again[0], queue.Succeeded)
	resolve(t, db)
	last := claim(t, lazy(db), 10)
	require.Len(t, last, 1)
	require.Equal(t, both.ID, last[0].ID)
	require.NotNil(t, last[0].AfterJobs)
	require.Zero(t, count(t, db, "dependencies")+count(t, db, "blocked"))
}

func TestWhoWaitsForAFailureIsCanceledAndSoIsWhoWaitsForThat(t *testing.T) {
	t.Parallel()
	for _, how := range []queue.State{queue.Failed, queue.Canceled} {
		db := newDB(t)
		a, other := newJob(), newJob()
		next := newJob(after(a, other))
		last, anyhow := newJob(after(next)), newJob(after(next, a), anyEnd)
		enqueue(t, db, a, next, last, anyhow)
		c := claimer(db)
		end(t, db, claim(t, c, 10)[0], how)
		resolve(t, db)
		require.Equal(t, []uuid.UUID{anyhow.ID}, claimedIDs(t, lazy(db)))
		require.Contains(t, reason(t, db, next.ID), a.ID.String())
		require.Contains(t, reason(t, db, last.ID), next.ID.String())
		require.Zero(t, count(t, db, "dependencies")+count(t, db, "blocked"))
	}
}

func TestWaitingForJobsThatHaveEndedOrAreGone(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	good, bad := newJob(), newJob()
	enqueue(t, db, good, bad)
	for _, j := range claim(t, claimer(db), 10) {
		end(t, db, j, map[bool]queue.State{true: queue.Succeeded, false: queue.Failed}[j.ID == good.ID])
	}
	comes, vain, whatever, lost := newJob(after(good)), newJob(after(good, bad)), newJob(after(bad), anyEnd), newJob(after(newJob()))
	enqueue(t, db, comes, vain, whatever, lost)
	resolve(t, db)
	require.ElementsMatch(t, []uuid.UUID{comes.ID, whatever.ID}, claimedIDs(t, lazy(db)))
	require.Contains(t, reason(t, db, vain.ID), "ended as failed")
	require.Contains(t, reason(t, db, lost.ID), "not kept any more")
}

// atOld runs f in a transaction that sees nothing of what is written from now on.
func atOld(t *testing.T, db *pg.DB, f func(*sqlx.Tx)) {
	t.Helper()
	require.NoError(t, pg.InTx(t.Context(), db, func(tx *sqlx.Tx) error {
		if _, err := tx.ExecContext(t.Context(), `SET TRANSACTION ISOLATION LEVEL REPEATABLE READ`); err != nil {
			return err
		}
		_, err := tx.ExecContext(t.Context(), `SELECT FROM signalstack.dependencies`)
		f(tx)
		return err
	}))
}

// waitsForALock waits until some transaction of the database waits for another.
func waitsForALock(t *testing.T, db *pg.DB) {
	t.Helper()
	require.Eventually(t, func() bool {
		var waits bool
		return db.GetContext(t.Context(), &waits, `
			SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'
			               AND pid IN (SELECT pid FROM pg_stat_activity WHERE datname = current_database()))`) == nil && waits
	}, 5*time.Second, 5*time.Millisecond)
}

// A settle that is not committed yet, and did not see who waits, is waited for.
func TestAnEndThatDidNotSeeWhoWaitsIsWaitedFor(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	first := newJob()
	follower := newJob(after(first))
	enqueue(t, db, first)
	got := claim(t, claimer(db), 1)[0]
	passed := make(chan error, 1)
	atOld(t, db, func(tx *sqlx.Tx) {
		enqueue(t, db, follower)
		states, err := queue.Settle(t.Context(), tx, []queue.Settlement{{JobID: got.ID, Lease: got.Lease, State: queue.Succeeded, Outcome: queue.OutcomeSucceeded}})
		require.NoError(t, err)
		require.Len(t, states, 1)
		go func() { passed <- queue.NewResolver(db, discard()).Pass(context.WithoutCancel(t.Context())) }()
		waitsForALock(t, db)
	})
	require.NoError(t, <-passed)
	require.Equal(t, []uuid.UUID{follower.ID}, claimedIDs(t, lazy(db)))
}

// A settle that began before somebody waited, and ends the job after that was looked at,
// looks again.
func TestASettleThatBeganBeforeSomebodyWaitedTellsOfTheEnd(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	gate, first := newJob(), newJob()
	follower := newJob(after(first))
	enqueue(t, db, gate, first)
	var all []queue.Settlement
	for _, j := range claim(t, claimer(db), 2) {
		all = append(all, queue.Settlement{JobID: j.ID, Lease: j.Lease, State: queue.Succeeded, Outcome: queue.OutcomeSucceeded})
	}
	slices.SortFunc(all, func(a, b queue.Settlement) int { return bytes.Compare(a.JobID[:], b.JobID[:]) })
	settled := make(chan error, 1)
	require.NoError(t, pg.InTx(t.Context(), db, func(tx *sqlx.Tx) error {
		if _, err := tx.ExecContext(t.Context(), `SELECT FROM signalstack.running WHERE job_id = $1 FOR UPDATE`, gate.ID); err != nil {
			return err
		}
		go func() {
			settled <- pg.InSteadyTx(context.WithoutCancel(t.Context()), db, func(tx *sqlx.Tx) error {
				states, err := queue.Settle(context.WithoutCancel(t.Context()), tx, all)
				if err == nil && len(states) != len(all) {
					err = fmt.Errorf("%d of %d were settled", len(states), len(all))
				}
				return err
			})
		}()
		waitsForALock(t, db) // the settle has begun, and ends the gate's job first
		enqueue(t, db, follower)
		return queue.NewResolver(db, discard()).Pass(t.Context())
	}))
	require.NoError(t, <-settled)
	require.Equal(t, 1, count(t, db, "followed"), "the end is told")
	resolve(t, db)
	require.Equal(t, []uuid.UUID{follower.ID}, claimedIDs(t, lazy(db)))
}

func TestACancelThatIsNotToldIsFound(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	first := newJob()
	follower := newJob(after(first), anyEnd)
	enqueue(t, db, first)
	atOld(t, db, func(tx *sqlx.Tx) {
		enqueue(t, db, follower)
		canceled, err := queue.CancelWaiting(t.Context(), tx, first.ID)
		require.NoError(t, err)
		require.True(t, canceled)
		resolve(t, db)
	})
	require.Zero(t, count(t, db, "followed"))
	require.Equal(t, 1, count(t, db, "blocked"), "the end was told by neither")
	require.NoError(t, (&queue.FlowSweeper{DB: db, Log: discard()}).Pass(t.Context()))
	resolve(t, db)
	require.Equal(t, []uuid.UUID{follower.ID}, claimedIDs(t, lazy(db)))
}

func TestBlockedJobsAreCanceledAndChanged(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	first := newJob()
	canceled, many, later := newJob(after(first)), newJob(after(first)), newJob(after(first))
	behind := newJob(after(canceled, many), anyEnd)
	urgent := newJob(after(first), func(j *queue.NewJob) { j.Delay = time.Hour })
	enqueue(t, db, first, canceled, many, later, behind, urgent)

	state, err := queue.Cancel(t.Context(), db, canceled.ID)
	require.NoError(t, err)
	require.Equal(t, queue.Canceled, state)
	require.NoError(t, pg.InTx(t.Context(), db, func(tx *sqlx.Tx) error {
		n, asked, err := queue.CancelMany(t.Context(), tx, []uuid.UUID{many.ID})
		require.Equal(t, []int{1, 0}, []int{n, asked})
		return err
	}))
	hour, now, top := time.Now().Add(time.Hour), time.Now(), 1
	require.NoError(t, queue.Change{RunAt: &hour}.Apply(t.Context(), db, later.ID))
	require.NoError(t, queue.Change{RunAt: &now, Priority: &top}.Apply(t.Context(), db, urgent.ID))

	end(t, db, claim(t, claimer(db), 10)[0], queue.Succeeded)
	resolve(t, db)
	got := claim(t, lazy(db), 10)
	require.Len(t, got, 2)
	ids := []uuid.UUID{got[0].ID, got[1].ID}
	require.ElementsMatch(t, []uuid.UUID{behind.ID, urgent.ID}, ids, "one waits for any end, the other was put forward")
	require.Equal(t, 1, got[slices.Index(ids, urgent.ID)].Priority)
	require.Equal(t, 1, count(t, db, "scheduled"), "one was put off")

	require.NoError(t, queue.Retry(t.Context(), db, canceled.ID), "a retry does not wait again")
	require.Equal(t, []uuid.UUID{canceled.ID}, claimedIDs(t, lazy(db)))
}

func TestBlockedJobsEnterTheirOrderWhenTheyCome(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	gate := newJob()
	late, head := newJob(after(gate), keyed("k")), newJob(keyed("k"))
	enqueue(t, db, gate, late, head)
	c := lazy(db)
	got := claim(t, c, 10)
	require.Len(t, got, 2, "one that waits for others holds up no other of its key")
	for _, j := range got {
		if j.ID == gate.ID {
			end(t, db, j, queue.Succeeded)
		}
	}
	resolve(t, db)
	require.Empty(t, claim(t, c, 10), "now it waits behind the other of its key")
	for _, j := range got {
		if j.ID == head.ID {
			end(t, db, j, queue.Succeeded)
		}
	}
	require.Equal(t, []uuid.UUID{late.ID}, claimedIDs(t, lazy(db)))
}

// Ten thousand that end at once touch no row of the one that waits for them.
func TestTenThousandAreWaitedFor(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	const n = 10_000
	var last queue.NewJob
	for range n / 1000 {
		batch := make([]queue.NewJob, 1000)
		for i := range batch {
			batch[i] = newJob()
			last.After = append(last.After, batch[i].ID)
		}
		enqueue(t, db, batch...)
	}
	last = newJob(func(j *queue.NewJob) { j.After = last.After })
	enqueue(t, db, last)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	resolver := queue.NewResolver(db, discard())
	resolved := make(chan error, 1)
	go func() { resolved <- resolver.Run(ctx) }()
	place := func() (at string) { // of its version, which an update changes
		require.NoError(t, db.GetContext(t.Context(), &at, `SELECT ctid::text FROM signalstack.blocked WHERE job_id = $1`, last.ID))
		return at
	}
	c, began, written := lazy(db), time.Now(), place()
	for done := 0; done < n; {
		require.Equal(t, written, place(), "no end touches the row of the job that waits")
		got := claim(t, c, 500)
		all := make([]queue.Settlement, len(got))
		for i, j := range got {
			all[i] = queue.Settlement{JobID: j.ID, Lease: j.Lease, State: queue.Succeeded, Outcome: queue.OutcomeSucceeded}
		}
		settle(t, db, all...)
		resolver.Wake()
		done += len(got)
	}
	require.Eventually(t, func() bool { resolver.Wake(); return count(t, db, "blocked") == 0 }, 20*time.Second, 10*time.Millisecond)
	t.Logf("%d ended and were waited for in %s", n, time.Since(began))
	require.Equal(t, []uuid.UUID{last.ID}, claimedIDs(t, lazy(db)))
	stop()
	require.NoError(t, <-resolved)
}

// A random flow, whose jobs end in random ways while two resolvers race, comes to what
// the rules say of it.
func TestRandomFlows(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(seed, 1))
			db := newDB(t)
			const n = 60
			jobs := make([]queue.NewJob, n)
			for i := range jobs {
				jobs[i] = newJob()
				jobs[i].AfterAny = rnd.IntN(3) == 0
				for range rnd.IntN(4) {
					if i > 0 {
						if id := jobs[rnd.IntN(i)].ID; !slices.Contains(jobs[i].After, id) {
							jobs[i].After = append(jobs[i].After, id)
						}
					}
				}
			}
			enqueue(t, db, jobs[:n/2]...)
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			for range 2 {
				r := queue.NewResolver(db, discard())
				go func() { _ = r.Run(ctx) }()
				go func() {
					tick := time.NewTicker(time.Millisecond)
					defer tick.Stop()
					for ctx.Err() == nil {
						<-tick.C
						r.Wake()
					}
				}()
			}
			sweeper, c := &queue.FlowSweeper{DB: db, Log: discard()}, lazy(db)
			ways := []queue.State{queue.Succeeded, queue.Succeeded, queue.Succeeded, queue.Failed, queue.Canceled}
			for turn := 0; turn < 20 || count(t, db, "blocked")+count(t, db, "ready")+count(t, db, "running") > 0; turn++ {
				require.Less(t, turn, 2000, "it goes on for ever")
				if turn == 5 {
					enqueue(t, db, jobs[n/2:]...)
				}
				for _, j := range claim(t, c, 1+rnd.IntN(5)) {
					end(t, db, j, ways[rnd.IntN(len(ways))])
				}
				if rnd.IntN(10) == 0 {
					_, _ = queue.Cancel(t.Context(), db, jobs[rnd.IntN(n)].ID)
				}
				if turn%20 == 19 {
					require.NoError(t, sweeper.Pass(t.Context()))
				}
			}
			stop()
			checkFlow(t, db, jobs)
		})
	}
}

// checkFlow says what became of each job of a flow by what became of those before it.
func checkFlow(t *testing.T, db *pg.DB, jobs []queue.NewJob) {
	t.Helper()
	var rows []struct {
		ID       uuid.UUID `db:"job_id"`
		State    queue.State
		Worker   uuid.NullUUID
		Error    string
		Started  time.Time `db:"started_at"`
		Finished time.Time `db:"finished_at"`
	}
	require.NoError(t, db.SelectContext(t.Context(), &rows, `SELECT job_id, state, worker, error, started_at, finished_at FROM signalstack.attempts`))
	require.Len(t, rows, len(jobs), "each has ended once")
	at := map[uuid.UUID]int{}
	for i, r := range rows {
		at[r.ID] = i
	}
	for _, j := range jobs {
		r, vain := rows[at[j.ID]], false
		for _, id := range j.After {
			before := rows[at[id]]
			vain = vain || !j.AfterAny && before.State != queue.Succeeded
			if r.Worker.Valid {
				require.False(t, r.Started.Before(before.Finished), "it began before the end of what it waits for")
			}
		}
		switch {
		case r.Worker.Valid:
			require.False(t, vain, "%s ran in vain", j.ID)
		case r.Error != "":
			require.True(t, vain, "%s: %s", j.ID, r.Error)
		default: // an operator canceled it
			require.Equal(t, queue.Canceled, r.State)
		}
	}
	require.Zero(t, count(t, db, "dependencies")+count(t, db, "followed"))
}
