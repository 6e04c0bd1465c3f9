package external

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

// line hands out the jobs of one queue.
type line struct {
	d       *dispatcher
	queue   string
	claimer *queue.Claimer
	woken   chan struct{}
	looked  time.Time // when jobs were last looked for that nobody told of

	// The rest is guarded by the lock of the dispatcher.
	waiting []*place // in the order of their coming
	notices []queue.Notice
	changed bool // the controls
}

// place is an ask's in one line.
type place struct {
	ask    *ask
	looked bool
}

const (
	// heardPoll and deafPoll are how often a line that is asked looks by itself for jobs.
	heardPoll = 5 * time.Second
	deafPoll  = 2 * time.Second
	// deafLook is how often it looks at once for somebody new where it hears of nothing.
	deafLook = 200 * time.Millisecond
	// fullPass is the least time between two readings of the queue from its start.
	fullPass = 10 * time.Second
	// idleTime is how long a line that nobody asks stays.
	idleTime = 5 * time.Minute
	// maxNotices bounds what is kept between two claims; beyond it, all is looked at.
	maxNotices = 1000
)

// newLine makes a line; the lock of the dispatcher is held.
func newLine(d *dispatcher, name string) *line {
	l := &line{
		d: d, queue: name, woken: make(chan struct{}, 1), changed: true,
		claimer: queue.NewClaimer(d.db, name, uuid.Nil, time.Minute, fullPass),
	}
	if d.hears {
		l.claimer.Listens()
	}
	return l
}

func (l *line) wake() {
	select {
	case l.woken <- struct{}{}:
	default:
	}
}

// hear takes in a notice; the lock is held.
func (l *line) hear(n queue.Notice) {
	if l.notices = append(l.notices, n); len(l.notices) > maxNotices {
		l.notices = []queue.Notice{{}}
	}
	l.wake()
}

// run serves who asks until the dispatcher closes, or nobody has asked for long.
func (l *line) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for failures, asked := 0, time.Now(); ; {
		select {
		case <-l.d.ctx.Done():
			return
		case <-l.woken:
		case <-timer.C:
		}
		switch err := l.pass(); {
		case err != nil:
			if failures++; failures == 1 {
				l.d.log.WarnContext(l.d.ctx, "external jobs could not be claimed; those who ask are told to come again", "queue", l.queue, "error", err)
			}
		case failures > 0:
			failures = 0
			l.d.log.InfoContext(l.d.ctx, "claiming external jobs again", "queue", l.queue)
		}
		if l.asked() {
			asked = time.Now()
			timer.Reset(l.rest())
			continue
		}
		if time.Since(asked) >= idleTime && l.retire() {
			return
		}
		timer.Reset(idleTime)
	}
}

func (l *line) asked() bool {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	return len(l.waiting) > 0
}

// retire takes the line out unless somebody asks again.
func (l *line) retire() bool {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	if len(l.waiting) > 0 {
		return false
	}
	delete(l.d.lines, l.queue)
	return true
}

// rest is how long the line leaves the database alone unless it is told of something:
// less than usual where a rate lets the next job go sooner. Lanes that may be served now
// are none of those that anybody asks for.
func (l *line) rest() time.Duration {
	l.d.mu.Lock()
	poll := deafPoll
	if l.d.hears {
		poll = heardPoll
	}
	l.d.mu.Unlock()
	if wait := l.claimer.Wait(poll); wait > 0 {
		return wait
	}
	return poll
}

// pass claims for those who ask, in turn, while there are jobs.
func (l *line) pass() error {
	if err := l.inform(); err != nil {
		l.refuse(err)
		return err
	}
	short := map[group]bool{} // asked for more than there was
	for l.d.ctx.Err() == nil {
		if l.quiet() {
			l.passOver()
			return nil
		}
		batch, n := l.next(short)
		if len(batch) == 0 {
			return nil
		}
		searching := !l.claimer.More()
		claimed, full, err := l.claim(batch[0].ask.group, n)
		if err == nil && searching {
			l.looked = time.Now()
		}
		short[batch[0].ask.group] = !full
		l.hand(batch, claimed, full, err)
		if err != nil {
			l.refuse(err)
			return err
		}
	}
	return nil
}

// inform hands the claimer what was heard and set. Nothing is claimed before the limits
// are known.
func (l *line) inform() error {
	l.d.mu.Lock()
	controls, notices, changed := l.d.controls, l.notices, l.changed
	l.notices, l.changed = nil, false
	someone := len(l.waiting) > 0
	l.d.mu.Unlock()
	for _, n := range notices {
		if n.Kind == "" { // there is a new connection, or too much came to be kept
			l.claimer.Listens()
			l.looked = time.Time{}
			continue
		}
		l.claimer.Hear(n)
	}
	if controls == nil && someone {
		var err error
		if controls, err = l.d.loadControls(l.d.ctx); err != nil {
			return err
		}
		changed = true
	}
	if changed && controls != nil {
		l.claimer.SetControls(controls[l.queue], controls[queue.AnyQueue])
	}
	return nil
}

// quiet says that there is nothing to claim as far as can be known without asking: no
// lane may have jobs, and others were looked for.
func (l *line) quiet() bool {
	l.d.mu.Lock()
	again := heardPoll
	if !l.d.hears {
		again = deafLook
	}
	l.d.mu.Unlock()
	return !l.claimer.More() && time.Since(l.looked) < again
}

// next gives the places of the first who asks, and of others who ask alike, with how
// many jobs they want together. Their asks are busy until hand.
func (l *line) next(short map[group]bool) (batch []*place, n int) {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	for _, p := range l.waiting {
		a := p.ask
		switch {
		case a.over || short[a.group] || len(batch) > 0 && a.group != batch[0].ask.group:
			continue
		case a.busy:
			a.skipped = true
			continue
		case n > 0 && n+a.max > maxClaim:
			return batch, n
		}
		a.busy = true
		batch, n = append(batch, p), n+a.max
	}
	return batch, n
}

