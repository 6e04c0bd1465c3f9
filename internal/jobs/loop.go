package jobs

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

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
	urgent  chan struct{} // a lane of which nothing runs here has a job

	mu       sync.Mutex
	notices  []queue.Notice // heard since the last claim
	controls map[string]queue.Control
	// everywhere are the controls of lanes in all queues.
	everywhere map[string]queue.Control
	changed    bool               // controls, since the last claim
	running    map[string]int     // jobs, by lane
	windows    map[string]*window // by lane of an endpoint
	full       map[string]bool    // lanes that had no room in a claim
	alone      bool               // one lane may have jobs at most
	sole       string             // that lane, or ""
	paused     bool
}

// maxNotices bounds what is kept between two claims; beyond it, all is looked at.
const maxNotices = 1000

func newQueueLoop(r *Runner, name string, slots int) *queueLoop {
	q := &queueLoop{
		runner: r, name: name, slots: slots,
		claimer: queue.NewClaimer(r.db, name, r.worker, r.cfg.Lease, r.cfg.FullPass),
		freed:   make(chan struct{}, slots), woken: make(chan struct{}, 1), urgent: make(chan struct{}, 1),
		running: map[string]int{}, windows: map[string]*window{}, full: map[string]bool{},
	}
	for range slots {
		q.freed <- struct{}{}
	}
	return q
}

// hear makes the loop claim soon, without missing what the notice tells of.
func (q *queueLoop) hear(n queue.Notice) {
	q.mu.Lock()
	if q.notices = append(q.notices, n); len(q.notices) > maxNotices {
		q.notices = []queue.Notice{{}}
	}
	urgent := slices.ContainsFunc(n.Lanes, func(lane string) bool { return q.running[lane] == 0 })
	q.alone = q.alone && n.Lanes != nil
	for _, lane := range n.Lanes {
		if q.sole == "" {
			q.sole = lane
		}
		q.alone = q.alone && q.sole == lane
	}
	q.mu.Unlock()
	if urgent {
		select {
		case q.urgent <- struct{}{}:
		default:
		}
	}
	q.wake()
}

// setControls takes in what has been set of the queue and of lanes everywhere; told
// says that something has just changed, which may be what the queue waits for.
func (q *queueLoop) setControls(controls, everywhere map[string]queue.Control, told bool) {
	q.mu.Lock()
	q.controls, q.everywhere, q.changed = controls, everywhere, true
	resumed := q.paused && !controls[""].Paused
	q.paused = controls[""].Paused
	q.mu.Unlock()
	if resumed || told {
		q.wake()
	}
}

func (q *queueLoop) wake() {
	select {
	case q.woken <- struct{}{}:
	default:
	}
}

// inform hands the claimer what was heard.
func (q *queueLoop) inform() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.changed {
		q.claimer.SetControls(q.controls, q.everywhere)
		q.changed = false
	}
	for _, n := range q.notices {
		if n.Kind == "" { // there is a new connection, or too much came to be kept
			q.claimer.Listens()
			continue
		}
		q.claimer.Hear(n)
	}
	q.notices = q.notices[:0]
}

