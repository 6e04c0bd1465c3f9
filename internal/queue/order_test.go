package queue_test

import (
	"cmp"
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

func keyed(key string) func(*queue.NewJob) {
	return func(j *queue.NewJob) { j.OrderingKey = key }
}

func TestJobsOfAnOrderingKeyRunOneAfterTheOther(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	a := []queue.NewJob{newJob(keyed("a")), newJob(keyed("a")), newJob(keyed("a"))}
	b := newJob(keyed("b"))
	enqueue(t, db, a[0], a[1], b)
	enqueue(t, db, a[2])
	c := claimer(db)
	got := claim(t, c, 10)
	require.Len(t, got, 2, "the first of each key")

	first := got[0]
	if first.ID == b.ID {
		first = got[1]
	}
	settle(t, db, queue.Settlement{
		JobID: first.ID, Lease: first.Lease, Tenant: first.Tenant, OrderingKey: "a", State: queue.Retrying, Outcome: queue.OutcomeError, Delay: time.Hour,
	})
	require.Empty(t, claim(t, c, 10), "an attempt that is tried again keeps its place")
	_, err := db.ExecContext(t.Context(), `UPDATE signalstack.scheduled SET run_at = now() - interval '1 second'`)
	require.NoError(t, err)
	promoteAll(t, db)
	again := claim(t, c, 10)
	require.Len(t, again, 1)
	require.Equal(t, a[0].ID, again[0].ID)
	end(t, db, again[0], queue.Failed)
	next := claim(t, c, 10)
	require.Len(t, next, 1)
	require.Equal(t, a[1].ID, next[0].ID, "a failed one does not block the others")
	end(t, db, next[0], queue.Succeeded)
	require.Equal(t, a[2].ID, claim(t, c, 10)[0].ID)
}

// skipping has a job pass its turn on when an attempt fails.
func skipping(key string) func(*queue.NewJob) {
	return func(j *queue.NewJob) { j.OrderingKey, j.Skips = key, true }
}

// TestJobThatSkipsPassesItsTurnOnOnce ends the first attempt at the first of three jobs
// in each way, and looks who has a turn then, and that the end of a job which skipped
// moves nobody.
func TestJobThatSkipsPassesItsTurnOnOnce(t *testing.T) {
	t.Parallel()
	turn := func(state queue.State, outcome string) func(*testing.T, *pg.DB, queue.Claimed) {
		return func(t *testing.T, db *pg.DB, c queue.Claimed) {
			settle(t, db, queue.Settlement{
				JobID: c.ID, Lease: c.Lease, Tenant: c.Tenant, OrderingKey: c.OrderingKey, Skips: c.Skips, State: state, Outcome: outcome, Delay: time.Hour,
			})
		}
	}
	for name, c := range map[string]struct {
		end    func(*testing.T, *pg.DB, queue.Claimed)
		passes bool // on its turn
		waits  bool // for another attempt
	}{
		"succeeded":   {turn(queue.Succeeded, queue.OutcomeSucceeded), true, false},
		"failed":      {turn(queue.Failed, queue.OutcomePermanent), true, false},
		"tried again": {turn(queue.Retrying, queue.OutcomeError), true, true},
		"throttled":   {turn(queue.Retrying, queue.OutcomeThrottled), false, true},
		"handed back": {turn(queue.Released, ""), false, true},
		"crashed": {func(t *testing.T, db *pg.DB, _ queue.Claimed) {
			_, err := db.ExecContext(t.Context(), `UPDATE signalstack.running SET lease_until = now()`)
			require.NoError(t, err)
			require.Eventually(t, func() bool {
				reaped, err := queue.Reap(t.Context(), db, time.Time{}, 100*time.Millisecond)
				return err == nil && len(reaped) == 1
			}, 20*time.Second, 10*time.Millisecond)
		}, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := newDB(t)
			jobs := []queue.NewJob{newJob(skipping("k")), newJob(skipping("k")), newJob(skipping("k"))}
			enqueue(t, db, jobs...)
			first := claim(t, claimer(db), 10)
			require.Len(t, first, 1)
			c.end(t, db, first[0])
			wait := map[bool]int{false: 2, true: 1}[c.passes]
			require.Equal(t, wait, count(t, db, "ordered"))
			if c.waits && c.passes {
				state, err := queue.Cancel(t.Context(), db, first[0].ID)
				require.NoError(t, err)
				require.Equal(t, queue.Canceled, state)
				require.Equal(t, wait, count(t, db, "ordered"), "its end moves nobody")
				require.NoError(t, queue.Retry(t.Context(), db, first[0].ID))
				require.Equal(t, wait+1, count(t, db, "ordered"), "it is in the line again")
				var last uuid.UUID
				require.NoError(t, db.GetContext(t.Context(), &last, `SELECT job_id FROM signalstack.ordered ORDER BY seq DESC LIMIT 1`))
				require.Equal(t, first[0].ID, last)
			}
			_, err := db.ExecContext(t.Context(), `UPDATE signalstack.scheduled SET run_at = now()`)
			require.NoError(t, err)
			promoteAll(t, db)
			worker, ran := claimer(db), 0
			for {
				got := claim(t, worker, 10)
				if len(got) == 0 {
					break
				}
				require.Len(t, got, 1, "one of the line at a time")
				end(t, db, got[0], queue.Succeeded)
				ran++
			}
			require.Positive(t, ran)
			require.Equal(t, 0, count(t, db, "ordered")+count(t, db, "ordering_keys"))
			require.Equal(t, 3, count(t, db, "jobs WHERE (SELECT state FROM signalstack.attempts WHERE job_id = id ORDER BY lease DESC LIMIT 1) IN ('succeeded', 'failed')"))
		})
	}
}

