package recovery_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/bulk"
	"github.com/signalstack/signalstack/internal/contract"
	"github.com/signalstack/signalstack/internal/events"
	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/intake"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/outbound"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/pgtest"
	"github.com/signalstack/signalstack/internal/queue"
	"github.com/signalstack/signalstack/internal/recovery"
	"github.com/signalstack/signalstack/internal/sealed"
	"github.com/signalstack/signalstack/internal/webhooks"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// house is a server process on a database.
type house struct {
	*testing.T
	db    *pg.DB
	http  http.Handler
	kinds *jobs.Registry
}

func newHouse(t *testing.T) *house {
	t.Helper()
	db := pgtest.New(t)
	require.NoError(t, queue.EnsurePartitions(t.Context(), db, time.Now(), time.Now().Add(-3*time.Hour)))
	guard, err := outbound.NewGuard(nil, true)
	require.NoError(t, err)
	endpoints := &webhooks.Endpoints{DB: db, Box: sealed.Plain(), Guard: guard, Log: discard()}
	h := &house{T: t, db: db, kinds: jobs.NewRegistry(webhooks.Kind(endpoints, outbound.NewClient(guard, "test")), jobs.Kind{
		Name: "test", Timeout: time.Second, MaxAttempts: 3,
		Check: func(json.RawMessage, jobs.Later) []fault.Detail { return nil },
		Run:   func(context.Context, jobs.Job) (jobs.Result, error) { return jobs.Result{}, nil },
	})}
	a := events.NewAcceptor(db, intake.Config{KeyTTL: time.Hour, MaxWaiting: 2000}, h.kinds, discard())
	h.background(func(ctx context.Context) { a.Run(ctx) })
	api := httpapi.New(httpapi.Config{Version: "test", MaxBody: 1 << 20, Log: discard(), Fault: pg.Fault})
	a.Routes(api)
	(&jobs.API{DB: db, Kinds: h.kinds}).Routes(api)
	endpoints.Routes(api)
	(&recovery.API{DB: db, KeyTTL: time.Hour}).Routes(api)
	h.http = contract.Handler(t, api)
	return h
}

// background runs f until the test ends, or the function it gives is called.
func (h *house) background(f func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { f(ctx); close(ended) }()
	stop = func() { cancel(); <-ended }
	h.Cleanup(stop)
	return stop
}

// operators starts a worker that goes on with operations.
func (h *house) operators(kind bulk.Kind) (stop func()) {
	r := &bulk.Runner{DB: h.db, Log: discard(), Kinds: []bulk.Kind{kind}, Poll: 10 * time.Millisecond}
	return h.background(func(ctx context.Context) { _ = r.Run(ctx) })
}

// workers starts one that runs jobs.
func (h *house) workers() {
	r := jobs.NewRunner(jobs.RunnerConfig{
		Queues: map[string]int{"default": 20}, Lease: 10 * time.Second, Poll: 50 * time.Millisecond, FullPass: time.Second, Grace: 10 * time.Second,
	}, h.db, h.db, h.kinds, discard())
	h.background(func(ctx context.Context) { _ = r.Run(ctx) })
}

func (h *house) count(from string, args ...any) int {
	h.Helper()
	var n int
	require.NoError(h, h.db.GetContext(h.Context(), &n, `SELECT count(*) FROM signalstack.`+from, args...))
	return n
}

func send[T any](h *house, path, body string, status int) T {
	h.Helper()
	return contract.Decode[T](h, contract.Send(h.http, http.MethodPost, path, body), status)
}

func (h *house) get(id uuid.UUID) recovery.Operation {
	h.Helper()
	return contract.Decode[recovery.Operation](h, contract.Send(h.http, http.MethodGet, "/operations/"+id.String(), ""), 200)
}

func (h *house) await(id uuid.UUID) recovery.Operation {
	h.Helper()
	require.Eventually(h, func() bool { return h.get(id).State != bulk.Running }, 90*time.Second, 20*time.Millisecond)
	return h.get(id)
}

