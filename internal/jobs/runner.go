package jobs

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

// RunnerConfig says what a worker works on and how.
type RunnerConfig struct {
	Queues   map[string]int // how many jobs of each queue run at once
	Lease    time.Duration  // extended while an attempt runs
	Poll     time.Duration  // between claims when nothing is heard
	FullPass time.Duration  // between claims that read the queue from its start
	Grace    time.Duration  // for what runs when the process is told to stop
	// Cut ends the grace at once when it is closed; may be nil.
	Cut <-chan struct{}
	// Listen is where to hear of new jobs when the pool goes through a pooler, which
	// loses notifications; nil: the pool.
	Listen *pg.DB
}

// Runner works jobs.
type Runner struct {
	cfg       RunnerConfig
	db        *pg.DB
	heartbeat *pg.DB // of its own, so that a full pool cannot starve leases
	kinds     *Registry
	log       *slog.Logger
	worker    uuid.UUID
	settler   *pg.Group[settlement, settled]
	taker     *pg.Group[settlement, settled] // of settlements that take the next job
	promoter  *queue.Promoter
	resolver  *queue.Resolver
	groups    groups
	queues    []*queueLoop
	controls  chan struct{} // a token when a control was changed

	claiming sync.Mutex // one claim at a time, so that orphans can be told from claims in flight
	// taking is held, shared, by settles from before they take jobs until those are in
	// flight, so that no release takes them for orphans.
	taking  sync.RWMutex
	work    context.Context // of all attempts; it outlives that of Run
	abandon chan struct{}   // closed at the end of the drain: outcomes are given up

	mu      sync.Mutex
	flights map[queue.Held]*flight // by lease: a job whose lease was lost may come back here
	// orphansUntil is how long jobs of a claim or settle that failed may still become
	// ours without our knowing: the server may hold its transaction that long.
	orphansUntil time.Time

	stale atomic.Int64
}

// flight is one attempt in progress. Its context is there from the claim on, so
// that no end of it can come too early.
type flight struct {
	runner   *Runner
	job      *queue.Claimed
	luck     float64 // of the jitter, in [0, 1)
	ctx      context.Context
	cancel   context.CancelCauseFunc
	begun    time.Time
	extended time.Time
}

// NewRunner makes a worker with an id of its own.
func NewRunner(cfg RunnerConfig, db, heartbeat *pg.DB, kinds *Registry, log *slog.Logger) *Runner {
	if cfg.Listen == nil {
		cfg.Listen = db
	}
	r := &Runner{
		cfg: cfg, db: db, heartbeat: heartbeat, kinds: kinds, log: log,
		worker: uuid.Must(uuid.NewV7()), flights: map[queue.Held]*flight{}, groups: groups{open: map[string]*group{}, room: maxGathered},
		promoter: queue.NewPromoter(db, log), resolver: queue.NewResolver(db, log), controls: make(chan struct{}, 1), abandon: make(chan struct{}),
	}
	r.promoter.Marked = r.resolver.Wake
	slots := 0
	for name, n := range cfg.Queues {
		slots += n
		r.queues = append(r.queues, newQueueLoop(r, name, n))
	}
	r.settler = pg.NewGroup(pg.GroupConfig[settlement]{MaxSize: 1000, MaxWaiting: slots + maxGathered + 1}, r.commitSettlements)
	r.taker = pg.NewGroup(pg.GroupConfig[settlement]{MaxSize: 1000, MaxWaiting: slots + 1}, r.commitSettlements)
	return r
}

// Stale counts outcomes that were dropped because their lease had been lost.
func (r *Runner) Stale() int64 { return r.stale.Load() }

// InFlight is how many attempts run now.
func (r *Runner) InFlight() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.flights)
}

// Run works until ctx ends, then drains: what runs may finish within the grace
// time, and the rest is handed back.
func (r *Runner) Run(ctx context.Context) error {
	// Attempts and what serves them outlive ctx, until the drain is over.
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	r.work = work
	var serving, looping sync.WaitGroup
	serving.Go(func() { r.settler.Run(work, 1) })
	// Two, as such a settle does the work of the claim as well, which is done beside
	// the others.
	serving.Go(func() { r.taker.Run(work, 2) })
	serving.Go(func() { r.beat(work) })
	serving.Go(func() { r.watchCancels(work) })
	looping.Go(func() { _ = r.promoter.Run(ctx) })
	looping.Go(func() { _ = r.resolver.Run(ctx) })
	looping.Go(func() { r.watchControls(ctx) })
	looping.Go(func() {
		if err := pg.Listen(ctx, r.cfg.Listen, queue.Channel, r.heard); err != nil {
			r.log.WarnContext(ctx, "not listening for jobs; polling only", "error", err)
		}
	})
	var attempts sync.WaitGroup
	for _, q := range r.queues {
		looping.Go(func() { q.run(ctx, &attempts) })
	}
	looping.Wait()
	r.drain(ctx, &attempts)
	r.releaseLastOrphans(ctx)
	close(r.abandon)
	stopWork()
	serving.Wait()
	return nil
}

// errCut ends attempts that outlast the grace time; they are handed back.
var errCut = errors.New("the worker is stopping")

// handBackTime is how long an attempt may take to notice that it was cut.
const handBackTime = 3 * time.Second

