package events_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/contract"
	"github.com/signalstack/signalstack/internal/events"
	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/intake"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/pgtest"
	"github.com/signalstack/signalstack/internal/rules"
)

func kinds() *jobs.Registry {
	return jobs.NewRegistry(jobs.Kind{
		Name: "test", Timeout: time.Second, MaxAttempts: 3,
		Check: func(payload json.RawMessage, _ jobs.Later) []fault.Detail {
			if string(payload) == `"bad"` {
				return []fault.Detail{{Pointer: "/x", Detail: "is bad"}}
			}
			return nil
		},
		Run: func(context.Context, jobs.Job) (jobs.Result, error) { return jobs.Result{}, nil },
	})
}

// serve starts a server process on a database: events and rules.
func serve(t *testing.T, db *pg.DB) http.Handler {
	t.Helper()
	a := events.NewAcceptor(db, intake.Config{KeyTTL: time.Hour, MaxWaiting: 500}, kinds(), slog.New(slog.DiscardHandler))
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { a.Run(ctx); close(done) }()
	t.Cleanup(func() { stop(); <-done })
	api := httpapi.New(httpapi.Config{Version: "test", MaxBody: 1 << 20, Log: slog.New(slog.DiscardHandler), Fault: pg.Fault})
	a.Routes(api)
	(&events.API{DB: db, Kinds: kinds()}).Routes(api)
	(&events.Eraser{DB: db, Log: slog.New(slog.DiscardHandler), KeyTTL: time.Hour}).Routes(api)
	(&rules.API{DB: db, Kinds: kinds()}).Routes(api)
	return contract.Handler(t, api)
}

func accept(t *testing.T, h http.Handler, body string, header ...string) events.Event {
	t.Helper()
	rec := contract.Send(h, http.MethodPost, "/events", body, header...)
	require.Equal(t, http.StatusCreated, rec.Code, rec.Body)
	var e events.Event
	require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &e))
	return e
}

func rule(t *testing.T, h http.Handler, pattern string, more ...string) rules.Rule {
	t.Helper()
	body := fmt.Sprintf(`{"name":"r","pattern":%s,"actions":[{"kind":"test","payload":{"a":1},"priority":1,"delay":"1h"}]%s}`, pattern, strings.Join(more, ""))
	rec := contract.Send(h, http.MethodPost, "/rules", body)
	require.Equal(t, http.StatusCreated, rec.Code, rec.Body)
	var r rules.Rule
	require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &r))
	return r
}

func count(t *testing.T, db *pg.DB, from string, args ...any) int {
	t.Helper()
	var n int
	require.NoError(t, db.GetContext(t.Context(), &n, `SELECT count(*) FROM signalstack.`+from, args...))
	return n
}

func TestEventIsStoredWithItsJobsAndTheBytesOfItsData(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	h := serve(t, db)
	r := rule(t, h, `{"type":["payment.succeeded"],"data":{"customer":{"tier":["gold"]}}}`)
	data := `{"z":1,"customer":{"tier":"gold"},"big":9007199254740993,"e":1e400,"nul":"\u0000","z":2,"u":"é<&>\ud800"}`
	e := accept(t, h, `{"type":"payment.succeeded","time":"2026-01-02T03:04:05.123456789+02:00","source":"'; DROP TABLE events; --","data": `+data+`}`)
	require.Len(t, e.JobIDs, 1)
	require.Equal(t, "2026-01-02T01:04:05.123456Z", e.Time.Format(time.RFC3339Nano))
	var stored struct {
		Data   []byte
		Source string
	}
	require.NoError(t, db.GetContext(t.Context(), &stored, `SELECT data, source FROM signalstack.events WHERE id = $1`, e.ID))
	require.Equal(t, data, string(stored.Data))
	require.Equal(t, "'; DROP TABLE events; --", stored.Source)
	job, err := jobs.Get(t.Context(), db, e.JobIDs[0])
	require.NoError(t, err)
	require.Equal(t, r.ID, *job.RuleID)
	require.Equal(t, e.ID, *job.EventID)
	require.Equal(t, 1, job.Priority)
	require.Equal(t, `{"a":1}`, string(job.Payload))
	require.Equal(t, "scheduled", string(job.State))
}

