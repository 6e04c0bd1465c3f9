package events_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/contract"
	"github.com/signalstack/signalstack/internal/events"
	"github.com/signalstack/signalstack/internal/eventtypes"
	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/pgtest"
	"github.com/signalstack/signalstack/internal/tenants"
)

// registry serves what is set of event types and tenants, as another process.
func registry(t *testing.T, db *pg.DB) http.Handler {
	t.Helper()
	api := httpapi.New(httpapi.Config{Version: "test", MaxBody: 1 << 20, Log: slog.New(slog.DiscardHandler), Fault: pg.Fault})
	(&eventtypes.API{DB: db}).Routes(api)
	(&tenants.API{DB: db}).Routes(api)
	return contract.Handler(t, api)
}

func set(t *testing.T, h http.Handler, method, path, body string) {
	t.Helper()
	rec := contract.Send(h, method, path, body)
	require.Less(t, rec.Code, 300, rec.Body)
}

func problem(t *testing.T, h http.Handler, body string, status int, header ...string) httpapi.Problem {
	t.Helper()
	return contract.Decode[httpapi.Problem](t, contract.Send(h, http.MethodPost, "/events", body, header...), status)
}

// atomically sends an array of which all or nothing is to be accepted.
func atomically(t *testing.T, h http.Handler, body string, status int) httpapi.Problem {
	t.Helper()
	return contract.Decode[httpapi.Problem](t, contract.Send(h, http.MethodPost, "/events?atomic=true", body), status)
}

const ordered = `{"type":"order","mode":"reject","schema":{"type":"object","required":["id"],"properties":{"id":{"type":"integer"},"note":{"maxLength":3}}}}`

func TestEventThatItsTypeRejectsIsRefusedWithEachMistake(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	h, reg := serve(t, db), registry(t, db)
	accept(t, h, `{"type":"order","data":{"note":"long"}}`) // nothing is registered yet
	set(t, reg, http.MethodPost, "/event-types", ordered)

	p := problem(t, h, `{"type":"order","data":{"note":"long"}}`, http.StatusUnprocessableEntity)
	require.Equal(t, "schema_mismatch", p.Code)
	require.Equal(t, []fault.Detail{
		{Pointer: "/data/id", Detail: "is required by the schema"},
		{Pointer: "/data/note", Detail: "must have at most 3 characters, and has 4"},
	}, p.Errors)
	p = atomically(t, h, `[{"type":"order","data":{"id":1}},{"type":"order"},{"type":"other"},{"type":"order","data":{"id":"x"}}]`, http.StatusUnprocessableEntity)
	require.Equal(t, []fault.Detail{
		{Pointer: "/1/data", Detail: "must be object, and is null"},
		{Pointer: "/3/data/id", Detail: "must be integer, and is string"},
	}, p.Errors)
	p = problem(t, h, `[{"type":"order"}]`, http.StatusUnprocessableEntity)
	require.Equal(t, "/0/data", p.Errors[0].Pointer, "an array of one is an array")
	require.Equal(t, 1, count(t, db, "events"), "nothing of what was refused is stored")

	accept(t, h, `{"type":"order","tenant":"acme"}`) // another tenant's type
	set(t, reg, http.MethodPatch, "/event-types/order", `{"mode":"off"}`)
	accept(t, h, `{"type":"order"}`)
}

func TestEventThatWasAcceptedIsAnsweredAsBeforeWhateverItsTypeSaysNow(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	h, reg := serve(t, db), registry(t, db)
	body := `{"type":"order","data":{"id":"x"}}`
	first := contract.Send(h, http.MethodPost, "/events", body, "Idempotency-Key", "k")
	require.Equal(t, http.StatusCreated, first.Code)
	set(t, reg, http.MethodPost, "/event-types", ordered)
	again := contract.Send(h, http.MethodPost, "/events", body, "Idempotency-Key", "k")
	require.Equal(t, http.StatusCreated, again.Code)
	require.Equal(t, first.Body.String(), again.Body.String())
	problem(t, h, body, http.StatusUnprocessableEntity, "Idempotency-Key", "other")
	accept(t, h, `{"type":"order","data":{"id":1}}`, "Idempotency-Key", "other") // what was refused took no key
}

