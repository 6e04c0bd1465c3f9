package rules_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/contract"
	"github.com/signalstack/signalstack/internal/expression"
	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pattern"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/pgtest"
	"github.com/signalstack/signalstack/internal/queue"
	"github.com/signalstack/signalstack/internal/rules"
)

// kinds are a webhook and another kind, with defaults to tell apart.
func kinds() *jobs.Registry {
	run := func(context.Context, jobs.Job) (jobs.Result, error) { return jobs.Result{}, nil }
	check := func(payload json.RawMessage, _ jobs.Later) []fault.Detail {
		if string(payload) == `"bad"` {
			return []fault.Detail{{Pointer: "/x", Detail: "is bad"}}
		}
		return nil
	}
	return jobs.NewRegistry(
		jobs.Kind{Name: "webhook", Timeout: 15 * time.Second, MaxAttempts: 10, Check: check, Run: run},
		jobs.Kind{Name: "test", Timeout: time.Second, MaxAttempts: 3, Queue: "slow", Check: check, Run: run},
	)
}

func serve(t *testing.T, db *pg.DB) http.Handler {
	t.Helper()
	api := httpapi.New(httpapi.Config{Version: "test", MaxBody: 1 << 20, Log: slog.New(slog.DiscardHandler), Fault: pg.Fault})
	(&rules.API{DB: db, Kinds: kinds()}).Routes(api)
	return contract.Handler(t, api)
}

func create(t *testing.T, h http.Handler, body string) rules.Rule {
	t.Helper()
	rec := contract.Send(h, http.MethodPost, "/rules", body)
	require.Equal(t, http.StatusCreated, rec.Code, rec.Body)
	var r rules.Rule
	require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &r))
	return r
}

// endpoint stores one without secrets; nothing is delivered here.
func endpoint(t *testing.T, db *pg.DB, tenant string) uuid.UUID {
	t.Helper()
	id := uuid.New()
	_, err := db.ExecContext(t.Context(), `
		INSERT INTO signalstack.endpoints (id, tenant, url, description, secret, event_types, headers, enabled, created_at, updated_at)
		VALUES ($1, $2, 'https://example.com/', '', '', '{}', '', true, now(), now())`, id, tenant)
	require.NoError(t, err)
	return id
}

func event(tenant, eventType, data string) *pattern.Event {
	return pattern.NewEvent(pattern.Envelope{ID: uuid.NewString(), Tenant: tenant, Type: eventType}, []byte(data))
}

// jobsOf makes the jobs of an event, with no endpoint that has a transform.
func jobsOf(set *rules.Set, kinds *jobs.Registry, tenant string, e *pattern.Event) []queue.NewJob {
	return set.Jobs(kinds, tenant, e, expression.Once(e), nil)
}

func TestEachActionOfEachMatchingRuleMakesAJob(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	h := serve(t, db)
	to := endpoint(t, db, "default")
	first := create(t, h, `{"name":"one","pattern":{"type":["a"]},"actions":[
		{"kind":"webhook","endpoint_id":"`+to.String()+`"},
		{"kind":"test","payload":{"n":9007199254740993},"queue":"mine","priority":4,"delay":"1m","max_attempts":7,"timeout":"9s","retry":{"strategy":"ladder","ladder":["1s"]}}]}`)
	create(t, h, `{"name":"two","pattern":{"type":[{"prefix":"a"}],"data":{"x":[1]}},"actions":[{"kind":"test"}]}`)
	create(t, h, `{"name":"off","pattern":{"type":["a"]},"actions":[{"kind":"test"}],"enabled":false}`)
	create(t, h, `{"name":"other tenant","pattern":{"type":["a"]},"actions":[{"kind":"test"}],"tenant":"acme"}`)
	set, err := rules.Load(t.Context(), db, slog.New(slog.DiscardHandler))
	require.NoError(t, err)

	made := jobsOf(set, kinds(), "default", event("default", "a", `{"x":1.0}`))
	require.Len(t, made, 3)
	require.Equal(t, to, made[0].EndpointID.UUID)
	require.Equal(t, 10, made[0].MaxAttempts)
	require.Equal(t, first.ID, made[1].RuleID.UUID)
	require.Equal(t, `{"n":9007199254740993}`, string(made[1].Payload))
	require.Equal(t, []any{"mine", 4, time.Minute, 7, 9 * time.Second}, []any{made[1].Queue, made[1].Priority, made[1].Delay, made[1].MaxAttempts, made[1].Timeout})
	require.Contains(t, made[1].Retry, "ladder")
	require.Equal(t, []any{"slow", 2, 3, time.Second}, []any{made[2].Queue, made[2].Priority, made[2].MaxAttempts, made[2].Timeout})
	require.Len(t, jobsOf(set, kinds(), "default", event("default", "a", `{}`)), 2)
	require.Empty(t, jobsOf(set, kinds(), "default", event("default", "b", `{}`)))
	require.Len(t, jobsOf(set, kinds(), "acme", event("acme", "a", "")), 1)
}

