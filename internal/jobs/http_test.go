package jobs_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/contract"
	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/intake"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/pgtest"
	"github.com/signalstack/signalstack/internal/queue"
)

// front is the HTTP face of jobs on a database of its own.
type front struct {
	db      *pg.DB
	handler http.Handler
}

func newFront(t *testing.T) *front {
	t.Helper()
	db := pgtest.New(t)
	return &front{db: db, handler: serve(t, db)}
}

// serve adds another server process on the same database.
func serve(t *testing.T, db *pg.DB) http.Handler {
	t.Helper()
	kinds := jobs.NewRegistry(jobs.Kind{
		Name: "test", Timeout: 15 * time.Second, MaxAttempts: 7,
		Run: func(context.Context, jobs.Job) (jobs.Result, error) { return jobs.Result{}, nil },
		Check: func(payload json.RawMessage, _ jobs.Later) []fault.Detail {
			if string(payload) == `"bad"` {
				return []fault.Detail{{Pointer: "/x", Detail: "is bad"}}
			}
			return nil
		},
	})
	in := jobs.NewIntake(db, intake.Config{KeyTTL: time.Hour, MaxWaiting: 500})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { in.Run(ctx); close(done) }()
	t.Cleanup(func() { stop(); <-done })
	api := httpapi.New(httpapi.Config{Version: "test", MaxBody: 1 << 20, Log: slog.New(slog.DiscardHandler), Fault: pg.Fault})
	(&jobs.API{DB: db, Kinds: kinds, Intake: in}).Routes(api)
	return contract.Handler(t, api)
}

func (f *front) jobsStored(t *testing.T) int {
	t.Helper()
	var n int
	require.NoError(t, f.db.GetContext(t.Context(), &n, `SELECT count(*) FROM signalstack.jobs`))
	return n
}

func TestCreatedJobIsShownAsItWasAnswered(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	body := `{"kind":"test","payload":{"n":9007199254740993,"n":1e400},"queue":"mail","priority":1,"delay":"1h","max_attempts":3,
		"timeout":"2s","retry":{"strategy":"ladder","ladder":["5s"]},"ordering_key":"k'; DROP TABLE jobs; --","on_failure":"skip","tenant":"acme"}`
	rec := contract.Send(f.handler, http.MethodPost, "/jobs", body)
	made := contract.Decode[jobs.Detailed](t, rec, http.StatusCreated)
	require.Equal(t, queue.Scheduled, made.State)
	require.Equal(t, `{"n":9007199254740993,"n":1e400}`, string(made.Payload))
	got := contract.Send(f.handler, http.MethodGet, "/jobs/"+made.ID.String(), "")
	require.JSONEq(t, strings.ReplaceAll(rec.Body.String(), "1e400", "1"), strings.ReplaceAll(got.Body.String(), "1e400", "1"))
	shown := contract.Decode[jobs.Detailed](t, got, http.StatusOK)
	require.Equal(t, "k'; DROP TABLE jobs; --", shown.OrderingKey)
	require.Equal(t, "skip", shown.OnFailure)
	require.Equal(t, "acme", shown.Tenant)
	require.Equal(t, "2s", shown.Timeout)
}

func TestPastRunAtRunsNow(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	made := contract.Decode[jobs.Detailed](t, contract.Send(f.handler, http.MethodPost, "/jobs", `{"kind":"test","run_at":"2001-01-01T00:00:00+02:00"}`), http.StatusCreated)
	require.Equal(t, queue.Pending, made.State)
	got := claimAll(t, f.db)
	require.Len(t, got, 1)
	require.Equal(t, made.ID, got[0])
}

func claimAll(t *testing.T, db *pg.DB) []uuid.UUID {
	t.Helper()
	claimed, err := queue.NewClaimer(db, "default", uuid.New(), time.Minute, 0).Claim(t.Context(), 100)
	require.NoError(t, err)
	var ids []uuid.UUID
	for _, c := range claimed {
		ids = append(ids, c.ID)
	}
	return ids
}

