package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/signalstack/signalstack/internal/pg"
)

const (
	// fairSlots is how many jobs of the queue run at once: what a queue has by default.
	fairSlots = 50
	// fairRate is how many jobs the quiet tenant sends a second.
	fairRate = 20
)

// fairWork is how long a job takes: as long as an HTTP call, when slots are what is
// short, and so short that the machine's cores are.
var fairWork = []time.Duration{20 * time.Millisecond, time.Millisecond}

// fair is how long the quiet tenant's jobs waited, where jobs take so long.
type fair struct {
	Noisy    int     `json:"noisy_jobs"`
	Slots    int     `json:"slots"`
	WorkMS   float64 `json:"work_ms"`
	Alone    latency `json:"alone"`
	Beside   latency `json:"beside_the_noisy_one"`
	RatioP50 float64 `json:"ratio_p50"`
	RatioP95 float64 `json:"ratio_p95"`
}

// benchFair measures how long a tenant's few jobs wait, alone and then behind the
// many of another in the same queue.
func benchFair(ctx context.Context, b *bench) error {
	for _, work := range fairWork {
		if err := b.fairAt(ctx, work); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) fairAt(ctx context.Context, work time.Duration) error {
	f := fair{Noisy: b.o.Noisy, Slots: fairSlots, WorkMS: work.Seconds() * 1000}
	var err error
	if f.Alone, err = b.quietWaits(ctx, work, 0); err != nil {
		return err
	}
	b.report.latency(fmt.Sprintf("wait, jobs of %s, alone", work), f.Alone)
	if f.Beside, err = b.quietWaits(ctx, work, b.o.Noisy); err != nil {
		return err
	}
	b.report.latency("  beside the noisy one", f.Beside)
	f.RatioP50, f.RatioP95 = ratio(f.Beside.P50, f.Alone.P50), ratio(f.Beside.P95, f.Alone.P95)
	b.report.line("%-36s p50 %.2f, p95 %.2f; %d jobs of the noisy tenant, %d slots, %d and %d waits", "  times as long",
		f.RatioP50, f.RatioP95, f.Noisy, f.Slots, f.Alone.N, f.Beside.N)
	b.report.Fair = append(b.report.Fair, f)
	return nil
}

func (b *bench) quietWaits(ctx context.Context, work time.Duration, noisy int) (took latency, err error) {
	err = b.withScratch(ctx, func(s *scratch) error {
		if noisy > 0 {
			if err := s.withPool(func(db *pg.DB) error { return fill(ctx, db, noisy, b.jobsOf("noisy")) }); err != nil {
				return err
			}
		}
		p := &steady{s: s, slots: fairSlots, tenant: "quiet", rate: fairRate, work: work}
		// The sending ends before the other tenant's jobs do: nobody is beside it then.
		p.more = func() bool { return noisy == 0 || p.worker.ran.Load() < int64(noisy)*9/10 }
		took, err = p.waits(ctx)
		return err
	})
	return took, err
}
