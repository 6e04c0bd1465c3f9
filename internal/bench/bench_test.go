package bench_test

import (
	"bytes"
	"encoding/json"
	"io"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/bench"
	"github.com/signalstack/signalstack/internal/config"
	"github.com/signalstack/signalstack/internal/pgtest"
)

// small are options of a run of seconds.
func small(t *testing.T, only ...string) bench.Options {
	t.Helper()
	var o bench.Options
	o.AddFlags(pflag.NewFlagSet("bench", pflag.ContinueOnError)) // the defaults
	var err error
	o.Config, err = config.Load([]string{"DATABASE_URL=" + pgtest.Empty(t)}, nil)
	require.NoError(t, err)
	o.Jobs, o.Noisy, o.Slots, o.Seconds, o.Only, o.Talk = 2000, 30_000, 200, 1, only, io.Discard
	return o
}

// report is what a reader of the document relies on.
type report struct {
	Settings struct {
		Server string `json:"server"`
		Fsync  string `json:"fsync"`
		Go     string `json:"go"`
		Cores  int    `json:"cores"`
		Slots  int    `json:"slots"`
	} `json:"settings"`
	Insert, Backlog figure
	Pickup          []waited
	Fair            []struct {
		Alone    waited  `json:"alone"`
		Beside   waited  `json:"beside_the_noisy_one"`
		RatioP95 float64 `json:"ratio_p95"`
	}
	Ingest struct {
		Parts []struct {
			Name            string  `json:"name"`
			EventsPerSecond float64 `json:"events_per_second"`
			Answered        waited  `json:"answered"`
		} `json:"parts"`
		Ratio float64 `json:"ratio"`
	}
	Limits []struct {
		Name          string  `json:"name"`
		JobsPerSecond float64 `json:"jobs_per_second"`
	}
}

type figure struct {
	JobsPerSecond  float64 `json:"jobs_per_second"`
	CommitsPerJob  float64 `json:"commits_per_job"`
	WALBytesPerJob float64 `json:"wal_bytes_per_job"`
}

type waited struct {
	N   int     `json:"n"`
	P50 float64 `json:"p50_ms"`
	P95 float64 `json:"p95_ms"`
}

// run gives what a reader makes of the document of a run.
func run(t *testing.T, only ...string) report {
	t.Helper()
	o := small(t, only...)
	var document bytes.Buffer
	o.JSON, o.Out = true, &document
	require.NoError(t, bench.Run(t.Context(), o))
	var r report
	require.NoError(t, json.Unmarshal(document.Bytes(), &r))
	return r
}

func TestThroughput(t *testing.T) {
	t.Parallel()
	r := run(t, "insert", "backlog", "limits")
	require.NotEmpty(t, r.Settings.Server)
	require.NotEmpty(t, r.Settings.Fsync)
	require.NotEmpty(t, r.Settings.Go)
	require.Positive(t, r.Settings.Cores)
	require.Equal(t, 200, r.Settings.Slots)
	for _, f := range []figure{r.Insert, r.Backlog} {
		require.Positive(t, f.JobsPerSecond)
		require.Positive(t, f.WALBytesPerJob)
		require.Positive(t, f.CommitsPerJob)
		require.Less(t, f.CommitsPerJob, 1.0)
	}
	require.Len(t, r.Limits, 6)
	for _, l := range r.Limits {
		require.Positive(t, l.JobsPerSecond, l.Name)
	}
}

func TestIngest(t *testing.T) {
	t.Parallel()
	r := run(t, "ingest")
	require.Len(t, r.Ingest.Parts, 5)
	for _, p := range r.Ingest.Parts {
		require.Positive(t, p.EventsPerSecond, p.Name)
		require.Positive(t, p.Answered.P95, p.Name)
	}
	require.Positive(t, r.Ingest.Ratio)
}

func TestLatency(t *testing.T) {
	t.Parallel()
	r := run(t, "pickup", "fair")
	require.Len(t, r.Pickup, 3)
	for i, n := range []int{20, 100, 300} { // each rate for one second
		require.Equal(t, n, r.Pickup[i].N)
		require.Positive(t, r.Pickup[i].P95)
	}
	require.Len(t, r.Fair, 2)
	for _, f := range r.Fair { // long jobs and short ones
		require.Equal(t, 20, f.Alone.N)
		require.Positive(t, f.Beside.N)
		require.Positive(t, f.RatioP95)
	}
}

func TestLinesArePrinted(t *testing.T) {
	t.Parallel()
	o := small(t, "insert")
	var out, talk bytes.Buffer
	o.Out, o.Talk = &out, &talk
	require.NoError(t, bench.Run(t.Context(), o))
	require.Regexp(t, `(?m)^PostgreSQL .*fsync .*synchronous_commit .*shared_buffers `, out.String())
	require.Regexp(t, `(?m)^jobs inserted, batches of 1000 +\d+/s   2000 in .* commits and .* KiB of WAL each$`, out.String())
	require.Equal(t, "1/1 insert ...\n", talk.String())
}

func TestOptionsThatCannotBeMeant(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*bench.Options){
		"part of a name":  func(o *bench.Options) { o.Only = []string{"held"} },
		"no jobs":         func(o *bench.Options) { o.Jobs = 0 },
		"no payload":      func(o *bench.Options) { o.Payload = 0 },
		"too short":       func(o *bench.Options) { o.Held = time.Millisecond },
		"fewer than none": func(o *bench.Options) { o.Ready = -1 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var o bench.Options
			o.AddFlags(pflag.NewFlagSet("bench", pflag.ContinueOnError))
			require.NoError(t, o.Check())
			change(&o)
			require.Error(t, o.Check())
		})
	}
}
