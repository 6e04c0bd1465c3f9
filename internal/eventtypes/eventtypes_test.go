package eventtypes_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/analytics"
	"github.com/signalstack/signalstack/internal/contract"
	"github.com/signalstack/signalstack/internal/eventtypes"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/pgtest"
)

func serve(t *testing.T, db *pg.DB) http.Handler {
	t.Helper()
	api := httpapi.New(httpapi.Config{Version: "test", MaxBody: 1 << 20, Log: slog.New(slog.DiscardHandler), Fault: pg.Fault})
	(&eventtypes.API{DB: db}).Routes(api)
	return contract.Handler(t, api)
}

func create(t *testing.T, h http.Handler, body string) eventtypes.EventType {
	t.Helper()
	return contract.Decode[eventtypes.EventType](t, contract.Send(h, http.MethodPost, "/event-types", body), http.StatusCreated)
}

// refused gives "pointer detail" of each mistake of a request that is refused.
func refused(t *testing.T, h http.Handler, method, path, body string) string {
	t.Helper()
	rec := contract.Send(h, method, path, body)
	require.Equal(t, http.StatusUnprocessableEntity, rec.Code, rec.Body)
	var p httpapi.Problem
	require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &p))
	return strings.Join(said(p.Errors), "\n")
}

func TestTypeIsRegisteredChangedAndForgotten(t *testing.T) {
	t.Parallel()
	h := serve(t, pgtest.New(t))
	made := create(t, h, `{"type":"payment.succeeded","description":"Money came","schema":{"type":"object","required":["amount"]},"example":{"amount":1e2},"retention":"48h"}`)
	require.Equal(t, eventtypes.Warn, made.Mode)
	require.Equal(t, "48h0m0s", made.Retention)
	require.Equal(t, `{"amount":1e2}`, string(made.Versions[0].Example))
	require.Equal(t, http.StatusConflict, contract.Send(h, http.MethodPost, "/event-types", `{"type":"payment.succeeded"}`).Code)

	path := "/event-types/payment.succeeded"
	two := contract.Decode[eventtypes.EventType](t, contract.Send(h, http.MethodPost, path+"/versions", `{"schema":true}`), http.StatusCreated)
	require.Equal(t, 2, two.Newest)
	changed := contract.Decode[eventtypes.EventType](t, contract.Send(h, http.MethodPatch, path, `{"mode":"reject","enforced":1,"retention":"0"}`), http.StatusOK)
	require.Equal(t, "0s", changed.Retention)
	require.Equal(t, 1, changed.Enforced)
	require.Equal(t, eventtypes.Reject, changed.Mode)
	require.Equal(t, "Money came", changed.Description)
	changed = contract.Decode[eventtypes.EventType](t, contract.Send(h, http.MethodPatch, path, `{"enforced":0,"retention":""}`), http.StatusOK)
	require.Empty(t, changed.Retention)
	require.Zero(t, changed.Enforced)

	require.Equal(t, changed, contract.Decode[eventtypes.EventType](t, contract.Send(h, http.MethodGet, path, ""), http.StatusOK))
	require.Equal(t, http.StatusNotFound, contract.Send(h, http.MethodGet, path+"?tenant=acme", "").Code, "a type is its tenant's")
	require.Equal(t, http.StatusNoContent, contract.Send(h, http.MethodDelete, path, "").Code)
	for _, method := range []string{http.MethodGet, http.MethodDelete} {
		require.Equal(t, http.StatusNotFound, contract.Send(h, method, path, "").Code)
	}
	require.Equal(t, http.StatusNotFound, contract.Send(h, http.MethodPatch, path, `{"mode":"off"}`).Code)
	require.Equal(t, http.StatusNotFound, contract.Send(h, http.MethodPost, path+"/versions", `{"schema":true}`).Code)
}

func TestWhatIsWrongWithATypeIsNamed(t *testing.T) {
	t.Parallel()
	h := serve(t, pgtest.New(t))
	create(t, h, `{"type":"a","schema":true}`)
	for body, want := range map[string]string{
		`{}`:                                      "/type is required",
		`{"type":" "}`:                            "/type must not be blank",
		`{"type":"a\u0007"}`:                      "/type must not hold control characters",
		`{"type":"b","mode":"loud"}`:              "/mode ",
		`{"type":"b","retention":"5m"}`:           "/retention must be 0, for ever, or a duration",
		`{"type":"b","retention":"-2h"}`:          "/retention ",
		`{"type":"b","example":1}`:                "/schema is required beside an example",
		`{"type":"b","schema":{"type":"strung"}}`: "/schema/type must be array, and is string; or must be one of [\"array\"",
		`{"type":"b","schema":{"properties":{"x":{"type":"integer"}}},"example":{"x":"y"}}`: "/example/x must be integer, and is string",
		`{"type":"b","schema":{"$ref":"file:///etc/passwd"}}`:                               "/schema/$ref refers to file:///etc/passwd",
		`{"type":"b","colour":"red"}`:                                                       "/colour",
	} {
		require.Contains(t, refused(t, h, http.MethodPost, "/event-types", body), want, body)
	}
	require.Contains(t, refused(t, h, http.MethodPatch, "/event-types/a", `{"enforced":2}`), "/enforced must be a version of the type, 1 to 1")
	require.Contains(t, refused(t, h, http.MethodPost, "/event-types/a/versions", `{}`), "/schema is required")
	require.Contains(t, refused(t, h, http.MethodPost, "/event-types/a/versions", `{"schema":3}`), "/schema must be a JSON Schema")
}

