package attempts_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/attempts"
	"github.com/signalstack/signalstack/internal/contract"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/pgtest"
	"github.com/signalstack/signalstack/internal/queue"
)

// front is the HTTP face of the log on a database of its own.
type front struct {
	db      *pg.DB
	handler http.Handler
}

func newFront(t *testing.T) *front {
	t.Helper()
	db := pgtest.New(t)
	require.NoError(t, queue.EnsureAhead(t.Context(), db))
	api := httpapi.New(httpapi.Config{Version: "test", MaxBody: 1 << 20, Log: slog.New(slog.DiscardHandler), Fault: pg.Fault})
	(&attempts.API{DB: db}).Routes(api)
	return &front{db: db, handler: contract.Handler(t, api)}
}

func (f *front) enqueue(t *testing.T, n int, change func(*queue.NewJob)) []uuid.UUID {
	t.Helper()
	batch, ids := make([]queue.NewJob, n), make([]uuid.UUID, n)
	for i := range batch {
		batch[i] = queue.NewJob{
			ID: uuid.Must(uuid.NewV7()), Tenant: "default", Kind: "webhook", Queue: "default", Priority: queue.DefaultPriority, MaxAttempts: 9, Timeout: time.Second,
		}
		if change != nil {
			change(&batch[i])
		}
		ids[i] = batch[i].ID
	}
	require.NoError(t, pg.InTx(t.Context(), f.db, func(tx *sqlx.Tx) error { return queue.Enqueue(t.Context(), tx, batch) }))
	return ids
}

// try claims each of the jobs in turn and ends its attempt in that way, as a worker does.
func (f *front) try(t *testing.T, s queue.Settlement, exchange *jobs.Exchange, ids ...uuid.UUID) {
	t.Helper()
	if exchange != nil {
		b, err := json.Marshal(exchange)
		require.NoError(t, err)
		s.Exchange, s.Status, s.ErrorClass = b, exchange.Status, exchange.ErrorClass
	}
	want := map[uuid.UUID]bool{}
	for _, id := range ids {
		want[id] = true
	}
	claimed, err := queue.NewClaimer(f.db, "default", uuid.New(), time.Minute, 0).Claim(t.Context(), 1000)
	require.NoError(t, err)
	var all []queue.Settlement
	for _, c := range claimed {
		one := queue.Settlement{State: queue.Released}
		if want[c.ID] {
			one = s
		}
		one.JobID, one.Lease = c.ID, c.Lease
		all = append(all, one)
	}
	require.GreaterOrEqual(t, len(all), len(ids))
	require.NoError(t, pg.InTx(t.Context(), f.db, func(tx *sqlx.Tx) error {
		_, err := queue.Settle(t.Context(), tx, all)
		return err
	}))
}

func (f *front) get(query string) *httptest.ResponseRecorder {
	return contract.Send(f.handler, http.MethodGet, "/attempts"+query, "")
}

// ids gives the jobs of the attempts that a query finds, page by page.
func (f *front) ids(t *testing.T, query string, limit int) []uuid.UUID {
	t.Helper()
	found := []uuid.UUID{}
	for _, a := range f.all(t, query, limit) {
		found = append(found, a.JobID)
	}
	return found
}

func (f *front) all(t *testing.T, query string, limit int) []attempts.Logged {
	t.Helper()
	var all []attempts.Logged
	cursor := ""
	for range 1000 {
		page := contract.Decode[httpapi.Page[attempts.Logged]](t, f.get(fmt.Sprintf("?limit=%d&%s%s", limit, query, cursor)), http.StatusOK)
		require.LessOrEqual(t, len(page.Data), limit)
		all = append(all, page.Data...)
		if page.NextCursor == "" {
			return all
		}
		cursor = "&cursor=" + page.NextCursor
	}
	t.Fatal("the list has no end")
	return nil
}

var (
	delivered = queue.Settlement{State: queue.Succeeded, Outcome: queue.OutcomeSucceeded, Duration: 12 * time.Millisecond}
	retried   = queue.Settlement{State: queue.Retrying, Outcome: queue.OutcomeError, Error: "the receiver answered 503 Service Unavailable", Delay: time.Hour}
	givenUp   = queue.Settlement{State: queue.Failed, Outcome: queue.OutcomePermanent, Error: "dial tcp: no such Host"}
)

