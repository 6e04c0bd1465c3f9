package jobs_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/queue"
)

// A lane's long jobs fill all slots but the spare ones, in which the first job of
// another lane starts at once, whether or not its notification comes.
func TestALaneThatIsNewHereFindsASpareSlot(t *testing.T) {
	t.Parallel()
	const slots, spare, waiting = 40, 2, 60
	long := make(chan struct{})
	b := start(t, func(ctx context.Context, j jobs.Job) (jobs.Result, error) {
		if j.Tenant == "noisy" {
			select {
			case <-long:
			case <-ctx.Done():
			}
		}
		return jobs.Result{}, nil
	}, func(c *jobs.RunnerConfig) {
		c.Queues, c.FullPass = map[string]int{"default": slots}, time.Hour
	})
	of := func(tenant string) func(*queue.NewJob) { return func(j *queue.NewJob) { j.Tenant = tenant } }
	first := b.add(t, of("quiet"))
	b.await(t, first, queue.Succeeded)
	noisy := make([]uuid.UUID, waiting)
	for i := range noisy {
		noisy[i] = b.add(t, of("noisy"))
	}
	running := func() (n int) {
		require.NoError(t, b.db.GetContext(t.Context(), &n, `SELECT count(*) FROM signalstack.running WHERE lane = 'noisy'`))
		return n
	}
	require.Eventually(t, func() bool { return running() == slots-spare }, 30*time.Second, 10*time.Millisecond)

	b.await(t, b.add(t, of("quiet")), queue.Succeeded)

	var silent uuid.UUID
	require.NoError(t, b.db.GetContext(t.Context(), &silent, `
		WITH again AS (
		    INSERT INTO signalstack.jobs (id, tenant, kind, queue, lane, priority, run_at, event_type, ordering_key, max_attempts, timeout_ms, retry, created_at)
		    SELECT signalstack.uuid7(), tenant, kind, queue, lane, priority, now(), event_type, ordering_key, max_attempts, timeout_ms, retry, now()
		    FROM signalstack.jobs WHERE id = $1
		    RETURNING id, queue, lane, priority
		)
		INSERT INTO signalstack.ready (job_id, queue, lane, priority, ready_at, attempt, lease)
		SELECT id, queue, lane, priority, now(), 0, 0 FROM again RETURNING job_id`, first))
	b.await(t, silent, queue.Succeeded)
	require.Equal(t, slots-spare, running(), "the spare slots stay free of it")

	close(long)
	for _, id := range noisy {
		b.await(t, id, queue.Succeeded)
	}
}
