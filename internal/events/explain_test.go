package events_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/contract"
	"github.com/signalstack/signalstack/internal/events"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/pgtest"
	"github.com/signalstack/signalstack/internal/queue"
	"github.com/signalstack/signalstack/internal/rules"
)

func pointers(t *testing.T, rec *httptest.ResponseRecorder, status int) []string {
	t.Helper()
	var all []string
	for _, e := range contract.Decode[httpapi.Problem](t, rec, status).Errors {
		all = append(all, e.Pointer)
	}
	return all
}

func TestPatternIsExplainedFieldByField(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	h := serve(t, db)
	rec := contract.Send(h, http.MethodPost, "/rules/test", `{
		"pattern": {"type": [{"prefix": "order."}], "tenant": ["acme"], "time": ["2026-01-02T01:04:05Z"], "data": {"n": [9007199254740993], "a": ["\u0000"], "x": [1], "gone": [{"exists": true}]}},
		"event": {"type": "order.paid", "tenant": "acme", "time": "2026-01-02T03:04:05+02:00", "data": {"x": 1, "n": 9007199254740992, "a": "\u0000", "x": 1e400}}}`)
	require.Equal(t, 200, rec.Code, rec.Body)
	want := `{"matched":false,"fields":[` +
		`{"path":"/type","matched":true,"at":"/type","value":"order.paid","reason":"matches {\"prefix\": \"order.\"}"},` +
		`{"path":"/tenant","matched":true,"at":"/tenant","value":"acme","reason":"is in the list"},` +
		`{"path":"/time","matched":true,"at":"/time","value":"2026-01-02T01:04:05Z","reason":"is in the list"},` +
		`{"path":"/data/n","matched":false,"at":"/data/n","value":9007199254740992,"reason":"is not 9007199254740993"},` +
		`{"path":"/data/a","matched":true,"at":"/data/a","value":"\u0000","reason":"is in the list"},` +
		`{"path":"/data/x","matched":false,"at":"/data/x","value":1e400,"reason":"is not 1"},` +
		`{"path":"/data/gone","matched":false,"reason":"the event has no such field"}]}`
	require.Equal(t, want, strings.TrimSpace(rec.Body.String()), "byte for byte")
	why := contract.Decode[rules.Explanation](t, contract.Send(h, http.MethodPost, "/rules/test", `{"pattern":{"tenant":["default"],"id":[{"exists":true}]},"event":{"type":"a"}}`), 200)
	require.True(t, why.Matched, "the tenant is the caller's and there is an id, as when an event comes: %+v", why)
	require.Zero(t, count(t, db, "events"))
}

func TestBadPatternsAndEventsToTestAreRefused(t *testing.T) {
	t.Parallel()
	h := serve(t, pgtest.New(t))
	const event = `"event":{"type":"a"}`
	for body, want := range map[string][]string{
		`{}`: {"/pattern", "/event"}, `{"pattern":null,"event":null}`: {"/pattern", "/event"}, `[]`: {""}, `7`: {""},
		`{"pattern":7,"event":7}`: {"/pattern", "/event"}, `{"pattern":{},` + event + `}`: {"/pattern"},
		`{"pattern":{"type":["a"]},` + event + `,"nope":1}`: {"/nope"}, `{"pattern":{"type":["a"]},` + event + `,` + event + `}`: {"/event"},
		`{"pattern":{"type":"a","data":{"x":[{"regexp":"x"}]}},"event":{"type":7,"extra":1,"time":"noon"}}`: {
			"/pattern/type", "/pattern/data/x/0/regexp", "/event/type", "/event/extra", "/event/time",
		},
		`{"pattern":{"type":["a"]},"event":{}}`:                                                        {"/event/type"},
		`{"pattern":{"type":["a"]},"event":{"type":""}}`:                                               {"/event/type"},
		`{"pattern":{"type":["a"]},"event":{"type":"a","type":"b"}}`:                                   {"/event/type"},
		`{"pattern":{"type":["a"]},"event":{"type":"a\u0000","tenant":"../x"}}`:                        {"/event/type", "/event/tenant"},
		`{"pattern":{"type":["` + strings.Repeat("x", 64<<10) + `"]},` + event + `}`:                   {"/pattern"},
		`{"pattern":{"type":["a"]},"event":{"type":"a","data":"` + strings.Repeat("x", 64<<10) + `"}}`: {"/event"},
	} {
		require.ElementsMatch(t, want, pointers(t, contract.Send(h, http.MethodPost, "/rules/test", body), 422), "%.200s", body)
	}
	for body, status := range map[string]int{``: 400, `{`: 400, "\"\xff\"": 400, `{"pattern":"` + strings.Repeat("x", 1<<20) + `"}`: 413} {
		require.Equal(t, status, contract.Send(h, http.MethodPost, "/rules/test", body).Code, "%.80s", body)
	}
}

