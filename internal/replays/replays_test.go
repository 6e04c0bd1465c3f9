package replays_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
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
	"github.com/signalstack/signalstack/internal/replays"
	"github.com/signalstack/signalstack/internal/rules"
	"github.com/signalstack/signalstack/internal/sealed"
	"github.com/signalstack/signalstack/internal/webhooks"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// house is a server process on a database.
type house struct {
	*testing.T
	db        *pg.DB
	http      http.Handler
	endpoints *webhooks.Endpoints
	kinds     *jobs.Registry
}

func newHouse(t *testing.T) *house {
	t.Helper()
	db := pgtest.New(t)
	guard, err := outbound.NewGuard(nil, true)
	require.NoError(t, err)
	h := &house{T: t, db: db, endpoints: &webhooks.Endpoints{DB: db, Box: sealed.Plain(), Guard: guard}}
	h.kinds = jobs.NewRegistry(webhooks.Kind(h.endpoints, outbound.NewClient(guard, "test")), jobs.Kind{
		Name: "test", Timeout: time.Second, MaxAttempts: 3,
		Check: func(json.RawMessage, jobs.Later) []fault.Detail { return nil },
		Run:   func(context.Context, jobs.Job) (jobs.Result, error) { return jobs.Result{}, nil },
	})
	a := events.NewAcceptor(db, intake.Config{KeyTTL: time.Hour, MaxWaiting: 2000}, h.kinds, discard())
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { a.Run(ctx); close(done) }()
	t.Cleanup(func() { stop(); <-done })
	api := httpapi.New(httpapi.Config{Version: "test", MaxBody: 16 << 20, Log: discard(), Fault: pg.Fault})
	a.Routes(api)
	(&events.API{DB: db}).Routes(api)
	(&jobs.API{DB: db, Kinds: h.kinds}).Routes(api)
	(&rules.API{DB: db, Kinds: h.kinds}).Routes(api)
	h.endpoints.Routes(api)
	(&replays.API{DB: db, Replayer: h.replayer(), KeyTTL: time.Hour}).Routes(api)
	h.http = contract.Handler(t, api)
	return h
}

func (h *house) replayer() *replays.Replayer { return replays.NewReplayer(h.db, h.kinds, discard()) }

// work starts a worker that ends with the test, or when the function it gives is called.
func (h *house) work(kinds ...bulk.Kind) (stop func()) {
	if len(kinds) == 0 {
		kinds = []bulk.Kind{h.replayer().Bulk()}
	}
	r := &bulk.Runner{DB: h.db, Log: discard(), Kinds: kinds, Poll: 10 * time.Millisecond}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { _ = r.Run(ctx); close(ended) }()
	stop = func() { cancel(); <-ended }
	h.Cleanup(stop)
	return stop
}

// send posts a body and gives the answer, which must have the status.
func send[T any](h *house, path, body string, status int, header ...string) T {
	h.Helper()
	return contract.Decode[T](h, contract.Send(h.http, http.MethodPost, path, body, header...), status)
}

// accept sends events, given without the brackets of their array.
func (h *house) accept(list ...string) []events.Event {
	h.Helper()
	return send[struct{ Data []events.Event }](h, "/events", "["+strings.Join(list, ",")+"]", http.StatusCreated).Data
}

func (h *house) rule(pattern, more string) rules.Rule {
	h.Helper()
	return send[rules.Rule](h, "/rules", fmt.Sprintf(`{"name":"r","pattern":%s,"actions":[{"kind":"test","payload":{"a":1}}]%s}`, pattern, more), 201)
}

func (h *house) endpoint(types string) uuid.UUID {
	h.Helper()
	return send[webhooks.Endpoint](h, "/endpoints", `{"url":"http://127.0.0.1:9/","event_types":[`+types+`]}`, 201).ID
}

func (h *house) get(id uuid.UUID) replays.Replay {
	h.Helper()
	return contract.Decode[replays.Replay](h, contract.Send(h.http, http.MethodGet, "/replays/"+id.String(), ""), 200)
}

