package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fired is what is shown of one fire.
type fired struct {
	FireAt   time.Time `json:"fire_at"`
	State    string
	JobID    string  `json:"job_id"`
	Lateness float64 `json:"lateness_ms"`
}

// TestSchedulesFireOnceWhoeverDies kills a worker, each a moment before a full second,
// while schedules fire every second and every minute. It takes 15 seconds, or what
// SIGNALSTACK_TEST_SCHEDULES says, such as 5m.
func TestSchedulesFireOnceWhoeverDies(t *testing.T) {
	t.Parallel()
	spell := 15 * time.Second
	if longer, err := time.ParseDuration(os.Getenv("SIGNALSTACK_TEST_SCHEDULES")); err == nil {
		spell = longer
	}
	server := startServer(t, dataDir(t))
	dsn := server.DSN()
	code, _, stderr := run(t, []string{"DATABASE_URL=" + dsn}, "migrate", "up")
	require.Zero(t, code, stderr)
	serve := startServe(t, dsn)
	workers := []*process{startWork(t, dsn), startWork(t, dsn), startWork(t, dsn), startWork(t, dsn)}
	every := map[string]time.Duration{}
	for _, cron := range []string{"* * * * * *", "* * * * * *", "* * * * * *", "* * * * *"} {
		body := `{"cron":"` + cron + `","action":{"job":{"kind":"log","payload":{"message":"tick"}}}}`
		id := call[accepted](t, http.MethodPost, serve.url+"/schedules", []byte(body), 201).ID
		if every[id] = time.Second; cron == "* * * * *" {
			every[id] = time.Minute
		}
	}
	kills := 0
	for end := time.Now().Add(spell); time.Now().Before(end); kills++ {
		second := time.Now().Truncate(time.Second).Add(2 * time.Second)
		<-time.After(time.Until(second.Add(-time.Duration(kills%5) * 5 * time.Millisecond)))
		workers[kills%len(workers)].kill()
		workers[kills%len(workers)] = startWork(t, dsn)
	}
	for id := range every {
		call[accepted](t, http.MethodPost, serve.url+"/schedules/"+id+"/pause", []byte("{}"), 200)
	}
	all, latest := 0, 0.0
	for id, step := range every {
		fires := firesOf(t, serve.url, id)
		if step == time.Second {
			require.GreaterOrEqual(t, len(fires), int(spell.Seconds())-1)
		}
		jobs := map[string]bool{}
		for i, f := range fires { // the newest first
			require.Equal(t, "made", f.State, "%+v", f)
			if i > 0 {
				require.Equal(t, step, fires[i-1].FireAt.Sub(f.FireAt), "each fire once, and none left out")
			}
			require.False(t, jobs[f.JobID])
			jobs[f.JobID] = true
			awaitState(t, serve.url, f.JobID, "succeeded")
			latest = max(latest, f.Lateness)
		}
		made := call[page](t, http.MethodGet, serve.url+"/jobs?limit=1000&schedule_id="+id, nil, 200).Data
		require.Len(t, made, len(fires), "no job beside those of the fires")
		all += len(fires)
	}
	t.Logf("%d kills, %d fires, the latest after %.0f ms", kills, all, latest)
	for _, p := range append(workers, serve) {
		require.Zero(t, p.stop(t), p.stderr.String())
	}
}

// firesOf gives all fires of a schedule, the newest first.
func firesOf(t *testing.T, base, id string) (all []fired) {
	t.Helper()
	for cursor := ""; ; {
		got := call[struct {
			Data []fired
			Next string `json:"next_cursor"`
		}](t, http.MethodGet, fmt.Sprintf("%s/schedules/%s/fires?limit=100&cursor=%s", base, id, url.QueryEscape(cursor)), nil, 200)
		all = append(all, got.Data...)
		if cursor = got.Next; cursor == "" {
			return all
		}
	}
}