// dear is a pattern of n times n combinations of two lists each.
func dear(n int) string {
	branches := func(name string) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf(`{"%s":[%d]}`, name, i+2))
		}
		return strings.Join(all, ",")
	}
	return `{"data":{"items":{"$or":[` + branches("a") + `],"x":{"$or":[` + branches("b") + `]}}}}`
}

func TestDearExplanationsAreRefusedAndLongOnesCut(t *testing.T) {
	t.Parallel()
	h := serve(t, pgtest.New(t))
	items := func(n int) string { return `{"items":[1` + strings.Repeat(",1", n) + `]}` }
	test := func(pattern, data string) *httptest.ResponseRecorder {
		return contract.Send(h, http.MethodPost, "/rules/test", `{"pattern":`+pattern+`,"event":{"type":"a","data":`+data+`}}`)
	}
	require.Equal(t, []string{"/event/data"}, pointers(t, test(dear(22), items(30_000)), 422))
	require.Len(t, contract.Decode[rules.Explanation](t, test(dear(22), items(1000)), 200).Fields, 44)

	long := strings.Repeat("k", 20<<10)
	var lists []string
	for i := range 200 {
		lists = append(lists, fmt.Sprintf(`"f%d":[1]`, i))
	}
	rec := test(`{"data":{"`+long+`":{`+strings.Join(lists, ",")+`}}}`, `{"`+long+`":{"f0":"`+long+`","f1":1}}`)
	why := contract.Decode[rules.Explanation](t, rec, 200)
	require.Less(t, rec.Body.Len(), 1100<<10)
	require.Equal(t, 200, len(why.Fields)+why.FieldsLeftOut)
	require.Positive(t, why.FieldsLeftOut)
	require.Nil(t, why.Fields[0].Value, "it is too long to be shown")

	accepted := accept(t, h, `{"type":"a","data":`+items(30_000)+`}`)
	rule(t, h, dear(22))
	rule(t, h, `{"type":["a"]}`)
	x := contract.Decode[events.Explained](t, contract.Send(h, http.MethodGet, "/events/"+accepted.ID.String(), ""), 200)
	require.Nil(t, x.Rules[0].Matched)
	require.Contains(t, x.Rules[0].Error, "too long")
	require.True(t, *x.Rules[1].Matched, "the others are looked at")
}

