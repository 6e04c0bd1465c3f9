package jobs

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
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
	settler   *pg.Group[settlement, bool]
	queues    []*queueLoop

	claiming sync.Mutex // one claim at a time, so that orphans can be told from claims in flight
	orphans  bool       // a claim failed: some of its jobs may be ours without our knowing

	mu      sync.Mutex
	flights map[queue.Held]*flight // by lease: a job whose lease was lost may come back here

	stale atomic.Int64
}

// flight is one attempt in progress.
type flight struct {
	cancel   context.CancelCauseFunc
	extended time.Time
}

// NewRunner makes a worker with an id of its own.
func NewRunner(cfg RunnerConfig, db, heartbeat *pg.DB, kinds *Registry, log *slog.Logger) *Runner {
	if cfg.Listen == nil {
		cfg.Listen = db
	}
	r := &Runner{
		cfg: cfg, db: db, heartbeat: heartbeat, kinds: kinds, log: log,
		worker: uuid.Must(uuid.NewV7()), flights: map[queue.Held]*flight{},
	}
	slots := 0
	for name, n := range cfg.Queues {
		slots += n
		r.queues = append(r.queues, newQueueLoop(r, name, n))
	}
	r.settler = pg.NewGroup(pg.GroupConfig[settlement]{MaxSize: 1000, MaxWaiting: slots + 1}, r.commitSettlements)
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
	var serving, looping sync.WaitGroup
	serving.Go(func() { r.settler.Run(work, 1) })
	serving.Go(func() { r.beat(work) })
	looping.Go(func() {
		if err := pg.Listen(ctx, r.cfg.Listen, queue.Channel, r.heard); err != nil {
			r.log.WarnContext(ctx, "not listening for jobs; polling only", "error", err)
		}
	})
	var attempts sync.WaitGroup
	for _, q := range r.queues {
		looping.Go(func() { q.run(ctx, work, &attempts) })
	}
	looping.Wait()
	r.drain(ctx, &attempts)
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
	go func() { attempts.Wait(); close(done) }()
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

// heard wakes the queue that a notification names; an empty one, after a new
// connection, wakes all.
func (r *Runner) heard(payload string) {
	name, micros, _ := strings.Cut(payload, " ")
	at := time.Time{}
	if us, err := strconv.ParseInt(micros, 10, 64); err == nil {
		at = time.UnixMicro(us)
	}
	for _, q := range r.queues {
		if payload == "" || q.name == name {
			q.wake(at)
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