func exchange(status int, class, body string) *jobs.Exchange {
	return &jobs.Exchange{
		Method: "POST", URL: "https://hooks.example/In?a=1", RemoteAddress: "192.0.2.1:443", Status: status, ErrorClass: class, Body: body,
		RequestHeaders: map[string]string{"Webhook-Id": "x"}, Timings: jobs.Timings{DNS: 1, Connect: 2, TLS: 3, FirstByte: 8, Total: 9.5},
	}
}

func TestAttemptTellsWhatHappenedAndWhatIsNext(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	endpoint, event := uuid.New(), uuid.Must(uuid.NewV7())
	job := f.enqueue(t, 1, func(j *queue.NewJob) {
		j.EndpointID, j.EventID, j.EventType = uuid.NullUUID{UUID: endpoint, Valid: true}, uuid.NullUUID{UUID: event, Valid: true}, "a.b"
	})[0]
	again := retried
	again.Delay = 0
	f.try(t, again, exchange(503, "", "down"), job)
	f.try(t, retried, exchange(0, "timeout", ""), job)

	all := f.all(t, "", 50)
	require.Len(t, all, 2)
	newest, first := all[0], all[1]
	require.Equal(t, []int64{2, 1}, []int64{newest.Lease, first.Lease})
	require.Equal(t, []int{2, 1}, []int{newest.Attempt, first.Attempt})
	require.Equal(t, 503, *first.Status)
	require.Nil(t, first.ErrorClass)
	require.Nil(t, first.NextAttemptAt, "the next one has been")
	require.Nil(t, newest.Status)
	require.Equal(t, "timeout", *newest.ErrorClass)
	require.WithinDuration(t, newest.FinishedAt.Add(time.Hour), *newest.NextAttemptAt, time.Second)
	require.Equal(t, "https://hooks.example/In?a=1", first.URL)
	require.Equal(t, "192.0.2.1:443", first.RemoteAddress)
	require.Equal(t, jobs.Timings{DNS: 1, Connect: 2, TLS: 3, FirstByte: 8, Total: 9.5}, *first.Timings)
	require.Equal(t, endpoint, *first.EndpointID)
	require.Equal(t, event, *first.EventID)
	require.Equal(t, "a.b", first.EventType)
	require.Nil(t, first.Exchange)

	require.Equal(t, exchange(503, "", "down"), f.all(t, "include=exchange", 50)[1].Exchange)
	one := contract.Decode[attempts.Logged](t, f.get(fmt.Sprintf("/%s/1", job)), http.StatusOK)
	require.Equal(t, exchange(503, "", "down"), one.Exchange)
	require.Equal(t, http.StatusNotFound, f.get(fmt.Sprintf("/%s/3", job)).Code)
	require.Equal(t, http.StatusNotFound, f.get("/"+uuid.NewString()+"/1").Code)
}

func TestFiltersFindWhatTheySay(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	endpoint, event := uuid.New(), uuid.Must(uuid.NewV7())
	ok := f.enqueue(t, 1, func(j *queue.NewJob) { j.Kind = "http" })[0]
	unavailable := f.enqueue(t, 1, func(j *queue.NewJob) { j.EndpointID = uuid.NullUUID{UUID: endpoint, Valid: true} })[0]
	lost := f.enqueue(t, 1, func(j *queue.NewJob) { j.Tenant = "acme" })[0]
	silent := f.enqueue(t, 1, func(j *queue.NewJob) { j.EventID, j.EventType = uuid.NullUUID{UUID: event, Valid: true}, "a.b" })[0]
	expected := f.enqueue(t, 1, nil)[0]
	f.enqueue(t, 3, nil) // wait
	f.try(t, delivered, exchange(200, "", "Fine\x00\u2028<\"ok\">"), ok)
	f.try(t, retried, exchange(503, "", "under maintenance"), unavailable)
	f.try(t, givenUp, exchange(0, "dns", ""), lost)
	f.try(t, delivered, nil, silent)
	f.try(t, delivered, exchange(404, "", "gone, as expected"), expected)

	now := time.Now()
	before, after := url.QueryEscape(now.Add(-2*time.Hour).Format(time.RFC3339)), url.QueryEscape(now.Add(2*time.Hour).Format(time.RFC3339))
	for query, want := range map[string][]uuid.UUID{
		"":                                 {expected, silent, lost, unavailable, ok},
		"tenant=acme":                      {lost},
		"tenant=default":                   {expected, silent, unavailable, ok},
		"kind=http":                        {ok},
		"job_id=" + lost.String():          {lost},
		"event_id=" + event.String():       {silent},
		"event_type=a.b":                   {silent},
		"endpoint_id=" + endpoint.String(): {unavailable},
		"endpoint_id=" + endpoint.String() + "&status_class=2xx": {},
		"state=retrying":                 {unavailable},
		"state=failed":                   {lost},
		"state=succeeded":                {expected, silent, ok},
		"outcome=permanent":              {lost},
		"outcome=permanent&kind=http":    {},
		"status=503":                     {unavailable},
		"status=404":                     {expected},
		"status=200":                     {ok},
		"status=503&status_class=4xx":    {},
		"status_class=5xx":               {unavailable},
		"status_class=4xx":               {expected},
		"status_class=2xx":               {ok},
		"status_class=none":              {silent, lost},
		"error_class=dns":                {lost},
		"error_class=dns&tenant=default": {},
		"created_after=" + before:        {expected, silent, lost, unavailable, ok},
		"created_before=" + before:       {},
		"created_after=" + after:         {},
		"created_before=" + after + "&started_before=" + after + "&started_after=" + before: {expected, silent, lost, unavailable, ok},
		"started_before=" + before:          {},
		"started_after=" + after:            {},
		"text=NO+such+host":                 {lost},
		"text=hooks.EXAMPLE%2Fin":           {expected, lost, unavailable, ok},
		"text=MAINTENANCE":                  {unavailable},
		"text=" + url.QueryEscape(`<"OK">`): {ok},
		"text=" + url.QueryEscape("\u2028"): {ok},
		"text=webhook-id":                   {}, // of the record, but none of what is searched
		"text=u003c":                        {},
		"text=%25":                          {},
		"text=maintenance&status=200":       {},
	} {
		for _, limit := range []int{50, 1} {
			require.Equal(t, want, f.ids(t, query, limit), "%s by %d", query, limit)
		}
	}
}

