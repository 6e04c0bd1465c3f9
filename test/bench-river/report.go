package main

import (
	"context"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"time"
)

// report of a run: what --json prints. The lines go to out as they are measured.
type report struct {
	River     string   `json:"river"`
	Server    string   `json:"server"`
	Insert    *figure  `json:"insert,omitempty"`
	Backlog   *figure  `json:"backlog,omitempty"`
	Sustained *figure  `json:"sustained,omitempty"`
	Pickup    []pickup `json:"pickup,omitempty"`

	out io.Writer
}

// figure is a rate with what each job cost the server.
type figure struct {
	JobsPerSecond  float64 `json:"jobs_per_second"`
	CommitsPerJob  float64 `json:"commits_per_job"`
	WALBytesPerJob float64 `json:"wal_bytes_per_job"`
}

// pickup is how long jobs of a steady rate waited for their work to start.
type pickup struct {
	Rate int     `json:"jobs_per_second"`
	P50  float64 `json:"p50_ms"`
	P95  float64 `json:"p95_ms"`
	P99  float64 `json:"p99_ms"`
	Max  float64 `json:"max_ms"`
}

// outcome of a timed part. Jobs may be more than those counted within the time:
// the cost is spread over all of them.
type outcome struct {
	timed int
	took  time.Duration
	jobs  int
}

// head names what is measured: figures mean nothing without the server's settings.
func (r *report) head(ctx context.Context, s *scratch) error {
	if err := s.admin.QueryRow(ctx, `SELECT 'PostgreSQL ' || current_setting('server_version') || ', fsync ' || current_setting('fsync')
		|| ', synchronous_commit ' || current_setting('synchronous_commit')`).Scan(&r.Server); err != nil {
		return fmt.Errorf("read server settings: %w", err)
	}
	r.River = riverVersion()
	fmt.Fprintf(r.out, "%s, River %s\n", r.Server, r.River)
	return nil
}

// riverVersion is the version of River built into this program.
func riverVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, dep := range info.Deps {
		if dep.Path == "github.com/riverqueue/river" {
			return dep.Version
		}
	}
	return "unknown"
}

func (r *report) figure(label string, o outcome, before, after cost) *figure {
	f := &figure{
		JobsPerSecond:  float64(o.timed) / o.took.Seconds(),
		CommitsPerJob:  float64(after.commits-before.commits) / float64(o.jobs),
		WALBytesPerJob: float64(after.walBytes-before.walBytes) / float64(o.jobs),
	}
	fmt.Fprintf(r.out, "%-34s %9.0f/s   %d in %.2f s, %.4f commits and %.2f KiB of WAL each\n",
		label, f.JobsPerSecond, o.timed, o.took.Seconds(), f.CommitsPerJob, f.WALBytesPerJob/1024)
	return f
}

func (r *report) pickup(rate int, took []time.Duration) {
	slices.Sort(took)
	at := func(p float64) float64 { return float64(took[int(p*float64(len(took)-1))].Microseconds()) / 1000 }
	p := pickup{Rate: rate, P50: at(0.50), P95: at(0.95), P99: at(0.99), Max: at(1)}
	fmt.Fprintf(r.out, "%-34s p50 %.1f ms, p95 %.1f ms, p99 %.1f ms, max %.1f ms\n",
		fmt.Sprintf("River: pickup at %d jobs/s", rate), p.P50, p.P95, p.P99, p.Max)
	r.Pickup = append(r.Pickup, p)
}
