package bench

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/app"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

// big is how the engine fares beside many rows.
type big struct {
	Ready        int     `json:"ready"`
	Scheduled    int     `json:"scheduled"`
	Finished     int     `json:"finished"`
	FillSeconds  float64 `json:"fill_seconds"`
	ClaimEmpty   latency `json:"claim_empty"`
	ClaimBig     latency `json:"claim_big"`
	ClaimRatio50 float64 `json:"claim_p50_ratio"`
	ClaimRatio95 float64 `json:"claim_p95_ratio"`
	Reads        []read  `json:"reads"`
}

// read is how long a request took.
type read struct {
	Path   string `json:"path"`
	Failed int    `json:"failed"` // answers other than 200, which count as well
	latency
}

const (
	// claimsTimed is how many claims are timed, and claimLimit how many jobs each takes.
	claimsTimed = 200
	claimLimit  = 50
	// readsTimed is how many requests of each sort are timed, within readsTime.
	readsTimed = 50
	readsTime  = 15 * time.Second
)

// reads are the requests that are timed, besides single jobs.
var reads = []string{
	"/jobs", "/jobs?state=failed", "/jobs?state=pending", "/jobs?state=scheduled", "/jobs?state=succeeded",
	"/jobs?tenant=default", "/jobs?tenant=tenant-7", "/jobs?queue=email", "/jobs?queue=rare", "/analytics/summary",
	"/analytics/summary?tenant=tenant-7",
	"/attempts", "/attempts?endpoint_id=" + stockEndpoint, "/attempts?status_class=5xx", "/attempts?status=404", "/attempts?error_class=timeout",
	"/attempts?event_type=order.paid", "/attempts?started_after=2020-01-01T00:00:00Z", "/attempts?text=answer", "/attempts?text=never+said",
	"/attempts?tenant=tenant-7&status_class=4xx", "/attempts?endpoint_id=" + stockEndpoint + "&status_class=5xx",
}

// stockEndpoint is one of madeSQL.
const stockEndpoint = "00000000-0000-7000-8000-000000000003"

// benchBig times claims on empty tables, fills them, and times claims and reads.
func benchBig(ctx context.Context, b *bench) error {
	return b.withScratch(ctx, func(s *scratch) error {
		r := &big{Ready: b.o.Ready, Scheduled: b.o.Scheduled, Finished: b.o.Finished}
		err := s.withPool(func(db *pg.DB) (err error) {
			if r.ClaimEmpty, err = s.timeClaims(ctx, db, 0); err != nil {
				return err
			}
			b.report.latency(fmt.Sprintf("claim of %d, empty tables", claimLimit), r.ClaimEmpty)
			start := time.Now()
			if err := s.fillStock(ctx, db); err != nil {
				return err
			}
			r.FillSeconds = time.Since(start).Seconds()
			b.report.line("%-36s %d ready, %d scheduled and %d finished jobs in %.1f s", "  filled with",
				r.Ready, r.Scheduled, r.Finished, r.FillSeconds)
			r.ClaimBig, err = s.timeClaims(ctx, db, r.Ready)
			return err
		})
		if err != nil {
			return err
		}
		b.report.latency(fmt.Sprintf("claim of %d, beside them", claimLimit), r.ClaimBig)
		r.ClaimRatio50, r.ClaimRatio95 = ratio(r.ClaimBig.P50, r.ClaimEmpty.P50), ratio(r.ClaimBig.P95, r.ClaimEmpty.P95)
		b.report.line("%-36s p50 %.2f, p95 %.2f", "  times as long", r.ClaimRatio50, r.ClaimRatio95)
		b.report.Big = r
		return s.withApp(ctx, app.Options{Serve: true}, func(base string) error { return s.timeReads(ctx, base, r) })
	})
}