// promoteAll makes ready what is due.
func promoteAll(t *testing.T, db *pg.DB) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	p := queue.NewPromoter(db, discard())
	done := make(chan struct{})
	go func() { _ = p.Run(ctx); close(done) }()
	require.Eventually(t, func() bool { return count(t, db, "scheduled WHERE run_at <= now()") == 0 }, 10*time.Second, 5*time.Millisecond)
	stop()
	<-done
}

// TestOrderHoldsAmongManyWritersAndWorkers enqueues and works one key from all
// sides: never two at once, each once, in the order of their coming.
func TestOrderHoldsAmongManyWritersAndWorkers(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	const writers, each = 4, 25
	var mu sync.Mutex
	var ran []uuid.UUID
	running := 0
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				_ = pg.InTx(context.Background(), db, func(tx *sqlx.Tx) error {
					return queue.Enqueue(context.Background(), tx, []queue.NewJob{newJob(keyed("k"))})
				})
			}
		})
	}
	for range 4 {
		wg.Go(func() {
			c := claimer(db)
			for {
				mu.Lock()
				finished := len(ran) == writers*each
				mu.Unlock()
				if finished {
					return
				}
				got, err := c.Claim(context.Background(), 3)
				if err != nil {
					return
				}
				for _, j := range got {
					mu.Lock()
					running++
					overlap := running > 1
					ran = append(ran, j.ID)
					running--
					mu.Unlock()
					if overlap {
						t.Error("two of one key at once")
					}
					state := queue.Succeeded
					if rand.IntN(5) == 0 {
						state = queue.Failed
					}
					end(t, db, j, state)
				}
			}
		})
	}
	wg.Wait()
	var came []uuid.UUID
	require.NoError(t, db.SelectContext(t.Context(), &came, `SELECT job_id FROM signalstack.attempts ORDER BY finished_at, job_id`))
	require.Len(t, ran, writers*each)
	require.ElementsMatch(t, came, ran)
	require.Equal(t, 0, count(t, db, "ordered"))
}

