package bench

import (
	"context"
	"time"

	"github.com/signalstack/signalstack/internal/pg"
)

const (
	// fairSlots is how many jobs of the queue run at once: what a queue has by default.
	fairSlots = 50
	// fairRate is how many jobs the quiet tenant sends a second.
	fairRate = 20
)

// fair is how long the quiet tenant's jobs waited.
type fair struct {
	Noisy    int     `json:"noisy_jobs"`
	Slots    int     `json:"slots"`
	Alone    latency `json:"alone"`
	Beside   latency `json:"beside_the_noisy_one"`
	RatioP50 float64 `json:"ratio_p50"`
	RatioP95 float64 `json:"ratio_p95"`
}

// benchFair measures how long a tenant's few jobs wait, alone and then behind the
// many of another in the same queue. Every job takes 1 ms.
func benchFair(ctx context.Context, b *bench) error {
	f := &fair{Noisy: b.o.Noisy, Slots: fairSlots}
	var err error
	if f.Alone, err = b.quietWaits(ctx, 0); err != nil {
		return err
	}
	b.report.latency("wait of 20 jobs/s, alone", f.Alone)
	if f.Beside, err = b.quietWaits(ctx, b.o.Noisy); err != nil {
		return err
	}
	b.report.latency("wait of 20 jobs/s, beside noisy one", f.Beside)
	f.RatioP50, f.RatioP95 = ratio(f.Beside.P50, f.Alone.P50), ratio(f.Beside.P95, f.Alone.P95)
	b.report.line("%-36s p50 %.2f, p95 %.2f; %d jobs of the noisy tenant, %d slots, %d and %d waits", "  times as long",
		f.RatioP50, f.RatioP95, f.Noisy, f.Slots, f.Alone.N, f.Beside.N)
	b.report.Fair = f
	return nil
}

func (b *bench) quietWaits(ctx context.Context, noisy int) (took latency, err error) {
	err = b.withScratch(ctx, func(s *scratch) error {
		if noisy > 0 {
			if err := s.withPool(func(db *pg.DB) error { return fill(ctx, db, noisy, b.jobsOf("noisy")) }); err != nil {
				return err
			}
		}
		p := &steady{s: s, slots: fairSlots, tenant: "quiet", rate: fairRate, work: time.Millisecond}
		// The sending ends before the other tenant's jobs do: nobody is beside it then.
		p.more = func() bool { return noisy == 0 || p.worker.ran.Load() < int64(noisy)*9/10 }
		took, err = p.waits(ctx)
		return err
	})
	return took, err
}