func TestBadJobsAreRefusedWithEveryMistakeAndNothingIsStored(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	for body, pointers := range map[string][]string{
		`{}`:                              {"/kind"},
		`{"kind":"nonsense"}`:             {"/kind"},
		`{"kind":""}`:                     {"/kind"},
		`{"kind":null,"queue":null}`:      {"/kind", "/queue"},
		`{"kind":"test","retry":null}`:    {"/retry"},
		`{"kind":"test","priority":2.0}`:  {"/priority"},
		`{"kind":"test","payload":"bad"}`: {"/payload/x"},
		`{"kind":"test","priority":-1,"queue":"a b","tenant":"é"}`:                            {"/priority", "/queue", "/tenant"},
		`{"kind":"test","priority":5}`:                                                        {"/priority"},
		`{"kind":"test","priority":1.5}`:                                                      {"/priority"},
		`{"kind":"test","run_at":"tomorrow","delay":"soon","timeout":"-1s","max_attempts":0}`: {"/run_at", "/delay", "/timeout", "/max_attempts"},
		`{"kind":"test","run_at":"2999-01-01T00:00:00Z"}`:                                     {"/run_at"},
		`{"kind":"test","run_at":"2030-01-01T00:00:00Z","delay":"1s"}`:                        {"/delay"},
		`{"kind":"test","delay":"900000h"}`:                                                   {"/delay"},
		`{"kind":"test","idempotency_key":""}`:                                                {"/idempotency_key"},
		`{"kind":"test","ordering_key":"a\u0000b"}`:                                           {"/ordering_key"},
		`{"kind":"test","on_failure":"skip"}`:                                                 {"/on_failure"},
		`{"kind":"test","ordering_key":"a","on_failure":"wait"}`:                              {"/on_failure"},
		`[{"kind":"test"},{"kind":7}]`:                                                        {"/1/kind"},
		`[{"kind":7},{"kind":"test","priority":9}]`:                                           {"/0/kind", "/1/priority"},
	} {
		p := contract.Decode[httpapi.Problem](t, contract.Send(f.handler, http.MethodPost, "/jobs?atomic=true", body), http.StatusUnprocessableEntity)
		var got []string
		for _, e := range p.Errors {
			got = append(got, e.Pointer)
		}
		require.ElementsMatch(t, pointers, got, "%s: %+v", body, p.Errors)
	}
	require.Zero(t, f.jobsStored(t))
}

func TestKeyMakesARequestSafeToSendAgain(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	body := `{"kind":"test","payload":1}`
	first := contract.Send(f.handler, http.MethodPost, "/jobs", body, "Idempotency-Key", "k1")
	require.Equal(t, http.StatusCreated, first.Code, first.Body)
	require.Empty(t, first.Header().Get("Idempotency-Replayed"))
	for _, key := range []string{"k1", `"k1"`} {
		again := contract.Send(f.handler, http.MethodPost, "/jobs", body, "Idempotency-Key", key)
		require.Equal(t, http.StatusCreated, again.Code)
		require.Equal(t, "true", again.Header().Get("Idempotency-Replayed"))
		require.Equal(t, first.Body.String(), again.Body.String(), "byte for byte")
	}
	other := contract.Decode[httpapi.Problem](t, contract.Send(f.handler, http.MethodPost, "/jobs", `{"kind":"test","payload":2}`, "Idempotency-Key", "k1"), 422)
	require.Equal(t, "idempotency_key_reused", other.Code)
	require.Equal(t, 1, f.jobsStored(t))

	tenant := contract.Send(f.handler, http.MethodPost, "/jobs", `{"kind":"test","payload":2,"tenant":"acme"}`, "Idempotency-Key", "k1")
	require.Equal(t, http.StatusCreated, tenant.Code, "another tenant has keys of its own")
	require.Equal(t, 422, contract.Send(f.handler, http.MethodPost, "/jobs", `{"kind":"test","idempotency_key":"a"}`, "Idempotency-Key", "b").Code)
	require.Equal(t, 2, f.jobsStored(t))
}

func TestEmptyKeyIsAMistakeOfTheSender(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	for _, key := range []string{"", `""`} {
		p := contract.Decode[httpapi.Problem](t, contract.Send(f.handler, http.MethodPost, "/jobs", `{"kind":"test"}`, "Idempotency-Key", key), 422)
		require.Equal(t, "/header/Idempotency-Key", p.Errors[0].Pointer)
	}
	require.Zero(t, f.jobsStored(t))
}

