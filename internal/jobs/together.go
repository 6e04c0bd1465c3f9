package jobs

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

// MaxTogether bounds how many jobs one attempt may do at once.
const MaxTogether = 100

// maxGathered bounds how many jobs a worker has beyond its slots: they hold memory, but
// no connection.
const maxGathered = 1000

// RunTogether makes one attempt at several jobs of one lane, the first of which is
// there always. It gives how many of them, from the first, the attempt was at; the rest
// go back as if they had not been claimed.
type RunTogether func(ctx context.Context, all []Job) (n int, result Result, err error)

// Together lets a job be done with others of its lane, most in all, in one attempt:
// those that its worker has just claimed as well, those that wait to be claimed, and
// those that wait for company. What the attempt comes to holds for each of them, and
// each goes on by itself from there; those that are to be tried again at one stage of
// one policy are due together. Who calls it must give back what it gets.
func (j Job) Together(ctx context.Context, most int, run RunTogether) (Result, error) {
	if most = min(most, MaxTogether); j.flight != nil && most > 1 {
		return j.flight.runner.groups.do(ctx, j.flight, most, run)
	}
	_, result, err := run(ctx, []Job{j})
	return result, err
}

// groups are the attempts at several jobs that may still be joined, by queue and lane.
type groups struct {
	mu      sync.Mutex
	open    map[string]*group
	running sync.WaitGroup // of the jobs that were gathered, which have no slot
	room    int            // for more of them
}

// group is one attempt at several jobs.
type group struct {
	luck    float64 // the same for all, so that they are tried again together
	members []*queue.Claimed
	most    int

	done   chan struct{} // closed when the rest is known
	n      int           // of the members that were in the attempt
	result Result
	err    error
	cut    bool // the attempt failed as the worker stops
}

// errLeftOut says that the attempt had no room for the job.
var errLeftOut = Snooze(0, errors.New("there was no room for it in this attempt"))

// do joins the open group of the job's lane, or leads one: it waits a moment for others
// to join and fills up with what the database has.
func (gs *groups) do(ctx context.Context, f *flight, most int, run RunTogether) (Result, error) {
	r, c := f.runner, f.job
	name := c.Queue + "\n" + c.Lane
	gs.mu.Lock()
	if g := gs.open[name]; g != nil && len(g.members) < g.most {
		at := len(g.members)
		g.members = append(g.members, c)
		gs.mu.Unlock()
		f.luck = g.luck
		return g.wait(ctx, at)
	}
	g := &group{luck: f.luck, members: []*queue.Claimed{c}, most: most, done: make(chan struct{})}
	gs.open[name] = g
	gs.mu.Unlock()

	linger(ctx, c.Attempt)
	gs.mu.Lock()
	if gs.open[name] == g {
		delete(gs.open, name)
	}
	share := min(most-len(g.members), gs.room)
	gs.room -= share
	gs.mu.Unlock()
	gathered := r.gather(ctx, c, share)
	gs.giveRoom(share - len(gathered))
	for i := range gathered {
		at, other := len(g.members), &gathered[i]
		g.members = append(g.members, other)
		gs.running.Go(func() {
			defer gs.giveRoom(1)
			r.accompany(g, at, other)
		})
	}
	g.run(ctx, r, run)
	return g.result, g.err
}

// A job waits a moment for those that were claimed with it, and longer for those that
// were tried with it before: they are due when it is but for the time between settles.
const (
	lingerFirst = 2 * time.Millisecond
	lingerAgain = 100 * time.Millisecond
)

func linger(ctx context.Context, attempt int) {
	wait := lingerFirst
	if attempt > 1 {
		wait = lingerAgain
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (gs *groups) giveRoom(n int) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	gs.room += n
}

// run makes the attempt. It goes on when the job that leads it is canceled or lost: the
// others are not.
func (g *group) run(ctx context.Context, r *Runner, run RunTogether) {
	shared, cancel := context.WithCancelCause(r.work)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() {
		if cause := context.Cause(ctx); errors.Is(cause, errTimeout) || errors.Is(cause, errCut) {
			cancel(cause)
		}
	})
	defer stop()
	all := make([]Job, len(g.members))
	for i, c := range g.members {
		all[i] = jobOf(c)
	}
	g.n, g.err = len(all), errors.New("the attempt that the job was part of broke off")
	defer close(g.done) // also when run panics
	g.n, g.result, g.err = run(shared, all)
	g.cut = g.err != nil && errors.Is(context.Cause(shared), errCut)
}

// wait gives what the attempt came to for one of its members. One that is canceled
// meanwhile ends at once.
func (g *group) wait(ctx context.Context, at int) (Result, error) {
	select {
	case <-g.done:
		if g.cut { // the worker ends all attempts, one after the other: this one is next
			<-ctx.Done()
			return Result{}, context.Cause(ctx)
		}
	case <-ctx.Done():
		if Interrupted(ctx) {
			return Result{}, context.Cause(ctx)
		}
		<-g.done // it has a time limit of its own
	}
	if at >= g.n {
		return Result{}, errLeftOut
	}
	return g.result.ofMember(), g.err
}

// ofMember is the result for all but the job that leads: the record of what was sent
// and answered stands once in full.
func (r Result) ofMember() Result {
	if r.Exchange != nil {
		short := *r.Exchange
		short.RequestBody, short.Body = "", ""
		r.Exchange = &short
	}
	return r
}

// accompany ends a job that was gathered as its attempt comes out.
func (r *Runner) accompany(g *group, at int, c *queue.Claimed) {
	r.mu.Lock()
	f := r.flights[heldOf(c)]
	r.mu.Unlock()
	defer r.land(c)
	kind, _ := r.kinds.Get(c.Kind)
	result, err := g.wait(f.ctx, at)
	s := settlement{job: c, luck: g.luck, db: r.db, Settlement: queue.Settlement{Duration: time.Since(f.begun)}}
	r.conclude(f.ctx, kind, s, result, err,
		func(*queue.Claimed) bool { return false }, func(*queue.Claimed, queue.State, time.Duration) {})
}

// gather claims more jobs of the lane of one that is about to run. Where it fails, the
// job goes without.
func (r *Runner) gather(ctx context.Context, c *queue.Claimed, most int) (jobs []queue.Claimed) {
	if most <= 0 {
		return nil
	}
	r.taking.RLock() // so that no release takes them for orphans
	defer r.taking.RUnlock()
	asked := time.Now()
	// It is finished, not cut, when ctx ends: the jobs are ours.
	err := pg.InSteadyTx(context.WithoutCancel(ctx), r.db, func(tx *sqlx.Tx) (err error) {
		jobs, err = queue.Gather(ctx, tx, c, most, r.worker, r.cfg.Lease)
		return err
	})
	if err != nil {
		r.expectOrphans()
		if !pg.IsAway(err) {
			r.log.WarnContext(ctx, "no jobs could be gathered for one attempt", "lane", c.Lane, "error", err)
		}
		return nil
	}
	r.takeOff(jobs, asked)
	return jobs
}