func TestPagesGoOnWhereTheLastOneEnded(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	ids := f.enqueue(t, 30, nil)
	again := retried
	again.Delay = 0
	for range 3 {
		f.try(t, again, exchange(500, "", ""), ids...)
	}
	f.enqueue(t, 300, nil) // newer ones that wait
	var want []string
	for i := len(ids) - 1; i >= 0; i-- {
		for lease := 3; lease > 0; lease-- {
			want = append(want, fmt.Sprint(ids[i], lease))
		}
	}
	for _, query := range []string{"", "status=500", "state=retrying&kind=webhook"} {
		for _, limit := range []int{7, 89, 90, 91, 200} {
			var got []string
			for _, a := range f.all(t, query, limit) {
				got = append(got, fmt.Sprint(a.JobID, a.Lease))
			}
			require.Equal(t, want, got, "%s by %d", query, limit)
		}
	}
	rec := f.get("?limit=5&status=500&include=exchange")
	require.Contains(t, rec.Header().Get("Link"), "include=exchange")
	require.Contains(t, rec.Header().Get("Link"), "status=500")
	page := contract.Decode[httpapi.Page[attempts.Logged]](t, rec, http.StatusOK)
	require.Equal(t, http.StatusBadRequest, f.get("?limit=5&status=501&cursor="+page.NextCursor).Code, "a cursor of another list")
}

// A filter that fits nothing gives a page that is empty and has a cursor, until the log
// has been looked through.
func TestFilterThatFitsNothingIsBounded(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	f.fill(t, 20_000)
	pages, cursor := 0, ""
	for {
		page := contract.Decode[httpapi.Page[attempts.Logged]](t, f.get("?text=nowhere"+cursor), http.StatusOK)
		pages++
		require.Empty(t, page.Data)
		if page.NextCursor == "" {
			break
		}
		cursor = "&cursor=" + page.NextCursor
	}
	require.Greater(t, pages, 1)
	require.Less(t, pages, 100)
	require.Len(t, f.all(t, "error_class=dns", 200), 200)
}

