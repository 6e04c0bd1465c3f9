package analytics_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/analytics"
	"github.com/signalstack/signalstack/internal/contract"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/pgtest"
)

// front is the HTTP face of the analytics on a database of its own.
type front struct {
	db      *pg.DB
	handler http.Handler
}

func newFront(t *testing.T) *front {
	t.Helper()
	db := pgtest.New(t)
	api := httpapi.New(httpapi.Config{Version: "test", MaxBody: 1 << 20, Log: slog.New(slog.DiscardHandler), Fault: pg.Fault})
	analytics.Routes(api, db)
	return &front{db: db, handler: contract.Handler(t, api)}
}

// get asks with parameters given as name and value.
func get[T any](t testing.TB, f *front, status int, path string, params ...string) T {
	t.Helper()
	q := url.Values{}
	for i := 0; i+1 < len(params); i += 2 {
		q.Set(params[i], params[i+1])
	}
	rec := httptest.NewRecorder()
	f.handler.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path+"?"+q.Encode(), nil))
	require.Equal(t, status, rec.Code, rec.Body)
	var v T
	require.NoError(t, json.Unmarshal(rec.Body.Bytes(), &v))
	return v
}

func summaryOf(t testing.TB, f *front, params ...string) analytics.Summary {
	t.Helper()
	return get[analytics.Summary](t, f, 200, "/analytics/summary", params...)
}

func seriesOf(t testing.TB, f *front, params ...string) analytics.TimeSeries {
	t.Helper()
	return get[analytics.TimeSeries](t, f, 200, "/analytics/timeseries", params...)
}

func record(t testing.TB, db *pg.DB, deltas ...analytics.Delta) {
	t.Helper()
	require.NoError(t, pg.InTx(t.Context(), db, func(tx *sqlx.Tx) error { return analytics.Record(t.Context(), tx, deltas) }))
}

// recordAt counts facts as if they had happened at a time of one's choice.
func recordAt(t testing.TB, db *pg.DB, at string, deltas ...analytics.Delta) {
	t.Helper()
	require.NoError(t, pg.InTx(t.Context(), db, func(tx *sqlx.Tx) error {
		if err := analytics.Record(t.Context(), tx, deltas); err != nil {
			return err
		}
		_, err := tx.ExecContext(t.Context(), `
			UPDATE signalstack.analytics_deltas SET at = date_trunc('minute', $1::timestamptz)
			WHERE xmin = pg_current_xact_id()::xid`, at)
		return err
	}))
}

func fold(t testing.TB, db *pg.DB) int {
	t.Helper()
	n, err := analytics.Fold(t.Context(), db)
	require.NoError(t, err)
	return n
}

func rowCount(t testing.TB, db *pg.DB, from string) (n int) {
	t.Helper()
	require.NoError(t, db.GetContext(t.Context(), &n, `SELECT count(*) FROM signalstack.`+from))
	return n
}

func event(eventType string) analytics.Delta {
	return analytics.Delta{Fact: analytics.EventAccepted, Tenant: "default", Type: eventType}
}

// fact is one about a webhook.
func fact(f analytics.Fact, outcome string) analytics.Delta {
	return analytics.Delta{Fact: f, Tenant: "default", Outcome: outcome, Kind: "webhook", Queue: "default", Type: "order.paid"}
}

func attempt(outcome string, d time.Duration) analytics.Delta {
	a := fact(analytics.AttemptEnded, outcome)
	a.Duration, a.Timed = d, true
	return a
}

func repeat(n int, d analytics.Delta) []analytics.Delta {
	all := make([]analytics.Delta, n)
	for i := range all {
		all[i] = d
	}
	return all
}

func TestRecordWritesARowForEachCell(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	require.NoError(t, analytics.Record(t.Context(), nil, nil), "nothing to count is no statement")
	ended := fact(analytics.JobEnded, "succeeded")
	ended.Duration, ended.Timed = time.Second, true
	deltas := append(repeat(500, attempt("succeeded", 10*time.Millisecond)), repeat(500, ended)...)
	deltas = append(deltas, attempt("succeeded", time.Hour), attempt("succeeded", -time.Second), event("a"))
	record(t, db, deltas...)
	var got []struct {
		Fact   string
		Bucket int
		N      int64
		SumUS  int64 `db:"sum_us"`
		Recent bool
	}
	require.NoError(t, db.SelectContext(t.Context(), &got, `
		SELECT fact, bucket, n, sum_us, at BETWEEN now() - interval '2 minutes' AND now() AND extract(second FROM at) = 0 AS recent
		FROM signalstack.analytics_deltas ORDER BY ctid`))
	require.Len(t, got, 5)
	for _, row := range got {
		require.True(t, row.Recent)
	}
	require.Equal(t, "attempt", got[0].Fact)
	require.Zero(t, got[0].Bucket, "a clock that went back")
	require.EqualValues(t, 500, got[1].N)
	require.EqualValues(t, 5_000_000, got[1].SumUS)
	require.EqualValues(t, 3_600_000_000, got[2].SumUS)
	require.Equal(t, "event", got[3].Fact)
	require.EqualValues(t, 500, got[4].N)
	require.Equal(t, -1, got[4].Bucket, "only attempts are timed")
}