func TestExpiredKeyIsFree(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	require.Equal(t, 201, contract.Send(f.handler, http.MethodPost, "/jobs", `{"kind":"test","payload":1}`, "Idempotency-Key", "k").Code)
	_, err := f.db.ExecContext(t.Context(), `UPDATE signalstack.idempotency_keys SET expires_at = now() - interval '1 second'`)
	require.NoError(t, err)
	rec := contract.Send(f.handler, http.MethodPost, "/jobs", `{"kind":"test","payload":2}`, "Idempotency-Key", "k")
	require.Equal(t, 201, rec.Code, rec.Body)
	require.Empty(t, rec.Header().Get("Idempotency-Replayed"))
	require.Equal(t, 2, f.jobsStored(t))
}

func TestFiftyAtOnceMakeOneJob(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	// Two processes, so that the race is settled by the database and not by one queue.
	fronts := []http.Handler{f.handler, serve(t, f.db)}
	send := func(i int) *httptest.ResponseRecorder {
		return contract.Send(fronts[i%2], http.MethodPost, "/jobs", `{"kind":"test","idempotency_key":"same"}`)
	}
	answers := make([]*httptest.ResponseRecorder, 50)
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() { answers[i] = send(i) })
	}
	wg.Wait()
	fresh, first := 0, send(0)
	require.Equal(t, "true", first.Header().Get("Idempotency-Replayed"))
	for _, a := range answers {
		if a.Code == http.StatusConflict {
			require.Contains(t, a.Body.String(), "idempotency_key_in_flight")
			require.Equal(t, "1", a.Header().Get("Retry-After"))
			continue
		}
		require.Equal(t, http.StatusCreated, a.Code, a.Body)
		require.Equal(t, first.Body.String(), a.Body.String())
		if a.Header().Get("Idempotency-Replayed") == "" {
			fresh++
		}
	}
	require.Equal(t, 1, fresh)
	require.Equal(t, 1, f.jobsStored(t))
}

func TestArrayOfJobsIsAnsweredItemByItem(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	type list struct {
		Data []struct {
			jobs.Detailed
			Index, Status int
			Error         *httpapi.Problem
		}
	}
	body := `[{"kind":"test","unique":{"key":"u"}},{"kind":"no"},{"kind":"test","unique":{"key":"u"}},{"kind":"test","priority":1}]`
	require.Equal(t, 422, contract.Send(f.handler, http.MethodPost, "/jobs?atomic=true", body).Code)
	require.Zero(t, f.jobsStored(t))
	made := contract.Decode[list](t, contract.Send(f.handler, http.MethodPost, "/jobs", body), http.StatusMultiStatus)
	var statuses []int
	for i, item := range made.Data {
		require.Equal(t, i, item.Index)
		statuses = append(statuses, item.Status)
	}
	require.Equal(t, []int{201, 422, 422, 201}, statuses)
	require.Equal(t, "/1/kind", made.Data[1].Error.Errors[0].Pointer)
	require.Equal(t, "/2", made.Data[2].Error.Errors[0].Pointer)
	require.Equal(t, 1, made.Data[3].Priority)
	require.Equal(t, 2, f.jobsStored(t))
}

func TestArrayIsCreatedWholeInOrder(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	type list struct{ Data []jobs.Detailed }
	body := `[{"kind":"test","payload":0},{"kind":"test","payload":1},{"kind":"test","payload":2}]`
	rec := contract.Send(f.handler, http.MethodPost, "/jobs", body, "Idempotency-Key", "batch")
	made := contract.Decode[list](t, rec, http.StatusCreated)
	require.Len(t, made.Data, 3)
	for i, j := range made.Data {
		require.Equal(t, fmt.Sprint(i), string(j.Payload))
	}
	again := contract.Send(f.handler, http.MethodPost, "/jobs", body, "Idempotency-Key", "batch")
	require.Equal(t, rec.Body.String(), again.Body.String())
	require.Equal(t, "true", again.Header().Get("Idempotency-Replayed"))
	require.Equal(t, 3, f.jobsStored(t))
}

