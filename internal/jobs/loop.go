package jobs

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/queue"
)

// queueLoop claims the jobs of one queue into its slots.
type queueLoop struct {
	runner  *Runner
	name    string
	slots   int
	claimer *queue.Claimer
	freed   chan struct{} // one token for each free slot
	woken   chan struct{}

	mu     sync.Mutex
	rewind time.Time // earliest run_at heard of since the last claim
}

func newQueueLoop(r *Runner, name string, slots int) *queueLoop {
	q := &queueLoop{
		runner: r, name: name, slots: slots,
		claimer: queue.NewClaimer(r.db, name, r.worker, r.cfg.Lease, r.cfg.FullPass),
		freed:   make(chan struct{}, slots), woken: make(chan struct{}, 1),
	}
	for range slots {
		q.freed <- struct{}{}
	}
	return q
}

// wake makes the loop claim soon, from no later than at.
func (q *queueLoop) wake(at time.Time) {
	q.mu.Lock()
	if !at.IsZero() && (q.rewind.IsZero() || at.Before(q.rewind)) {
		q.rewind = at
	}
	q.mu.Unlock()
	select {
	case q.woken <- struct{}{}:
	default:
	}
}

// run claims until ctx ends. Attempts run under work and are counted in attempts.
func (q *queueLoop) run(ctx, work context.Context, attempts *sync.WaitGroup) {
	poll := time.NewTimer(0)
	defer poll.Stop()
	failures := 0
	for {
		free := q.takeSlots(ctx)
		if free == 0 {
			return
		}
		claimed, err := q.claim(ctx, free)
		for range free - len(claimed) {
			q.freed <- struct{}{}
		}
		for _, job := range claimed {
			q.start(work, job, attempts)
		}
		wait := q.runner.cfg.Poll
		switch {
		case err != nil && ctx.Err() == nil:
			failures++
			wait = outageWait(failures)
			if failures == 1 {
				q.runner.log.WarnContext(ctx, "jobs could not be claimed; trying again until they can", "queue", q.name, "error", err)
			}
		case err == nil && failures > 0:
			q.runner.log.InfoContext(ctx, "claiming jobs again", "queue", q.name)
			failures = 0
		}
		if err == nil && len(claimed) == free {
			continue // there may be more
		}
		poll.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-q.woken:
		case <-poll.C:
		}
	}
}

// outageWait grows from 100 ms to 2 s while the database is away.
func outageWait(failures int) time.Duration {
	return min(2*time.Second, 50*time.Millisecond<<min(failures, 6))
}

// gatherTime is how long a freed slot waits for others, so that a busy queue is
// claimed in batches and not job by job.
const gatherTime = 2 * time.Millisecond

// takeSlots waits for a free slot and takes what comes free with it; 0 when ctx
// ended.
func (q *queueLoop) takeSlots(ctx context.Context) int {
	select {
	case <-ctx.Done():
		return 0
	case <-q.freed:
	}
	free := 1
	gather := time.NewTimer(gatherTime)
	defer gather.Stop()
	for free < q.slots {
		select {
		case <-q.freed:
			free++
			continue
		default:
		}
		if free >= (q.slots+1)/2 {
			return free
		}
		select {
		case <-q.freed:
			free++
		case <-gather.C:
			return free
		}
	}
	return free
}

// claim takes jobs for the free slots, after giving back what an earlier claim
// with a lost answer may have left in our name.
func (q *queueLoop) claim(ctx context.Context, limit int) ([]queue.Claimed, error) {
	r := q.runner
	r.claiming.Lock()
	defer r.claiming.Unlock()
	if r.orphans {
		n, err := queue.ReleaseOrphans(ctx, r.db, r.worker, r.known())
		if err != nil {
			return nil, err
		}
		r.orphans = false
		if n > 0 {
			r.log.InfoContext(ctx, "released jobs whose claim was not answered", "jobs", n)
		}
	}
	q.mu.Lock()
	if !q.rewind.IsZero() {
		q.claimer.Rewind(q.rewind)
		q.rewind = time.Time{}
	}
	q.mu.Unlock()
	// A claim in flight is finished, not cut, when ctx ends: its jobs are ours.
	jobs, err := q.claimer.Claim(context.WithoutCancel(ctx), limit)
	if err != nil {
		r.orphans = true
		return nil, err
	}
	// Known before the lock is let go, so that no release takes them for orphans.
	r.takeOff(jobs)
	return jobs, nil
}

func (r *Runner) known() []uuid.UUID {
	r.mu.Lock()
	defer r.mu.Unlock()
	ids := make([]uuid.UUID, 0, len(r.flights))
	for h := range r.flights {
		ids = append(ids, h.JobID)
	}
	return ids
}

func (r *Runner) takeOff(jobs []queue.Claimed) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, job := range jobs {
		r.flights[heldOf(job)] = &flight{cancel: func(error) {}, extended: time.Now()}
	}
}

func heldOf(c queue.Claimed) queue.Held { return queue.Held{JobID: c.ID, Lease: c.Lease} }

// start runs an attempt in a goroutine that frees its slot when the outcome is
// durable.
func (q *queueLoop) start(work context.Context, job queue.Claimed, attempts *sync.WaitGroup) {
	attempts.Go(func() {
		defer func() { q.freed <- struct{}{} }()
		q.runner.attempt(work, job)
	})
}