func (h *house) await(id uuid.UUID) replays.Replay {
	h.Helper()
	require.Eventually(h, func() bool { return h.get(id).State != bulk.Running }, 60*time.Second, 10*time.Millisecond)
	return h.get(id)
}

func (h *house) jobs(query string) []jobs.Record {
	h.Helper()
	return contract.Decode[httpapi.Page[jobs.Record]](h, contract.Send(h.http, http.MethodGet, "/jobs?order=asc&limit=1000&"+query, ""), 200).Data
}

func (h *house) count(from string, args ...any) int {
	h.Helper()
	var n int
	require.NoError(h, h.db.GetContext(h.Context(), &n, `SELECT count(*) FROM signalstack.`+from, args...))
	return n
}

func TestOneEventGoesThroughTheCurrentRulesAgain(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.rule(`{"type":["a"],"data":{"n":[1]}}`, "")
	e := h.accept(`{"type":"a","data":{"n":1}}`)[0]
	require.Len(t, e.JobIDs, 1)
	later := h.rule(`{"data":{"n":[1]}}`, "")
	to := h.endpoint(`"a"`)
	path := "/events/" + e.ID.String() + "/replay"

	dry := send[replays.DryRun](h, path, `{"dry_run":true}`, 200)
	require.Equal(t, replays.DryRun{Events: 1, EventsExact: true, Jobs: 3, JobsExact: true}, dry)
	require.Equal(t, 1, h.count("jobs"))

	rec := contract.Send(h.http, http.MethodPost, path, `{}`)
	made := contract.Decode[replays.EventReplay](t, rec, 201)
	require.Equal(t, "/replays/"+made.ID.String(), rec.Header().Get("Location"))
	require.Len(t, made.JobIDs, 3)
	require.Equal(t, []any{bulk.Done, int64(1), int64(1), int64(3), e.ID}, []any{made.State, *made.Total, made.Done, made.Jobs, *made.EventID})
	require.Equal(t, made.Replay, h.get(made.ID))
	marked := h.jobs("replay_id=" + made.ID.String())
	require.Len(t, marked, 3)
	for _, j := range marked {
		require.Equal(t, e.ID, *j.EventID)
		require.Equal(t, made.ID, *j.ReplayID)
		require.Equal(t, 2, j.Priority, "the rule's")
		require.Equal(t, "pending", string(j.State))
		require.NotContains(t, e.JobIDs, j.ID)
	}
	require.Len(t, h.jobs("event_id="+e.ID.String()), 4)
	first := contract.Decode[jobs.Detailed](t, contract.Send(h.http, http.MethodGet, "/jobs/"+e.JobIDs[0].String(), ""), 200)
	require.Nil(t, first.ReplayID)

	named := send[replays.EventReplay](h, path, `{"rules":["`+later.ID.String()+`"],"priority":4}`, 201)
	require.Len(t, named.JobIDs, 1)
	j := h.jobs("replay_id=" + named.ID.String())[0]
	require.Equal(t, []any{later.ID, 4}, []any{*j.RuleID, j.Priority})
	only := send[replays.EventReplay](h, path, `{"endpoints":["`+to.String()+`"]}`, 201)
	require.Equal(t, to, *h.jobs("replay_id=" + only.ID.String())[0].EndpointID)
	require.Len(t, only.JobIDs, 1)

	require.Equal(t, 1, h.count("events"))
	require.Equal(t, 1, h.count("analytics_deltas WHERE fact = 'event'"), "no event came")
	var counted int
	require.NoError(t, h.db.GetContext(t.Context(), &counted, `SELECT sum(n) FROM signalstack.analytics_deltas WHERE fact = 'job_created'`))
	require.Equal(t, 6, counted)
}