// ended makes n jobs that ended so an hour ago; set changes what their rows say.
func (h *house) ended(n int, state string, set string) {
	h.Helper()
	_, err := h.db.ExecContext(h.Context(), `
		WITH made AS (
		    INSERT INTO signalstack.jobs (id, tenant, kind, queue, lane, priority, run_at, payload, event_id, event_type, rule_id, endpoint_id,
		                                  ordering_key, max_attempts, timeout_ms, retry, replay_id, created_at)
		    SELECT signalstack.uuid7(j.at), j.tenant, j.kind, j.queue, j.tenant, 2, j.at, '{}', j.event_id, j.event_type, j.rule_id, j.endpoint_id, '', 3, 1000, '', j.replay_id, j.at
		    FROM (
		        SELECT (x).* FROM (
		            SELECT jsonb_populate_record(NULL::wanted, jsonb_build_object('at', now() - interval '2 hours' + i * interval '1 ms', 'tenant', 'default',
		                'kind', 'test', 'queue', 'default', 'event_type', 'a') || $3::jsonb) AS x
		            FROM generate_series(1, $1) AS i OFFSET 0
		        ) AS rows
		    ) AS j
		    RETURNING id
		)
		INSERT INTO signalstack.attempts (job_id, lease, attempt, state, outcome, error, worker, started_at, finished_at, duration_ms)
		SELECT id, 3, 3, $2, 'error', 'down', gen_random_uuid(), now() - interval '1 hour', now() - interval '1 hour', 5 FROM made`, n, state, set)
	require.NoError(h, err)
}

// wanted is what ended lets be chosen of a job.
func (h *house) wanted() {
	h.Helper()
	_, err := h.db.ExecContext(h.Context(), `CREATE TYPE wanted AS (at timestamptz, tenant text, kind text, queue text, event_id uuid, event_type text,
		rule_id uuid, endpoint_id uuid, replay_id uuid)`)
	require.NoError(h, err)
}

// TestEachJobIsRetriedOnceByWorkersThatDie retries 20,000 jobs whose receiver is still
// away: each fails again, and is not taken up a second time.
func TestEachJobIsRetriedOnceByWorkersThatDie(t *testing.T) {
	t.Parallel()
	const failed = 20_000
	h := newHouse(t)
	h.wanted()
	h.ended(failed, "failed", `{}`)
	h.ended(500, "succeeded", `{}`)
	var slices atomic.Int64
	cut := recovery.Bulk()
	do := cut.Do
	cut.Do = func(ctx context.Context, tx *sqlx.Tx, op bulk.Operation, limit int, passOver bool) (bulk.Slice, error) {
		s, err := do(ctx, tx, op, limit, passOver)
		if err == nil && slices.Add(1)%7 == 0 {
			_, err = tx.ExecContext(ctx, `SELECT pg_terminate_backend(pg_backend_pid())`)
		}
		return s, err
	}
	for range 2 {
		h.background(func(ctx context.Context) { h.failAll(ctx) })
		h.operators(cut)
	}
	o := send[recovery.Operation](h, "/jobs/retry", `{"filter":{"state":"failed"},"rate":100000}`, 202)
	require.Equal(t, "retry", o.Action)
	for i := range 3 { // and workers that are stopped, wherever they are
		stop := h.operators(recovery.Bulk())
		require.Eventually(t, func() bool { return h.get(o.ID).Done >= int64(i*failed/8) }, 60*time.Second, 5*time.Millisecond)
		stop()
	}
	done := h.await(o.ID)
	require.Equal(t, bulk.Done, done.State, done.LastError)
	require.Equal(t, []int64{failed, failed, failed, 0}, []int64{*done.Total, done.Done, done.Jobs, done.Skipped})
	require.NotNil(t, done.Position)
	require.Greater(t, slices.Load(), int64(7))
	require.Eventually(t, func() bool { return h.count("ready")+h.count("running") == 0 }, 60*time.Second, 20*time.Millisecond)
	require.Equal(t, failed, h.count(`jobs AS j WHERE (SELECT count(*) FROM signalstack.attempts AS a WHERE a.job_id = j.id AND a.state = 'failed') = 2`))
	require.Equal(t, 2*failed+500, h.count("attempts"))
	require.Equal(t, failed, h.count("analytics_deltas AS d, generate_series(1, d.n) WHERE fact = 'job_reopened'"))
}

