package rules_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/contract"
	"github.com/signalstack/signalstack/internal/email"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pattern"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/pgtest"
	"github.com/signalstack/signalstack/internal/rules"
)

func TestMistakesOfActionsAreToldWithTheirPlace(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	h := serve(t, db)
	good := create(t, h, `{"name":"r","pattern":{"type":["a"]},"actions":[{"kind":"test"}]}`)
	for action, want := range map[string]struct{ pointer, detail string }{
		`{"kind":"test","condition":"event.type =="}`:                       {"/condition", "line 1, column"},
		`{"kind":"test","condition":"event.type"}`:                          {"", ""},
		`{"kind":"test","condition":"1"}`:                                   {"/condition", "must be true or false"},
		`{"kind":"test","condition":"nosuch.type == 'a'"}`:                  {"/condition", "undeclared reference to 'nosuch'"},
		`{"kind":"test","condition":7}`:                                     {"/condition", ""},
		`{"kind":"test","transform":"{a: }"}`:                               {"/transform", "line 1, column"},
		`{"kind":"test","transform":"input"}`:                               {"/transform", "must not call input"},
		`{"kind":"test","transform":".","payload":1}`:                       {"/transform", "must not stand beside a payload"},
		`{"kind":"test","payload":{"a":["<$.detail.x>"]}}`:                  {"/payload/a/0", "an event has no detail"},
		`{"kind":"test","payload":"<$.data.x"}`:                             {"/payload", "must end with >"},
		`{"kind":"test","queue":"<$.data"}`:                                 {"/queue", "must end with >"},
		`{"kind":"test","delay":"<$.data[>"}`:                               {"/delay", "a number from 0"},
		`{"kind":"test","ordering_key":"a\u0001"}`:                          {"/ordering_key", "control characters"},
		`{"kind":"test","ordering_key":"<$.nosuch>"}`:                       {"/ordering_key", "an event has no nosuch"},
		`{"kind":"test","on_failure":"skip"}`:                               {"/on_failure", "goes with an ordering_key"},
		`{"kind":"test","ordering_key":"a","on_failure":"stop"}`:            {"/on_failure", ""},
		`{"kind":"test","idempotency_key":"a\u0001"}`:                       {"/idempotency_key", "control characters"},
		`{"kind":"test","priority":"<$.data.p>"}`:                           {"/priority", ""},
		`{"kind":"email","transform":"."}`:                                  {"/payload", "is required for kind email"},
		`{"kind":"email","transform":".","payload":{"data":1}}`:             {"/payload/data", "must be absent"},
		`{"kind":"test","payload":{"a":"{{ .x }} \\<$.data.x> <$ a> $.b"}}`: {"", ""},
	} {
		for _, request := range []struct{ method, path, body string }{
			{http.MethodPost, "/rules", `{"name":"r","pattern":{"type":["a"]},"actions":[` + action + `]}`},
			{http.MethodPatch, "/rules/" + good.ID.String(), `{"actions":[` + action + `]}`},
		} {
			rec := contract.Send(h, request.method, request.path, request.body)
			if want.pointer == "" {
				require.Less(t, rec.Code, 300, "%s: %s", action, rec.Body)
				continue
			}
			require.Equal(t, 422, rec.Code, "%s: %s", action, rec.Body)
			var problem httpapi.Problem
			require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &problem))
			require.Equal(t, "/actions/0"+want.pointer, problem.Errors[0].Pointer, "%s: %s", action, rec.Body)
			require.Contains(t, problem.Errors[0].Detail, want.detail, action)
		}
	}
}