func TestRecordIsUndoneWithItsTransaction(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	err := pg.InTx(t.Context(), f.db, func(tx *sqlx.Tx) error {
		require.NoError(t, analytics.Record(t.Context(), tx, repeat(3, event("a"))))
		return context.Canceled
	})
	require.ErrorIs(t, err, context.Canceled)
	require.Zero(t, summaryOf(t, f).Events)
}

func TestCountsAreExactBeforeDuringAndAfterFolding(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	const recorders, batches, size = 4, 40, 25
	ctx, stop := context.WithCancel(t.Context())
	var folding, recording, reading sync.WaitGroup
	for range 3 {
		folding.Go(func() {
			for ctx.Err() == nil {
				if _, err := analytics.Fold(ctx, f.db); err != nil && ctx.Err() == nil {
					t.Errorf("fold: %v", err)
				}
			}
		})
	}
	// What a reader sees lies between what was committed before it asked and what
	// had been begun when it was answered.
	var begun, committed atomic.Int64
	reading.Go(func() {
		for committed.Load() < recorders*batches*size && !t.Failed() {
			low := committed.Load()
			rec := httptest.NewRecorder()
			f.handler.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/analytics/summary", nil))
			var s analytics.Summary
			if err := json.Unmarshal(rec.Body.Bytes(), &s); err != nil {
				t.Errorf("read: %v", err)
				return
			}
			if high := begun.Load(); s.Events < low || s.Events > high || s.Jobs.Created != s.Events || s.Today.Events != s.Events {
				t.Errorf("%d to %d events are counted as %d, jobs as %d, and today's as %d", low, high, s.Events, s.Jobs.Created, s.Today.Events)
			}
		}
	})
	for range recorders {
		recording.Go(func() {
			for range batches {
				begun.Add(size)
				err := pg.InTx(ctx, f.db, func(tx *sqlx.Tx) error {
					return analytics.Record(ctx, tx, append(repeat(size, event("a")), repeat(size, fact(analytics.JobCreated, ""))...))
				})
				if err != nil {
					t.Errorf("record: %v", err)
				}
				committed.Add(size)
			}
		})
	}
	recording.Wait()
	reading.Wait()
	stop()
	folding.Wait()
	for range 2 { // before and after the last fold
		require.EqualValues(t, recorders*batches*size, summaryOf(t, f).Events)
		fold(t, f.db)
	}
	require.Zero(t, rowCount(t, f.db, "analytics_deltas"))
	for _, grain := range []string{"minutes", "quarters", "hours", "days"} {
		var n int64
		require.NoError(t, f.db.GetContext(t.Context(), &n, `SELECT sum(n) FROM signalstack.analytics_`+grain+` WHERE fact = 'event'`))
		require.EqualValues(t, recorders*batches*size, n, grain)
	}
}

func TestOneFoldsAndTheOthersSkip(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	record(t, db, event("a"), event("b"))
	tx, err := db.BeginTxx(t.Context(), nil)
	require.NoError(t, err)
	n, err := analytics.Fold(t.Context(), tx)
	require.NoError(t, err)
	require.Equal(t, 2, n)
	require.Zero(t, fold(t, db), "another one is folding")
	require.NoError(t, tx.Rollback())
	require.Equal(t, 2, fold(t, db), "a fold that died left everything as it was")
	require.Equal(t, 8, rowCount(t, db, "analytics_rollups"))
}

func TestFolderFoldsAndDropsOldMinutesOnly(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	old := time.Now().Add(-8 * 24 * time.Hour).Format(time.RFC3339)
	recordAt(t, f.db, old, event("old"))
	record(t, f.db, event("new"))
	// So many that their places are freed.
	_, err := f.db.ExecContext(t.Context(), `
		INSERT INTO signalstack.analytics_deltas SELECT d.* FROM signalstack.analytics_deltas AS d, generate_series(1, 10000) WHERE d.type = 'new'`)
	require.NoError(t, err)
	var logged bytes.Buffer
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		done <- (&analytics.Folder{DB: f.db, Log: slog.New(slog.NewTextHandler(&logged, nil))}).Run(ctx)
	}()
	require.Eventually(t, func() bool {
		return rowCount(t, f.db, "analytics_deltas") == 0 &&
			rowCount(t, f.db, "analytics_minutes") == 1 && rowCount(t, f.db, "analytics_totals WHERE grain = 1") == 1
	}, 20*time.Second, 50*time.Millisecond)
	stop()
	require.NoError(t, <-done)
	require.Empty(t, logged.String())
	require.Equal(t, 1, rowCount(t, f.db, "analytics_minutes WHERE type = 'new'"))
	require.EqualValues(t, 10_002, summaryOf(t, f, "from", old).Events)
}

func endpointDelta(f analytics.Fact, id uuid.UUID) analytics.Delta {
	d := fact(f, "failed")
	d.EndpointID, d.Queue, d.Type, d.Tenant = id, "slow", "user.made", "acme"
	return d
}