// failAll is a worker at which every job fails for good.
func (h *house) failAll(ctx context.Context) {
	c := queue.NewClaimer(h.db, "default", uuid.Must(uuid.NewV7()), time.Minute, 100*time.Millisecond)
	for ctx.Err() == nil {
		got, err := c.Claim(ctx, 100)
		if err != nil || len(got) == 0 {
			timer := time.NewTimer(5 * time.Millisecond)
			select {
			case <-ctx.Done():
			case <-timer.C:
			}
			continue
		}
		all := make([]queue.Settlement, len(got))
		for i, j := range got {
			if j.Attempt != 1 || j.Priority != queue.LowestPriority {
				h.Errorf("job %s has attempt %d and priority %d", j.ID, j.Attempt, j.Priority)
			}
			all[i] = queue.Settlement{JobID: j.ID, Lease: j.Lease, Tenant: j.Tenant, State: queue.Failed, Outcome: queue.OutcomeError}
		}
		err = pg.InTx(context.WithoutCancel(ctx), h.db, func(tx *sqlx.Tx) error {
			_, err := queue.Settle(context.WithoutCancel(ctx), tx, all)
			return err
		})
		if err != nil {
			h.Errorf("settle: %v", err)
		}
	}
}

func TestFiltersTakeWhatTheySay(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.wanted()
	id := func() string { return uuid.Must(uuid.NewV7()).String() }
	event, rule, endpoint, replay := id(), id(), id(), id()
	h.ended(3, "failed", `{}`)
	h.ended(4, "canceled", `{"queue":"mail"}`)
	h.ended(5, "succeeded", `{"queue":"mail","kind":"webhook"}`)
	h.ended(6, "failed", `{"event_id":"`+event+`"}`)
	h.ended(7, "failed", `{"rule_id":"`+rule+`","event_type":"b"}`)
	h.ended(8, "succeeded", `{"endpoint_id":"`+endpoint+`"}`)
	h.ended(9, "succeeded", `{"rule_id":"`+rule+`"}`)
	h.ended(10, "failed", `{"replay_id":"`+replay+`","endpoint_id":"`+endpoint+`"}`)
	h.ended(11, "failed", `{"tenant":"acme"}`)
	h.ended(12, "succeeded", `{"tenant":"acme"}`)
	h.operators(recovery.Bulk())
	_, err := h.db.ExecContext(t.Context(), `
		INSERT INTO signalstack.events (id, tenant, type, source, subject, sender_id, time, received_at) VALUES ($1, 'default', 'a', '', '', '', now(), now())`, event)
	require.NoError(t, err)
	for _, c := range []struct {
		body string
		want int
	}{
		{`{"filter":{"state":"canceled"}}`, 4},
		{`{"filter":{"queue":"mail","state":"succeeded"}}`, 5},
		{`{"filter":{"kind":"webhook","state":"succeeded","queue":"default"}}`, 0},
		{`{"filter":{"event_id":"` + event + `"}}`, 6},
		{`{"filter":{"event_id":"` + event + `","state":"succeeded"}}`, 0},
		{`{"filter":{"type":"b"}}`, 7},
		{`{"filter":{"endpoint_id":"` + endpoint + `","state":"succeeded"}}`, 8},
		{`{"filter":{"rule_id":"` + rule + `","state":"succeeded"}}`, 9},
		{`{"filter":{"replay_id":"` + replay + `"}}`, 10},
		{`{"filter":{"state":"succeeded"},"tenant":"acme"}`, 12},
		{`{"filter":{"created_before":"2001-01-01T00:00:00Z"},"tenant":"*"}`, 0},
		{`{"filter":{"kind":"test"},"tenant":"nobody"}`, 0},
		{`{"filter":{"created_after":"1970-01-01T00:00:00Z"},"tenant":"*"}`, 3 + 11}, // what is left of the failed ones
		{`{"filter":{"state":"succeeded","created_after":"` + time.Now().Add(-time.Hour).Format(time.RFC3339) + `"}}`, 0},
	} {
		before := h.count("ready")
		dry := send[recovery.JobsDryRun](h, "/jobs/retry", strings.TrimSuffix(c.body, "}")+`,"dry_run":true}`, 200)
		require.Equal(t, recovery.JobsDryRun{Jobs: c.want, JobsExact: true}, dry, c.body)
		rec := contract.Send(h.http, http.MethodPost, "/jobs/retry", c.body)
		begun := contract.Decode[recovery.Operation](t, rec, 202)
		require.Equal(t, "/operations/"+begun.ID.String(), rec.Header().Get("Location"))
		o := h.await(begun.ID)
		require.Equal(t, bulk.Done, o.State, o.LastError)
		require.Equal(t, int64(c.want), o.Jobs, c.body)
		require.Equal(t, *o.Total, o.Done, c.body)
		require.Equal(t, o.Done, o.Jobs+o.Skipped, c.body)
		require.Equal(t, before+c.want, h.count("ready"), c.body)
	}
	left := h.count("ready")
	again := h.await(send[recovery.Operation](h, "/jobs/retry", `{"filter":{"event_id":"`+event+`"}}`, 202).ID)
	require.Equal(t, []int64{6, 6, 0, 6}, []int64{*again.Total, again.Done, again.Jobs, again.Skipped}, "they are on their way")
	require.Contains(t, again.LastError, "goes on by itself")

	for _, c := range []struct {
		body string
		want int
	}{
		{`{"filter":{"state":"scheduled"},"tenant":"*"}`, 0},
		{`{"filter":{"state":"pending","event_id":"` + event + `"}}`, 6},
		{`{"filter":{"queue":"mail"}}`, 9},
		{`{"filter":{"created_after":"1970-01-01T00:00:00Z"},"tenant":"acme"}`, 23},
		{`{"filter":{"state":"pending"},"tenant":"*"}`, left - 6 - 9 - 23},
	} {
		dry := send[recovery.JobsDryRun](h, "/jobs/cancel", strings.TrimSuffix(c.body, "}")+`,"dry_run":true}`, 200)
		require.Equal(t, recovery.JobsDryRun{Jobs: c.want, JobsExact: true}, dry, c.body)
		o := h.await(send[recovery.Operation](h, "/jobs/cancel", c.body, 202).ID)
		require.Equal(t, []any{bulk.Done, "cancel", int64(c.want), int64(c.want), int64(0)}, []any{o.State, o.Action, *o.Total, o.Jobs, o.Skipped}, c.body)
	}
	require.Zero(t, h.count("ready"))
}