func TestReplayByFilterIsWhatItsDryRunSays(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.work()
	var sent []string
	for i := range 600 {
		sent = append(sent, fmt.Sprintf(`{"type":"t%d","source":"s%d","subject":"u%d","tenant":"%s","data":{"n":%d}}`,
			i%3, i%4, i%5, []string{"default", "acme"}[i%2], i))
	}
	all := h.accept(sent...)
	h.rule(`{"data":{"n":[{"numeric":["<",300]}]}}`, "")
	h.rule(`{"source":["s0"]}`, "")
	h.rule(`{"data":{"n":[{"numeric":["<",300]}]}}`, `,"tenant":"acme"`)
	disabled := h.rule(`{"source":["s0"]}`, `,"enabled":false`)
	middle := all[300].ReceivedAt.Add(time.Hour).Format(time.RFC3339Nano)
	for body, want := range map[string]struct {
		fits func(i int) bool
		jobs func(i int) int
	}{
		`{"filter":{"type":"t1"}}`:                                         {func(i int) bool { return i%3 == 1 && i%2 == 0 }, nil},
		`{"filter":{"type":"t1","source":"s0","subject":"u2"}}`:            {func(i int) bool { return i%3 == 1 && i%4 == 0 && i%5 == 2 }, nil},
		`{"filter":{"source":"s2"}}`:                                       {func(i int) bool { return i%4 == 2 }, nil},
		`{"filter":{"subject":"u4"},"tenant":"acme"}`:                      {func(i int) bool { return i%5 == 4 && i%2 == 1 }, nil},
		`{"filter":{"created_after":"1970-01-01T00:00:00Z"}}`:              {func(i int) bool { return i%2 == 0 }, nil},
		`{"filter":{"created_before":"` + middle + `"},"tenant":"acme"}`:   {func(i int) bool { return i%2 == 1 }, nil},
		`{"filter":{"created_after":"` + middle + `"}}`:                    {func(int) bool { return false }, nil},
		`{"filter":{"type":"t1","created_before":"2001-01-01T00:00:00Z"}}`: {func(int) bool { return false }, nil},
		`{"filter":{"type":"nobody's"}}`:                                   {func(int) bool { return false }, nil},
		`{"filter":{"type":"t0"},"tenant":"nobody"}`:                       {func(int) bool { return false }, nil},
		`{"filter":{"created_after":"0001-01-01T00:00:00Z"},"rules":["` + disabled.ID.String() + `"]}`: {
			func(i int) bool { return i%2 == 0 }, func(i int) int { return b2i(i%4 == 0) },
		},
	} {
		if want.jobs == nil {
			tenant := strings.Contains(body, "acme")
			want.jobs = func(i int) int { return b2i(i < 300) + b2i(!tenant && i%4 == 0) }
		}
		var fit, made int
		for i := range all {
			if want.fits(i) {
				fit, made = fit+1, made+want.jobs(i)
			}
		}
		dry := send[replays.DryRun](h, "/replays", strings.TrimSuffix(body, "}")+`,"dry_run":true}`, 200)
		require.Equal(t, replays.DryRun{Events: fit, EventsExact: true, Jobs: made, JobsExact: true}, dry, body)
		rec := contract.Send(h.http, http.MethodPost, "/replays", body)
		begun := contract.Decode[replays.Replay](t, rec, 202)
		require.Equal(t, bulk.Running, begun.State)
		require.Equal(t, "/replays/"+begun.ID.String(), rec.Header().Get("Location"))
		r := h.await(begun.ID)
		require.Equal(t, bulk.Done, r.State, r.LastError)
		require.Equal(t, []int64{int64(fit), int64(fit), int64(made), 0}, []int64{*r.Total, r.Done, r.Jobs, r.Failed}, body)
		require.Equal(t, made, h.count("jobs WHERE replay_id = $1", r.ID))
		require.Equal(t, made, h.count("jobs WHERE replay_id = $1 AND event_id IS NOT NULL AND priority = 4", r.ID))
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestEventsOfLaterAreNotReplayed(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.rule(`{"type":["a"]}`, "")
	h.accept(`{"type":"a"}`, `{"type":"a"}`)
	r := send[replays.Replay](h, "/replays", `{"filter":{"type":"a"}}`, 202)
	h.accept(`{"type":"a"}`)
	// One that a process with a clock behind ours accepts now, between the others.
	require.NoError(t, queue.EnsurePartitions(t.Context(), h.db, time.Now().Add(-time.Minute)))
	_, err := h.db.ExecContext(t.Context(), `
		INSERT INTO signalstack.events (id, tenant, type, source, subject, sender_id, time, received_at)
		SELECT signalstack.uuid7(now() - interval '1 second'), 'default', 'a', '', '', '', now(), now()`)
	require.NoError(t, err)
	h.work()
	require.Equal(t, int64(2), h.await(r.ID).Done)
	require.Equal(t, 2, h.count("jobs WHERE replay_id = $1", r.ID))
}

func TestReplayTakesAPeriod(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.work()
	h.rule(`{"type":["a"]}`, "")
	now := time.Now().UTC().Truncate(time.Hour)
	at := func(hours int) string { return now.Add(time.Duration(hours) * time.Hour).Format(time.RFC3339) }
	require.NoError(t, queue.EnsurePartitions(t.Context(), h.db, now, now.Add(-24*time.Hour), now.Add(-48*time.Hour)))
	_, err := h.db.ExecContext(t.Context(), `
		INSERT INTO signalstack.events (id, tenant, type, source, subject, sender_id, time, received_at)
		SELECT signalstack.uuid7($1::timestamptz - n * interval '1 hour'), 'default', 'a', '', '', '', now(), now() FROM generate_series(1, 40) AS n`, at(0))
	require.NoError(t, err)
	for filter, want := range map[string]int64{
		`"created_after":"` + at(-10) + `"`:                                             10,
		`"created_before":"` + at(-10) + `"`:                                            30,
		`"created_after":"` + at(-30) + `","created_before":"` + at(-4) + `"`:           26,
		`"type":"a","created_after":"` + at(-3) + `","created_before":"` + at(-2) + `"`: 1,
	} {
		r := h.await(send[replays.Replay](h, "/replays", `{"filter":{`+filter+`}}`, 202).ID)
		require.Equal(t, []int64{want, want, want}, []int64{*r.Total, r.Done, r.Jobs}, filter)
	}
}

func TestEachEventIsReplayedOnceByWorkersThatDie(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	const each, batches = 1000, 3
	for b := range batches {
		list := make([]string, each)
		for i := range list {
			list[i] = fmt.Sprintf(`{"type":"a","data":%d}`, b*each+i)
		}
		h.accept(list...)
	}
	h.rule(`{"type":["a"]}`, "")
	h.rule(`{"type":[{"prefix":""}]}`, "")
	r := send[replays.Replay](h, "/replays", `{"filter":{"created_after":"1970-01-01T00:00:00Z"},"rate":100000}`, 202)
	var slices atomic.Int64
	cut := func(k bulk.Kind) bulk.Kind {
		do := k.Do
		k.Do = func(ctx context.Context, tx *sqlx.Tx, op bulk.Operation, limit int, passOver bool) (bulk.Slice, error) {
			s, err := do(ctx, tx, op, limit, passOver)
			if err == nil && slices.Add(1)%3 == 0 {
				_, err = tx.ExecContext(ctx, `SELECT pg_terminate_backend(pg_backend_pid())`)
			}
			return s, err
		}
		return k
	}
	for range 3 {
		h.work(cut(h.replayer().Bulk()))
	}
	done := h.await(r.ID)
	require.Equal(t, bulk.Done, done.State, done.LastError)
	require.Equal(t, []int64{batches * each, batches * each, 2 * batches * each}, []int64{*done.Total, done.Done, done.Jobs})
	require.Equal(t, batches*each, h.count(`events AS e
		WHERE (SELECT count(*) FROM signalstack.jobs AS j WHERE j.event_id = e.id AND j.replay_id = $1) = 2`, r.ID))
	require.Equal(t, 2*batches*each, h.count("jobs"))
}

func TestReplayIsCanceled(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.rule(`{"type":["a"]}`, "")
	list := make([]string, 1000)
	for i := range list {
		list[i] = `{"type":"a"}`
	}
	h.accept(list...)
	h.work()
	r := send[replays.Replay](h, "/replays", `{"filter":{"type":"a"},"rate":20}`, 202)
	require.Eventually(t, func() bool { return h.get(r.ID).Done > 0 }, 30*time.Second, 5*time.Millisecond)
	running := h.get(r.ID)
	require.NotNil(t, running.Position)
	canceled := send[replays.Replay](h, "/replays/"+r.ID.String()+"/cancel", "", 200)
	require.Equal(t, bulk.Canceled, canceled.State)
	require.Less(t, canceled.Done, int64(1000))
	other := send[replays.Replay](h, "/replays", `{"filter":{"type":"a"},"rate":100000}`, 202)
	require.Equal(t, int64(1000), h.await(other.ID).Done)
	require.Equal(t, canceled, h.get(r.ID))
	require.Equal(t, int(canceled.Jobs), h.count("jobs WHERE replay_id = $1", r.ID))
	require.Contains(t, contract.Send(h.http, http.MethodPost, "/replays/"+r.ID.String()+"/cancel", "").Body.String(), `"code":"replay_ended"`)
	page := contract.Decode[httpapi.Page[replays.Replay]](t, contract.Send(h.http, http.MethodGet, "/replays?limit=1", ""), 200)
	require.Equal(t, other.ID, page.Data[0].ID)
	page = contract.Decode[httpapi.Page[replays.Replay]](t, contract.Send(h.http, http.MethodGet, "/replays?limit=1&cursor="+page.NextCursor, ""), 200)
	require.Equal(t, r.ID, page.Data[0].ID)
	page = contract.Decode[httpapi.Page[replays.Replay]](t, contract.Send(h.http, http.MethodGet, "/replays?state=canceled&tenant=default", ""), 200)
	require.Equal(t, []replays.Replay{canceled}, page.Data)
}

func TestReplayFailsWhenItsRuleIsDeleted(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	named := h.rule(`{"type":["a"]}`, "")
	h.accept(`{"type":"a"}`)
	r := send[replays.Replay](h, "/replays", `{"filter":{"type":"a"},"rules":["`+named.ID.String()+`"]}`, 202)
	require.Equal(t, http.StatusNoContent, contract.Send(h.http, http.MethodDelete, "/rules/"+named.ID.String(), "").Code)
	h.work()
	failed := h.await(r.ID)
	require.Equal(t, bulk.Failed, failed.State)
	require.Contains(t, failed.LastError, "rule "+named.ID.String()+": it names no rule of this tenant")
}

func TestEventsWithoutDataAndLargeOnesAreReplayed(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.work()
	big := strings.Repeat("x", 5<<20)
	for range 4 { // more than a slice takes at once
		h.accept(`{"type":"a","data":"`+big+`"}`, `{"type":"a"}`)
	}
	h.rule(`{"type":["a"]}`, "")
	r := send[replays.Replay](h, "/replays", `{"filter":{"type":"a"}}`, 202)
	done := h.await(r.ID)
	require.Equal(t, []any{bulk.Done, int64(8), int64(8), int64(0)}, []any{done.State, done.Done, done.Jobs, done.Failed}, done.LastError)
	require.Equal(t, 8, h.count(`events AS e WHERE (SELECT count(*) FROM signalstack.jobs AS j WHERE j.event_id = e.id AND j.replay_id = $1) = 1`, r.ID))
}

func TestIdempotencyKeyMakesOneReplay(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.rule(`{"type":["a"]}`, "")
	e := h.accept(`{"type":"a"}`)[0]
	for path, body := range map[string]string{"/replays": `{"filter":{"type":"a"}}`, "/events/" + e.ID.String() + "/replay": `{}`} {
		before := h.count("bulk_operations")
		send := func() (int, string) {
			rec := contract.Send(h.http, http.MethodPost, path, body, "Idempotency-Key", "once")
			return rec.Code, fmt.Sprint(rec.Header().Get("Location"), rec.Body)
		}
		codes, answers := make([]int, 20), make([]string, 20)
		var wg sync.WaitGroup
		for i := range answers {
			wg.Go(func() { codes[i], answers[i] = send() })
		}
		wg.Wait()
		_, first := send()
		for i, a := range answers {
			if codes[i] != http.StatusConflict { // while the first was in flight
				require.Equal(t, first, a)
			}
		}
		require.Equal(t, before+1, h.count("bulk_operations"))
		again := contract.Send(h.http, http.MethodPost, path, body, "Idempotency-Key", `"once"`)
		require.Equal(t, "true", again.Header().Get("Idempotency-Replayed"))
		require.Equal(t, 422, contract.Send(h.http, http.MethodPost, path, body+" ", "Idempotency-Key", "once").Code)
		other := contract.Send(h.http, http.MethodPost, path, body, "Idempotency-Key", "another")
		require.NotEqual(t, again.Header().Get("Location"), other.Header().Get("Location"))
	}
	require.Equal(t, 1+2, h.count("jobs"), "and nobody works")
}

func TestReplayRefusesWhatIsWrong(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	r := h.rule(`{"type":["a"]}`, `,"tenant":"acme"`).ID.String()
	none := uuid.Must(uuid.NewV7()).String()
	e := h.accept(`{"type":"a"}`)[0].ID.String()
	for _, c := range []struct {
		path, body string
		status     int
		complaint  string
	}{
		{"/replays", `{}`, 422, `"pointer":"/filter","detail":"is required"`},
		{"/replays", `{"filter":{}}`, 422, `"pointer":"/filter","detail":"must have at least one of`},
		{"/replays", `{"filter":7}`, 422, `"pointer":"/filter","detail":"must be an object"`},
		{"/replays", `{"filter":{"typ":"a"}}`, 422, `"pointer":"/filter/typ","detail":"is not a field known here`},
		{"/replays", `{"filter":{"type":"a\n"}}`, 422, `"pointer":"/filter/type"`},
		{"/replays", `{"filter":{"type":1}}`, 422, `"pointer":"/filter/type","detail":"must be a text"`},
		{"/replays", `{"filter":{"created_after":"yesterday"}}`, 422, `"pointer":"/filter/created_after","detail":"must be an RFC 3339 time`},
		{"/replays", `{"filter":{"created_after":"2026-01-02T00:00:00Z","created_before":"2026-01-02T00:00:00Z"}}`, 422, `"pointer":"/filter/created_before","detail":"must be later`},
		{"/replays", `{"filter":{"type":"a"},"rate":0}`, 422, `"pointer":"/rate","detail":"must be at least 1"`},
		{"/replays", `{"filter":{"type":"a"},"rate":100001}`, 422, `"pointer":"/rate","detail":"must be at most 100000"`},
		{"/replays", `{"filter":{"type":"a"},"priority":5}`, 422, `"pointer":"/priority"`},
		{"/replays", `{"filter":{"type":"a"},"tenant":"../x"}`, 422, `"pointer":"/tenant"`},
		{"/replays", `{"filter":{"type":"a"},"dry_run":"yes"}`, 422, `"pointer":"/dry_run"`},
		{"/replays", `{"filter":{"type":"a"},"rules":[]}`, 422, `"pointer":"/rules","detail":"must have at least 1 item"`},
		{"/replays", `{"filter":{"type":"a"},"rules":["x"]}`, 422, `"pointer":"/rules/0","detail":"must be a UUID`},
		{"/replays", `{"filter":{"type":"a"},"rules":["` + r + `"]}`, 422, `"pointer":"/rules/0","detail":"names no rule of this tenant"`},
		{"/replays", `{"filter":{"type":"a"},"tenant":"acme","rules":["` + r + `","` + r + `"]}`, 422, `"pointer":"/rules/1","detail":"stands twice`},
		{"/replays", `{"filter":{"type":"a"},"endpoints":["` + none + `"],"dry_run":true}`, 422, `"pointer":"/endpoints/0","detail":"names no endpoint of this tenant"`},
		{"/replays", ``, 400, `"code":"empty_body"`},
		{"/events/" + none + "/replay", `{}`, 404, `"code":"event_not_found"`},
		{"/events/" + none + "/replay", `{"dry_run":true}`, 404, `"code":"event_not_found"`},
		{"/events/x/replay", `{}`, 422, `/path/id`},
		{"/events/" + e + "/replay", `{"filter":{"type":"a"}}`, 422, `"pointer":"/filter","detail":"is not a field known here`},
		{"/events/" + e + "/replay", `{"rules":["` + r + `"]}`, 422, `"pointer":"/rules/0","detail":"names no rule of this tenant"`},
		{"/events/" + e + "/replay", `{"rules":["` + r + `"],"dry_run":true}`, 422, `"pointer":"/rules/0"`},
		{"/replays/" + none + "/cancel", ``, 404, `"code":"replay_not_found"`},
	} {
		rec := contract.Send(h.http, http.MethodPost, c.path, c.body)
		require.Equal(t, c.status, rec.Code, "%s %s: %s", c.path, c.body, rec.Body)
		require.Contains(t, rec.Body.String(), c.complaint, c.body)
	}
	require.Equal(t, 404, contract.Send(h.http, http.MethodGet, "/replays/"+none, "").Code)
	require.Equal(t, 422, contract.Send(h.http, http.MethodPost, "/replays", `{"filter":{"type":"a"}}`, "Idempotency-Key", strings.Repeat("k", 256)).Code)
	require.Zero(t, h.count("bulk_operations"))
}

// TestReplaysGoByTheFiltersAndTransformsOfEndpoints as they are now, whether endpoints or
// rules are named.
func TestReplaysGoByTheFiltersAndTransformsOfEndpoints(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	all := h.accept(`{"type":"a.x","data":{"n":1}}`, `{"type":"a.x","data":{"n":2}}`, `{"type":"b","data":{"n":1}}`)
	to := send[webhooks.Endpoint](h, "/endpoints", `{"url":"http://127.0.0.1:9/","event_types":["*.x"],"pattern":{"data":{"n":[1]}},"transform":"{n: .data.n}"}`, 201).ID.String()
	h.endpoint(`"*"`)
	r := send[rules.Rule](h, "/rules", `{"name":"r","pattern":{"type":["b"]},"actions":[{"kind":"webhook","endpoint_id":"`+to+`"}]}`, 201)
	for i, want := range []int{1, 0, 1} {
		made := send[replays.EventReplay](h, "/events/"+all[i].ID.String()+"/replay", `{"endpoints":["`+to+`"]}`, 201)
		require.Len(t, made.JobIDs, want, i)
		for _, id := range made.JobIDs {
			job := contract.Decode[jobs.Detailed](t, contract.Send(h.http, http.MethodGet, "/jobs/"+id.String(), ""), 200)
			require.Equal(t, []any{to, `{"n":1}`}, []any{job.EndpointID.String(), string(job.Payload)})
		}
	}
	named := send[replays.EventReplay](h, "/events/"+all[2].ID.String()+"/replay", `{"rules":["`+r.ID.String()+`"]}`, 201)
	require.Len(t, named.JobIDs, 1)
	job := contract.Decode[jobs.Detailed](t, contract.Send(h.http, http.MethodGet, "/jobs/"+named.JobIDs[0].String(), ""), 200)
	require.Equal(t, `{"n":1}`, string(job.Payload))
}