func TestEventThatItsTypeWarnsOfIsAcceptedAndTold(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	h, reg := serve(t, db), registry(t, db)
	set(t, reg, http.MethodPost, "/event-types", strings.Replace(ordered, "reject", "warn", 1))
	e := accept(t, h, `{"type":"order","data":{"id":9007199254740993.5}}`)
	require.Equal(t, []fault.Detail{{Pointer: "/data/id", Detail: "must be integer, and is number"}}, e.Warnings)
	require.Empty(t, accept(t, h, `{"type":"order","data":{"id":9007199254740993}}`).Warnings)

	shown := contract.Decode[events.Explained](t, contract.Send(h, http.MethodGet, "/events/"+e.ID.String(), ""), http.StatusOK)
	require.Equal(t, &eventtypes.SchemaCheck{Mode: eventtypes.Warn, Version: 1, Mistakes: e.Warnings}, shown.Schema)
	types := contract.Decode[httpapi.Page[eventtypes.ListedType]](t, contract.Send(reg, http.MethodGet, "/event-types", ""), http.StatusOK)
	require.EqualValues(t, 2, types.Data[0].Events)
	require.EqualValues(t, 1, types.Data[0].Warnings)
	require.Equal(t, 2, count(t, db, "events WHERE received_at >= $1", types.Data[0].LastSeen.Add(-time.Minute)))
}

func TestVersionThatIsEnforcedChecks(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	h, reg := serve(t, db), registry(t, db)
	set(t, reg, http.MethodPost, "/event-types", ordered)
	set(t, reg, http.MethodPost, "/event-types/order/versions", `{"schema":{"required":["name"]}}`)
	require.Equal(t, "/data/name", problem(t, h, `{"type":"order","data":{}}`, http.StatusUnprocessableEntity).Errors[0].Pointer)
	set(t, reg, http.MethodPatch, "/event-types/order", `{"enforced":1}`)
	require.Equal(t, "/data/id", problem(t, h, `{"type":"order","data":{}}`, http.StatusUnprocessableEntity).Errors[0].Pointer)
	set(t, reg, http.MethodDelete, "/event-types/order", "")
	accept(t, h, `{"type":"order","data":{}}`)
	// A type of the same name is another one, although its version has the same number.
	set(t, reg, http.MethodPost, "/event-types", `{"type":"order","mode":"reject","schema":false}`)
	require.Equal(t, "/data", problem(t, h, `{"type":"order","data":{"id":1}}`, http.StatusUnprocessableEntity).Errors[0].Pointer)
}

func TestEventLargerThanItsTenantAllowsIsRefused(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	h, reg := serve(t, db), registry(t, db)
	set(t, reg, http.MethodPut, "/tenants/acme", `{"name":"Acme","max_event_bytes":10}`)
	accept(t, h, `{"type":"a","data":"12345678","tenant":"acme"}`)
	p := problem(t, h, `{"type":"a","data":"123456789","tenant":"acme"}`, http.StatusRequestEntityTooLarge)
	require.Equal(t, "event_too_large", p.Code)
	require.Equal(t, "/data", p.Errors[0].Pointer)
	require.Contains(t, p.Errors[0].Detail, "has 11 bytes; tenant acme allows 10")
	p = atomically(t, h, `[{"type":"a"},{"type":"a","data":"123456789","tenant":"acme"}]`, http.StatusRequestEntityTooLarge)
	require.Equal(t, "/1/data", p.Errors[0].Pointer)
	accept(t, h, `{"type":"a","data":"123456789"}`)

	require.Equal(t, http.StatusUnprocessableEntity, contract.Send(reg, http.MethodPut, "/tenants/acme", `{"max_event_bytes":0}`).Code)
	require.Equal(t, http.StatusUnprocessableEntity, contract.Send(reg, http.MethodPut, "/tenants/-", `{}`).Code)
	got := contract.Decode[tenants.Tenant](t, contract.Send(reg, http.MethodGet, "/tenants/acme", ""), http.StatusOK)
	require.EqualValues(t, 10, *got.MaxEventBytes)
	require.Len(t, contract.Decode[httpapi.Page[tenants.Tenant]](t, contract.Send(reg, http.MethodGet, "/tenants", ""), http.StatusOK).Data, 1)
	set(t, reg, http.MethodPut, "/tenants/acme", `{}`)
	accept(t, h, `{"type":"a","data":"123456789","tenant":"acme"}`)
}