func TestOperationIsCanceledAndHoldsItsRate(t *testing.T) {
	t.Parallel()
	const failed, rate = 3000, 100
	h := newHouse(t)
	h.wanted()
	h.ended(failed, "failed", `{}`)
	for range 2 {
		h.operators(recovery.Bulk())
	}
	begun := time.Now()
	o := send[recovery.Operation](h, "/jobs/retry", fmt.Sprintf(`{"filter":{"kind":"test"},"rate":%d,"priority":1}`, rate), 202)
	require.Equal(t, 1, o.Priority)
	require.Eventually(t, func() bool { return h.get(o.ID).Done >= 2*rate }, 60*time.Second, 10*time.Millisecond)
	canceled := send[recovery.Operation](h, "/operations/"+o.ID.String()+"/cancel", "", 200)
	require.Equal(t, bulk.Canceled, canceled.State)
	most := rate * (time.Since(begun).Seconds() + 2) // a second may be caught up, and a slice is a second's worth at most
	require.LessOrEqual(t, float64(canceled.Done), most)
	require.Equal(t, int(canceled.Done), h.count("ready WHERE priority = 1"))
	other := h.await(send[recovery.Operation](h, "/jobs/retry", `{"filter":{"state":"succeeded"}}`, 202).ID)
	require.Equal(t, canceled, h.get(o.ID), "it stands still")
	require.Contains(t, contract.Send(h.http, http.MethodPost, "/operations/"+o.ID.String()+"/cancel", "").Body.String(), `"code":"operation_ended"`)
	list := func(query string) []recovery.Operation {
		return contract.Decode[httpapi.Page[recovery.Operation]](t, contract.Send(h.http, http.MethodGet, "/operations"+query, ""), 200).Data
	}
	require.Equal(t, []recovery.Operation{other, canceled}, list(""))
	require.Equal(t, []recovery.Operation{canceled}, list("?state=canceled&tenant=default"))
	require.Empty(t, list("?tenant=acme"))
}

func TestRunningJobsOfAFilterAreCanceled(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.wanted()
	h.operators(recovery.Bulk())
	h.ended(20, "failed", `{}`)
	h.await(send[recovery.Operation](h, "/jobs/retry", `{"filter":{"kind":"test"}}`, 202).ID)
	got, err := queue.NewClaimer(h.db, "default", uuid.New(), time.Minute, 0).Claim(t.Context(), 5)
	require.NoError(t, err)
	require.Len(t, got, 5)
	o := h.await(send[recovery.Operation](h, "/jobs/cancel", `{"filter":{"state":"running"}}`, 202).ID)
	require.Equal(t, []int64{5, 5}, []int64{*o.Total, o.Jobs})
	require.Equal(t, []int{5, 15}, []int{h.count("cancels"), h.count("ready")})
}