// TestNextOfAKeyIsTakenWithTheEndOfTheOneBefore changes the second of two jobs of a
// key, or how the first ends, and looks where the second stands then.
func TestNextOfAKeyIsTakenWithTheEndOfTheOneBefore(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		next    func(*queue.NewJob)
		state   queue.State
		skips   bool
		leave   bool // the worker does not ask for it
		limited bool
		place   string
	}{
		"as the one before":  {place: "running"},
		"after a failure":    {state: queue.Failed, place: "running"},
		"not asked for":      {leave: true, place: "ready"},
		"another try first":  {state: queue.Retrying, place: "ordered"},
		"skipped":            {state: queue.Retrying, skips: true, place: "running"},
		"handed back first":  {state: queue.Released, place: "ordered"},
		"of another lane":    {next: func(j *queue.NewJob) { j.LimitKey = "x" }, place: "ready"},
		"of another queue":   {next: func(j *queue.NewJob) { j.Queue = "other" }, place: "ready"},
		"more urgent":        {next: func(j *queue.NewJob) { j.Priority = 1 }, place: "ready"},
		"less urgent":        {next: func(j *queue.NewJob) { j.Priority = 4 }, place: "ready"},
		"before its time":    {next: func(j *queue.NewJob) { j.Delay = time.Hour }, place: "scheduled"},
		"counted by a limit": {limited: true, place: "ready"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := newDB(t)
			first, second := newJob(keyed("k"), func(j *queue.NewJob) { j.Skips = c.skips }), newJob(keyed("k"))
			if c.next != nil {
				c.next(&second)
			}
			enqueue(t, db, first, second)
			worker := claimer(db)
			if c.limited {
				limit(t, db, queue.Control{MaxRunning: number(10)}, worker)
			}
			job := claim(t, worker, 10)[0]
			s := queue.Settlement{
				JobID: job.ID, Lease: job.Lease, Tenant: job.Tenant, OrderingKey: "k", Skips: job.Skips, State: cmp.Or(c.state, queue.Succeeded),
				Delay:   time.Hour,
				Outcome: queue.OutcomeSucceeded, TakeNext: !c.leave,
			}
			var taken []queue.Claimed
			require.NoError(t, pg.InTx(t.Context(), db, func(tx *sqlx.Tx) (err error) {
				_, taken, err = queue.SettleAndTake(t.Context(), tx, []queue.Settlement{s}, worker.Worker, lease)
				return err
			}))
			for _, place := range []string{"running", "ready", "scheduled", "ordered"} {
				found := count(t, db, place+` WHERE job_id = '`+second.ID.String()+`'`)
				require.Equal(t, place == c.place, found == 1, place)
			}
			if c.place != "running" {
				require.Empty(t, taken)
				return
			}
			require.Len(t, taken, 1)
			require.Equal(t, second.ID, taken[0].ID)
			require.Equal(t, []any{1, int64(1), second.Kind}, []any{taken[0].Attempt, taken[0].Lease, taken[0].Kind})
			end(t, db, taken[0], queue.Succeeded)
			require.Equal(t, 0, count(t, db, "ordering_keys"), "the key is idle")
		})
	}
}

// TestKeyIsNeverStuckWhenAllActAtOnce has writers, workers and operators work on two
// keys at once: what is left in the end runs to its end.
func TestKeyIsNeverStuckWhenAllActAtOnce(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	const writers, each = 4, 40
	ctx := context.Background()
	var acting, working sync.WaitGroup
	for w := range writers {
		acting.Go(func() {
			for n := range each {
				job := newJob(keyed([]string{"a", "b"}[n%2]), func(j *queue.NewJob) { j.Skips = (w+n)%3 > 0 })
				if err := pg.InTx(ctx, db, func(tx *sqlx.Tx) error { return addAndCount(ctx, tx, []queue.NewJob{job}) }); err != nil {
					t.Errorf("a writer noticed: %v", err)
				}
				var err error
				switch (w + n) % 4 {
				case 0:
					_, err = queue.Cancel(ctx, db, job.ID)
				case 1:
					err = queue.Change{Priority: number(1 + n%4)}.Apply(ctx, db, job.ID)
				case 2:
					err = queue.Retry(ctx, db, job.ID)
				}
				if err != nil && fault.As(err) == nil {
					t.Errorf("an operator noticed: %v", err)
				}
			}
		})
	}
	var acted atomic.Bool
	for range 3 {
		working.Go(func() {
			c, promoter := claimer(db), queue.NewPromoter(db, discard())
			for !acted.Load() || count(t, db, "ready")+count(t, db, "scheduled")+count(t, db, "running")+count(t, db, "ordered") > 0 {
				// A settle that began before the next job came has it wait for its time, which is
				// that of its coming.
				if err := promoter.Pass(ctx); err != nil {
					t.Errorf("a promoter noticed: %v", err)
					return
				}
				jobs, err := c.Claim(ctx, 2)
				for err == nil && len(jobs) > 0 {
					batch := settlements(jobs)
					for i := range batch {
						batch[i].TakeNext = rand.IntN(2) == 0
					}
					err = pg.InTx(ctx, db, func(tx *sqlx.Tx) (err error) {
						_, jobs, err = settleAndTake(ctx, tx, batch, c.Worker)
						return err
					})
				}
				if err != nil {
					t.Errorf("a worker noticed: %v", err)
					return
				}
			}
		})
	}
	acting.Wait()
	acted.Store(true)
	done := make(chan struct{})
	go func() { working.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		require.Fail(t, "a key is stuck")
	}
	require.Equal(t, 0, count(t, db, "ordering_keys"))
	sweeper := &queue.CancelSweeper{DB: db, Log: discard()}
	require.NoError(t, sweeper.Pass(ctx)) // a cancel may come as a settle is under way
	checkInvariants(t, db)
}