func TestTypeMayHaveAnyNameInAPath(t *testing.T) {
	t.Parallel()
	h := serve(t, pgtest.New(t))
	for _, name := range []string{"a.b", "com.example/order/created", "100%", "100%2F", "ä ö?#&+", "a/versions", "a;b=c"} {
		body, err := json.Marshal(map[string]any{"type": name})
		require.NoError(t, err)
		create(t, h, string(body))
		path := "/event-types/" + url.PathEscape(name)
		got := contract.Decode[eventtypes.EventType](t, contract.Send(h, http.MethodGet, path, ""), http.StatusOK)
		require.Equal(t, name, got.Type)
		got = contract.Decode[eventtypes.EventType](t, contract.Send(h, http.MethodPost, path+"/versions", `{"schema":true}`), http.StatusCreated)
		require.Equal(t, name, got.Type)
		require.Equal(t, http.StatusNoContent, contract.Send(h, http.MethodDelete, path, "").Code, name)
	}
}

func TestTypesThatCameAreListedWithThoseThatAreRegistered(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	h := serve(t, db)
	create(t, h, `{"type":"b.registered"}`)
	create(t, h, `{"type":"c.both","mode":"reject"}`)
	create(t, h, `{"type":"c.both","tenant":"acme"}`)
	var deltas []analytics.Delta
	for eventType, n := range map[string]int{"a.came": 3, "c.both": 2, "D.came": 1} {
		for range n {
			deltas = append(deltas, analytics.Delta{Fact: analytics.EventAccepted, Tenant: "default", Type: eventType})
		}
	}
	deltas = append(deltas, analytics.Delta{Fact: analytics.EventWarned, Tenant: "default", Type: "a.came"})
	require.NoError(t, analytics.Record(t.Context(), db, deltas))
	_, err := db.ExecContext(t.Context(), `
		INSERT INTO signalstack.analytics_rollups (grain, at, tenant, fact, outcome, kind, queue, type, endpoint_id, bucket, n, sum_us)
		SELECT 1440, date_trunc('day', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' - age * interval '1 day', 'default', 'event', '', '', '', type,
		       '00000000-0000-0000-0000-000000000000', -1, 10, 0
		FROM (VALUES (20, 'a.came'), (60, 'e.long.ago')) AS r (age, type)`)
	require.NoError(t, err)

	listed := func(query string) (names []string, page httpapi.Page[eventtypes.ListedType]) {
		page = contract.Decode[httpapi.Page[eventtypes.ListedType]](t, contract.Send(h, http.MethodGet, "/event-types"+query, ""), http.StatusOK)
		for _, l := range page.Data {
			names = append(names, fmt.Sprintf("%s/%s %t %d %d", l.Tenant, l.Type, l.Registered, l.Events, l.Warnings))
		}
		return names, page
	}
	all := []string{
		"default/D.came false 1 0", "default/a.came false 13 1", "default/b.registered true 0 0", "acme/c.both true 0 0", "default/c.both true 2 0",
	}
	got, page := listed("")
	require.Equal(t, all, got)
	require.Nil(t, page.Data[1].Settings)
	require.NotNil(t, page.Data[1].LastSeen)
	require.Nil(t, page.Data[2].LastSeen)
	require.Equal(t, eventtypes.Reject, page.Data[4].Settings.Mode)

	var paged []string
	for query := "?limit=1"; query != ""; {
		part, page := listed(query)
		paged = append(paged, part...)
		query = ""
		if page.NextCursor != "" {
			query = "?limit=1&cursor=" + page.NextCursor
		}
	}
	require.Equal(t, all, paged)
	got, _ = listed("?registered=false")
	require.Equal(t, all[:2], got)
	got, _ = listed("?registered=true&tenant=default")
	require.Equal(t, []string{all[2], all[4]}, got)
}
