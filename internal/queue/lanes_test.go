package queue_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

// of makes jobs of a tenant.
func of(tenant string, n int, change ...func(*queue.NewJob)) []queue.NewJob {
	batch := make([]queue.NewJob, n)
	for i := range batch {
		batch[i] = newJob(append([]func(*queue.NewJob){func(j *queue.NewJob) { j.Tenant = tenant }}, change...)...)
	}
	return batch
}

// lazy is a claimer that reads from the start once and listens from then on.
func lazy(db *pg.DB) *queue.Claimer {
	return queue.NewClaimer(db, "default", uuid.Must(uuid.NewV7()), lease, time.Hour)
}

func tenants(jobs []queue.Claimed) map[string]int {
	n := map[string]int{}
	for _, j := range jobs {
		n[j.Tenant]++
	}
	return n
}

func TestLanesAreServedInTurn(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	enqueue(t, db, of("noisy", 1000)...)
	enqueue(t, db, of("quiet", 5)...)
	enqueue(t, db, of("shy", 1)...)
	c := lazy(db)
	require.Equal(t, map[string]int{"noisy": 4, "quiet": 4, "shy": 1}, tenants(claim(t, c, 12)), "a lane without more leaves its share")
	require.Equal(t, map[string]int{"noisy": 3, "quiet": 1}, tenants(claim(t, c, 6)))
	require.True(t, c.More(), "the rest goes to whoever has jobs, in the next claim")
	require.Equal(t, map[string]int{"noisy": 6}, tenants(claim(t, c, 6)))
	for range 20 {
		require.Len(t, claim(t, c, 10), 10, "one lane alone has everything")
	}
}

func TestEveryLaneHasItsTurnWhenThereAreMoreThanPlaces(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	const lanes = 30
	for i := range lanes {
		enqueue(t, db, of(fmt.Sprintf("t%02d", i), 10)...)
	}
	c := lazy(db)
	seen := map[string]int{}
	for range lanes {
		for tenant, n := range tenants(claim(t, c, 3)) {
			seen[tenant] += n
		}
	}
	require.Len(t, seen, lanes)
	for tenant, n := range seen {
		require.Equal(t, 3, n, tenant)
	}
}

func TestWebhooksHaveALaneForEachEndpointAndLimitKeysOneEach(t *testing.T) {
	t.Parallel()
	dead, alive := uuid.New(), uuid.New()
	to := func(id uuid.UUID) func(*queue.NewJob) {
		return func(j *queue.NewJob) { j.EndpointID = uuid.NullUUID{UUID: id, Valid: true} }
	}
	db := newDB(t)
	enqueue(t, db, of("default", 100, to(dead))...)
	enqueue(t, db, of("default", 2, to(alive))...)
	enqueue(t, db, of("default", 2, func(j *queue.NewJob) { j.LimitKey = "k" })...)
	enqueue(t, db, of("default", 2)...)
	lanes := map[string]int{}
	for _, j := range claim(t, lazy(db), 8) {
		lanes[j.Lane]++
	}
	require.Equal(t, map[string]int{"default/" + dead.String(): 2, "default/" + alive.String(): 2, "default#k": 2, "default": 2}, lanes)
}

func TestWeightsShareTheTurns(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	enqueue(t, db, of("big", 100)...)
	enqueue(t, db, of("small", 100)...)
	c := lazy(db)
	c.SetControls(map[string]queue.Control{"big": {Lane: "big", Weight: 3}}, nil)
	require.Equal(t, map[string]int{"big": 30, "small": 10}, tenants(claim(t, c, 40)))
}

func TestNewLaneIsHeardOfOrFound(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	c := lazy(db)
	require.Empty(t, claim(t, c, 10))
	enqueue(t, db, of("one", 1)...)
	require.Len(t, claim(t, c, 10), 1, "an idle claimer looks for lanes by itself")
	enqueue(t, db, of("one", 2)...)
	enqueue(t, db, of("a", 1)...)
	enqueue(t, db, of("z", 1)...)
	require.Len(t, claim(t, c, 10), 4, "known lanes, and the gaps around them")
	enqueue(t, db, of("busy", 50)...)
	require.Len(t, claim(t, c, 10), 10)
	enqueue(t, db, of("new", 1)...)
	c.Hear(queue.Notice{Kind: queue.NoticeReady, Queue: "default", Lanes: []string{"new"}, At: time.Now()})
	require.Equal(t, 1, tenants(claim(t, c, 10))["new"], "a busy claimer hears of it")
}

func TestLowPriorityIsServedNowAndThen(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	low := newJob(func(j *queue.NewJob) { j.Priority = 4 })
	enqueue(t, db, low)
	c := lazy(db)
	for range 20 {
		enqueue(t, db, of("default", 10, func(j *queue.NewJob) { j.Priority = 1 })...)
		for _, j := range claim(t, c, 1) {
			if j.ID == low.ID {
				return
			}
		}
	}
	require.Fail(t, "the low priority was starved")
}

func TestPausedQueueGivesNothing(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	enqueue(t, db, newJob())
	c := lazy(db)
	c.SetControls(map[string]queue.Control{"": {Paused: true}}, nil)
	require.Empty(t, claim(t, c, 10))
	require.False(t, c.More())
	require.Equal(t, time.Minute, c.Wait(time.Minute), "a worker does not turn in circles meanwhile")
	c.SetControls(nil, nil)
	require.Len(t, claim(t, c, 10), 1)
}