// fill adds jobs with an attempt each, one in a hundred of which failed.
func (f *front) fill(t *testing.T, n int) {
	t.Helper()
	for _, statement := range []string{
		`INSERT INTO signalstack.jobs (id, tenant, kind, queue, lane, priority, run_at, event_type, endpoint_id, event_id, ordering_key, max_attempts, timeout_ms, retry, created_at)
		 SELECT signalstack.uuid7(), CASE WHEN n % 50 = 0 THEN 'acme' ELSE 'default' END, 'webhook', 'default', 'default', 2, now(), 'a.b',
		        md5((n % 20)::text)::uuid, md5((n / 3)::text)::uuid, '', 1, 1000, '', now() FROM generate_series(1, $1::int) AS n`,
		`INSERT INTO signalstack.attempts (job_id, lease, attempt, state, outcome, error, worker, started_at, finished_at, duration_ms, status, error_class, exchange)
		 SELECT id, 1, 1, CASE WHEN bad THEN 'failed' ELSE 'succeeded' END, CASE WHEN bad THEN 'error' ELSE 'succeeded' END, '', id, now(), now(), 1,
		        CASE WHEN NOT bad THEN 200 END, CASE WHEN bad THEN 'dns' END, convert_to('{"method":"POST","url":"https://x.example","timings":{}}', 'UTF8')
		 FROM (SELECT id, row_number() OVER () % 100 = 0 AS bad FROM signalstack.jobs LIMIT $1) AS j`,
	} {
		_, err := f.db.ExecContext(t.Context(), statement, n)
		require.NoError(t, err)
	}
	_, err := f.db.ExecContext(t.Context(), `ANALYZE signalstack.jobs, signalstack.attempts`)
	require.NoError(t, err)
}

func TestBadQueriesAreRefusedByName(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	for query, pointer := range map[string]string{
		"?status=99": "/query/status", "?status=abc": "/query/status", "?status_class=6xx": "/query/status_class", "?error_class=x": "/query/error_class",
		"?endpoint_id=1": "/query/endpoint_id", "?limit=201": "/query/limit", "?limit=0": "/query/limit", "?state=running": "/query/state",
		"?started_after=yesterday": "/query/started_after", "?text=" + strings.Repeat("x", 201): "/query/text", "?text=%00": "/query/text",
		"?include=all": "/query/include", "?cursor=abc": "/query/cursor", "?order=asc": "/query/order", "?status=200&status=201": "/query/status",
		"/x/1": "/path/job_id", "/" + uuid.NewString() + "/x": "/path/lease", "/" + uuid.NewString() + "/0": "/path/lease",
	} {
		rec := f.get(query)
		require.GreaterOrEqual(t, rec.Code, 400, query)
		require.Less(t, rec.Code, 500, query)
		require.Contains(t, rec.Body.String(), `"`+pointer+`"`, query)
	}
}

// Each table is read by steps down the index that the filter chose, whatever statistics
// say of it: that of a day may have grown since they were taken.
func TestPlansFollowTheIndexOfTheFilter(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	f.fill(t, 5000)
	explain := func(statement, arguments string) []string {
		var plan []string
		require.NoError(t, pg.InTx(t.Context(), f.db, func(tx *sqlx.Tx) error {
			if err := pg.HoldPlans(t.Context(), tx); err != nil {
				return err
			}
			if _, err := tx.ExecContext(t.Context(), `PREPARE p AS `+statement); err != nil {
				return err
			}
			if err := tx.SelectContext(t.Context(), &plan, `EXPLAIN EXECUTE p (`+arguments+`)`); err != nil {
				return err
			}
			_, err := tx.ExecContext(t.Context(), `DEALLOCATE p`)
			return err
		}))
		for i, line := range plan {
			require.NotContains(t, line, "Seq Scan", strings.Join(plan, "\n"))
			if strings.Contains(line, "Index Scan") || strings.Contains(line, "Index Only Scan") {
				require.Contains(t, plan[i+1], "Index Cond: ", strings.Join(plan, "\n"))
			}
		}
		return plan
	}
	arguments := `100, 'ffffffff-ffff-ffff-ffff-ffffffffffff', 9223372036854775807, '00000000-0000-0000-0000-000000000000', 'acme', '', '',
		'00000000-0000-0000-0000-000000000001', '00000000-0000-0000-0000-000000000002', '-infinity', 'infinity', '', '', '', 0, 0, false,
		'-infinity', 'infinity', '', '', 50`
	// Indexes of partitions are named by their columns.
	for index, of := range map[string]string{
		"jobs_pkey": `jobs_\d+_pkey`, "jobs_event": `jobs_\d+_event_id_id_idx`, "jobs_endpoint": `jobs_\d+_endpoint_id_id_idx`,
		"jobs_tenant": `jobs_\d+_tenant_id_idx`, "attempts_notable": `attempts_\d+_job_id_lease_idx`,
	} {
		plan := strings.Join(explain(attempts.Ways()[index], arguments), "\n")
		require.Regexp(t, `Index Scan Backward using `+of, plan, index)
		if index != "attempts_notable" {
			require.Regexp(t, `Index Scan Backward using attempts_\d+_pkey`, plan, index)
		}
	}
	explain(attempts.ReadText, `'{00000000-0000-0000-0000-000000000001}', '{1}'`)
}