// TestEndpointGetsWhatItMissed has a receiver that is down for a time.
func TestEndpointGetsWhatItMissed(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	var down atomic.Bool
	var mu sync.Mutex
	got := map[string]int{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if down.Load() {
			w.WriteHeader(http.StatusBadRequest) // which opens no breaker
			return
		}
		mu.Lock()
		defer mu.Unlock()
		got[r.Header.Get("webhook-id")]++
	}))
	t.Cleanup(server.Close)
	h.workers()
	h.operators(recovery.Bulk())
	e := send[webhooks.Endpoint](h, "/endpoints", `{"url":"`+server.URL+`","event_types":["a"],"max_attempts":1}`, 201)
	other := send[webhooks.Endpoint](h, "/endpoints", `{"url":"`+server.URL+`/other","event_types":["b"],"max_attempts":1}`, 201)
	accept := func(n int, eventType string) (ids []string) {
		list := strings.Repeat(`,{"type":"`+eventType+`"}`, n)[1:]
		for _, e := range send[struct{ Data []events.Event }](h, "/events", "["+list+"]", 201).Data {
			ids = append(ids, e.JobIDs[0].String())
		}
		return ids
	}
	settled := func(state string, n int) {
		require.Eventually(t, func() bool {
			return h.count("attempts WHERE state = $1", state) == n && h.count("ready")+h.count("running") == 0
		}, 30*time.Second, 20*time.Millisecond)
	}
	down.Store(true)
	accept(5, "a") // before the time
	settled("failed", 5)
	since := time.Now()
	missed := accept(40, "a")
	accept(3, "b")
	settled("failed", 48)
	down.Store(false)
	accept(2, "a")
	settled("succeeded", 2)

	path := "/endpoints/" + e.ID.String() + "/recover"
	body := `{"since":"` + since.Format(time.RFC3339Nano) + `"`
	send[webhooks.Endpoint](h, "/endpoints/"+e.ID.String()+"/enable", "", 200)
	require.Equal(t, recovery.JobsDryRun{Jobs: 40, JobsExact: true}, send[recovery.JobsDryRun](h, path, body+`,"dry_run":true}`, 200))
	o := h.await(send[recovery.Operation](h, path, body+`}`, 202).ID)
	require.Equal(t, []any{bulk.Done, int64(40), int64(40), int64(0), 4}, []any{o.State, *o.Total, o.Jobs, o.Skipped, o.Priority})
	require.Equal(t, recovery.JobFilter{State: "failed", Which: recovery.Which{Kind: "webhook", EndpointID: e.ID.String(), CreatedAfter: since.Format(time.RFC3339Nano)}}, o.Filter)
	settled("succeeded", 42)
	mu.Lock()
	defer mu.Unlock()
	require.Len(t, got, 42)
	for _, id := range missed {
		require.Equal(t, 1, got[id], "the same webhook-id")
	}

	require.Equal(t, 200, contract.Send(h.http, http.MethodPatch, "/endpoints/"+other.ID.String(), `{"enabled":false}`).Code)
	refused := contract.Decode[httpapi.Problem](t, contract.Send(h.http, http.MethodPost, "/endpoints/"+other.ID.String()+"/recover", body+`}`), 409)
	require.Equal(t, "endpoint_disabled", refused.Code)
	require.Contains(t, refused.Detail, "/enable")
	require.Equal(t, 404, contract.Send(h.http, http.MethodPost, "/endpoints/"+uuid.NewString()+"/recover", body+`}`).Code)
}

func TestIdempotencyKeyMakesOneOperation(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	for _, path := range []string{"/jobs/retry", "/jobs/cancel"} {
		body := `{"filter":{"kind":"test"}}`
		first := contract.Send(h.http, http.MethodPost, path, body, "Idempotency-Key", "once")
		again := contract.Send(h.http, http.MethodPost, path, body, "Idempotency-Key", `"once"`)
		require.Equal(t, []int{202, 202}, []int{first.Code, again.Code})
		require.Equal(t, first.Body.String(), again.Body.String())
		require.Equal(t, first.Header().Get("Location"), again.Header().Get("Location"))
		require.Equal(t, []string{"", "true"}, []string{first.Header().Get("Idempotency-Replayed"), again.Header().Get("Idempotency-Replayed")})
		require.Equal(t, 422, contract.Send(h.http, http.MethodPost, path, body+" ", "Idempotency-Key", "once").Code)
	}
	require.Equal(t, 2, h.count("bulk_operations"))
}

