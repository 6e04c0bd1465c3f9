package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/pgtest"
)

// The flows of TestKillsLeaveNoFlowUnfinished.
const (
	flowTime  = 8 * time.Second
	flowKills = 800 * time.Millisecond // between two kills
	flowParts = 6
)

// steps is a receiver that notes when the steps of flows were done.
type steps struct {
	url string

	mu   sync.Mutex
	done map[string]time.Time // the first time, by the path, /FLOW/STEP
	came map[string]time.Time // the last time
}

func newSteps(t *testing.T) *steps {
	t.Helper()
	s := &steps{done: map[string]time.Time{}, came: map[string]time.Time{}}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.came[r.URL.Path] = time.Now()
		s.mu.Unlock()
		select {
		case <-time.After(10 * time.Millisecond):
		case <-r.Context().Done():
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if _, again := s.done[r.URL.Path]; !again {
			s.done[r.URL.Path] = time.Now()
		}
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// flow is an array of a job, some that wait for it, one that waits for all of these, and
// one that waits for everything.
func (s *steps) flow(n int) []byte {
	item := func(step, more string) string {
		return fmt.Sprintf(`{"kind":"http","payload":{"url":"%s/%d/%s"},"retry":{"strategy":"ladder","ladder":["50ms"]},"max_attempts":100%s}`, s.url, n, step, more)
	}
	items := []string{item("end", `,"after":["*"]`), item("first", `,"ref":"first"`)}
	var parts []string
	for part := range flowParts {
		parts = append(parts, fmt.Sprintf("%q", fmt.Sprint("part", part)))
		items = append(items, item(fmt.Sprint("part", part), fmt.Sprintf(`,"after":["first"],"ref":"part%d"`, part)))
	}
	items = append(items, item("sum", `,"after":[`+strings.Join(parts, ",")+`]`))
	return []byte("[" + strings.Join(items, ",") + "]")
}

// TestKillsLeaveNoFlowUnfinished starts flows while one worker of three after the other is
// killed: each comes to its end, and no step begins before what it waits for was done.
func TestKillsLeaveNoFlowUnfinished(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Empty(t)
	code, _, stderr := run(t, []string{"DATABASE_URL=" + dsn}, "migrate", "up")
	require.Zero(t, code, stderr)
	serve := startServe(t, dsn)
	work := func() *process {
		p, _ := start(t, []string{"DATABASE_URL=" + dsn, "SIGNALSTACK_ALLOW_NETWORKS=127.0.0.0/8"}, "work", "--queues", "default=10", "--lease", killedLease.String())
		return p
	}
	workers := []*process{work(), work(), work()}
	receiver := newSteps(t)
	flows, kills := 0, 0
	kill := time.NewTicker(flowKills)
	defer kill.Stop()
	for end := time.Now().Add(flowTime); time.Now().Before(end); {
		select {
		case <-kill.C:
			workers[kills%3].kill()
			workers[kills%3] = work()
			kills++
		case <-time.After(50 * time.Millisecond):
			call[map[string]any](t, http.MethodPost, serve.url+"/jobs", receiver.flow(flows), 201)
			flows++
		}
	}
	for range 2 { // while one state is looked at, a job that is tried again may come into another
		awaitNone(t, serve.url, "blocked", "pending", "running", "retrying", "scheduled")
	}
	type list struct{ Data []struct{ ID string } }
	require.Empty(t, call[list](t, http.MethodGet, serve.url+"/jobs?state=failed", nil, 200).Data)
	require.Empty(t, call[list](t, http.MethodGet, serve.url+"/jobs?state=canceled", nil, 200).Data)
	receiver.mu.Lock()
	defer receiver.mu.Unlock()
	require.Len(t, receiver.done, flows*(flowParts+3))
	for n := range flows {
		at := func(step string) string { return fmt.Sprintf("/%d/%s", n, step) }
		for part := range flowParts {
			step := at(fmt.Sprint("part", part))
			require.True(t, receiver.done[step].After(receiver.done[at("first")]), step)
			require.True(t, receiver.done[at("sum")].After(receiver.done[step]), step)
		}
		require.True(t, receiver.done[at("end")].After(receiver.done[at("sum")]), n)
	}
	t.Logf("%d flows, %d workers killed", flows, kills)
}