func TestEventIsShownWithItsDataItsJobsAndEachRule(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	h := serve(t, db)
	first := rule(t, h, `{"type":["a"],"data":{"z":[2]}}`)
	rule(t, h, `{"type":["a"]}`, `,"tenant":"acme"`)
	data := "{\"z\":1, \"big\":9007199254740993,\n\t\"e\" : 1e400,\"nul\":\"\\u0000\",\"z\":2,\"u\":\"é<&>\u2028\\ud800\"}"
	e := accept(t, h, `{"type":"a","source":"s","subject":"sub","id":"mine","data": `+data+` }`)
	require.Len(t, e.JobIDs, 1)
	off := rule(t, h, `{"type":["a"]}`, `,"enabled":false`)
	later := rule(t, h, `{"type":["b"]}`)
	rec := contract.Send(h, http.MethodGet, "/events/"+e.ID.String(), "")
	require.True(t, strings.HasSuffix(rec.Body.String(), `,"data":`+data+`}`), rec.Body)
	x := contract.Decode[events.Explained](t, rec, 200)
	require.Equal(t, e.Listed, x.Listed)
	require.Equal(t, "mine", x.SenderID)
	require.Len(t, x.Jobs, 1)
	require.Equal(t, []any{e.JobIDs[0], first.ID, "test", queue.Scheduled}, []any{x.Jobs[0].ID, *x.Jobs[0].RuleID, x.Jobs[0].Kind, x.Jobs[0].State})
	require.Empty(t, x.MoreJobs)
	require.False(t, x.MoreRules)
	require.Len(t, x.Rules, 3, "no other tenant's")
	require.Equal(t, []any{first.ID, "r", true, true}, []any{x.Rules[0].RuleID, x.Rules[0].Name, x.Rules[0].Enabled, *x.Rules[0].Matched})
	require.Equal(t, "/data/z", x.Rules[0].Fields[1].At)
	require.Equal(t, []any{off.ID, false, true}, []any{x.Rules[1].RuleID, x.Rules[1].Enabled, *x.Rules[1].Matched})
	require.Equal(t, []any{later.ID, false}, []any{x.Rules[2].RuleID, *x.Rules[2].Matched})
	require.Equal(t, `is not "b"`, x.Rules[2].Fields[0].Reason)

	rec = contract.Send(h, http.MethodGet, "/events/"+accept(t, h, `{"type":"c","tenant":"other"}`).ID.String(), "")
	require.True(t, strings.HasSuffix(strings.TrimSpace(rec.Body.String()), `"jobs":[],"rules":[],"endpoints":[]}`), rec.Body)
	require.Equal(t, 200, contract.Send(h, http.MethodHead, "/events/"+e.ID.String(), "").Code)
}

// TestStoredRuleThatMakesNoJobsIsShownWithTheReason stores, behind the API's back,
// what a later version might have left.
func TestStoredRuleThatMakesNoJobsIsShownWithTheReason(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	h := serve(t, db)
	for _, change := range []string{`pattern = '{"type":[{"telepathy":1}]}'`, `actions = '{'`, `actions = '[{"kind":"test","priority":9}]'`} {
		id := rule(t, h, `{"type":["a"]}`).ID
		_, err := db.ExecContext(t.Context(), `UPDATE signalstack.rules SET `+change+` WHERE id = $1`, id)
		require.NoError(t, err)
	}
	e := accept(t, h, `{"type":"a"}`)
	require.Empty(t, e.JobIDs)
	x := contract.Decode[events.Explained](t, contract.Send(h, http.MethodGet, "/events/"+e.ID.String(), ""), 200)
	require.Len(t, x.Rules, 3)
	for _, r := range x.Rules {
		require.Nil(t, r.Matched)
		require.Contains(t, r.Error, "makes no jobs: ")
	}
}

func TestWhatIsTooMuchForOneAnswerIsSaid(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	h := serve(t, db)
	actions := strings.TrimSuffix(strings.Repeat(`{"kind":"test"},`, 20), ",")
	for range 6 {
		rec := contract.Send(h, http.MethodPost, "/rules", `{"name":"r","pattern":{"type":["a"]},"actions":[`+actions+`]}`)
		require.Equal(t, 201, rec.Code, rec.Body)
	}
	e := accept(t, h, `{"type":"a"}`)
	_, err := db.ExecContext(t.Context(), `
		INSERT INTO signalstack.rules (id, tenant, name, pattern, actions, enabled, created_at, updated_at)
		SELECT gen_random_uuid(), 'default', 'more', '{"type":["a"]}', '[{"kind":"test"}]', true, now(), now() FROM generate_series(1, 95)`)
	require.NoError(t, err)
	x := contract.Decode[events.Explained](t, contract.Send(h, http.MethodGet, "/events/"+e.ID.String(), ""), 200)
	require.Len(t, x.Jobs, 100)
	require.Equal(t, "/jobs?event_id="+e.ID.String(), x.MoreJobs)
	require.Len(t, x.Rules, 100)
	require.True(t, x.MoreRules)
}