// run claims until ctx ends. Attempts are counted in attempts.
func (q *queueLoop) run(ctx context.Context, attempts *sync.WaitGroup) {
	poll := time.NewTimer(0)
	defer poll.Stop()
	failures := 0
	for {
		free := q.takeSlots(ctx)
		if free == 0 || ctx.Err() != nil { // a slot that came free with the stop stays free
			return
		}
		claimed, err := q.claim(ctx, free)
		for range free - len(claimed) {
			q.freed <- struct{}{}
		}
		for i := range claimed {
			q.start(ctx, &claimed[i], attempts)
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
		if err == nil && (len(claimed) == free || q.claimer.More()) {
			continue // there may be more
		}
		poll.Reset(q.claimer.Wait(wait))
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
// claimed in batches and not job by job. A lane that is not busy need not wait for
// those that are.
const gatherTime = 2 * time.Millisecond

// sparePart of the slots is kept for lanes of which nothing runs here, where there
// are several: else one lane's long jobs would hold every slot while another's first
// job waits.
const sparePart = 20

// takeSlots waits for free slots and takes them. Without a lane that is new here it
// waits for more than the spare ones; 0 when ctx ended.
func (q *queueLoop) takeSlots(ctx context.Context) int {
	free, spare := 0, q.spare()
	var gathered, looked <-chan time.Time
	for free < q.slots {
		select {
		case <-q.freed:
			free++
			continue
		default:
		}
		var urgent chan struct{}
		switch {
		case free >= (q.slots+1)/2:
			return free
		case free > spare && gathered == nil:
			gathered = time.After(gatherTime)
		case free > 0 && looked == nil:
			looked = time.After(q.runner.cfg.Poll) // notifications may be lost
		}
		if free > 0 {
			urgent = q.urgent
		}
		select {
		case <-ctx.Done():
			return 0
		case <-q.freed:
			free++
		case <-urgent:
			return free
		case <-gathered:
			return free
		case <-looked:
			return free
		}
	}
	return free
}

// spare is how many slots are kept for lanes that are new here.
func (q *queueLoop) spare() int {
	if q.claimer.Lanes() < 2 {
		return 0
	}
	return q.slots / sparePart
}

// orphanTime is how long the server may hold the transaction of a claim whose
// answer was lost: its statements and its idle time have ended by then.
const orphanTime = 15 * time.Second

// claim takes jobs for the free slots, after giving back what an earlier claim
// with a lost answer may have left in our name.
func (q *queueLoop) claim(ctx context.Context, limit int) ([]queue.Claimed, error) {
	r := q.runner
	r.claiming.Lock()
	defer r.claiming.Unlock()
	// A claim in flight is finished, not cut, when ctx ends: its jobs are ours.
	steady := context.WithoutCancel(ctx)
	n, err := r.releaseOrphans(steady)
	if err != nil {
		return nil, err
	}
	if n > 0 {
		r.log.InfoContext(ctx, "released jobs whose claim was not answered", "jobs", n)
	}
	q.inform()
	q.claimer.Share(queue.Slots{Spare: q.slots / sparePart, Busy: q.busy(), Room: q.room})
	asked := time.Now()
	jobs, err := q.claimer.Claim(steady, limit)
	if err != nil {
		r.expectOrphans()
		return nil, err
	}
	// Known before the lock is let go, so that no release takes them for orphans.
	r.takeOff(jobs, asked)
	q.note(jobs)
	return jobs, nil
}

// busy gives the lanes of which something runs here.
func (q *queueLoop) busy() map[string]bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	busy := make(map[string]bool, len(q.running))
	for lane := range q.running {
		busy[lane] = true
	}
	return busy
}

// note counts what a claim brought as running.
func (q *queueLoop) note(jobs []queue.Claimed) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i := range jobs {
		q.running[jobs[i].Lane]++
	}
	q.sole, q.alone = q.claimer.Sole()
}

// free frees the slot of a job that runs no more.
func (q *queueLoop) free(job *queue.Claimed) {
	q.mu.Lock()
	if q.running[job.Lane]--; q.running[job.Lane] == 0 {
		delete(q.running, job.Lane)
	}
	q.mu.Unlock()
	q.freed <- struct{}{}
	q.roomAgain(job.Lane)
}

// expectOrphans says that jobs may be ours without our knowing.
func (r *Runner) expectOrphans() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.orphansUntil = time.Now().Add(orphanTime)
}

// releaseOrphans gives back what a claim or settle with a lost answer may have left
// in our name.
func (r *Runner) releaseOrphans(ctx context.Context) (int, error) {
	r.mu.Lock()
	expected := time.Now().Before(r.orphansUntil)
	r.mu.Unlock()
	if !expected {
		return 0, nil
	}
	r.taking.Lock()
	defer r.taking.Unlock()
	return queue.ReleaseOrphans(ctx, r.db, r.worker, r.known())
}

// releaseLastOrphans is the last act of a worker with a claim that was not answered.
func (r *Runner) releaseLastOrphans(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), handBackTime)
	defer cancel()
	if _, err := r.releaseOrphans(ctx); err != nil {
		r.log.WarnContext(ctx, "jobs whose claim was not answered could not be given back; their leases will run out", "error", err)
	}
}

func (r *Runner) known() []queue.Held {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Keys(r.flights))
}

// takeOff notes the flights of claimed jobs. Their leases run from before the
// claim was asked for.
func (r *Runner) takeOff(jobs []queue.Claimed, asked time.Time) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range jobs {
		ctx, cancel := context.WithCancelCause(r.work)
		r.flights[heldOf(&jobs[i])] = &flight{runner: r, job: &jobs[i], luck: rand.Float64(), ctx: ctx, cancel: cancel, begun: now, extended: asked}
	}
}

func heldOf(c *queue.Claimed) queue.Held { return queue.Held{JobID: c.ID, Lease: c.Lease} }

// start runs an attempt in a goroutine that frees its slot when the outcome is
// durable, and the next jobs of its ordering key before that. Once ctx has ended a
// job goes back as it came.
func (q *queueLoop) start(ctx context.Context, job *queue.Claimed, attempts *sync.WaitGroup) {
	attempts.Go(func() {
		defer q.free(job) // the next of its key is of its lane
		began, ran := time.Now(), 0
		takeNext := func(c *queue.Claimed) bool {
			ran++
			most, long := q.mayTake(c.Lane)
			return ran < most && time.Since(began) < long && ctx.Err() == nil
		}
		for job != nil {
			if ctx.Err() != nil {
				job = q.runner.handBack(job)
			} else {
				job = q.runner.attempt(job, takeNext, q.ended)
			}
		}
	})
}

// A slot goes on with the jobs of one ordering key for so many of them and so long, so
// that the others of its lane, which may be more urgent, have their turn; and for a few
// and a moment, where other lanes may wait for theirs.
const (
	maxInSlot         = 20
	maxInSlotFor      = time.Second
	maxBesideLanes    = 4
	maxBesideLanesFor = 10 * time.Millisecond
)

// mayTake says with how many jobs of an ordering key a slot may go on, and how long.
func (q *queueLoop) mayTake(lane string) (most int, long time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.paused:
		return 0, 0
	case q.alone && (q.sole == "" || q.sole == lane):
		return maxInSlot, maxInSlotFor
	}
	return maxBesideLanes, maxBesideLanesFor
}
