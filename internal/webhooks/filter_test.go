package webhooks_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/expression"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/pattern"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/pgtest"
	"github.com/signalstack/signalstack/internal/webhooks"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// idsOf gives the endpoints that want an event.
func idsOf(s *webhooks.Subscribers, tenant, eventType, source, data string) (ids []uuid.UUID) {
	e := pattern.NewEvent(pattern.Envelope{Type: eventType, Source: source, Tenant: tenant}, []byte(data))
	for _, found := range s.Of(tenant, eventType, source, e) {
		ids = append(ids, found.ID)
	}
	return ids
}

func load(t *testing.T, b *bundle) *webhooks.Subscribers {
	t.Helper()
	s, err := (&webhooks.Subscribers{}).Reload(t.Context(), b.db, discard())
	require.NoError(t, err)
	return s
}

func TestSubscriptionsAreThoseOfEnabledEndpoints(t *testing.T) {
	t.Parallel()
	b := start(t)
	e := b.endpoint(t, 201, http.MethodPost, "/endpoints", `{"url":"https://example.com/","event_types":["a.*","b"]}`)
	b.endpoint(t, 201, http.MethodPost, "/endpoints", `{"url":"https://example.com/","event_types":["*"],"enabled":false}`)
	b.endpoint(t, 201, http.MethodPost, "/endpoints", `{"url":"https://example.com/"}`)
	second := b.endpoint(t, 201, http.MethodPost, "/endpoints", `{"url":"https://example.com/","event_types":["a.b.*","a.b","a.*","*b*"]}`)
	other := b.endpoint(t, 201, http.MethodPost, "/endpoints", `{"url":"https://example.com/","event_types":["*","a.b"],"tenant":"other"}`)
	subscribers := load(t, b)
	both := []uuid.UUID{e.ID, second.ID}
	for eventType, want := range map[string][]uuid.UUID{
		"a.b": both, "a.b.c": both, "a.": both, "a": nil, "ab": both[1:], "b": both, "b.c": both[1:], "": nil, "a.*": both,
	} {
		require.Equal(t, want, idsOf(subscribers, "default", eventType, "", ""), "each once and in order: %s", eventType)
		require.Equal(t, []uuid.UUID{other.ID}, idsOf(subscribers, "other", eventType, "shop", ""))
		require.Empty(t, idsOf(subscribers, "nobody", eventType, "", ""))
	}
	require.Empty(t, idsOf(subscribers, "other", "endpoint.failing", webhooks.SystemSource, ""), "what the system tells of itself is for those that name it")

	again, err := subscribers.Reload(t.Context(), b.db, discard())
	require.NoError(t, err)
	require.Same(t, subscribers, again)
	_, err = b.db.ExecContext(t.Context(), `UPDATE signalstack.endpoints SET event_types = '{c}' WHERE id = $1`, e.ID)
	require.NoError(t, err)
	again, err = subscribers.Reload(t.Context(), b.db, discard())
	require.NoError(t, err)
	require.Equal(t, []uuid.UUID{e.ID}, idsOf(again, "default", "c", "", ""))
	require.Equal(t, both[1:], idsOf(again, "default", "a.b", "", ""))
	require.Equal(t, both, idsOf(subscribers, "default", "a.b", "", ""), "the one before did not change")
}

