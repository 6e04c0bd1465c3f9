package external

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

// group is what those share who can share a claim.
type group struct {
	worker string // its name; "" without one
	tenant string // whose jobs only; "" is everybody's
	lease  time.Duration
}

// ask is a claim that waits for jobs.
type ask struct {
	group
	queues []string
	max    int
	answer chan handed // of one

	// The rest is guarded by the lock of the dispatcher.
	once    bool // is answered as soon as all its lines have looked
	left    int  // lines that have not looked yet
	busy    bool // a line claims for it
	skipped bool // another line wanted to meanwhile
	leaving bool // it waits only for the line that claims for it
	over    bool // it was answered, or gave up
}

// handed is the answer to an ask.
type handed struct {
	jobs []queue.Claimed
	err  error
}

// dispatcher hands jobs out to those who ask for them.
type dispatcher struct {
	db     *pg.DB
	listen *pg.DB
	kinds  *jobs.Registry
	log    *slog.Logger

	ctx     context.Context // of the lines
	stop    context.CancelFunc
	running sync.WaitGroup
	attends sync.Once

	mu       sync.Mutex
	lines    map[string]*line
	asking   int
	closed   bool
	hears    bool // notifications come
	controls map[string]map[string]queue.Control
	reload   chan struct{} // a token when a control was changed
	workers  map[workerKey]*workerID
	names    *pg.Group[[]named, struct{}] // of workers, on their way to the database
	orphans  []orphan
	lost     chan struct{} // a token when there are orphans
}

const (
	// maxAsking bounds who may wait in one process, and maxLines for how many queues.
	maxAsking = 20_000
	maxLines  = 2_000
	// maxClaim bounds one claim, of one or of several who ask alike.
	maxClaim = 1000
	// patience is how long a claim that does not wait may take.
	patience = 9 * time.Second
	// controlsPoll is how soon a change of a queue is known where no notification came.
	controlsPoll = 5 * time.Second
)

var (
	errClosing = &fault.Error{Kind: fault.Unavailable, Code: "draining", Message: "The server is stopping and hands out no jobs.", RetryAfter: time.Second}
	errCrowded = &fault.Error{Kind: fault.Unavailable, Code: "overloaded", Message: "Too many wait for jobs here; nothing was claimed. Try again.", RetryAfter: time.Second}
)

func newDispatcher(db, listen *pg.DB, kinds *jobs.Registry, log *slog.Logger) *dispatcher {
	d := &dispatcher{
		db: db, listen: listen, kinds: kinds, log: log, lines: map[string]*line{},
		reload: make(chan struct{}, 1), workers: map[workerKey]*workerID{}, lost: make(chan struct{}, 1),
	}
	d.ctx, d.stop = context.WithCancel(context.Background())
	d.names = pg.NewGroup(pg.GroupConfig[[]named]{MaxSize: maxTogether, MaxWaiting: maxAsking}, d.storeNames)
	return d
}

// close lets nobody wait any more. What is being claimed is still handed out.
func (d *dispatcher) close() {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.stop()
}

// claim waits for jobs, at most so long. It gives none when none came.
func (d *dispatcher) claim(ctx context.Context, a *ask, wait time.Duration) ([]queue.Claimed, error) {
	a.answer, a.left, a.once = make(chan handed, 1), len(a.queues), wait == 0
	if err := d.attend(); err != nil {
		return nil, err
	}
	if err := d.introduce(ctx, a); err != nil {
		return nil, err
	}
	if err := d.enter(a); err != nil {
		return nil, err
	}
	if a.once {
		wait = patience
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	var out handed
	select {
	case out = <-a.answer:
	case <-timer.C:
		out = d.leave(a)
	case <-ctx.Done():
		out = d.leave(a)
	case <-d.ctx.Done():
		out = d.leave(a)
	}
	if ctx.Err() != nil && len(out.jobs) > 0 {
		d.giveBack(ctx, out.jobs)
		return nil, ctx.Err()
	}
	return out.jobs, out.err
}

func (d *dispatcher) enter(a *ask) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.closed:
		return errClosing
	case d.asking >= maxAsking:
		return errCrowded
	}
	for _, name := range a.queues {
		if d.lines[name] == nil {
			if len(d.lines) >= maxLines {
				return errCrowded
			}
			l := newLine(d, name)
			d.lines[name] = l
			d.running.Go(l.run)
		}
	}
	d.asking++
	for _, name := range a.queues {
		l := d.lines[name]
		l.waiting = append(l.waiting, &place{ask: a})
		l.wake()
	}
	return nil
}