func TestEventFromSQLThatMayNotBeStoredIsSetAsideWithTheReason(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	reg := registry(t, db)
	set(t, reg, http.MethodPost, "/event-types", ordered)
	set(t, reg, http.MethodPut, "/tenants/acme", `{"max_event_bytes":5}`)
	ids := map[string]uuid.UUID{}
	for name, call := range map[string]string{
		"good": `'order', '{"id":1}'`, "bad": `'order', '{"id":"x"}'`, "large": `'a', '123456', tenant => 'acme'`,
	} {
		var id uuid.UUID
		require.NoError(t, db.GetContext(t.Context(), &id, `SELECT signalstack.send_event(`+call+`)`))
		ids[name] = id
	}
	consume(t, db, discard())
	require.Eventually(t, func() bool { return count(t, db, "outbox WHERE failed_at IS NULL") == 0 }, 30*time.Second, 10*time.Millisecond)
	require.Equal(t, 1, count(t, db, "events"))
	require.Equal(t, 1, count(t, db, "events WHERE id = $1", ids["good"]))
	for name, want := range map[string]string{
		"bad": "/data/id must be integer, and is string", "large": "/data has 6 bytes; tenant acme allows 5",
	} {
		var why string
		require.NoError(t, db.GetContext(t.Context(), &why, `SELECT error FROM signalstack.outbox WHERE event_id = $1 AND failed_at IS NOT NULL AND data IS NOT NULL`, ids[name]))
		require.Contains(t, why, want)
	}
	// It is taken again when an operator empties failed_at.
	set(t, reg, http.MethodPatch, "/event-types/order", `{"mode":"warn"}`)
	_, err := db.ExecContext(t.Context(), `UPDATE signalstack.outbox SET failed_at = NULL`)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return count(t, db, "events WHERE id = $1", ids["bad"]) == 1 }, 30*time.Second, 10*time.Millisecond)
}

func TestCompiledSchemasAreKeptFromSetToSet(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	reg := registry(t, db)
	set(t, reg, http.MethodPost, "/event-types", ordered)
	log := slog.New(slog.DiscardHandler)
	first, err := eventtypes.Load(t.Context(), db, nil, log)
	require.NoError(t, err)
	// The text is not read again: what a hand makes of it afterwards is not seen.
	_, err = db.ExecContext(t.Context(), `UPDATE signalstack.event_type_versions SET schema = 'no JSON'`)
	require.NoError(t, err)
	second, err := eventtypes.Load(t.Context(), db, first, log)
	require.NoError(t, err)
	v, checked := second.Check("default", "order", json.RawMessage(`{}`))
	require.True(t, checked)
	require.Len(t, v.Mistakes, 1)
	// A process that starts now leaves it out, and accepts its events.
	third, err := eventtypes.Load(t.Context(), db, nil, log)
	require.NoError(t, err)
	_, checked = third.Check("default", "order", nil)
	require.False(t, checked)
}

func TestSchemaSeesOtherTextAsAString(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	h, reg := serve(t, db), registry(t, db)
	set(t, reg, http.MethodPost, "/event-types", `{"type":"note","mode":"reject","schema":{"type":"string","maxLength":5}}`)
	send := func(text string) int {
		rec := contract.Send(h, http.MethodPost, "/events", text, "Content-Type", "text/plain",
			"ce-id", text, "ce-source", "/notes", "ce-type", "note", "ce-specversion", "1.0")
		return rec.Code
	}
	require.Equal(t, http.StatusCreated, send("short"))
	require.Equal(t, http.StatusUnprocessableEntity, send("too long"))
}