func TestEndpointOfAnActionMustBeTheTenantsOwn(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	h := serve(t, db)
	mine, others := endpoint(t, db, "default"), endpoint(t, db, "acme")
	rule := func(action string) string { return `{"name":"r","pattern":{"type":["a"]},"actions":[` + action + `]}` }
	create(t, h, rule(`{"kind":"webhook","endpoint_id":"`+mine.String()+`"}`))
	for action, pointer := range map[string]string{
		`{"kind":"webhook"}`: "/actions/0/endpoint_id",
		`{"kind":"webhook","endpoint_id":"` + others.String() + `"}`:  "/actions/0/endpoint_id",
		`{"kind":"webhook","endpoint_id":"` + uuid.NewString() + `"}`: "/actions/0/endpoint_id",
		`{"kind":"webhook","endpoint_id":"7"}`:                        "/actions/0/endpoint_id",
		`{"kind":"test","endpoint_id":"` + mine.String() + `"}`:       "/actions/0/endpoint_id",
		`{"kind":"test","payload":"bad"}`:                             "/actions/0/payload/x",
		`{"kind":"test","retry":{"strategy":"ladder"}}`:               "/actions/0/retry/ladder",
		`{"kind":"test","delay":"1 day"}`:                             "/actions/0/delay",
	} {
		rec := contract.Send(h, http.MethodPost, "/rules", rule(action))
		require.Equal(t, 422, rec.Code, "%s: %s", action, rec.Body)
		require.Contains(t, rec.Body.String(), `"pointer":"`+pointer+`"`, action)
	}
}

// TestRuleThatDoesNotCompileStopsNoOther stores, behind the API's back, what a
// later version might have left.
func TestRuleThatDoesNotCompileStopsNoOther(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	h := serve(t, db)
	for range 3 {
		create(t, h, `{"name":"r","pattern":{"type":["a"]},"actions":[{"kind":"test"}]}`)
	}
	_, err := db.ExecContext(t.Context(), `
		WITH two AS (SELECT id, row_number() OVER (ORDER BY id) AS n FROM signalstack.rules ORDER BY id LIMIT 2)
		UPDATE signalstack.rules AS r
		SET pattern = CASE n WHEN 1 THEN '{"type":[{"telepathy":1}]}' ELSE pattern END, actions = CASE n WHEN 2 THEN '{' ELSE actions END
		FROM two WHERE two.id = r.id`)
	require.NoError(t, err)
	var out bytes.Buffer
	set, err := rules.Load(t.Context(), db, slog.New(slog.NewTextHandler(&out, nil)))
	require.NoError(t, err)
	require.Len(t, jobsOf(set, kinds(), "default", event("default", "a", "")), 1)
	require.Equal(t, 2, strings.Count(out.String(), "rule left out"), out.String())
}

// TestStoredActionsNeverKeepAnEventOut stores, behind the API's back, actions that
// this binary would have refused.
func TestStoredActionsNeverKeepAnEventOut(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	h := serve(t, db)
	for actions, made := range map[string]int{
		`[{"kind":""}]`: 0, `[{}]`: 0, `[{"kind":"a\u0000"}]`: 0, `[{"kind":"test","max_attempts":0}]`: 0, `[{"kind":"test","priority":9}]`: 0,
		`[{"kind":"test","timeout":"0s"}]`: 0, `[{"kind":"test","queue":"a\u0000"}]`: 0, `[{"kind":"test"},{"kind":"test","delay":"-1s"}]`: 0,
		`[{"kind":"telepathy"},{"kind":"telepathy","max_attempts":3,"timeout":"2s"}]`: 2,
	} {
		id := create(t, h, `{"name":"r","pattern":{"type":["a"]},"actions":[{"kind":"test"}]}`).ID
		_, err := db.ExecContext(t.Context(), `UPDATE signalstack.rules SET actions = $1 WHERE id = $2`, actions, id)
		require.NoError(t, err)
		set, err := rules.Load(t.Context(), db, slog.New(slog.DiscardHandler))
		require.NoError(t, err)
		jobs := jobsOf(set, kinds(), "default", event("default", "a", ""))
		require.Len(t, jobs, made, actions)
		require.NoError(t, queue.EnsurePartitions(t.Context(), db, time.Now()), actions)
		require.NoError(t, queue.Enqueue(t.Context(), db, jobs), actions)
		require.Equal(t, 204, contract.Send(h, http.MethodDelete, "/rules/"+id.String(), "").Code)
	}
}

func TestAbsentDatabaseIsToldByWhatWasAsked(t *testing.T) {
	t.Parallel()
	db, err := pg.Open("postgres://x@127.0.0.1:1/x?sslmode=disable", pg.Options{Role: "test"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	h := serve(t, db)
	for method, want := range map[string]string{
		http.MethodGet:  "The database does not answer. Try again.",
		http.MethodPost: "The database does not answer. Nothing was stored. Try again.",
	} {
		rec := contract.Send(h, method, "/rules", `{"name":"r","pattern":{"type":["a"]},"actions":[{"kind":"test"}]}`)
		require.Equal(t, 503, rec.Code, rec.Body)
		require.Contains(t, rec.Body.String(), `"detail":"`+want+`"`)
	}
}