func TestEventListFiltersAndPages(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	h := serve(t, db)
	var all []string
	for i := range 7 {
		all = append(all, accept(t, h, fmt.Sprintf(`{"type":"t%d","tenant":"x%d","data":{"secret":1}}`, i%2, i%3)).ID.String())
	}
	walk := func(path string) []string {
		ids := []string{}
		for path != "" {
			rec := contract.Send(h, http.MethodGet, path, "")
			page := contract.Decode[httpapi.Page[events.Listed]](t, rec, 200)
			for _, e := range page.Data {
				ids = append(ids, e.ID.String())
			}
			path, _, _ = strings.Cut(strings.TrimPrefix(rec.Header().Get("Link"), "<"), ">")
		}
		return ids
	}
	require.Equal(t, all, walk("/events?order=asc&limit=2"))
	newest := slices.Clone(all)
	slices.Reverse(newest)
	require.Equal(t, newest, walk("/events?limit=3"))
	require.Equal(t, []string{all[5], all[3], all[1]}, walk("/events?type=t1&limit=1"))
	require.Equal(t, []string{all[6], all[3], all[0]}, walk("/events?tenant=x0"))
	require.Equal(t, []string{all[3]}, walk("/events?tenant=x0&type=t1"))
	require.Empty(t, walk("/events?tenant=default"))
	middle := queue.IDTime(uuid.MustParse(all[3])).UTC().Format(time.RFC3339Nano)
	since, until := walk("/events?limit=2&created_after="+middle), walk("/events?limit=2&created_before="+middle)
	require.ElementsMatch(t, all, append(since, until...))
	require.Contains(t, since, all[3])
	require.Contains(t, until, all[0])
	require.Empty(t, walk("/events?created_before=0001-01-01T00:00:00Z"), "no time is none")
	require.Len(t, walk("/events?created_after=0001-01-01T00:00:00Z&created_before=9999-12-31T23:59:59Z"), 7)

	cursor := contract.Decode[httpapi.Page[events.Listed]](t, contract.Send(h, http.MethodGet, "/events?limit=1", ""), 200).NextCursor
	for bad, status := range map[string]int{
		"cursor=abc": 400, "cursor=" + string(cursor[0]^1) + cursor[1:]: 400, "cursor=" + cursor + "&type=t1": 400, "cursor=" + cursor + "&order=asc": 400,
		"limit=0": 422, "limit=1001": 422, "limit=x": 422, "order=up": 422, "created_after=now": 422, "tenant=%00": 422, "type=%ff": 422, "type=a&type=b": 422, "state=failed": 422,
	} {
		require.Equal(t, status, contract.Send(h, http.MethodGet, "/events?"+bad, "").Code, bad)
	}
}

func TestUnknownAndMalformedEventIDs(t *testing.T) {
	t.Parallel()
	h := serve(t, pgtest.New(t))
	require.Equal(t, "event_not_found", contract.Decode[httpapi.Problem](t, contract.Send(h, http.MethodGet, "/events/"+uuid.NewString(), ""), 404).Code)
	for _, id := range []string{"7", "urn:uuid:" + uuid.NewString(), "'%20OR%201=1"} {
		require.Equal(t, []string{"/path/id"}, pointers(t, contract.Send(h, http.MethodGet, "/events/"+id, ""), 422), id)
	}
	require.Equal(t, 422, contract.Send(h, http.MethodGet, "/events/"+uuid.NewString()+"?x=1", "").Code)
}