// limit stores a control and gives it to claimers as the runner would.
func limit(t *testing.T, db *pg.DB, c queue.Control, claimers ...*queue.Claimer) {
	t.Helper()
	c.Queue = "default"
	if c.Weight == 0 {
		c.Weight = 1
	}
	require.NoError(t, queue.SetControl(t.Context(), db, c))
	all, err := queue.Controls(t.Context(), db)
	require.NoError(t, err)
	for _, claimer := range claimers {
		claimer.SetControls(all["default"], all[queue.AnyQueue])
	}
}

func number[T any](n T) *T { return &n }

// TestConcurrencyLimitsHoldAcrossWorkers has eight workers claim and settle, and
// counts what ever ran at once.
func TestConcurrencyLimitsHoldAcrossWorkers(t *testing.T) {
	t.Parallel()
	for name, control := range map[string]queue.Control{"lane": {Lane: "limited"}, "queue": {Lane: ""}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := newDB(t)
			const most, jobs = 3, 120
			control.MaxRunning = number(most)
			limit(t, db, control)
			all, err := queue.Controls(t.Context(), db)
			require.NoError(t, err)
			enqueue(t, db, of("limited", jobs)...)
			var mu sync.Mutex
			running, peak, done := 0, 0, 0
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					c := queue.NewClaimer(db, "default", uuid.Must(uuid.NewV7()), lease, 0)
					c.SetControls(all["default"], nil)
					for {
						mu.Lock()
						finished := done == jobs
						mu.Unlock()
						if finished {
							return
						}
						got, err := c.Claim(context.Background(), 5)
						if err != nil {
							return
						}
						mu.Lock()
						running += len(got)
						peak = max(peak, running)
						mu.Unlock()
						for _, j := range got {
							// Counted out before the settle: the place is free from its commit on.
							mu.Lock()
							running--
							done++
							mu.Unlock()
							end(t, db, j, queue.Succeeded)
						}
					}
				})
			}
			wg.Wait()
			require.Equal(t, jobs, done)
			require.LessOrEqual(t, peak, most)
			require.Equal(t, 0, count(t, db, "running"))
		})
	}
}

func TestLimitCountsWhatRunsAlreadyAndFreesPlacesAfterACrash(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	enqueue(t, db, of("limited", 5)...)
	enqueue(t, db, of("free", 5)...)
	c := lazy(db)
	first := claim(t, c, 4)
	require.Equal(t, 2, tenants(first)["limited"])
	limit(t, db, queue.Control{Lane: "limited", MaxRunning: number(2)}, c)
	require.Equal(t, map[string]int{"free": 3}, tenants(claim(t, c, 10)))
	// A worker's death frees its places as soon as its jobs are taken from it.
	_, err := queue.ReleaseOrphans(t.Context(), db, c.Worker, nil)
	require.NoError(t, err)
	c = lazy(db)
	limit(t, db, queue.Control{Lane: "limited", MaxRunning: number(2)}, c)
	require.Equal(t, 2, tenants(claim(t, c, 10))["limited"])
}

func TestRateLimitsHoldAcrossWorkers(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	one, two := lazy(db), lazy(db)
	enqueue(t, db, of("limited", 20)...)
	// One a minute, three at once to begin with.
	limit(t, db, queue.Control{Lane: "limited", Rate: number(1), PeriodMS: number(int64(60_000)), Burst: number(3)}, one, two)
	require.Len(t, claim(t, one, 2), 2)
	require.Len(t, claim(t, two, 10), 1)
	require.Empty(t, claim(t, one, 10))
	require.Empty(t, claim(t, two, 10))
	require.Greater(t, two.Wait(time.Hour), 30*time.Second, "it knows when to come again")
	_, err := db.ExecContext(t.Context(), `UPDATE signalstack.controls SET tat = tat - interval '2 minutes'`)
	require.NoError(t, err)
	three := lazy(db)
	limit(t, db, queue.Control{Lane: "limited", Rate: number(1), PeriodMS: number(int64(60_000)), Burst: number(3)}, three)
	require.Len(t, claim(t, three, 10), 2, "two minutes later")
}

func TestALaneThatComesInABurstLeavesTheSparePlaces(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	enqueue(t, db, of("quiet", 1)...)
	c := lazy(db)
	c.Share(queue.Slots{Spare: 3})
	require.Len(t, claim(t, c, 20), 1)
	enqueue(t, db, of("noisy", 50)...)
	c.Forget()
	require.Equal(t, map[string]int{"noisy": 17}, tenants(claim(t, c, 20)), "also when nothing of it ran before")
	c.Share(queue.Slots{Spare: 3, Busy: map[string]bool{"noisy": true}})
	require.Empty(t, claim(t, c, 3))
	enqueue(t, db, of("new", 5)...)
	enqueue(t, db, of("newer", 5)...)
	c.Forget()
	require.Equal(t, map[string]int{"new": 1, "newer": 1}, tenants(claim(t, c, 3)), "one for each lane of which nothing runs")
}