// TestTypesTakeStarsAnywhere has of each spelling what it takes and what not.
func TestTypesTakeStarsAnywhere(t *testing.T) {
	t.Parallel()
	b := start(t)
	type row struct {
		wanted      string
		takes, nots []string
		ofTheSystem []string
	}
	rows := []row{
		{wanted: "payment.succeeded", takes: []string{"payment.succeeded"}, nots: []string{"payment.succeeded.x", "payment", "xpayment.succeeded"}},
		{wanted: "payment.*", takes: []string{"payment.succeeded", "payment.a.b", "payment."}, nots: []string{"payment", "payments.a", "x.payment.a"}},
		{wanted: "*", takes: []string{"payment.succeeded", "x", "*"}},
		{wanted: "*.created", takes: []string{"user.created", "a.b.created", ".created"}, nots: []string{"created", "user.created.x"}},
		{wanted: "order.*.failed", takes: []string{"order.a.failed", "order.a.b.failed", "order..failed"}, nots: []string{"order.failed", "order.a.failed.b", "x.order.a.failed"}},
		{wanted: "order*", takes: []string{"order", "orders.a", "order.a"}, nots: []string{"rorder", "Order"}},
		{wanted: "*test*", takes: []string{"test", "a.test.b", "contest"}, nots: []string{"tes.t"}},
		{wanted: "a*b*c", takes: []string{"abc", "a.b.c", "abbcc", "acbc"}, nots: []string{"acb", "ab"}},
		{wanted: `a\*`, takes: []string{`a\b`, `a\`}, nots: []string{"a*", "ab"}},
		{wanted: "é.*.ü", takes: []string{"é.x.ü"}, nots: []string{"e.x.ü"}},
		{wanted: "endpoint.*", takes: []string{"endpoint.failing"}, ofTheSystem: []string{"endpoint.failing", "endpoint.disabled"}},
		{wanted: "endpoint.disabled", takes: []string{"endpoint.disabled"}, ofTheSystem: []string{"endpoint.disabled"}},
		{wanted: "end*.disabled", takes: []string{"endpoint.disabled"}, ofTheSystem: []string{"endpoint.disabled"}},
		{wanted: "*.disabled", takes: []string{"endpoint.disabled", "user.disabled"}},
	}
	for i, r := range rows {
		wanted, err := json.Marshal([]string{r.wanted})
		require.NoError(t, err)
		b.endpoint(t, 201, http.MethodPost, "/endpoints", fmt.Sprintf(`{"url":"https://example.com/","tenant":"t%d","event_types":%s}`, i, wanted))
	}
	subscribers := load(t, b)
	for i, r := range rows {
		tenant := fmt.Sprintf("t%d", i)
		found, err := webhooks.Subscriptions(t.Context(), b.db, tenant, 10)
		require.NoError(t, err)
		check := func(want bool, eventType, source string) {
			require.Equal(t, want, len(idsOf(subscribers, tenant, eventType, source, "")) == 1, "%s takes %s of %q", r.wanted, eventType, source)
			require.Equal(t, want, found[0].Wants(eventType, source) == r.wanted, "%s is said to take %s of %q", r.wanted, eventType, source)
		}
		for _, eventType := range r.takes {
			check(true, eventType, "")
		}
		for _, eventType := range r.nots {
			check(false, eventType, "")
		}
		for _, eventType := range []string{"endpoint.failing", "endpoint.disabled"} {
			check(strings.Contains(strings.Join(r.ofTheSystem, " "), eventType), eventType, webhooks.SystemSource)
		}
	}
}

func TestPatternNarrowsTypes(t *testing.T) {
	t.Parallel()
	b := start(t)
	create := func(fields string) uuid.UUID {
		return b.endpoint(t, 201, http.MethodPost, "/endpoints", `{"url":"https://example.com/",`+fields+`}`).ID
	}
	only := create(`"pattern":{"data":{"n":[{"numeric":[">",5]}]}}`)
	narrow := create(`"event_types":["a","*.x"],"pattern":{"data":{"n":[{"numeric":[">",5]}]}}`)
	typed := create(`"pattern":{"type":[{"prefix":"a"}],"$or":[{"data":{"n":[1]}},{"data":{"m":[1]}}]}`)
	system := create(`"event_types":["endpoint.*"],"pattern":{"data":{"n":[1]}}`)
	open := create(`"event_types":["a"]`)
	s := load(t, b)
	for _, c := range []struct {
		eventType, source, data string
		want                    []uuid.UUID
	}{
		{"a", "", `{"n":6}`, []uuid.UUID{only, narrow, open}},
		{"a", "", `{"n":1}`, []uuid.UUID{typed, open}},
		{"a.x", "", `{"n":7,"m":1}`, []uuid.UUID{only, narrow, typed}},
		{"b", "", `{"n":6}`, []uuid.UUID{only}},
		{"b", "", `{"n":5}`, nil},
		{"b", "", ``, nil},
		{"endpoint.failing", webhooks.SystemSource, `{"n":1}`, []uuid.UUID{system}},
		{"endpoint.failing", webhooks.SystemSource, `{"n":6}`, nil},
	} {
		require.Equal(t, c.want, idsOf(s, "default", c.eventType, c.source, c.data), "%s %s", c.eventType, c.data)
	}
}

// TestFilterIsSetReplacedAndRemoved goes through the API.
func TestFilterIsSetReplacedAndRemoved(t *testing.T) {
	t.Parallel()
	b := start(t)
	const first = `{ "data": {"n": [9007199254740993, 1e400]} }`
	e := b.endpoint(t, 201, http.MethodPost, "/endpoints", `{"url":"https://example.com/","pattern":`+first+`,"transform":"{text: \"<&>\", n: .data.n} # é"}`)
	require.Equal(t, []string{"*"}, e.EventTypes, "all that the pattern takes, and it is shown")
	path := "/endpoints/" + e.ID.String()
	require.Contains(t, b.send(http.MethodGet, path, "").Body.String(), `9007199254740993`)
	require.Contains(t, b.send(http.MethodGet, "/endpoints", "").Body.String(), `9007199254740993`)
	patch := func(body string) webhooks.Endpoint {
		b.endpoint(t, 200, http.MethodPatch, path, body)
		return b.endpoint(t, 200, http.MethodGet, path, "")
	}
	now := patch(`{"description":"d"}`)
	require.Equal(t, `{"data":{"n":[9007199254740993,1e400]}}`, string(now.Pattern), "it stays") //nolint:testifylint // the bytes are meant
	require.Equal(t, `{text: "<&>", n: .data.n} # é`, now.Transform)
	now = patch(`{"event_types":["a"],"pattern":{"type":["a"]},"transform":"."}`)
	require.Equal(t, []any{[]string{"a"}, `{"type":["a"]}`, "."}, []any{now.EventTypes, string(now.Pattern), now.Transform})
	now = patch(`{"reset":["transform"]}`)
	require.Equal(t, []any{`{"type":["a"]}`, ""}, []any{string(now.Pattern), now.Transform})
	now = patch(`{"event_types":[]}`)
	require.Empty(t, now.EventTypes)
	require.Empty(t, idsOf(load(t, b), "default", "a", "", ""), "an empty list ends the subscription")
	require.Empty(t, patch(`{"pattern":{"type":["a","b"]}}`).EventTypes, "which another pattern does not begin again")
	now = patch(`{"reset":["pattern"]}`)
	require.Equal(t, []any{0, 0}, []any{len(now.Pattern), len(now.EventTypes)})
	require.Equal(t, []string{"*"}, patch(`{"pattern":{"type":["b"]}}`).EventTypes, "the first pattern is as when it is created")
	require.Equal(t, []uuid.UUID{e.ID}, idsOf(load(t, b), "default", "b", "", ""))
	require.NotContains(t, b.send(http.MethodPatch, path, `{"reset":["pattern","transform"]}`).Body.String(), `"pattern"`)
}

func TestBadFiltersAreRefusedWithEveryMistake(t *testing.T) {
	t.Parallel()
	b := start(t)
	path := "/endpoints/" + b.endpoint(t, 201, http.MethodPost, "/endpoints", `{"url":"https://x.y/"}`).ID.String()
	long := strings.Repeat("x", 256)
	for fields, pointers := range map[string][]string{
		`"event_types":["a**","**","","a\u0000","` + long + `","*a*","a b"]`: {"/event_types/0", "/event_types/1", "/event_types/2", "/event_types/3", "/event_types/4"},
		`"event_types":"a"`:  {"/event_types"},
		`"event_types":null`: {"/event_types"},
		`"pattern":null`:     {"/pattern"},
		`"pattern":"x"`:      {"/pattern"},
		`"pattern":{}`:       {"/pattern"},
		`"pattern":{"detail-type":["a"],"data":{"a/b":[{"regexp":"x"}],"n":[{"numeric":["=>",1]}]}}`: {"/pattern/detail-type", "/pattern/data/a~1b/0/regexp", "/pattern/data/n/0/numeric/0"},
		`"pattern":{"type":["` + strings.Repeat("x", 64<<10) + `"]}`:                                 {"/pattern"},
		`"pattern":` + dear:        {"/pattern"},
		`"transform":7`:            {"/transform"},
		`"transform":null`:         {"/transform"},
		`"transform":"{"`:          {"/transform"},
		`"transform":". # \u0000"`: {"/transform"},
		`"transform":"input"`:      {"/transform"},
		`"transform":"` + strings.Repeat("x", 8193) + `"`:          {"/transform"},
		`"transform":"{","pattern":{"x":[1]},"event_types":["**"]`: {"/transform", "/pattern/x", "/event_types/0"},
	} {
		for method, body := range map[string]string{http.MethodPost: `{"url":"https://x.y/",` + fields + `}`, http.MethodPatch: `{` + fields + `}`} {
			target := path
			if method == http.MethodPost {
				target = "/endpoints"
			}
			rec := b.send(method, target, body)
			require.Equal(t, 422, rec.Code, "%s %.200s: %s", method, body, rec.Body)
			var p httpapi.Problem
			require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &p))
			var found []string
			for _, e := range p.Errors {
				require.NotEmpty(t, e.Detail)
				found = append(found, e.Pointer)
			}
			require.ElementsMatch(t, pointers, found, "%s %.200s: %s", method, body, rec.Body)
		}
	}
	for body, pointer := range map[string]string{
		`{"transform":""}`: "/transform", `{"reset":["url"]}`: "/reset/0",
		`{"pattern":{"type":["a"]},"reset":["pattern"]}`: "/reset", `{"transform":".","reset":["transform"]}`: "/reset",
	} {
		rec := b.send(http.MethodPatch, path, body)
		require.Equal(t, 422, rec.Code, rec.Body)
		require.Contains(t, rec.Body.String(), `"pointer":"`+pointer+`"`, body)
	}
	require.Equal(t, 1, strings.Count(b.send(http.MethodGet, "/endpoints", "").Body.String(), `"id"`))
}

// dear makes more combinations than a pattern may have.
var dear = func() string {
	var all []string
	for i := range 40 {
		all = append(all, fmt.Sprintf(`{"a":[%d]}`, i))
	}
	branches := strings.Join(all, ",")
	return `{"data":{"$or":[` + branches + `],"x":{"$or":[` + branches + `]}}}`
}()

// TestEndpointThatDoesNotCompileHarmsNoOther stores, behind the API's back, what a later
// version might have left.
func TestEndpointThatDoesNotCompileHarmsNoOther(t *testing.T) {
	t.Parallel()
	b := start(t)
	var ids []uuid.UUID
	for range 4 {
		ids = append(ids, b.endpoint(t, 201, http.MethodPost, "/endpoints", `{"url":"https://example.com/","pattern":{"type":["a"]},"transform":".type"}`).ID)
	}
	_, err := b.db.ExecContext(t.Context(), `
		UPDATE signalstack.endpoints SET pattern = CASE id WHEN $1 THEN '{"type":[{"telepathy":1}]}' ELSE pattern END,
		       transform = CASE id WHEN $2 THEN 'telepathy' ELSE transform END,
		       enabled = id <> $3`, ids[0], ids[1], ids[2])
	require.NoError(t, err)
	var log strings.Builder
	s, err := (&webhooks.Subscribers{}).Reload(t.Context(), b.db, slog.New(slog.NewTextHandler(&log, nil)))
	require.NoError(t, err)
	require.Equal(t, []uuid.UUID{ids[1], ids[3]}, idsOf(s, "default", "a", "", ""))
	for _, want := range []string{"endpoint gets no events", ids[0].String(), "telepathy", "webhooks of an endpoint fail", ids[1].String()} {
		require.Contains(t, log.String(), want)
	}
	event := expression.Once(pattern.NewEvent(pattern.Envelope{Type: "a"}, nil))
	_, err = s.Body(ids[1], event)
	require.ErrorContains(t, err, "does not compile here")
	for _, id := range ids[2:] {
		body, err := s.Body(id, event)
		require.NoError(t, err)
		require.Equal(t, `"a"`, string(body), "a rule may make jobs for a disabled one, too")
	}
	body, err := s.Body(uuid.New(), event)
	require.NoError(t, err)
	require.Nil(t, body)
}

// TestReloadGivesWhatLoadGives changes what there is step by step, by hand too, and
// compares what is taken from before with what is loaded anew.
func TestReloadGivesWhatLoadGives(t *testing.T) {
	t.Parallel()
	b := start(t)
	insertEndpoints(t, b.db, "a", 4, `'{t' || n || ',*.x}'`, `'{"data":{"n":[' || n || ']}}'`)
	insertEndpoints(t, b.db, "b", 4, `'{t' || n || '}'`, `NULL`)
	s := load(t, b)
	for _, change := range []string{
		`UPDATE signalstack.endpoints SET pattern = '{"data":{"n":[2]}}' WHERE description = '1' AND tenant = 'a'`,
		`UPDATE signalstack.endpoints SET pattern = NULL WHERE description = '2' AND tenant = 'a'`,
		`UPDATE signalstack.endpoints SET enabled = false WHERE description = '3'`,
		`UPDATE signalstack.endpoints SET pattern = 'none' WHERE description = '0'`,
		`UPDATE signalstack.endpoints SET tenant = 'b' WHERE description = '1'`,
		`UPDATE signalstack.endpoints SET enabled = true, event_types = '{*}', pattern = '{"data":{"n":[1]}}' WHERE description <> '2'`,
		`DELETE FROM signalstack.endpoints WHERE description = '2'`,
		`DELETE FROM signalstack.endpoints`,
	} {
		_, err := b.db.ExecContext(t.Context(), change)
		require.NoError(t, err)
		if s, err = s.Reload(t.Context(), b.db, discard()); err != nil {
			require.NoError(t, err)
		}
		fresh := load(t, b)
		for _, tenant := range []string{"a", "b"} {
			for _, eventType := range []string{"t0", "t1", "t2", "t3", "a.x"} {
				for n := range 4 {
					data := fmt.Sprintf(`{"n":%d}`, n)
					require.Equal(t, idsOf(fresh, tenant, eventType, "", data), idsOf(s, tenant, eventType, "", data), "%s: %s %s %s", change, tenant, eventType, data)
				}
			}
		}
	}
}

// insertEndpoints writes n endpoints whose types and pattern are SQL over their number n.
func insertEndpoints(tb testing.TB, db *pg.DB, tenant string, count int, types, filter string) {
	tb.Helper()
	_, err := db.ExecContext(context.Background(), `
		INSERT INTO signalstack.endpoints (id, tenant, url, description, secret, event_types, pattern, headers, enabled, created_at, updated_at)
		SELECT signalstack.uuid7(now() + n * interval '1 millisecond'), $1, 'https://example.com/', n::text, '', (`+types+`)::text[], `+filter+`, '', true, now(), now()
		FROM generate_series(0, $2::int - 1) AS n`, tenant, count)
	require.NoError(tb, err)
}

// BenchmarkOf finds the endpoints that want an event of 1 KiB, where that is one of so
// many, or none:
//
//	go run ./internal/pgtest/withpg -- go test -run '^$' -bench Of -benchmem -cpu 1 ./internal/webhooks
func BenchmarkOf(b *testing.B) {
	db := pgtest.New(b)
	ways := []struct{ name, types, filter string }{
		{"exact", `'{order.n' || n || '}'`, `NULL`},
		{"prefix", `'{order.n' || n || '.*}'`, `NULL`},
		{"pattern", `'{order.paid}'`, `'{"data":{"customer":["c' || n || '"]}}'`},
		{"pattern alone", `'{*}'`, `'{"data":{"customer":["c' || n || '"]}}'`},
	}
	for _, way := range ways {
		for _, n := range []int{10, 10_000} {
			insertEndpoints(b, db, fmt.Sprintf("%s-%d", way.name, n), n, way.types, way.filter)
		}
	}
	insertEndpoints(b, db, "stars-10", 10, `'{*.n' || n || '}'`, `NULL`)
	s, err := (&webhooks.Subscribers{}).Reload(context.Background(), db, discard())
	require.NoError(b, err)
	data := []byte(fmt.Sprintf(`{"customer":"c7","text":"%1000d"}`, 7))
	for _, c := range []struct {
		tenant, eventType string
		want              int
	}{
		{"exact-10", "order.n7", 1},
		{"exact-10000", "order.n7", 1},
		{"exact-10000", "other.type", 0},
		{"prefix-10000", "order.n7.x", 1},
		{"stars-10", "order.n7", 1},
		{"stars-10", "other.type", 0},
		{"pattern-10", "order.paid", 1},
		{"pattern-10000", "order.paid", 1},
		{"pattern-10000", "other.type", 0},
		{"pattern alone-10", "other.type", 1},
		{"pattern alone-10000", "other.type", 1},
	} {
		b.Run(fmt.Sprintf("%s/%s", c.tenant, c.eventType), func(b *testing.B) {
			b.ReportAllocs()
			parses := strings.HasPrefix(c.tenant, "pattern") && c.want > 0
			e := pattern.NewEvent(pattern.Envelope{Type: c.eventType, Tenant: c.tenant}, data)
			for b.Loop() {
				if parses { // rules have made an event in any case, but need not have parsed it
					e = pattern.NewEvent(pattern.Envelope{Type: c.eventType, Tenant: c.tenant}, data)
				}
				if found := s.Of(c.tenant, c.eventType, "", e); len(found) != c.want {
					b.Fatal(len(found))
				}
			}
		})
	}
}

// BenchmarkReload has one endpoint of 10,000 with a pattern changed.
func BenchmarkReload(b *testing.B) {
	db, ctx := pgtest.New(b), context.Background()
	insertEndpoints(b, db, "default", 10_000, `'{order.n' || n % 100 || '}'`, `'{"data":{"customer":["c' || n || '"]}}'`)
	s, err := (&webhooks.Subscribers{}).Reload(ctx, db, discard())
	require.NoError(b, err)
	for b.Loop() {
		_, err := db.ExecContext(ctx, `UPDATE signalstack.endpoints SET pattern = '{"data":{"customer":["x"]}}' WHERE description = '7'`)
		require.NoError(b, err)
		s, err = s.Reload(ctx, db, discard())
		require.NoError(b, err)
	}
}