// TestTransformOfAnEmailMakesTheDataOfItsTemplates sends what looks like a template
// and a placeholder through both.
func TestTransformOfAnEmailMakesTheDataOfItsTemplates(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	mail, err := email.Kind(email.Config{})
	require.NoError(t, err)
	kinds := jobs.NewRegistry(mail)
	api := httpapi.New(httpapi.Config{Version: "test", MaxBody: 1 << 20, Log: slog.New(slog.DiscardHandler), Fault: pg.Fault})
	(&rules.API{DB: db, Kinds: kinds}).Routes(api)
	h := contract.Handler(t, api)
	create(t, h, `{"name":"r","pattern":{"type":["a"]},"actions":[
		{"kind":"email","transform":"{name: .data.user}","payload":{"to":"{{.data.name}}@example.com","subject":"<$.data.user> {{.data.name}}","text":"x"}}]}`)
	set, err := rules.Load(t.Context(), db, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	made := jobsOf(set, kinds, "default", event("default", "a", `{"user":"{{.data}}"}`))
	require.Len(t, made, 1)
	require.Empty(t, made[0].Unmade)
	require.JSONEq(t, `{"to":"{{.data.name}}@example.com","subject":"<$.data.user> {{.data.name}}","text":"x","data":{"name":"{{.data}}"}}`, string(made[0].Payload))
}

func TestWebhookMayHaveABodyOfItsOwn(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	h := serve(t, db)
	to := endpoint(t, db, "default").String()
	create(t, h, `{"name":"r","pattern":{"type":["a"]},"actions":[
		{"kind":"webhook","endpoint_id":"`+to+`","transform":"{text: \"Order \\(.data.id)\"}"},
		{"kind":"webhook","endpoint_id":"`+to+`","payload":{"order":"<$.data.id>"}},
		{"kind":"webhook","endpoint_id":"`+to+`"}]}`)
	set, err := rules.Load(t.Context(), db, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	made := jobsOf(set, kinds(), "default", event("default", "a", `{"id":7}`))
	require.Equal(t, []string{`{"text":"Order 7"}`, `{"order":7}`, ``}, []string{string(made[0].Payload), string(made[1].Payload), string(made[2].Payload)})
	for _, j := range made {
		require.Equal(t, to, j.EndpointID.UUID.String())
	}
}

// TestRulesThatDidNotChangeStayCompiled reloads a set after another rule changed, and
// after they did.
func TestRulesThatDidNotChangeStayCompiled(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	h := serve(t, db)
	action := func(n int) string { return fmt.Sprintf(`{"kind":"test","transform":"%d"}`, n) }
	rule := create(t, h, `{"name":"r","pattern":{"type":["a"]},"actions":[`+action(1)+`]}`)
	set, err := rules.Load(t.Context(), db, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	for n := range 3 {
		rec := contract.Send(h, http.MethodPatch, "/rules/"+rule.ID.String(), `{"actions":[`+action(n)+`]}`)
		require.Equal(t, 200, rec.Code, rec.Body)
		create(t, h, `{"name":"r","pattern":{"type":["b"]},"actions":[`+action(n)+`]}`)
		set, err = set.Reload(t.Context(), db, slog.New(slog.DiscardHandler))
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint(n), string(jobsOf(set, kinds(), "default", event("default", "a", ""))[0].Payload))
		require.Len(t, jobsOf(set, kinds(), "default", event("default", "b", "")), n+1)
	}
}

// BenchmarkJobs makes the jobs of one event of 1 KiB by a rule that only matches, and
// by one that has a condition and a transform.
func BenchmarkJobs(b *testing.B) {
	db := pgtest.New(b)
	data := fmt.Sprintf(`{"id":"o-1","amount":120,"customer":{"name":"Zoë"},"list":[{"n":1},{"n":2}],"text":"%900d"}`, 7)
	for name, action := range map[string]string{
		"plain":     `{"kind":"test"}`,
		"condition": `{"kind":"test","condition":"event.data.amount > 100"}`,
		"payload":   `{"kind":"test","payload":{"id":"<$.data.id>","text":"Order of <$.data.customer.name>"}}`,
		"transform": `{"kind":"test","transform":"{id: .data.id, n: (.data.list | map(.n) | add), text: \"Order of \\(.data.customer.name)\"}"}`,
		"both":      `{"kind":"test","condition":"event.data.amount > 100","transform":"{id: .data.id, n: (.data.list | map(.n) | add), text: \"Order of \\(.data.customer.name)\"}"}`,
	} {
		_, err := db.ExecContext(context.Background(), `INSERT INTO signalstack.rules (id, tenant, name, pattern, actions, enabled, created_at, updated_at)
			VALUES ($1, $2, 'r', '{"type":["a"]}', $3, true, now(), now())`, uuid.New(), name, "["+action+"]")
		require.NoError(b, err)
	}
	set, err := rules.Load(context.Background(), db, slog.New(slog.DiscardHandler))
	require.NoError(b, err)
	registry, now := kinds(), time.Now().UTC().Format(time.RFC3339Nano)
	for _, tenant := range []string{"plain", "condition", "payload", "transform", "both"} {
		b.Run(tenant, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				e := pattern.NewEvent(pattern.Envelope{ID: now, Tenant: tenant, Type: "a", Time: now}, []byte(data))
				if made := jobsOf(set, registry, tenant, e); len(made) != 1 || made[0].Unmade != "" {
					b.Fatal(made)
				}
			}
		})
	}
}

func TestPlaceholdersAreShownAsTheyWereWritten(t *testing.T) {
	t.Parallel()
	h := serve(t, pgtest.New(t))
	made := create(t, h, `{"name":"one","pattern":{"type":["a"]},"actions":[{"kind":"test","payload":{"n":"<$.data.n?> & more"}}]}`)
	require.Contains(t, contract.Send(h, http.MethodGet, "/rules/"+made.ID.String(), "").Body.String(), `"<$.data.n?> & more"`)
}
