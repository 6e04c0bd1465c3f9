package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestKillLosesNoAcknowledgedEvent kills the process, and with it its PostgreSQL,
// while 10,000 events are in flight, starts it again on the same data and counts.
func TestKillLosesNoAcknowledgedEvent(t *testing.T) {
	t.Parallel()
	const events, senders = 10_000, 32
	dir := dataDir(t)
	p := startAll(t, "--data-dir", dir, "--lease", "2s")
	// Some jobs fail for good and some are tried again, so that the counts below
	// have something to get wrong.
	for _, rule := range []string{
		`{"name":"log","pattern":{"type":["load"]},"actions":[{"kind":"log","payload":{"message":"load"}}]}`,
		`{"name":"fail","pattern":{"type":["load"],"data":{"n":[3,13,23]}},"actions":[{"kind":"http","max_attempts":2,
			"retry":{"strategy":"ladder","ladder":["100ms"]},"payload":{"method":"POST","url":"http://127.0.0.1:1/"}}]}`,
	} {
		call[map[string]any](t, http.MethodPost, p.url+"/rules", []byte(rule), 201)
	}
	var mu sync.Mutex
	acked := map[string][]string{} // event id to job ids
	next := make(chan int)
	var sending sync.WaitGroup
	for range senders {
		sending.Go(func() {
			for n := range next {
				code, answer, err := request(http.MethodPost, p.url+"/events", fmt.Appendf(nil, `{"type":"load","data":{"n":%d}}`, n%100))
				if err != nil || code != 201 {
					continue // not acknowledged
				}
				var a accepted
				if json.Unmarshal(answer, &a) == nil {
					mu.Lock()
					acked[a.ID] = a.JobIDs
					mu.Unlock()
				}
			}
		})
	}
	for n := range events {
		if n == events/2 {
			go p.kill() // the other half is still to be sent
		}
		next <- n
	}
	close(next)
	sending.Wait()
	<-p.exited
	require.Greater(t, len(acked), events/10)
	require.Less(t, len(acked), events, "the kill came too late")

	p = startAll(t, "--data-dir", dir, "--lease", "2s")
	for id, jobIDs := range acked {
		require.NotEmpty(t, jobIDs, "event %s", id)
		for _, job := range jobIDs {
			awaitFinal(t, p.url, job)
		}
	}
	awaitNone(t, p.url, "pending", "running", "retrying", "scheduled")
	checkAnalytics(t, p.url)
	require.Zero(t, p.stop(t))
}

func awaitFinal(t *testing.T, url, id string) {
	t.Helper()
	var job struct{ State string }
	final := func() bool {
		code, answer, err := request(http.MethodGet, url+"/jobs/"+id, nil)
		require.NoError(t, err)
		require.Equal(t, 200, code, "job %s of an acknowledged event is gone: %s", id, answer)
		require.NoError(t, json.Unmarshal(answer, &job))
		return job.State == "succeeded" || job.State == "failed"
	}
	if !final() { // nearly all are, and polling costs a goroutine
		require.Eventually(t, final, 60*time.Second, 100*time.Millisecond, "job %s is %s", id, job.State)
	}
}

func awaitNone(t *testing.T, url string, states ...string) {
	t.Helper()
	for _, state := range states {
		require.Eventually(t, func() bool {
			return len(call[page](t, http.MethodGet, url+"/jobs?limit=1&state="+state, nil, 200).Data) == 0
		}, 60*time.Second, 100*time.Millisecond, "some jobs are still %s", state)
	}
}

// checkAnalytics compares the summary with a walk over all jobs.
func checkAnalytics(t *testing.T, url string) {
	t.Helper()
	count := map[string]int64{}
	for _, state := range []string{"succeeded", "failed"} {
		cursor := ""
		for {
			pg := call[page](t, http.MethodGet, url+"/jobs?limit=1000&state="+state+"&cursor="+cursor, nil, 200)
			count[state] += int64(len(pg.Data))
			if cursor = pg.NextCursor; cursor == "" {
				break
			}
		}
	}
	require.Positive(t, count["failed"])
	s := call[struct {
		Events int64
		Jobs   map[string]int64
	}](t, http.MethodGet, url+"/analytics/summary", nil, 200)
	require.Equal(t, count["succeeded"], s.Jobs["succeeded"])
	require.Equal(t, count["failed"], s.Jobs["failed"])
	require.Equal(t, count["succeeded"]+count["failed"], s.Jobs["created"])
}