func TestEventThatNoRuleWantsMakesNoJob(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	h := serve(t, db)
	rule(t, h, `{"type":["a"]}`, `,"tenant":"acme"`)
	rule(t, h, `{"type":["a"]}`, `,"enabled":false`)
	e := accept(t, h, `{"type":"a"}`)
	require.Empty(t, e.JobIDs)
	require.Len(t, accept(t, h, `{"type":"a","tenant":"acme"}`).JobIDs, 1)
	require.Equal(t, 2, count(t, db, "events"))
}

func TestRuleHoldsInEveryProcessFromItsAnswerOn(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	one, two := serve(t, db), serve(t, db)
	for i := range 20 {
		typ := fmt.Sprintf("t%d", i)
		r := rule(t, one, `{"type":["`+typ+`"]}`)
		require.Len(t, accept(t, two, `{"type":"`+typ+`"}`).JobIDs, 1)
		rec := contract.Send(one, http.MethodPatch, "/rules/"+r.ID.String(), `{"enabled":false}`)
		require.Equal(t, http.StatusOK, rec.Code, rec.Body)
		require.Empty(t, accept(t, two, `{"type":"`+typ+`"}`).JobIDs)
	}
}

func TestFiftyAtOnceMakeOneEventAndOneSetOfJobs(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	processes := []http.Handler{serve(t, db), serve(t, db)}
	rule(t, processes[0], `{"type":["a"]}`)
	rule(t, processes[0], `{"type":[{"prefix":""}]}`)
	for name, request := range map[string]struct{ body, header string }{
		"header":    {`{"type":"a","data":1}`, "key-1"},
		"body":      {`{"type":"a","data":2,"idempotency_key":"key-2"}`, ""},
		"sender id": {`{"type":"a","data":3,"source":"s","id":"key-3"}`, ""},
	} {
		before := count(t, db, "events")
		answers := make([]*httptest.ResponseRecorder, 50)
		var wg sync.WaitGroup
		for i := range answers {
			wg.Go(func() {
				var header []string
				if request.header != "" {
					header = []string{"Idempotency-Key", request.header}
				}
				answers[i] = contract.Send(processes[i%2], http.MethodPost, "/events", request.body, header...)
			})
		}
		wg.Wait()
		fresh, first := 0, ""
		for _, a := range answers {
			if a.Code == http.StatusConflict && name != "sender id" {
				require.Contains(t, a.Body.String(), "idempotency_key_in_flight")
				require.Equal(t, "1", a.Header().Get("Retry-After"))
				continue
			}
			require.Equal(t, http.StatusCreated, a.Code, a.Body)
			first = cmp.Or(first, a.Body.String())
			require.Equal(t, first, a.Body.String(), name)
			if a.Header().Get("Idempotency-Replayed") == "" {
				fresh++
			}
		}
		require.Equal(t, 1, fresh, name)
		require.Equal(t, before+1, count(t, db, "events"), name)
		require.Equal(t, 2*(before+1), count(t, db, "jobs"), name)
	}
	other := contract.Send(processes[0], http.MethodPost, "/events", `{"type":"a","data":4,"source":"s","id":"key-3"}`)
	require.Equal(t, 422, other.Code)
	require.Contains(t, other.Body.String(), "idempotency_key_reused")
}

// answer is what an array is answered with.
type answer struct {
	Data []struct {
		events.Event
		Index, Status int
		Replayed      bool
		Error         *httpapi.Problem
	}
}

func (a answer) statuses() (statuses []int) {
	for _, item := range a.Data {
		statuses = append(statuses, item.Status)
	}
	return statuses
}

func TestAtomicArrayIsAcceptedWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	h := serve(t, db)
	accept(t, h, `{"type":"a","idempotency_key":"taken"}`)
	for bad, pointer := range map[string]string{
		`[{"type":"a"},{"type":""}]`:                            "/1/type",
		`[{"type":"b"},{"type":"b","idempotency_key":"taken"}]`: "/1",
		`[{"type":"a","id":"1"},{"type":"b","id":"1"}]`:         "/1",
		`[{"type":"a"},7,{"type":"a"}]`:                         "/1",
	} {
		p := contract.Decode[httpapi.Problem](t, contract.Send(h, http.MethodPost, "/events?atomic=true", bad), 422)
		require.Len(t, p.Errors, 1, bad)
		require.Equal(t, pointer, p.Errors[0].Pointer, bad)
		require.Equal(t, 1, count(t, db, "events"), bad)
	}
	rec := contract.Send(h, http.MethodPost, "/events?atomic=true", `[{"type":"c"},{"type":"b"},{"type":"a","idempotency_key":"taken"}]`)
	list := contract.Decode[answer](t, rec, 201)
	require.Empty(t, rec.Header().Get("Idempotency-Replayed"), "not all of it was")
	require.Equal(t, []string{"c", "b", "a"}, []string{list.Data[0].Type, list.Data[1].Type, list.Data[2].Type})
	require.Equal(t, 3, count(t, db, "events"), "the third stood already")
}

