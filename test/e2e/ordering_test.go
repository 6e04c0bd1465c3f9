package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/pgtest"
)

// arrival is a webhook as the receiver saw it.
type arrival struct {
	n, key int
	taken  bool // answered with success
}

// queuer is a receiver that notes in which order webhooks come to each path, refuses
// some, and holds one until its sender is dead.
type queuer struct {
	url  string
	held chan struct{} // closed when the one is held

	mu       sync.Mutex
	arrived  map[string][]arrival
	flying   map[string]int // by path and key
	together []string       // where two were in flight at once
}

func newQueuer(t *testing.T, refuses func(path string, n int) bool, hold func(path string, n int) bool) *queuer {
	t.Helper()
	q := &queuer{held: make(chan struct{}), arrived: map[string][]arrival{}, flying: map[string]int{}}
	var once sync.Once
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct{ Data struct{ N, K int } }
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Errorf("a webhook cannot be read: %v", err)
		}
		n, line := body.Data.N, r.URL.Path
		if strings.HasPrefix(line, "/key") {
			line = fmt.Sprint(line, body.Data.K)
		}
		taken := !refuses(r.URL.Path, n)
		if hold(r.URL.Path, n) {
			once.Do(func() {
				close(q.held)
				<-r.Context().Done()
				taken = false
			})
		}
		q.mu.Lock()
		q.arrived[r.URL.Path] = append(q.arrived[r.URL.Path], arrival{n, body.Data.K, taken})
		if q.flying[line]++; q.flying[line] > 1 {
			q.together = append(q.together, fmt.Sprint(line, " ", n))
		}
		q.mu.Unlock()
		if !taken {
			w.WriteHeader(http.StatusBadRequest)
		}
		q.mu.Lock()
		q.flying[line]--
		q.mu.Unlock()
	}))
	t.Cleanup(server.Close)
	q.url = server.URL
	return q
}

func (q *queuer) arrivals(path string) []arrival {
	q.mu.Lock()
	defer q.mu.Unlock()
	return append([]arrival(nil), q.arrived[path]...)
}

// firsts gives the events in the order in which they first came to a path.
func (q *queuer) firsts(path string) []int {
	var firsts []int
	seen := map[int]bool{}
	for _, a := range q.arrivals(path) {
		if !seen[a.n] {
			seen[a.n], firsts = true, append(firsts, a.n)
		}
	}
	return firsts
}

// TestWebhooksKeepTheirOrder sends events to endpoints that want them in order, which
// refuse some, with several workers, and kills these in the middle.
func TestWebhooksKeepTheirOrder(t *testing.T) {
	t.Parallel()
	const events, keys = 600, 7
	dsn := pgtest.Empty(t)
	code, _, stderr := run(t, []string{"DATABASE_URL=" + dsn}, "migrate", "up")
	require.Zero(t, code, stderr)
	serve := startServe(t, dsn)
	work := func() *process {
		p, _ := start(t, []string{"DATABASE_URL=" + dsn, "SIGNALSTACK_ALLOW_NETWORKS=127.0.0.0/8"}, "work", "--queues", "default=20", "--lease", "2s")
		return p
	}
	receiver := newQueuer(t, func(path string, n int) bool {
		if path == "/skip" {
			return n%10 == 0 // for ever
		}
		return rand.IntN(10) == 0
	}, func(path string, n int) bool { return path == "/block" && n == events/3 })
	ids := map[string]string{}
	for path, more := range map[string]string{
		"/block": `"ordering":{"by":"endpoint"},"max_attempts":1000,"retry":{"strategy":"ladder","ladder":["20ms"]}`,
		"/key":   `"ordering":{"by":"<$.data.k>"},"max_attempts":1000,"retry":{"strategy":"ladder","ladder":["20ms"]}`,
		"/skip":  `"ordering":{"by":"endpoint","on_failure":"skip"},"retry":{"strategy":"ladder","ladder":["1h"]}`,
	} {
		body := `{"url":"` + receiver.url + path + `","event_types":["*"],` + more + `}`
		ids[path] = call[endpoint](t, http.MethodPost, serve.url+"/endpoints", []byte(body), 201).ID
	}
	workers := []*process{work(), work()}
	for first := 0; first < events; first += 20 {
		batch := make([]string, 20)
		for i := range batch {
			batch[i] = fmt.Sprintf(`{"type":"a","data":{"n":%d,"k":%d}}`, first+i, (first+i)%keys)
		}
		call[map[string]any](t, http.MethodPost, serve.url+"/events", []byte("["+strings.Join(batch, ",")+"]"), 201)
	}
	select {
	case <-receiver.held:
	case <-time.After(60 * time.Second):
		require.FailNow(t, "the middle was not reached")
	}
	for _, p := range workers {
		p.kill()
	}
	work()
	work()

	deliveredAll := func(path string) bool {
		taken := map[int]bool{}
		for _, a := range receiver.arrivals(path) {
			if a.taken {
				taken[a.n] = true
			}
		}
		return len(taken) == events
	}
	require.Eventually(t, func() bool {
		return len(receiver.firsts("/skip")) == events && deliveredAll("/block") && deliveredAll("/key")
	}, 120*time.Second, 50*time.Millisecond)
	at := map[string]int{} // by line, the event that came last
	for _, path := range []string{"/block", "/key"} {
		for _, a := range receiver.arrivals(path) {
			line := path
			if path == "/key" {
				line = fmt.Sprint(path, a.key)
			}
			require.GreaterOrEqual(t, a.n, at[line], "%s went back", line)
			at[line] = a.n
		}
	}
	late, highest := 0, -1
	for _, n := range receiver.firsts("/skip") {
		if n < highest {
			late++
		}
		highest = max(highest, n)
	}
	require.LessOrEqual(t, late, 1, "only the one that the killed worker had not sent yet comes out of order")
	require.Empty(t, receiver.together, "two of one line in flight")
	awaitNone(t, serve.url, "pending", "running")
	left := call[page](t, http.MethodGet, serve.url+"/jobs?limit=1000&state=retrying", nil, 200).Data
	require.Len(t, left, events/10, "what was refused is tried again later, and has held up nobody")
	for _, id := range ids {
		require.Empty(t, call[page](t, http.MethodGet, serve.url+"/jobs?state=failed&endpoint_id="+id, nil, 200).Data)
	}
}
