package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/pgtest"
)

// tally is a receiver that counts what it was sent by the key that comes with it. A
// request to /flaky is answered 500 the first time.
type tally struct {
	url  string
	mu   sync.Mutex
	came map[string]int
	sick int // answers that were 500
}

func newTally(t *testing.T) *tally {
	t.Helper()
	r := &tally{came: map[string]int{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		key := req.Header.Get("Idempotency-Key")
		r.mu.Lock()
		r.came[key]++
		fails := req.URL.Path == "/flaky" && r.came[key] == 1
		if fails {
			r.sick++
		}
		r.mu.Unlock()
		<-time.After(150 * time.Millisecond) // so that a kill finds much in flight
		if fails {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	t.Cleanup(server.Close)
	r.url = server.URL
	return r
}

// The load of the torture.
const (
	tortureJobs  = 2000
	tortureTime  = 30 * time.Second
	killEvery    = 3 * time.Second
	workerSlots  = 5
	killedLease  = 2 * time.Second // of the workers
	tortureUsers = 4
)

// TestKilledWorkersLoseNothingAndRepeatOnlyWhatTheyHeld kills one of three workers
// every few seconds while jobs come in, and counts what the receiver saw.
func TestKilledWorkersLoseNothingAndRepeatOnlyWhatTheyHeld(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a minute")
	}
	t.Parallel()
	server := startServer(t, dataDir(t))
	dsn := server.DSN()
	code, _, stderr := run(t, []string{"DATABASE_URL=" + dsn}, "migrate", "up")
	require.Zero(t, code, stderr)
	serve, receiver := startServe(t, dsn), newTally(t)
	work := func() *process {
		p, _ := start(t, []string{"DATABASE_URL=" + dsn, "SIGNALSTACK_ALLOW_NETWORKS=127.0.0.0/8"},
			"work", "--queues", fmt.Sprintf("default=%d", workerSlots), "--lease", killedLease.String())
		return p
	}
	workers := []*process{work(), work(), work()}
	sent := sendJobs(serve.url, receiver.url)
	var killed []time.Time
	kill := time.NewTicker(killEvery)
	defer kill.Stop()
	for end := time.Now().Add(tortureTime); time.Now().Before(end); {
		<-kill.C
		next := len(killed) % len(workers)
		killed = append(killed, time.Now())
		workers[next].kill()
		workers[next] = work()
	}
	kills := len(killed)
	ids := map[string]bool{}
	for answer := range sent {
		require.NoError(t, answer.err)
		ids[answer.id] = true
	}
	require.Len(t, ids, tortureJobs)
	awaitNone(t, serve.url, "pending", "running", "retrying", "scheduled")
	for _, p := range workers {
		require.Zero(t, p.stop(t), p.stderr.String())
	}

	receiver.mu.Lock()
	defer receiver.mu.Unlock()
	require.Len(t, receiver.came, tortureJobs, "nothing is lost")
	again := -receiver.sick // these were to be sent again
	for id := range ids {
		require.Positive(t, receiver.came[id], "job %s was never sent", id)
		again += receiver.came[id] - 1
	}
	t.Logf("%d kills, %d sent again because of them", kills, again)
	require.GreaterOrEqual(t, again, 0)
	require.LessOrEqual(t, again, kills*workerSlots, "only what was in flight at a kill is sent again")
	checkRecount(t, serve.url, dsn, ids, kills)
	checkRescues(t, dsn, killed)
}

// checkRescues looks at how long after its worker's death each job ran again.
func checkRescues(t *testing.T, dsn string, killed []time.Time) {
	t.Helper()
	var rescues []struct{ Lost, Again time.Time }
	require.NoError(t, pgtest.Open(t, dsn).Select(&rescues, `
		SELECT lost, again FROM (
		    SELECT outcome, started_at AS lost, lead(started_at) OVER (PARTITION BY job_id ORDER BY lease) AS again FROM signalstack.attempts
		) AS a WHERE outcome = 'crashed' AND again IS NOT NULL`))
	require.NotEmpty(t, rescues)
	took := make([]time.Duration, 0, len(rescues))
	for _, r := range rescues {
		death, _ := slices.BinarySearchFunc(killed, r.Lost, time.Time.Compare) // the first after its start
		require.Less(t, death, len(killed))
		took = append(took, r.Again.Sub(killed[death]))
	}
	slices.Sort(took)
	p99 := took[len(took)*99/100]
	t.Logf("%d jobs ran again, after %s at the median and %s at p99", len(took), took[len(took)/2], p99)
	require.Less(t, p99, 3*killedLease, "a lease, the next look at it, and the retry's own delay")
}

// answer is what a request for a job came to.
type answer struct {
	id  string
	err error
}

// sendJobs creates the jobs at an even pace, and closes its channel at the end.
func sendJobs(api, receiver string) <-chan answer {
	answers := make(chan answer, tortureJobs)
	next := make(chan int)
	var sending sync.WaitGroup
	for range tortureUsers {
		sending.Go(func() {
			for n := range next {
				answers <- sendJob(api, receiver, n)
			}
		})
	}
	go func() {
		pace := time.NewTicker((tortureTime - killEvery) / tortureJobs)
		defer pace.Stop()
		for n := range tortureJobs {
			<-pace.C
			next <- n
		}
		close(next)
		sending.Wait()
		close(answers)
	}()
	return answers
}

func sendJob(api, receiver string, n int) answer {
	path := "/steady"
	if n%10 == 0 {
		path = "/flaky"
	}
	code, body, err := request(http.MethodPost, api+"/jobs", fmt.Appendf(nil, `{"kind":"http","max_attempts":10,
		"retry":{"strategy":"ladder","ladder":["100ms"]},"payload":{"url":"%s%s"}}`, receiver, path))
	if err != nil {
		return answer{err: err}
	}
	var job struct{ ID string }
	if code != http.StatusCreated || !decodes(body, &job) {
		return answer{err: fmt.Errorf("%d: %s", code, body)}
	}
	return answer{id: job.ID}
}

// checkRecount compares jobs, attempts and the summary with each other.
func checkRecount(t *testing.T, url, dsn string, ids map[string]bool, kills int) {
	t.Helper()
	states := map[string]int64{}
	for cursor := ""; ; {
		p := call[page](t, http.MethodGet, url+"/jobs?limit=1000&cursor="+cursor, nil, 200)
		for _, j := range p.Data {
			require.True(t, ids[j.ID], "job %s was not asked for", j.ID)
			states[j.State]++
		}
		if cursor = p.NextCursor; cursor == "" {
			break
		}
	}
	require.Equal(t, int64(tortureJobs), states["succeeded"]+states["failed"], "every job is final: %v", states)
	// A job may meet three kills, which puts it away; more than a few cannot.
	require.LessOrEqual(t, states["failed"], int64(workerSlots))
	var attempts, crashed int64
	row := pgtest.Open(t, dsn).QueryRow(`SELECT count(*), count(*) FILTER (WHERE outcome = 'crashed') FROM signalstack.attempts`)
	require.NoError(t, row.Scan(&attempts, &crashed))
	require.Positive(t, crashed, "no kill met a job")
	require.LessOrEqual(t, crashed, int64(kills*workerSlots))
	summary := call[struct{ Jobs map[string]int64 }](t, http.MethodGet, url+"/analytics/summary", nil, 200).Jobs
	require.Equal(t, map[string]int64{
		"created": tortureJobs, "succeeded": states["succeeded"], "failed": states["failed"], "canceled": 0,
		"attempts": attempts, "retried": attempts - tortureJobs,
	}, summary)
}
