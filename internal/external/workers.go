package external

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

// workerKey names an id: each line has its own for a name, so that it alone knows what
// came to it.
type workerKey struct{ queue, name string }

// workerID is the id under which this process claims for a name.
type workerID struct {
	id     uuid.UUID
	since  time.Time // the database's, of its last claim
	stored time.Time // when the name was last written
	used   time.Time
}

// orphan is an id whose last claim was not answered.
type orphan struct {
	worker uuid.UUID
	since  time.Time // the database's: what it claimed until then was handed out
	until  time.Time // jobs may become its own until then, as the server may hold the transaction
}

const (
	// storeAgain is how often the name of a worker is written again, so that the sweeper
	// sees that it is alive.
	storeAgain = time.Hour
	// maxWorkers is how many names are remembered beyond those in use.
	maxWorkers = 10_000
	// orphanTime is how long the server may hold the transaction of a claim whose answer
	// was lost: its statements and its idle time have ended by then.
	orphanTime = 15 * time.Second
)

// workerOf gives the id for a name; the lock is held.
func (d *dispatcher) workerOf(key workerKey) *workerID {
	w := d.workers[key]
	if w == nil {
		w = &workerID{id: uuid.Must(uuid.NewV7())}
		d.workers[key] = w
	}
	w.used = time.Now()
	return w
}

// introduce writes down the name of who asks, so that it can be shown of its jobs. It is
// done before the claim and with the names of others: were it part of the claim, the
// first claims of a thousand workers would take turns with it.
func (d *dispatcher) introduce(ctx context.Context, a *ask) error {
	if a.worker == "" {
		return nil
	}
	d.mu.Lock()
	var fresh []named
	for _, name := range a.queues {
		if w := d.workerOf(workerKey{name, a.worker}); time.Since(w.stored) >= storeAgain {
			fresh = append(fresh, named{w, a.worker})
		}
	}
	d.mu.Unlock()
	if len(fresh) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	defer context.AfterFunc(d.ctx, cancel)() // nobody writes after that
	if _, err := d.names.Do(ctx, fresh); err != nil {
		if d.ctx.Err() != nil {
			return errClosing
		}
		return err
	}
	return nil
}

// named is an id with the name that is to be written down.
type named struct {
	worker *workerID
	name   string
}

func (d *dispatcher) storeNames(ctx context.Context, batch [][]named) []pg.Outcome[struct{}] {
	if err := d.writeNames(ctx, slices.Concat(batch...)); err != nil {
		return pg.FailAll[[]named, struct{}](batch, pg.Fault(err))
	}
	return make([]pg.Outcome[struct{}], len(batch))
}

func (d *dispatcher) writeNames(ctx context.Context, all []named) error {
	texts := map[uuid.UUID]string{} // each id once
	for _, n := range all {
		texts[n.worker.id] = n.name
	}
	var ids, names pq.StringArray
	for id, name := range texts {
		ids, names = append(ids, id.String()), append(names, name)
	}
	// Only this process writes these rows.
	_, err := d.db.ExecContext(ctx, `
		INSERT INTO signalstack.lease_workers (id, name, seen_at)
		SELECT id, name, now() FROM unnest($1::uuid[], $2::text[]) AS g (id, name)
		ON CONFLICT (id) DO UPDATE SET seen_at = now()`, ids, names)
	if err != nil {
		return fmt.Errorf("store names of workers: %w", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, n := range all {
		n.worker.stored = time.Now()
	}
	d.forgetWorkers()
	return nil
}

// forgetWorkers forgets names that were not used for long, when there are many. The lock
// is held.
func (d *dispatcher) forgetWorkers() {
	if len(d.workers) <= maxWorkers {
		return
	}
	for key, w := range d.workers {
		if time.Since(w.used) > storeAgain {
			delete(d.workers, key)
		}
	}
}

// abandon leaves an id whose claim was not answered: whatever comes to it after its last
// answered claim is an orphan.
func (d *dispatcher) abandon(key workerKey, w *workerID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.workers[key] == w {
		delete(d.workers, key)
	}
	d.orphans = append(d.orphans, orphan{worker: w.id, since: w.since, until: time.Now().Add(orphanTime)})
	select {
	case d.lost <- struct{}{}:
	default:
	}
}

// releaseOrphans gives back what claims without an answer may have left, for as long as
// something may come of them.
func (d *dispatcher) releaseOrphans() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-d.ctx.Done():
			ctx, cancel := context.WithTimeout(context.WithoutCancel(d.ctx), 3*time.Second)
			defer cancel()
			d.releasePass(ctx)
			return
		case <-d.lost:
		}
		for d.releasePass(d.ctx) {
			select {
			case <-d.ctx.Done():
			case <-tick.C:
			}
		}
	}
}

// releasePass says whether there is more to look for.
func (d *dispatcher) releasePass(ctx context.Context) bool {
	d.mu.Lock()
	all := slices.Clone(d.orphans)
	d.mu.Unlock()
	done := map[uuid.UUID]bool{}
	for _, o := range all {
		n, err := queue.ReleaseClaimed(ctx, d.db, o.worker, o.since)
		if err != nil {
			continue // the database is away still
		}
		if n > 0 {
			d.log.InfoContext(ctx, "released jobs whose claim was not answered", "jobs", n)
		}
		done[o.worker] = time.Now().After(o.until)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.orphans = slices.DeleteFunc(d.orphans, func(o orphan) bool { return done[o.worker] })
	return len(d.orphans) > 0 && d.ctx.Err() == nil
}

// Sweeper removes what external workers left behind: what was said of attempts that
// have ended, and the names of workers that nobody has seen for long.
type Sweeper struct {
	DB       *pg.DB
	Log      *slog.Logger
	Interval time.Duration
}

// keepWorkers is how long a name is kept after its last claim: longer than jobs are by
// default.
const keepWorkers = 45 * 24 * time.Hour

// Run sweeps until ctx ends.
func (s *Sweeper) Run(ctx context.Context) error {
	tick := time.NewTicker(s.Interval)
	defer tick.Stop()
	for {
		if err := s.Pass(ctx); err != nil && ctx.Err() == nil && !pg.IsAway(err) {
			s.Log.WarnContext(ctx, "what external workers left could not be swept", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Pass sweeps once.
func (s *Sweeper) Pass(ctx context.Context) error {
	_, err := s.DB.ExecContext(ctx, `
		DELETE FROM signalstack.lease_progress AS p
		WHERE NOT EXISTS (SELECT FROM signalstack.running AS r WHERE r.job_id = p.job_id AND r.lease = p.lease)`)
	if err != nil {
		return fmt.Errorf("sweep progress: %w", err)
	}
	_, err = s.DB.ExecContext(ctx, `DELETE FROM signalstack.lease_workers WHERE seen_at < now() - $1 * interval '1 second'`, int64(keepWorkers/time.Second))
	if err != nil {
		return fmt.Errorf("sweep names of workers: %w", err)
	}
	return nil
}
