package queues_test

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/contract"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/pgtest"
	"github.com/signalstack/signalstack/internal/queue"
	"github.com/signalstack/signalstack/internal/queues"
)

func start(t *testing.T) (*pg.DB, http.Handler) {
	t.Helper()
	db := pgtest.New(t)
	require.NoError(t, queue.EnsureAhead(t.Context(), db))
	api := httpapi.New(httpapi.Config{Version: "test", MaxBody: 1 << 20, Log: slog.New(slog.DiscardHandler), Fault: pg.Fault})
	(&queues.API{DB: db}).Routes(api)
	return db, contract.Handler(t, api)
}

func send[T any](t *testing.T, h http.Handler, status int, method, path, body string) T {
	t.Helper()
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, req)
	require.Equal(t, status, rec.Code, "%s %s: %s", method, path, rec.Body)
	var v T
	require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &v))
	return v
}

func add(t *testing.T, db *pg.DB, n int, change func(*queue.NewJob)) {
	t.Helper()
	all := make([]queue.NewJob, n)
	for i := range all {
		all[i] = queue.NewJob{ID: uuid.Must(uuid.NewV7()), Tenant: "default", Kind: "log", Queue: "default", Priority: 2, MaxAttempts: 1, Timeout: time.Second}
		change(&all[i])
	}
	require.NoError(t, pg.InTx(t.Context(), db, func(tx *sqlx.Tx) error { return jobs.Write(t.Context(), tx, all) }))
}

func TestQueuesAreShownWithTheirDepth(t *testing.T) {
	t.Parallel()
	db, h := start(t)
	add(t, db, 3, func(*queue.NewJob) {})
	add(t, db, 2, func(j *queue.NewJob) { j.Queue, j.Tenant, j.Delay = "mail", "acme", time.Hour })
	_, err := queue.NewClaimer(db, "default", uuid.New(), time.Minute, 0).Claim(t.Context(), 1)
	require.NoError(t, err)
	got := send[httpapi.Page[queues.Queue]](t, h, 200, http.MethodGet, "/queues", "").Data
	require.Len(t, got, 2)
	require.Equal(t, "default", got[0].Name)
	require.Equal(t, []int64{2, 1}, []int64{got[0].Waiting, got[0].Running})
	require.WithinDuration(t, time.Now(), *got[0].OldestReadyAt, time.Minute)
	require.Equal(t, []int64{2, 0}, []int64{got[1].Waiting, got[1].Running})
	require.Nil(t, got[1].OldestReadyAt, "none is due")
	require.Equal(t, int64(2), send[queues.Queue](t, h, 200, http.MethodGet, "/queues/mail", "").Waiting)
	require.Equal(t, "other", send[queues.Queue](t, h, 200, http.MethodGet, "/queues/other", "").Name)
}

func TestQueueIsPausedLimitedAndResumed(t *testing.T) {
	t.Parallel()
	db, h := start(t)
	q := send[queues.Queue](t, h, 200, http.MethodPatch, "/queues/other", `{"paused":true}`)
	require.True(t, q.Paused)
	require.Nil(t, q.MaxRunning)
	require.False(t, send[queues.Queue](t, h, 200, http.MethodPatch, "/queues/other", `{"paused":false}`).Paused)
	q = send[queues.Queue](t, h, 200, http.MethodPatch, "/queues/default", `{"paused":true,"max_running":5,"rate":{"count":10,"per":"1m"}}`)
	require.True(t, q.Paused)
	require.Equal(t, 5, *q.MaxRunning)
	require.Equal(t, queues.Rate{Count: 10, Per: "1m0s", Burst: 10}, *q.Rate)
	q = send[queues.Queue](t, h, 200, http.MethodPatch, "/queues/default", `{"paused":false}`)
	require.False(t, q.Paused)
	require.Equal(t, 5, *q.MaxRunning, "the rest stays")
	q = send[queues.Queue](t, h, 200, http.MethodPatch, "/queues/default", `{"max_running":0,"no_rate":true}`)
	require.Nil(t, q.MaxRunning)
	require.Nil(t, q.Rate)
	controls, err := queue.Controls(t.Context(), db)
	require.NoError(t, err)
	require.Empty(t, controls, "nothing is left of it")
	for _, bad := range []string{`{"max_running":-1}`, `{"rate":{"count":0,"per":"1s"}}`, `{"rate":{"count":1,"per":"soon"}}`, `{"rate":{"count":1,"per":"1s"},"no_rate":true}`, `{"pause":true}`} {
		send[httpapi.Problem](t, h, 422, http.MethodPatch, "/queues/default", bad)
	}
	send[httpapi.Problem](t, h, 422, http.MethodPatch, "/queues/a%20b", `{"paused":true}`)
}

func TestLimitsOfLanes(t *testing.T) {
	t.Parallel()
	db, h := start(t)
	endpoint := uuid.NewString()
	for _, body := range []string{
		`{"queue":"default","max_running":3}`, `{"queue":"default","tenant":"acme","weight":5}`, `{"queue":"default","endpoint_id":"` + endpoint + `","rate":{"count":1,"per":"1s","burst":2}}`,
		`{"queue":"default","limit_key":"k/#","max_running":1}`,
	} {
		send[queues.Limit](t, h, 200, http.MethodPut, "/limits", body)
	}
	got := send[httpapi.Page[queues.Limit]](t, h, 200, http.MethodGet, "/limits", "").Data
	require.Len(t, got, 4)
	require.Equal(t, 5, got[0].Weight)
	require.Equal(t, "k/#", got[2].LimitKey)
	require.Equal(t, endpoint, got[3].EndpointID)
	controls, err := queue.Controls(t.Context(), db)
	require.NoError(t, err)
	require.Contains(t, controls["default"], "default#k/#")
	require.Contains(t, controls["default"], "default/"+endpoint)
	send[queues.Limit](t, h, 200, http.MethodPut, "/limits", `{"queue":"default","tenant":"acme"}`)
	require.Len(t, send[httpapi.Page[queues.Limit]](t, h, 200, http.MethodGet, "/limits", "").Data, 3)
	for _, bad := range []string{
		`{}`, `{"queue":"a b"}`, `{"queue":"a","weight":101}`, `{"queue":"a","max_running":0}`, `{"queue":"a","endpoint_id":"7"}`,
		`{"queue":"a","endpoint_id":"` + endpoint + `","limit_key":"k"}`,
	} {
		send[httpapi.Problem](t, h, 422, http.MethodPut, "/limits", bad)
	}
}
