package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pg"
)

// pickupSlots is how many jobs may run at once where pickup is measured.
const pickupSlots = 100

// pickup is how long jobs of a steady rate waited for their attempt to start.
type pickup struct {
	Rate int `json:"jobs_per_second"`
	latency
}

// benchPickup measures the time from the commit of a job to the start of its
// attempt, at several steady rates. Jobs are sent by the clock, whether or not the
// ones before were picked up.
func benchPickup(ctx context.Context, b *bench) error {
	return b.withScratch(ctx, func(s *scratch) error {
		for _, rate := range []int{20, 100, 300} {
			p := steady{s: s, slots: pickupSlots, tenant: httpapi.DefaultTenant, rate: rate, more: func() bool { return true }}
			took, err := p.waits(ctx)
			if err != nil {
				return err
			}
			b.report.Pickup = append(b.report.Pickup, pickup{rate, took})
			b.report.latency(fmt.Sprintf("pickup at %d jobs/s", rate), took)
		}
		return nil
	})
}

// steady sends single jobs of a tenant at a rate, and notes when each was committed
// and when it was started.
type steady struct {
	s      *scratch
	slots  int
	tenant string
	rate   int
	work   time.Duration // that each job takes
	more   func() bool   // false ends the sending early

	mu                 sync.Mutex
	started, committed map[uuid.UUID]time.Time
	worker             *worker
}

// waits gives how long the jobs waited, from commit to start.
func (p *steady) waits(ctx context.Context) (latency, error) {
	p.started, p.committed = map[uuid.UUID]time.Time{}, map[uuid.UUID]time.Time{}
	var err error
	if p.worker, err = p.s.startWorker(ctx, p.slots, p.run); err != nil {
		return latency{}, err
	}
	// The worker's LISTEN is up and its first full pass is over.
	wait(ctx, 500*time.Millisecond)
	err = p.s.withPool(func(db *pg.DB) error { return p.send(ctx, db) })
	for range 300 {
		if p.allStarted() || err != nil || ctx.Err() != nil {
			break
		}
		wait(ctx, 100*time.Millisecond)
	}
	if err := errors.Join(err, p.worker.stop()); err != nil {
		return latency{}, err
	}
	var took []time.Duration
	for id, at := range p.committed {
		if begun, ok := p.started[id]; ok {
			// A worker may start before the sender learns of its own commit.
			took = append(took, max(0, begun.Sub(at)))
		}
	}
	if len(took) < len(p.committed) || len(took) == 0 {
		return latency{}, fmt.Errorf("only %d of %d jobs were picked up", len(took), len(p.committed))
	}
	return latencyOf(took), nil
}

func (p *steady) run(ctx context.Context, j jobs.Job) {
	if j.Tenant == p.tenant {
		p.note(p.started, j.ID)
	}
	if p.work > 0 {
		wait(ctx, p.work)
	}
}

// note keeps the present as a job's time in one of the maps.
func (p *steady) note(in map[uuid.UUID]time.Time, id uuid.UUID) {
	at := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	in[id] = at
}

func (p *steady) allStarted() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.started) >= len(p.committed)
}

// send inserts single jobs by the clock and notes each commit.
func (p *steady) send(ctx context.Context, db *pg.DB) error {
	n := p.rate * p.s.o.Seconds
	all := p.s.jobsOf(p.tenant)(0, n)
	tick := time.NewTicker(time.Second / time.Duration(p.rate))
	defer tick.Stop()
	var sending sync.WaitGroup
	errs := make([]error, n)
	for i := 0; i < n && p.more() && ctx.Err() == nil; i++ {
		select {
		case <-ctx.Done():
			continue
		case <-tick.C:
		}
		sending.Go(func() {
			if errs[i] = insert(ctx, db, all[i:i+1]); errs[i] == nil {
				p.note(p.committed, all[i].ID)
			}
		})
	}
	sending.Wait()
	return errors.Join(append(errs, ctx.Err())...)
}