func TestListFiltersAndPages(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	var all []string
	for i := range 7 {
		body := fmt.Sprintf(`{"kind":"test","queue":"q%d","tenant":"t%d","delay":"%dh"}`, i%2, i%3, i/4)
		all = append(all, contract.Decode[jobs.Detailed](t, contract.Send(f.handler, http.MethodPost, "/jobs", body), 201).ID.String())
	}
	require.Equal(t, all, f.list(t, "/jobs?order=asc&limit=2"))
	newest := slices.Clone(all)
	slices.Reverse(newest)
	require.Equal(t, newest, f.list(t, "/jobs?limit=3"))
	require.Equal(t, []string{all[5], all[3], all[1]}, f.list(t, "/jobs?queue=q1&limit=1"))
	require.Equal(t, []string{all[6], all[3], all[0]}, f.list(t, "/jobs?tenant=t0"))
	require.Equal(t, []string{all[6], all[5], all[4]}, f.list(t, "/jobs?state=scheduled&limit=2"))
	require.Len(t, f.list(t, "/jobs?state=pending"), 4)
	require.Empty(t, f.list(t, "/jobs?kind=other"))
	require.Empty(t, f.list(t, "/jobs?created_before=2020-01-01T00:00:00Z"))
	require.Len(t, f.list(t, "/jobs?created_after=2020-01-01T00:00:00Z"), 7)
	require.Empty(t, f.list(t, "/jobs?event_id="+uuid.NewString()))
	require.Empty(t, f.list(t, "/jobs?created_before=0001-01-01T00:00:00Z"), "no time is none")
	require.Len(t, f.list(t, "/jobs?created_after=0001-01-01T00:00:00Z&limit=2"), 7)
	for _, bad := range []string{"limit=0", "limit=x", "state=gone", "event_id=7", "created_after=now", "order=up", "cursor=abc", "tenant=%00", "kind=%ff", "queue=a%0a", "tenant=nosuch;x", "State=failed", "event_id=urn:uuid:" + uuid.NewString()} {
		rec := contract.Send(f.handler, http.MethodGet, "/jobs?"+bad, "")
		require.Contains(t, []int{400, 422}, rec.Code, "%s: %s", bad, rec.Body)
	}
}

// list walks all pages of a list by its Link headers.
func (f *front) list(t *testing.T, path string) []string {
	t.Helper()
	var ids []string
	for path != "" {
		rec := contract.Send(f.handler, http.MethodGet, path, "")
		page := contract.Decode[httpapi.Page[jobs.Record]](t, rec, 200)
		for _, j := range page.Data {
			ids = append(ids, j.ID.String())
		}
		path = ""
		if link := rec.Header().Get("Link"); link != "" {
			path = link[1:strings.Index(link, ">")]
		}
	}
	return ids
}

func TestListByFinalState(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	for range 3 {
		require.Equal(t, 201, contract.Send(f.handler, http.MethodPost, "/jobs", `{"kind":"test"}`).Code)
	}
	claimed, err := queue.NewClaimer(f.db, "default", uuid.New(), time.Minute, 0).Claim(t.Context(), 3)
	require.NoError(t, err)
	_, err = queue.Settle(t.Context(), f.db, []queue.Settlement{
		{JobID: claimed[0].ID, Lease: 1, State: queue.Succeeded, Outcome: queue.OutcomeSucceeded},
		{JobID: claimed[1].ID, Lease: 1, State: queue.Failed, Outcome: queue.OutcomePermanent, Error: "no"},
	})
	require.NoError(t, err)
	require.Equal(t, []string{claimed[0].ID.String()}, f.list(t, "/jobs?state=succeeded"))
	require.Equal(t, []string{claimed[1].ID.String()}, f.list(t, "/jobs?state=failed"))
	require.Equal(t, []string{claimed[2].ID.String()}, f.list(t, "/jobs?state=running"))
	require.Empty(t, f.list(t, "/jobs?state=canceled"))
}

func TestUnknownAndMalformedIDs(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	require.Equal(t, 404, contract.Send(f.handler, http.MethodGet, "/jobs/"+uuid.NewString(), "").Code)
	for _, id := range []string{"7", "urn:uuid:" + uuid.NewString(), "%7B" + uuid.NewString() + "%7D"} {
		p := contract.Decode[httpapi.Problem](t, contract.Send(f.handler, http.MethodGet, "/jobs/"+id, ""), 422)
		require.Equal(t, "invalid_parameter", p.Code)
		require.Equal(t, "/path/id", p.Errors[0].Pointer)
	}
	require.Equal(t, 422, contract.Send(f.handler, http.MethodGet, "/jobs/'%20OR%201=1", "").Code)
	require.Equal(t, 405, contract.Send(f.handler, http.MethodDelete, "/jobs", "").Code)
}
