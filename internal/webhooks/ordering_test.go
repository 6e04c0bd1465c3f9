package webhooks_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/expression"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/pattern"
	"github.com/signalstack/signalstack/internal/queue"
	"github.com/signalstack/signalstack/internal/webhooks"
)

func TestOrderingIsChosenChangedAndEnded(t *testing.T) {
	t.Parallel()
	b := start(t)
	e := b.create(t, "https://example.com", `,"ordering":{"by":"endpoint"}`)
	require.Equal(t, &webhooks.Ordering{By: "endpoint"}, e.Ordering)
	path := "/endpoints/" + e.ID.String()
	want := &webhooks.Ordering{By: "c-<$.data.customer.id?>", OnFailure: "skip"}
	b.endpoint(t, 200, http.MethodPatch, path, `{"ordering":{"by":"c-<$.data.customer.id?>","on_failure":"skip"}}`)
	require.Equal(t, want, b.endpoint(t, 200, http.MethodGet, path, "").Ordering)
	require.Equal(t, want, b.endpoint(t, 200, http.MethodPatch, path, `{"max_attempts":3}`).Ordering)
	require.Nil(t, b.endpoint(t, 200, http.MethodPatch, path, `{"reset":["ordering"]}`).Ordering)
	for body, want := range map[string]struct{ pointer, detail string }{
		`{"ordering":{"by":"endpoint"},"batch":{"max_events":2,"max_wait":"1s"}}`: {"/ordering", "cannot be had beside batch"},
		`{"ordering":{}}`:                                     {"/ordering/by", "required"},
		`{"ordering":{"by":""}}`:                              {"/ordering/by", ""},
		`{"ordering":{"by":"customer"}}`:                      {"/ordering/by", "must be endpoint, or a text with a placeholder"},
		`{"ordering":{"by":"<$.customer>"}}`:                  {"/ordering/by", "an event has no customer"},
		`{"ordering":{"by":"<$.data.x"}}`:                     {"/ordering/by", "must end with >"},
		`{"ordering":{"by":"endpoint","on_failure":"stop"}}`:  {"/ordering/on_failure", ""},
		`{"ordering":{"by":"endpoint"},"reset":["ordering"]}`: {"/reset", "ordering"},
	} {
		rec := b.send(http.MethodPatch, path, body)
		require.Equal(t, 422, rec.Code, "%s: %s", body, rec.Body)
		var p httpapi.Problem
		require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &p))
		require.Len(t, p.Errors, 1, body)
		require.Equal(t, want.pointer, p.Errors[0].Pointer, body)
		require.Contains(t, p.Errors[0].Detail, want.detail, body)
	}
}

// TestLinesOfEndpoints gives jobs of an event, and of none, their places.
func TestLinesOfEndpoints(t *testing.T) {
	t.Parallel()
	b := start(t)
	whole := b.create(t, "https://example.com", `,"enabled":false,"ordering":{"by":"endpoint","on_failure":"skip"}`)
	keyed := b.create(t, "https://example.com", `,"ordering":{"by":"<$.data.k>"}`)
	other := b.create(t, "https://example.com", `,"ordering":{"by":"<$.data.k>","on_failure":"skip"}`)
	plain := b.create(t, "https://example.com", "")
	lines, err := new(webhooks.Subscribers).Reload(t.Context(), b.db, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	known, err := webhooks.KnownInOrder(t.Context(), b.db, "default", []uuid.UUID{whole.ID, keyed.ID, other.ID, plain.ID, uuid.New()})
	require.NoError(t, err)
	require.Len(t, known, 4)

	place := func(endpoint uuid.UUID, data string) (ofEvent, ofJob queue.NewJob) {
		job := queue.NewJob{Kind: webhooks.KindName, EndpointID: uuid.NullUUID{UUID: endpoint, Valid: true}}
		made := []queue.NewJob{job}
		lines.Order(made, func() *expression.Event { return expression.NewEvent(pattern.Envelope{Type: "a"}, []byte(data)) })
		job.Payload = []byte(`{"endpoint_id":"` + endpoint.String() + `","type":"a","data":` + data + `}`)
		known[endpoint](&job)
		return made[0], job
	}
	for _, c := range []struct {
		endpoint uuid.UUID
		data     string
		key      string
		skips    bool
	}{
		{whole.ID, `1`, "endpoint/" + whole.ID.String(), true},
		{keyed.ID, `{"k":"é / 1"}`, "endpoint/" + keyed.ID.String() + "/é / 1", false},
		{keyed.ID, `{"k":9007199254740993}`, "endpoint/" + keyed.ID.String() + "/9007199254740993", false},
		{other.ID, `{"k":"é / 1"}`, "endpoint/" + other.ID.String() + "/é / 1", true},
		{keyed.ID, `{}`, "", false},
		{keyed.ID, `{"k":null}`, "", false},
		{keyed.ID, `"k"`, "", false},
		{plain.ID, `{"k":1}`, "", false},
	} {
		for _, job := range func() []queue.NewJob { a, b := place(c.endpoint, c.data); return []queue.NewJob{a, b} }() {
			require.Equal(t, c.key, job.OrderingKey, c.data)
			require.Equal(t, c.skips, job.Skips, c.data)
		}
	}
	// What cannot stand in a key is hashed, and stays apart from all else.
	seen := map[string]bool{}
	for _, value := range []string{strings.Repeat("x", 300), strings.Repeat("x", 301), `a\u0000b`, `a\nb`, "a"} {
		_, job := place(keyed.ID, `{"k":"`+value+`"}`)
		require.Empty(t, httpapi.CheckText("", job.OrderingKey, 255))
		require.True(t, strings.HasPrefix(job.OrderingKey, "endpoint/"+keyed.ID.String()))
		require.False(t, seen[job.OrderingKey], value)
		seen[job.OrderingKey] = true
	}
	own := []queue.NewJob{{Kind: webhooks.KindName, EndpointID: uuid.NullUUID{UUID: whole.ID, Valid: true}, OrderingKey: "mine"}}
	lines.Order(own, nil)
	require.Equal(t, "mine", own[0].OrderingKey)
	require.False(t, own[0].Skips)
}