func TestArrayIsAnsweredItemByItem(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	h := serve(t, db)
	accept(t, h, `{"type":"a","idempotency_key":"taken"}`)
	body := `[{"type":"a"},{"type":"","nope":1},7,{"type":"b","idempotency_key":"taken"},{"type":"a","idempotency_key":"taken"},` +
		`{"type":"x","source":"s","id":"1"},{"type":"x","source":"s","id":"1"},{"type":"y","source":"s","id":"1"}]`
	rec := contract.Send(h, http.MethodPost, "/events", body, "Idempotency-Key", `"whole"`)
	list := contract.Decode[answer](t, rec, http.StatusMultiStatus)
	require.Equal(t, []int{201, 422, 422, 422, 201, 201, 201, 422}, list.statuses())
	for i, item := range list.Data {
		require.Equal(t, i, item.Index)
		require.Equal(t, item.Status == 201, item.Error == nil)
	}
	require.ElementsMatch(t, []string{"/1/type", "/1/nope"}, []string{list.Data[1].Error.Errors[0].Pointer, list.Data[1].Error.Errors[1].Pointer})
	require.Equal(t, "idempotency_key_reused", list.Data[3].Error.Code)
	require.True(t, list.Data[4].Replayed)
	require.Equal(t, list.Data[5].ID, list.Data[6].ID)
	require.Equal(t, 3, count(t, db, "events"))

	for _, key := range []string{"whole", `"whole"`} {
		again := contract.Send(h, http.MethodPost, "/events", body, "Idempotency-Key", key)
		require.Equal(t, http.StatusMultiStatus, again.Code)
		require.Equal(t, rec.Body.String(), again.Body.String(), "byte for byte")
		require.Equal(t, "true", again.Header().Get("Idempotency-Replayed"))
	}
	require.Equal(t, 422, contract.Send(h, http.MethodPost, "/events", `[{"type":"other"}]`, "Idempotency-Key", "whole").Code)
	require.Equal(t, 422, contract.Send(h, http.MethodPost, "/events", `[{"type":"a","idempotency_key":"k"}]`, "Idempotency-Key", "k").Code)
	require.Equal(t, 422, contract.Send(h, http.MethodPost, "/events", `[{"type":""},{"type":7}]`).Code, "nothing of it was good")
	require.Equal(t, 422, contract.Send(h, http.MethodPost, "/events", `[{"type":"a"}]`, "Idempotency-Key", `""`).Code)
	require.Equal(t, 422, contract.Send(h, http.MethodPost, "/events?atomic=perhaps", `[{"type":"a"}]`).Code)
	require.Equal(t, 3, count(t, db, "events"))
}

// TestKeyInFlightElsewhereIsToldAndNotWaitedFor holds the transaction of another
// process: it has the key and waits for the table of events.
func TestKeyInFlightElsewhereIsToldAndNotWaitedFor(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	one, two := serve(t, db), serve(t, db)
	accept(t, one, `{"type":"a"}`)
	bodies := map[string]string{"single": `{"type":"a"}`, "array": `[{"type":"a"},{"type":"a"}]`}
	for name, body := range bodies {
		tx, err := db.BeginTxx(t.Context(), nil)
		require.NoError(t, err)
		_, err = tx.ExecContext(t.Context(), `LOCK TABLE signalstack.events IN EXCLUSIVE MODE`)
		require.NoError(t, err)
		first := make(chan *httptest.ResponseRecorder, 1)
		go func() { first <- contract.Send(one, http.MethodPost, "/events", body, "Idempotency-Key", name) }()
		require.Eventually(t, func() bool {
			var waiting int
			err := db.GetContext(t.Context(), &waiting, `SELECT count(*) FROM pg_stat_activity
				WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%INSERT INTO signalstack.events%'`)
			return err == nil && waiting == 1
		}, 30*time.Second, 5*time.Millisecond)
		for _, process := range []http.Handler{one, two} {
			rec := contract.Send(process, http.MethodPost, "/events", body, "Idempotency-Key", `"`+name+`"`)
			require.Equal(t, http.StatusConflict, rec.Code, rec.Body)
			require.Equal(t, "1", rec.Header().Get("Retry-After"))
			require.Equal(t, "application/problem+json", rec.Header().Get("Content-Type"))
			require.Contains(t, rec.Body.String(), "idempotency_key_in_flight")
		}
		require.NoError(t, tx.Rollback())
		made := <-first
		require.Equal(t, http.StatusCreated, made.Code, made.Body)
		again := contract.Send(two, http.MethodPost, "/events", body, "Idempotency-Key", name)
		require.Equal(t, http.StatusCreated, again.Code, again.Body)
		require.Equal(t, made.Body.String(), again.Body.String())
	}
	require.Equal(t, 4, count(t, db, "events"))
}

