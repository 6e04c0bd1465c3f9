package e2e

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestKillLeavesEachWebhookRecoveredOnce has a receiver that was down, kills the process,
// and with it its PostgreSQL, in the middle of the recovery, and starts it again.
func TestKillLeavesEachWebhookRecoveredOnce(t *testing.T) {
	t.Parallel()
	const webhooks = 1000
	var down atomic.Bool
	var mu sync.Mutex
	got := map[string]int{}
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if down.Load() {
			w.WriteHeader(http.StatusBadRequest) // which opens no circuit breaker
			return
		}
		mu.Lock()
		defer mu.Unlock()
		got[r.Header.Get("webhook-id")]++
	}))
	t.Cleanup(receiver.Close)
	dir := dataDir(t)
	p := startAll(t, "--data-dir", dir)
	e := call[struct{ ID string }](t, http.MethodPost, p.url+"/endpoints", []byte(`{"url":"`+receiver.URL+`","event_types":["a"],"max_attempts":1}`), 201)
	down.Store(true)
	since := time.Now().Add(-time.Minute).Format(time.RFC3339)
	batch := append([]byte(`[{"type":"a"}`), bytes.Repeat([]byte(`,{"type":"a"}`), webhooks-1)...)
	call[map[string]any](t, http.MethodPost, p.url+"/events", append(batch, ']'), 201)
	type count struct {
		Jobs  int
		Exact bool `json:"jobs_exact"`
	}
	path := "/endpoints/" + e.ID + "/recover"
	require.Eventually(t, func() bool {
		return call[count](t, http.MethodPost, p.url+path, []byte(`{"since":"`+since+`","dry_run":true}`), 200) == count{webhooks, true}
	}, 60*time.Second, 50*time.Millisecond)
	down.Store(false)
	type operation struct {
		ID, State            string
		Total, Done, Skipped int
		Jobs                 int
	}
	o := call[operation](t, http.MethodPost, p.url+path, []byte(`{"since":"`+since+`","rate":200}`), 202)
	show := func() operation { return call[operation](t, http.MethodGet, p.url+"/operations/"+o.ID, nil, 200) }
	var seen operation
	require.Eventually(t, func() bool { seen = show(); return seen.Done > 0 }, 60*time.Second, 10*time.Millisecond)
	p.kill()
	<-p.exited
	require.Less(t, seen.Done, webhooks, "the kill came too late")

	p = startAll(t, "--data-dir", dir)
	require.Eventually(t, func() bool { return show().State != "running" }, 60*time.Second, 100*time.Millisecond)
	require.Equal(t, operation{ID: o.ID, State: "done", Total: webhooks, Done: webhooks, Jobs: webhooks}, show())
	require.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(got) == webhooks
	}, 60*time.Second, 50*time.Millisecond)
	require.Zero(t, p.stop(t))
}
