package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"slices"
	"time"
)

// report of a run: what --json writes. The lines are printed as they are measured.
type report struct {
	Settings     settings      `json:"settings"`
	Insert       *figure       `json:"insert,omitempty"`
	Backlog      *backlog      `json:"backlog,omitempty"`
	Sustained    *figure       `json:"sustained,omitempty"`
	Ingest       *ingest       `json:"ingest,omitempty"`
	Pickup       []pickup      `json:"pickup,omitempty"`
	HeldSnapshot []heldFigures `json:"held_snapshot,omitempty"`
	Big          *big          `json:"big,omitempty"`
	Fair         []fair        `json:"fair,omitempty"`
	Limits       []limited     `json:"limits,omitempty"`
	Delivery     *delivery     `json:"delivery,omitempty"`
	Isolation    []*isolated   `json:"isolation,omitempty"`
	Schedules    []scheduled   `json:"schedules,omitempty"`
	Idle         *idle         `json:"idle,omitempty"`

	out  io.Writer
	talk *progress
}

// settings that a figure means nothing without.
type settings struct {
	Server     string `json:"server" db:"server"`
	Fsync      string `json:"fsync" db:"fsync"`
	SyncCommit string `json:"synchronous_commit" db:"synchronous_commit"`
	Buffers    string `json:"shared_buffers" db:"shared_buffers"`
	Statements bool   `json:"pg_stat_statements"`
	Go         string `json:"go"`
	Platform   string `json:"platform"`
	Cores      int    `json:"cores"`
	Slots      int    `json:"slots"`
	Payload    int    `json:"payload_bytes"`
	Jobs       int    `json:"jobs"`
	Seconds    int    `json:"seconds"`
}

// figure is a rate with what each job, or event, cost the server.
type figure struct {
	JobsPerSecond    float64  `json:"jobs_per_second"`
	CommitsPerJob    float64  `json:"commits_per_job"`
	WALBytesPerJob   float64  `json:"wal_bytes_per_job"`
	StatementsPerJob *float64 `json:"statements_per_job,omitempty"` // nil: not counted
}

// latency is how long something took.
type latency struct {
	N   int     `json:"n"`
	P50 float64 `json:"p50_ms"`
	P95 float64 `json:"p95_ms"`
	P99 float64 `json:"p99_ms"`
	Max float64 `json:"max_ms"`
}

func newReport(o Options) *report {
	out := o.Out
	if o.JSON {
		out = o.Talk
	}
	return &report{
		Settings: settings{
			Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH, Cores: runtime.NumCPU(),
			Slots: o.Slots, Payload: o.Payload, Jobs: o.Jobs, Seconds: o.Seconds,
		},
		out: out, talk: &progress{w: o.Talk},
	}
}

// head reads and prints the settings.
func (b *bench) head(ctx context.Context) error {
	s := &b.report.Settings
	if err := b.admin.GetContext(ctx, s, `
		SELECT current_setting('server_version') AS server, current_setting('fsync') AS fsync,
		       current_setting('synchronous_commit') AS synchronous_commit, current_setting('shared_buffers') AS shared_buffers`); err != nil {
		return fmt.Errorf("read server settings: %w", err)
	}
	// The extension may be there without the library that counts.
	var entries int
	b.statements = b.admin.GetContext(ctx, &entries, `SELECT count(*) FROM pg_stat_statements`) == nil
	s.Statements = b.statements
	counted := "no pg_stat_statements"
	if s.Statements {
		counted = "pg_stat_statements"
	}
	b.report.line("PostgreSQL %s, fsync %s, synchronous_commit %s, shared_buffers %s, %s", s.Server, s.Fsync, s.SyncCommit, s.Buffers, counted)
	b.report.line("%s, %s, %d cores, %d slots, %d bytes of payload", s.Go, s.Platform, s.Cores, s.Slots, s.Payload)
	return nil
}

// line prints a line of figures.
func (r *report) line(format string, args ...any) {
	r.talk.around(func() { fmt.Fprintf(r.out, format+"\n", args...) })
}

func (r *report) write(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if err := e.Encode(r); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

func (r *report) figure(label string, o outcome, c cost, statements bool) *figure {
	each := func(n int64) float64 { return float64(n) / float64(max(1, o.jobs)) }
	f := &figure{JobsPerSecond: float64(o.timed) / o.took.Seconds(), CommitsPerJob: each(c.Commits), WALBytesPerJob: each(c.WALBytes)}
	counted := ""
	if statements {
		f.StatementsPerJob = new(each(c.Statements))
		counted = fmt.Sprintf("%.4f statements, ", *f.StatementsPerJob)
	}
	r.line("%-36s %9.0f/s   %d in %.2f s, %s%.4f commits and %.2f KiB of WAL each",
		label, f.JobsPerSecond, o.timed, o.took.Seconds(), counted, f.CommitsPerJob, f.WALBytesPerJob/1024)
	return f
}

// latencyOf sums up durations.
func latencyOf(took []time.Duration) latency {
	if len(took) == 0 {
		return latency{}
	}
	slices.Sort(took)
	at := func(p float64) float64 { return inMS(took[int(p*float64(len(took)-1))]) }
	return latency{N: len(took), P50: at(0.50), P95: at(0.95), P99: at(0.99), Max: at(1)}
}

func inMS(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// latency prints a line of how long something took.
func (r *report) latency(label string, l latency) {
	r.line("%-36s p50 %.1f ms, p95 %.1f ms, p99 %.1f ms, max %.1f ms", label, l.P50, l.P95, l.P99, l.Max)
}

// ratio of two figures; 0 where there is nothing to compare with.
func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}