func TestBadEventsAreRefusedAndNothingIsStored(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	h := serve(t, db)
	for body, status := range map[string]int{
		`{`: 400, `[`: 400, ``: 400, `7`: 422, `null`: 422, `[]`: 422, `{}`: 422, `{"type":""}`: 422, `{"type":7}`: 422, `{"type":"a","type":"b"}`: 422,
		`{"type":"a","extra":1}`: 422, `{"type":"a\u0000"}`: 422, `{"type":" \u00a0"}`: 422, `{"type":"a","subject":null}`: 422,
		`{"type":"a","time":"0001-01-01T00:00:00+14:00"}`: 422, `{"type":"a","time":"9999-12-31T23:59:59-14:00"}`: 422,
		`{"type":"a","time":"noon"}`: 422, `{"type":"a","time":7}`: 422,
		`{"type":"a","id":""}`: 422, `{"type":"a","tenant":"../x"}`: 422, "{\"type\":\"\xff\"}": 400,
		`{"type":"` + strings.Repeat("x", 256) + `"}`:                                           422,
		`{"type":"a","data":"` + strings.Repeat("x", 1<<20) + `"}`:                              413,
		`{"type":"a","data":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + `}`: 400,
	} {
		rec := contract.Send(h, http.MethodPost, "/events", body)
		require.Equal(t, status, rec.Code, "%.80s: %s", body, rec.Body)
		require.Equal(t, "application/problem+json", rec.Header().Get("Content-Type"))
	}
	require.Equal(t, 415, contract.Send(h, http.MethodPost, "/events", `type=a`, "Content-Type", "application/x-www-form-urlencoded").Code)
	require.Zero(t, count(t, db, "events"))
}

func TestBadRulesAreRefused(t *testing.T) {
	t.Parallel()
	h := serve(t, pgtest.New(t))
	for body, pointers := range map[string][]string{
		`{}`: {"/name", "/pattern", "/actions"},
		`{"name":"r","pattern":{"type":["a"]},"actions":[]}`:                                         {"/actions"},
		`{"name":"r","pattern":[],"actions":[{"kind":"test"}]}`:                                      {"/pattern"},
		`{"name":"r","pattern":{"type":[{"regexp":"x"}]},"actions":[{"kind":"test"}]}`:               {"/pattern/type/0/regexp"},
		`{"name":"r","pattern":{"type":"a"},"actions":[{"kind":"no"},{"kind":"test","priority":9}]}`: {"/pattern/type", "/actions/0/kind", "/actions/1/priority"},
		`{"name":7,"pattern":null,"actions":null,"enabled":null}`:                                    {"/name", "/pattern", "/actions", "/enabled"},
		`{"name":"r","pattern":{"type":["a"]},"actions":[{"kind":""},7,{"kind":"no","queue":"a b"}],"tenant":"a\u0000"}`: {
			"/actions/0/kind", "/actions/1", "/actions/2/kind", "/actions/2/queue", "/tenant",
		},
		`{"name":"r","pattern":{"type":["a"]},"actions":[{"kind":"no"}]}`:                                            {"/actions/0/kind"},
		`{"name":"r","pattern":{"type":["a"]},"actions":[{"kind":"test","endpoint_id":"` + uuid.NewString() + `"}]}`: {"/actions/0/endpoint_id"},
	} {
		rec := contract.Send(h, http.MethodPost, "/rules", body)
		require.Equal(t, 422, rec.Code, rec.Body)
		var p httpapi.Problem
		require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &p))
		var got []string
		for _, e := range p.Errors {
			got = append(got, e.Pointer)
		}
		require.ElementsMatch(t, pointers, got, "%s: %s", body, rec.Body)
	}
}

func TestMistakesOfAPatchAreReportedTogether(t *testing.T) {
	t.Parallel()
	h := serve(t, pgtest.New(t))
	path := "/rules/" + rule(t, h, `{"type":["a"]}`).ID.String()
	rec := contract.Send(h, http.MethodPatch, path, `{"name":null,"pattern":{"type":"a"},"actions":[{"kind":"no"}],"nope":1}`)
	require.Equal(t, 422, rec.Code, rec.Body)
	var p httpapi.Problem
	require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &p))
	var got []string
	for _, e := range p.Errors {
		got = append(got, e.Pointer)
	}
	require.ElementsMatch(t, []string{"/name", "/pattern/type", "/actions/0/kind", "/nope"}, got)
	rec = contract.Send(h, http.MethodPatch, path, `{"actions":null}`)
	require.Equal(t, 422, rec.Code, rec.Body)
	require.Len(t, accept(t, h, `{"type":"a"}`).JobIDs, 1, "the rule is as it was")
}

// TestLostConnectionSaysWhatBecameOfTheEvent ends the connection inside the
// transaction, before COMMIT and by it.
func TestLostConnectionSaysWhatBecameOfTheEvent(t *testing.T) {
	t.Parallel()
	for when, want := range map[string]string{
		"BEFORE INSERT ON signalstack.events": "The database does not answer. Nothing was stored. Try again.",
		"AFTER INSERT ON signalstack.idempotency_keys DEFERRABLE INITIALLY DEFERRED": "The database does not answer. " +
			"The request may or may not have been stored; send it again with the same idempotency key, or look first if it had none.",
	} {
		db := pgtest.New(t)
		h := serve(t, db)
		accept(t, h, `{"type":"a"}`) // has made the partitions
		constraint := ""
		if strings.HasPrefix(when, "AFTER") {
			constraint = "CONSTRAINT"
		}
		_, err := db.ExecContext(t.Context(), `
			CREATE FUNCTION hang_up() RETURNS trigger LANGUAGE plpgsql AS
			$$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN new; END $$;
			CREATE `+constraint+` TRIGGER hang_up `+when+` FOR EACH ROW EXECUTE FUNCTION hang_up()`)
		require.NoError(t, err)
		rec := contract.Send(h, http.MethodPost, "/events", `{"type":"a","idempotency_key":"k"}`)
		require.Equal(t, 503, rec.Code, rec.Body)
		var p httpapi.Problem
		require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &p))
		require.Equal(t, want, p.Detail, when)
	}
}

func TestRulesCanBeReadChangedAndDeleted(t *testing.T) {
	t.Parallel()
	h := serve(t, pgtest.New(t))
	var ids []string
	for range 3 {
		ids = append(ids, rule(t, h, `{"type":["a"]}`).ID.String())
	}
	rec := contract.Send(h, http.MethodGet, "/rules?limit=2", "")
	var page httpapi.Page[rules.Rule]
	require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &page))
	require.Len(t, page.Data, 2)
	rec = contract.Send(h, http.MethodGet, "/rules?limit=2&cursor="+page.NextCursor, "")
	require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &page))
	require.Equal(t, ids[2], page.Data[0].ID.String())
	rec = contract.Send(h, http.MethodPatch, "/rules/"+ids[0], `{"name":"new","pattern":{"type":["b"]}}`)
	require.Equal(t, 200, rec.Code, rec.Body)
	require.Len(t, accept(t, h, `{"type":"b"}`).JobIDs, 1)
	require.Equal(t, 422, contract.Send(h, http.MethodPatch, "/rules/"+ids[0], `{"nam":"x"}`).Code)
	require.Equal(t, 204, contract.Send(h, http.MethodDelete, "/rules/"+ids[0], "").Code)
	require.Equal(t, 404, contract.Send(h, http.MethodDelete, "/rules/"+ids[0], "").Code)
	require.Equal(t, 404, contract.Send(h, http.MethodGet, "/rules/"+ids[0], "").Code)
	require.Equal(t, 404, contract.Send(h, http.MethodPatch, "/rules/"+ids[0], `{"name":"x"}`).Code)
	require.Empty(t, accept(t, h, `{"type":"b"}`).JobIDs)
	for _, bad := range []string{"tenant=%00", "tenant=%ff", "tenant=nosuch;x", "bogus=1"} {
		rec = contract.Send(h, http.MethodGet, "/rules?"+bad, "")
		require.Equal(t, 422, rec.Code, bad)
		require.Contains(t, rec.Body.String(), `"pointer":"/query/`+strings.Split(bad, "=")[0]+`"`)
	}
}