func TestWrongRequestsAreRefused(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	e := send[webhooks.Endpoint](h, "/endpoints", `{"url":"http://127.0.0.1:9/"}`, 201)
	recover := "/endpoints/" + e.ID.String() + "/recover"
	none := uuid.Must(uuid.NewV7()).String()
	for _, c := range []struct {
		path, body string
		status     int
		complaint  string
	}{
		{"/jobs/retry", `{}`, 422, `"pointer":"/filter","detail":"is required"`},
		{"/jobs/retry", `{"filter":{}}`, 422, `"pointer":"/filter","detail":"must have at least one of`},
		{"/jobs/cancel", `{"filter":{}}`, 422, `"pointer":"/filter","detail":"must have at least one of`},
		{"/jobs/retry", `{"filter":{"state":"running"}}`, 422, `"pointer":"/filter/state"`},
		{"/jobs/cancel", `{"filter":{"state":"failed"}}`, 422, `"pointer":"/filter/state"`},
		{"/jobs/retry", `{"filter":{"status":"failed"}}`, 422, `"pointer":"/filter/status","detail":"is not a field known here`},
		{"/jobs/retry", `{"filter":{"event_id":"7"}}`, 422, `"pointer":"/filter/event_id"`},
		{"/jobs/retry", `{"filter":{"endpoint_id":"urn:uuid:` + none + `"}}`, 422, `"pointer":"/filter/endpoint_id"`},
		{"/jobs/retry", `{"filter":{"queue":"a b"}}`, 422, `"pointer":"/filter/queue"`},
		{"/jobs/retry", `{"filter":{"type":"a\n"}}`, 422, `"pointer":"/filter/type"`},
		{"/jobs/retry", `{"filter":{"kind":"a"},"tenant":"../x"}`, 422, `"pointer":"/tenant"`},
		{"/jobs/retry", `{"filter":{"kind":"a"},"rate":0}`, 422, `"pointer":"/rate"`},
		{"/jobs/retry", `{"filter":{"kind":"a"},"rate":100001}`, 422, `"pointer":"/rate"`},
		{"/jobs/retry", `{"filter":{"kind":"a"},"priority":5}`, 422, `"pointer":"/priority"`},
		{"/jobs/cancel", `{"filter":{"kind":"a"},"priority":1}`, 422, `"pointer":"/priority","detail":"is not a field known here`},
		{"/jobs/cancel", `{"filter":{"created_after":"2026-01-02T00:00:00Z","created_before":"2026-01-02T00:00:00Z"}}`, 422, `"pointer":"/filter/created_before","detail":"must be later than created_after"`},
		{"/jobs/cancel", `{"filter":{"created_after":"now"}}`, 422, `"pointer":"/filter/created_after"`},
		{"/jobs/retry", ``, 400, `"code":"empty_body"`},
		{recover, `{}`, 422, `"pointer":"/since","detail":"is required"`},
		{recover, `{"since":"yesterday"}`, 422, `"pointer":"/since"`},
		{recover, `{"since":"2026-01-02T00:00:00Z","until":"2026-01-01T00:00:00Z"}`, 422, `"pointer":"/until","detail":"must be later than since"`},
		{"/operations/" + none + "/cancel", ``, 404, `"code":"operation_not_found"`},
	} {
		rec := contract.Send(h.http, http.MethodPost, c.path, c.body)
		require.Equal(t, c.status, rec.Code, "%s %s: %s", c.path, c.body, rec.Body)
		require.Contains(t, rec.Body.String(), c.complaint, c.body)
	}
	require.Equal(t, 404, contract.Send(h.http, http.MethodGet, "/operations/"+none, "").Code)
	require.Equal(t, 422, contract.Send(h.http, http.MethodPost, "/jobs/retry", `{"filter":{"kind":"a"}}`, "Idempotency-Key", strings.Repeat("k", 256)).Code)
	require.Zero(t, h.count("bulk_operations"))
}