// TestKeyGoesOnWhateverElseIsUnderWay ends the job in turn while another transaction
// has an act on the same key done and not yet committed.
func TestKeyGoesOnWhateverElseIsUnderWay(t *testing.T) {
	t.Parallel()
	ends := map[string]func(context.Context, *pg.DB, queue.Claimed) error{
		"ended": func(ctx context.Context, db *pg.DB, c queue.Claimed) error {
			return pg.InTx(ctx, db, func(tx *sqlx.Tx) error {
				_, err := queue.Settle(ctx, tx, settlements([]queue.Claimed{c}))
				return err
			})
		},
		"canceled": func(ctx context.Context, db *pg.DB, c queue.Claimed) error {
			_, err := queue.Cancel(ctx, db, c.ID)
			return err
		},
	}
	for name, end := range ends {
		for other, c := range map[string]struct {
			jobs  int // of the key
			act   func(context.Context, *sqlx.Tx, []queue.NewJob) error
			comes int // whose turn it is then
		}{
			"the next is added": {1, func(ctx context.Context, tx *sqlx.Tx, jobs []queue.NewJob) error {
				return queue.Enqueue(ctx, tx, jobs[1:2])
			}, 1},
			"the next is changed": {2, func(ctx context.Context, tx *sqlx.Tx, jobs []queue.NewJob) error {
				_, err := tx.ExecContext(ctx, `UPDATE signalstack.ordered SET priority = 1 WHERE job_id = $1`, jobs[1].ID)
				return err
			}, 1},
			"the next is canceled": {3, func(ctx context.Context, tx *sqlx.Tx, jobs []queue.NewJob) error {
				_, err := queue.CancelWaiting(ctx, tx, jobs[1].ID)
				return err
			}, 2},
		} {
			t.Run(name+" while "+other, func(t *testing.T) {
				t.Parallel()
				db := newDB(t)
				jobs := []queue.NewJob{newJob(keyed("k")), newJob(keyed("k")), newJob(keyed("k"))}
				enqueue(t, db, jobs[:c.jobs]...)
				first := queue.Claimed{ID: jobs[0].ID} // it waits
				if name == "ended" {
					first = claim(t, claimer(db), 1)[0]
				}
				tx, err := db.BeginTxx(t.Context(), nil)
				require.NoError(t, err)
				defer func() { _ = tx.Rollback() }()
				require.NoError(t, c.act(t.Context(), tx, jobs))
				ended := make(chan error, 1)
				go func() { ended <- end(context.Background(), db, first) }()
				require.Eventually(t, func() bool {
					var waits bool
					err := db.GetContext(t.Context(), &waits, `
						SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')`)
					return err == nil && waits
				}, 10*time.Second, time.Millisecond)
				require.NoError(t, tx.Commit())
				require.NoError(t, <-ended)
				require.Equal(t, 1, count(t, db, "ready WHERE job_id = '"+jobs[c.comes].ID.String()+"'"))
			})
		}
	}
}