// leave takes back an ask, unless it is answered already. One that a line claims for
// right now waits for that.
func (d *dispatcher) leave(a *ask) handed {
	d.mu.Lock()
	if !a.over && !a.busy {
		d.finish(a, handed{})
	}
	a.leaving = true
	d.mu.Unlock()
	return <-a.answer
}

// finish answers an ask. The lock is held.
func (d *dispatcher) finish(a *ask, out handed) {
	a.over = true
	d.asking--
	a.answer <- out
}

// giveBack returns jobs whose caller is gone.
func (d *dispatcher) giveBack(ctx context.Context, claimed []queue.Claimed) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	held := make([]queue.Held, len(claimed))
	for i := range claimed {
		held[i] = heldOf(&claimed[i])
	}
	if err := queue.Release(ctx, d.db, held); err != nil {
		d.log.WarnContext(ctx, "jobs whose caller went away could not be given back; their leases will run out", "jobs", len(held), "error", err)
	}
}

func heldOf(c *queue.Claimed) queue.Held { return queue.Held{JobID: c.ID, Lease: c.Lease} }

// attend begins, with the first who asks, to listen and to keep the controls fresh.
func (d *dispatcher) attend() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return errClosing
	}
	d.attends.Do(d.begin)
	return nil
}

func (d *dispatcher) begin() {
	d.running.Go(func() { d.names.Run(d.ctx, 1) })
	d.running.Go(func() {
		if err := pg.Listen(d.ctx, d.listen, queue.Channel, d.heard); err != nil {
			d.log.WarnContext(d.ctx, "not listening for external jobs; polling only", "error", err)
		}
	})
	d.running.Go(d.watchControls)
	d.running.Go(d.releaseOrphans)
}

// heard takes in a notification; an empty one comes after a new connection, when any
// may have been missed.
func (d *dispatcher) heard(payload string) {
	n := queue.ParseNotice(payload)
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case payload == "":
		d.hears = true
		for _, l := range d.lines {
			l.hear(queue.Notice{})
		}
		d.reloadControls()
	case n.Kind == queue.NoticeReady && d.lines[n.Queue] != nil:
		d.lines[n.Queue].hear(n)
	case n.Kind == queue.NoticeControl:
		d.reloadControls()
	}
}

func (d *dispatcher) reloadControls() {
	select {
	case d.reload <- struct{}{}:
	default:
	}
}

// watchControls keeps the lines in step with what operators set, while somebody asks.
func (d *dispatcher) watchControls() {
	tick := time.NewTicker(controlsPoll)
	defer tick.Stop()
	for {
		select {
		case <-d.ctx.Done():
			return
		case <-d.reload:
		case <-tick.C:
		}
		d.mu.Lock()
		idle := d.asking == 0
		if idle {
			d.controls = nil // what is asked next reads them anew
		}
		d.mu.Unlock()
		if idle {
			continue
		}
		if _, err := d.loadControls(d.ctx); err != nil && d.ctx.Err() == nil && !pg.IsAway(err) {
			d.log.WarnContext(d.ctx, "controls of queues could not be read", "error", err)
		}
	}
}

// loadControls reads the controls and hands them to the lines.
func (d *dispatcher) loadControls(ctx context.Context) (map[string]map[string]queue.Control, error) {
	controls, err := queue.Controls(ctx, d.db)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.controls = controls
	for _, l := range d.lines {
		l.changed = true
		l.wake()
	}
	return controls, nil
}