func (r *Runner) drain(ctx context.Context, attempts *sync.WaitGroup) {
	done := make(chan struct{})
	go func() { attempts.Wait(); r.groups.running.Wait(); close(done) }()
	if n := r.InFlight(); n > 0 {
		r.log.InfoContext(ctx, "waiting for running jobs", "jobs", n, "grace", r.cfg.Grace.String())
	}
	grace := time.NewTimer(r.cfg.Grace)
	defer grace.Stop()
	select {
	case <-done:
		return
	case <-grace.C:
	case <-r.cfg.Cut:
	}
	r.log.InfoContext(ctx, "handing running jobs back", "jobs", r.InFlight())
	r.cancelAll(errCut)
	patience := time.NewTimer(handBackTime)
	defer patience.Stop()
	select {
	case <-done:
	case <-patience.C:
		r.log.WarnContext(ctx, "some jobs did not stop; their leases will run out", "jobs", r.InFlight())
	}
}

func (r *Runner) cancelAll(cause error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.flights {
		f.cancel(cause)
	}
}

// heard takes in a notification; an empty one comes after a new connection, when
// any may have been missed.
func (r *Runner) heard(payload string) {
	n := queue.ParseNotice(payload)
	switch {
	case payload == "":
		for _, q := range r.queues {
			q.hear(queue.Notice{})
		}
		r.promoter.Wake(time.Now())
		r.resolver.Wake()
		r.reloadControls()
	case n.Kind == queue.NoticeReady:
		for _, q := range r.queues {
			if q.name == n.Queue {
				q.hear(n)
			}
		}
	case n.Kind == queue.NoticeScheduled:
		r.promoter.Wake(n.At)
	case n.Kind == queue.NoticeCancel:
		r.cancelJobs([]uuid.UUID{n.JobID})
	case n.Kind == queue.NoticeFollowed:
		r.resolver.Wake()
	case n.Kind == queue.NoticeControl:
		r.reloadControls()
	}
}

func (r *Runner) reloadControls() {
	select {
	case r.controls <- struct{}{}:
	default:
	}
}

// controlsPoll is how soon a change of a queue is known where no notification came.
const controlsPoll = 5 * time.Second

// watchControls keeps the queues in step with what operators set.
func (r *Runner) watchControls(ctx context.Context) {
	tick := time.NewTicker(controlsPoll)
	defer tick.Stop()
	for told := false; ; {
		controls, err := queue.Controls(ctx, r.db)
		if err == nil {
			for _, q := range r.queues {
				q.setControls(controls[q.name], controls[queue.AnyQueue], told)
			}
		} else if ctx.Err() == nil && !pg.IsAway(err) {
			r.log.WarnContext(ctx, "controls of queues could not be read", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-r.controls:
			told = true
		case <-tick.C:
			told = false
		}
	}
}

// cancelPoll is how soon a running job is canceled where no notification came.
const cancelPoll = time.Second

// watchCancels looks whether somebody wants jobs canceled that run longer than a
// moment. While none does, it asks nothing.
func (r *Runner) watchCancels(ctx context.Context) {
	tick := time.NewTicker(cancelPoll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var running []uuid.UUID
		r.mu.Lock()
		for h, f := range r.flights {
			if time.Since(f.begun) >= cancelPoll/2 {
				running = append(running, h.JobID)
			}
		}
		r.mu.Unlock()
		if len(running) == 0 {
			continue
		}
		wanted, err := queue.Wanted(ctx, r.heartbeat, running)
		if err != nil {
			continue // the heartbeat, which shares the connection, tells of an outage
		}
		r.cancelJobs(wanted)
	}
}

// errCanceled ends attempts that somebody wants canceled.
var errCanceled = errors.New("the job was canceled")

func (r *Runner) cancelJobs(ids []uuid.UUID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for h, f := range r.flights {
		if slices.Contains(ids, h.JobID) {
			f.cancel(errCanceled)
		}
	}
}

// beat extends the leases of attempts that last, each when a third of it is over.
// Short jobs are done before and cost nothing.
func (r *Runner) beat(ctx context.Context) {
	tick := time.NewTicker(r.cfg.Lease / 6)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if held := r.dueForBeat(); len(held) > 0 {
			r.extend(ctx, held)
		}
	}
}

func (r *Runner) dueForBeat() []queue.Held {
	r.mu.Lock()
	defer r.mu.Unlock()
	var held []queue.Held
	for h, f := range r.flights {
		if time.Since(f.extended) >= r.cfg.Lease/3 {
			held = append(held, h)
		}
	}
	return held
}

// errLeaseLost ends an attempt whose job was given to another worker.
var errLeaseLost = errors.New("the lease was lost")

func (r *Runner) extend(ctx context.Context, held []queue.Held) {
	asked := time.Now()
	kept, err := queue.Extend(ctx, r.heartbeat, held, r.cfg.Lease)
	if err != nil {
		if ctx.Err() == nil {
			r.log.WarnContext(ctx, "leases could not be extended; trying again", "jobs", len(held), "error", err)
		}
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range held {
		f, flying := r.flights[h]
		switch {
		case !flying:
		case kept[h]:
			f.extended = asked
		default:
			f.cancel(errLeaseLost)
		}
	}
}
