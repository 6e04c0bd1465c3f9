package queue_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

// inQueue is a claimer of a queue that knows what has been set.
func inQueue(t *testing.T, db *pg.DB, name string) *queue.Claimer {
	t.Helper()
	c := queue.NewClaimer(db, name, uuid.Must(uuid.NewV7()), lease, 0)
	heed(t, db, c)
	return c
}

// heed tells claimers what is set now.
func heed(t *testing.T, db *pg.DB, claimers ...*queue.Claimer) {
	t.Helper()
	all, err := queue.Controls(t.Context(), db)
	require.NoError(t, err)
	for _, c := range claimers {
		c.SetControls(all[c.Queue], all[queue.AnyQueue])
	}
}

// runOut lets the time of a closed lane be over.
func runOut(t *testing.T, db *pg.DB) {
	t.Helper()
	_, err := db.ExecContext(t.Context(), `UPDATE signalstack.controls SET closed_until = now() - interval '1 second'`)
	require.NoError(t, err)
}

func inBulk(j *queue.NewJob) { j.Queue = "bulk" }

func TestClosedLaneLetsNothingThroughThenOneProbeInAllQueues(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	enqueue(t, db, of("broken", 5)...)
	enqueue(t, db, of("broken", 5, inBulk)...)
	enqueue(t, db, of("healthy", 2)...)
	require.NoError(t, queue.CloseLane(t.Context(), db, "broken", time.Hour))
	first, second := inQueue(t, db, "default"), inQueue(t, db, "bulk")
	require.Equal(t, map[string]int{"healthy": 2}, tenants(claim(t, first, 100)), "others go on")
	require.Empty(t, claim(t, second, 100))
	require.False(t, second.More(), "what waits for a closed lane costs no claims")

	runOut(t, db)
	heed(t, db, first, second)
	probe := claim(t, first, 100)
	require.Len(t, probe, 1)
	require.Empty(t, claim(t, second, 100), "one probe at a time, whatever its queue")
	require.Empty(t, claim(t, first, 100))

	require.NoError(t, queue.CloseLane(t.Context(), db, "broken", time.Hour))
	end(t, db, probe[0], queue.Succeeded)
	heed(t, db, first, second)
	require.Empty(t, claim(t, first, 100))

	require.NoError(t, queue.OpenLane(t.Context(), db, "broken"))
	heed(t, db, first, second)
	require.Len(t, claim(t, first, 100), 4)
	require.Len(t, claim(t, second, 100), 5)
	require.Zero(t, count(t, db, "controls"), "an open lane leaves nothing behind")
}

func TestLaneStaysClosedForTheLongerTime(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	require.NoError(t, queue.CloseLane(t.Context(), db, "broken", time.Hour))
	require.NoError(t, queue.CloseLane(t.Context(), db, "broken", time.Second))
	c, err := queue.GetControl(t.Context(), db, queue.AnyQueue, "broken")
	require.NoError(t, err)
	require.Greater(t, time.Until(*c.ClosedUntil), 30*time.Minute)
}

func TestLimitOfALaneInEveryQueueIsExact(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	enqueue(t, db, of("slow", 10)...)
	enqueue(t, db, of("slow", 10, inBulk)...)
	running := claim(t, inQueue(t, db, "default"), 1)
	three := 3
	control := queue.Control{Queue: queue.AnyQueue, Lane: "slow", Weight: 1, MaxRunning: &three}
	require.NoError(t, queue.SetControl(t.Context(), db, control))
	first, second := inQueue(t, db, "default"), inQueue(t, db, "bulk")
	require.Len(t, claim(t, second, 100), 2, "what runs already in another queue counts")
	require.Empty(t, claim(t, first, 100))
	end(t, db, running[0], queue.Succeeded)
	require.Len(t, claim(t, first, 100), 1)

	require.NoError(t, queue.CloseLane(t.Context(), db, "slow", time.Hour))
	control.MaxRunning = nil
	require.NoError(t, queue.SetControl(t.Context(), db, control))
	heed(t, db, first)
	require.Empty(t, claim(t, first, 100), "to take a limit away does not open the lane")
	require.NoError(t, queue.OpenLane(t.Context(), db, "slow"))
	heed(t, db, first)
	require.NotEmpty(t, claim(t, first, 100))
}