// hand gives jobs to those they were claimed for, the first first. Who gets none has been
// looked for, unless there may be more.
func (l *line) hand(batch []*place, claimed []queue.Claimed, full bool, err error) {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	for _, p := range batch {
		a := p.ask
		n := min(a.max, len(claimed))
		mine := claimed[:n:n]
		claimed = claimed[n:]
		a.busy = false
		switch {
		case n > 0 || err != nil || a.leaving:
			l.d.finish(a, handed{mine, err})
		case !full:
			l.look(p)
		}
		if a.skipped && !a.over {
			for _, name := range a.queues {
				l.d.lines[name].wake()
			}
		}
		a.skipped = false
	}
	l.tidy()
}

// look notes that the line has nothing for an ask; the lock is held.
func (l *line) look(p *place) {
	if a := p.ask; !a.over {
		if !p.looked {
			p.looked = true
			a.left--
		}
		if a.once && a.left <= 0 && !a.busy {
			l.d.finish(a, handed{})
		}
	}
}

// passOver tells all who ask that there is nothing.
func (l *line) passOver() {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	for _, p := range l.waiting {
		l.look(p)
	}
	l.tidy()
}

// refuse tells all who ask that the database does not answer.
func (l *line) refuse(err error) {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	for _, p := range l.waiting {
		if !p.ask.over && !p.ask.busy {
			l.d.finish(p.ask, handed{err: pg.Fault(err)})
		}
	}
	l.tidy()
}

// tidy forgets who asks no more; the lock is held.
func (l *line) tidy() {
	l.waiting = slices.DeleteFunc(l.waiting, func(p *place) bool { return p.ask.over })
}

// claim takes up to n jobs for a group, and says whether there may be more.
func (l *line) claim(g group, n int) (claimed []queue.Claimed, full bool, err error) {
	// A claim in flight is finished, not cut, when the server stops: its jobs are ours.
	ctx := context.WithoutCancel(l.d.ctx)
	l.d.mu.Lock()
	w := l.d.workerOf(workerKey{l.queue, g.worker})
	anonymous := g.worker != "" && w.stored.IsZero() // the id is a new one, after a claim without an answer
	l.d.mu.Unlock()
	if anonymous {
		if err := l.d.writeNames(ctx, []named{{w, g.worker}}); err != nil {
			return nil, false, err
		}
	}
	var others []string // lanes of other tenants
	slots := queue.Slots{}
	if g.tenant != "" {
		slots.Room = func(lane string) int {
			if tenant, _, _ := queue.PartsOfLane(lane); tenant != g.tenant {
				others = append(others, lane)
				return 0
			}
			return n
		}
	}
	l.claimer.Worker, l.claimer.Lease = w.id, g.lease
	l.claimer.Share(slots)
	claimed, err = l.claimer.Claim(ctx, n)
	if len(others) > 0 { // they left the ring for this claim only
		l.claimer.Hear(queue.Notice{Kind: queue.NoticeReady, Queue: l.queue, Lanes: others})
	}
	if err != nil {
		l.d.abandon(workerKey{l.queue, g.worker}, w)
		return nil, false, err
	}
	if len(claimed) == 0 {
		return nil, false, nil
	}
	w.since = claimed[0].StartedAt
	l.shorten(ctx, claimed, g.lease)
	full = len(claimed) == n || l.claimer.More()
	return l.fit(ctx, claimed), full, nil
}

// shorten ends the leases of jobs whose attempts may not last that long when they may
// not. Where that fails the next extension, or the lease's own end, does.
func (l *line) shorten(ctx context.Context, claimed []queue.Claimed, lease time.Duration) {
	long := map[time.Duration][]queue.Held{}
	for i := range claimed {
		if timeout := timeoutOf(&claimed[i]); timeout < lease {
			long[timeout] = append(long[timeout], heldOf(&claimed[i]))
		}
	}
	for timeout, held := range long {
		if _, err := queue.Extend(ctx, l.d.db, held, timeout); err != nil {
			l.d.log.WarnContext(ctx, "leases of jobs with short timeouts could not be shortened", "queue", l.queue, "jobs", len(held), "error", err)
		}
	}
}

func timeoutOf(c *queue.Claimed) time.Duration { return time.Duration(c.TimeoutMS) * time.Millisecond }

// fit keeps what may be handed out. Jobs of other kinds, which only SQL can have put
// here, fail with the reason; nobody else would ever claim them.
func (l *line) fit(ctx context.Context, claimed []queue.Claimed) []queue.Claimed {
	var strange []jobs.Ended
	fits := claimed[:0]
	for i := range claimed {
		c := claimed[i]
		if kind, known := l.d.kinds.Get(c.Kind); known && kind.External {
			fits = append(fits, c)
			continue
		}
		strange = append(strange, jobs.Ended{Job: &c, Settlement: queue.Settlement{
			State: queue.Failed, Outcome: queue.OutcomePermanent,
			Error: "the queue " + l.queue + " is for jobs of the kind external; enqueue this one into another queue",
		}})
	}
	if len(strange) == 0 {
		return fits
	}
	err := pg.InSteadyTx(ctx, l.d.db, func(tx *sqlx.Tx) error {
		_, err := l.d.kinds.Settle(ctx, tx, strange)
		return err
	})
	if err != nil {
		l.d.log.WarnContext(ctx, "jobs that do not belong in their queue could not be ended", "queue", l.queue, "jobs", len(strange), "error", err)
	}
	return fits
}
