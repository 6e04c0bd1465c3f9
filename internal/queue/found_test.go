package queue_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/queue"
)

// What the machine found, or what its model said of the code, each in few steps.

func TestLimitOfTheQueueStarvesNoLane(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	c := lazy(db)
	limit(t, db, queue.Control{MaxRunning: number(1)}, c)
	enqueue(t, db, of("busy", 20)...)
	enqueue(t, db, of("shy", 1)...)
	for turn := range 3 {
		got := claim(t, c, 10)
		require.Len(t, got, 1)
		if got[0].Tenant == "shy" {
			return
		}
		require.Empty(t, claim(t, c, 10), "the limit, in turn %d", turn)
		end(t, db, got[0], queue.Succeeded)
		c.Hear(queue.Notice{Kind: queue.NoticeReady, Queue: "default", Lanes: []string{"busy"}, At: time.Now()}) // a free place
	}
	require.Fail(t, "one lane had every turn")
}

func TestChangedRateHoldsAtOnce(t *testing.T) {
	t.Parallel()
	for name, lane := range map[string]string{"lane": "limited", "queue": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := newDB(t)
			c := lazy(db)
			limit(t, db, queue.Control{Lane: lane, Rate: number(1), PeriodMS: number(time.Hour.Milliseconds()), Burst: number(1)}, c)
			enqueue(t, db, of("limited", 3)...)
			require.Len(t, claim(t, c, 10), 1)
			require.Empty(t, claim(t, c, 10))
			limit(t, db, queue.Control{Lane: lane}, c)
			require.Zero(t, c.Wait(time.Hour), "nothing is waited for that is no more")
			require.Len(t, claim(t, c, 10), 2)
		})
	}
}

// A cancel that came as its job left its worker is carried out once, by whoever
// comes first.
func TestCancelOfAJobThatWaitsAgainLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	enqueue(t, db, newJob())
	c := claimer(db)
	job := claim(t, c, 1)[0]
	_, err := queue.Cancel(t.Context(), db, job.ID)
	require.NoError(t, err)
	_, err = queue.ReleaseOrphans(t.Context(), db, c.Worker, nil)
	require.NoError(t, err)
	state, err := queue.Cancel(t.Context(), db, job.ID)
	require.NoError(t, err)
	require.Equal(t, queue.Canceled, state)
	require.NoError(t, queue.Retry(t.Context(), db, job.ID))
	require.NoError(t, (&queue.CancelSweeper{DB: db, Log: discard()}).Pass(t.Context()))
	require.Equal(t, 1, count(t, db, "ready"), "what was taken up again is not canceled by what was wanted before")
}
