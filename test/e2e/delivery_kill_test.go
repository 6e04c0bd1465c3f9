package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"
)

// The load of TestKillsLoseNoWebhook.
const (
	hookEvery  = 20 * time.Millisecond // an event: 50 a second
	hookTime   = 12 * time.Second
	hookKills  = 1500 * time.Millisecond // between two kills
	hookSlots  = 10
	hookSender = 4
	hookTakes  = 100 * time.Millisecond // a delivery, so that a kill finds some under way
)

// TestKillsLoseNoWebhook runs serve and two workers on a PostgreSQL, sends events at a
// steady rate and kills one of the three after the other, which start again. The counting
// is the receiver's: each event that was acknowledged has come, signed, under one id, and
// what came twice is no more than what was under way when a worker was killed.
func TestKillsLoseNoWebhook(t *testing.T) {
	t.Parallel()
	server := startServer(t, dataDir(t))
	dsn := server.DSN()
	code, _, stderr := run(t, []string{"DATABASE_URL=" + dsn}, "migrate", "up")
	require.Zero(t, code, stderr)
	receiver := newCustomer(t)

	var api atomic.Value // URL of the serve process of the moment
	serve := startServe(t, dsn)
	api.Store(serve.url)
	e := call[endpoint](t, http.MethodPost, serve.url+"/endpoints", []byte(`{"url":"`+receiver.url+`","event_types":["tick"],"retry":{"strategy":"ladder","ladder":["200ms"]}}`), 201)
	receiver.expect(t, e.Secret)
	work := func() *process {
		p, _ := start(t, []string{"DATABASE_URL=" + dsn, "SIGNALSTACK_ALLOW_NETWORKS=127.0.0.0/8"},
			"work", "--queues", fmt.Sprintf("default=%d", hookSlots), "--lease", killedLease.String())
		return p
	}
	workers := []*process{work(), work()}

	sent := make(chan acknowledged, 1)
	go func() { sent <- sendTicks(&api) }()
	workerKills := 0
	kill := time.NewTicker(hookKills)
	defer kill.Stop()
	for n, end := 0, time.Now().Add(hookTime); time.Now().Before(end); n++ {
		<-kill.C
		switch victim := n % 3; victim {
		case 0:
			serve.kill()
			serve = startServe(t, dsn)
			api.Store(serve.url)
		default:
			workerKills++
			workers[victim-1].kill()
			workers[victim-1] = work()
		}
	}
	got := <-sent
	require.Greater(t, len(got.jobs), 100, "the rate was to be steady")
	awaitNone(t, serve.url, "pending", "running", "retrying", "scheduled")

	again := 0
	for _, id := range got.jobs {
		came := receiver.deliveries(id)
		require.NotEmpty(t, came, "job %s of an acknowledged event never arrived", id)
		for _, body := range came {
			require.Equal(t, came[0], body, "under one id comes one event")
		}
		again += len(came) - 1
	}
	t.Logf("%d events acknowledged, %d requests failed, %d workers killed, %d webhooks came again", len(got.jobs), got.failed, workerKills, again)
	require.Empty(t, receiver.forged(), "the official library accepts each signature")
	require.Positive(t, again, "no kill met a delivery")
	require.LessOrEqual(t, again, workerKills*hookSlots, "only what was under way at a kill comes again")
	states := map[string]int{}
	for cursor := ""; ; {
		p := call[page](t, http.MethodGet, serve.url+"/jobs?kind=webhook&limit=1000&cursor="+cursor, nil, 200)
		for _, j := range p.Data {
			states[j.State]++
		}
		if cursor = p.NextCursor; cursor == "" {
			break
		}
	}
	require.GreaterOrEqual(t, states["succeeded"], len(got.jobs), "%v", states)
	require.Len(t, states, 1, "every job is delivered: %v", states)
	for _, p := range append(workers, serve) {
		require.Zero(t, p.stop(t), p.stderr.String())
	}
}

// customer is a receiver that verifies what comes, takes its time, and keeps it by its id.
type customer struct {
	url string

	mu       sync.Mutex
	verifier *standardwebhooks.Webhook
	came     map[string][]string
	wrong    []error
}

func newCustomer(t *testing.T) *customer {
	t.Helper()
	c := &customer{came: map[string][]string{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // its sender was killed before the request was whole
		}
		c.take(r.Header, body)
		<-time.After(hookTakes)
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(server.Close)
	c.url = server.URL
	return c
}

func (c *customer) expect(t *testing.T, secret string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	var err error
	c.verifier, err = standardwebhooks.NewWebhook(secret)
	require.NoError(t, err)
}

func (c *customer) take(header http.Header, body []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := header.Get(standardwebhooks.HeaderWebhookID)
	c.came[id] = append(c.came[id], string(body))
	if err := c.verifier.Verify(body, header); err != nil {
		c.wrong = append(c.wrong, err)
	}
}

func (c *customer) deliveries(id string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.came[id]
}

func (c *customer) forged() []error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wrong
}

// acknowledged are the jobs of the events that were answered 201, and how many requests
// were not.
type acknowledged struct {
	jobs   []string
	failed int
}

// sendTicks sends events at an even pace to the process of the moment. What is not
// acknowledged is not sent again.
func sendTicks(api *atomic.Value) (all acknowledged) {
	next := make(chan int)
	var mu sync.Mutex
	var sending sync.WaitGroup
	for range hookSender {
		sending.Go(func() {
			for n := range next {
				code, body, err := request(http.MethodPost, api.Load().(string)+"/events", fmt.Appendf(nil, `{"type":"tick","data":{"n":%d}}`, n))
				var a accepted
				good := err == nil && code == http.StatusCreated && decodes(body, &a) && len(a.JobIDs) == 1
				mu.Lock()
				if good {
					all.jobs = append(all.jobs, a.JobIDs[0])
				} else {
					all.failed++
				}
				mu.Unlock()
			}
		})
	}
	pace := time.NewTicker(hookEvery)
	defer pace.Stop()
	for n := range int(hookTime / hookEvery) {
		<-pace.C
		next <- n
	}
	close(next)
	sending.Wait()
	return all
}