// timeClaims times claims as a worker's queue makes them; what each took is settled
// before the next. Where too few jobs wait, as on empty tables, each claim's own are
// put there before it, of the same lanes that the stock has.
func (s *scratch) timeClaims(ctx context.Context, db *pg.DB, waiting int) (latency, error) {
	c := queue.NewClaimer(db, queue.DefaultQueue, uuid.Must(uuid.NewV7()), lease, 10*time.Second)
	make := s.ofManyTenants()
	var took []time.Duration
	for range claimsTimed {
		if waiting < 2*claimsTimed*claimLimit {
			if err := insert(ctx, db, make(0, claimLimit)); err != nil {
				return latency{}, err
			}
			c.Hear(queue.Notice{Kind: queue.NoticeReady, Queue: c.Queue, Lanes: stockTenants(), At: time.Now().Add(-time.Second)})
		}
		start := time.Now()
		got, err := c.Claim(ctx, claimLimit)
		if err != nil {
			return latency{}, err
		}
		if len(got) < claimLimit {
			return latency{}, fmt.Errorf("a claim got %d of %d jobs", len(got), claimLimit)
		}
		took = append(took, time.Since(start))
		if err := settle(ctx, db, got); err != nil {
			return latency{}, err
		}
	}
	return latencyOf(took), nil
}

// stockTenants are those of madeSQL.
func stockTenants() []string {
	return []string{"default", "tenant-5", "tenant-6", "tenant-7", "tenant-8", "tenant-9"}
}

// ofManyTenants makes jobs of all tenants in turn.
func (s *scratch) ofManyTenants() maker {
	make, tenants := s.jobs(), stockTenants()
	return func(first, n int) []queue.NewJob {
		all := make(first, n)
		for i := range all {
			all[i].Tenant = tenants[i%len(tenants)]
		}
		return all
	}
}

func (s *scratch) timeReads(ctx context.Context, base string, r *big) error {
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	single, err := s.someJobs(ctx)
	if err != nil {
		return err
	}
	for _, path := range reads {
		if err := r.time(ctx, client, base, path, func(int) string { return path }); err != nil {
			return err
		}
		s.report.read(r.Reads[len(r.Reads)-1])
	}
	if len(single) == 0 {
		return nil
	}
	if err := r.time(ctx, client, base, "/jobs/{id}", func(i int) string { return "/jobs/" + url.PathEscape(single[i%len(single)]) }); err != nil {
		return err
	}
	s.report.read(r.Reads[len(r.Reads)-1])
	return nil
}

// time times requests one after the other.
func (r *big) time(ctx context.Context, client *http.Client, base, name string, path func(int) string) error {
	result := read{Path: name}
	var took []time.Duration
	for end := time.Now().Add(readsTime); len(took) < readsTimed && time.Now().Before(end); {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path(len(took)), nil)
		if err != nil {
			return err
		}
		t, status, _, err := send(client, req)
		if err != nil {
			return err
		}
		if status != http.StatusOK {
			result.Failed++
		}
		took = append(took, t)
	}
	result.latency = latencyOf(took)
	r.Reads = append(r.Reads, result)
	return nil
}

func (r *report) read(d read) {
	r.latency("GET "+d.Path, d.latency)
	if d.Failed > 0 {
		r.line("%-36s %d of %d did not succeed", "", d.Failed, d.N)
	}
}

// someJobs gives the ids of jobs from all days.
func (s *scratch) someJobs(ctx context.Context) (ids []string, err error) {
	now := time.Now()
	err = s.withPool(func(db *pg.DB) error {
		for i := range readsTimed {
			at := now.Add(-time.Duration(i) * stockDays * 24 * time.Hour / readsTimed)
			var found []string
			if err := db.SelectContext(ctx, &found, `
				SELECT id FROM signalstack.jobs WHERE id < $1 ORDER BY id DESC LIMIT 1`, queue.FirstID(at)); err != nil {
				return fmt.Errorf("choose jobs: %w", err)
			}
			ids = append(ids, found...)
		}
		return nil
	})
	return ids, err
}
