package events_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/contract"
	"github.com/signalstack/signalstack/internal/events"
	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/pgtest"
	"github.com/signalstack/signalstack/internal/queue"
)

// exec runs a statement that sets the scene.
func exec(t *testing.T, db *pg.DB, query string, args ...any) {
	t.Helper()
	_, err := db.ExecContext(t.Context(), query, args...)
	require.NoError(t, err)
}

// settleAs ends jobs as a worker would that has written down what it sent.
func settleAs(t *testing.T, db *pg.DB, state queue.State, ids ...uuid.UUID) {
	t.Helper()
	for _, id := range ids {
		require.NoError(t, pg.InTx(t.Context(), db, func(tx *sqlx.Tx) error {
			states, err := queue.Settle(t.Context(), tx, []queue.Settlement{{
				JobID: id, Lease: 1, Tenant: "default", State: state, Outcome: queue.OutcomeError, Error: "personal",
				Exchange: json.RawMessage(`{"request":"personal"}`),
			}})
			require.Len(t, states, 1)
			return err
		}))
	}
}

// begin has a worker take jobs.
func begin(t *testing.T, db *pg.DB, ids ...uuid.UUID) {
	t.Helper()
	for _, id := range ids {
		exec(t, db, `
			WITH s AS (DELETE FROM signalstack.scheduled WHERE job_id = $1 RETURNING *)
			INSERT INTO signalstack.running (job_id, queue, lane, priority, ready_at, attempt, lease, worker, limited, started_at, lease_until)
			SELECT job_id, queue, lane, priority, run_at, 1, 1, gen_random_uuid(), false, now(), now() + interval '1 hour' FROM s`, id)
	}
}

func eraser(db *pg.DB) *events.Eraser {
	return &events.Eraser{DB: db, Log: discard(), KeyTTL: time.Hour} // as serve
}

// personal counts the rows of all tables that still have it.
func personal(t *testing.T, db *pg.DB) int {
	t.Helper()
	return count(t, db, "events WHERE data IS NOT NULL") + count(t, db, "jobs WHERE payload IS NOT NULL") +
		count(t, db, "attempts WHERE exchange IS NOT NULL OR error = 'personal'")
}

func TestErasingAnEventTakesItsDataFromWhereverItWent(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	h := serve(t, db)
	for range 3 {
		rule(t, h, `{"type":["a"]}`)
	}
	e := accept(t, h, `{"type":"a","subject":"bob","data":{"name":"personal"}}`)
	begin(t, db, e.JobIDs[1], e.JobIDs[2])
	settleAs(t, db, queue.Failed, e.JobIDs[1])
	path := "/events/" + e.ID.String()
	require.Equal(t, http.StatusNotFound, contract.Send(h, http.MethodPost, "/events/"+uuid.NewString()+"/erase", "").Code)

	left := contract.Decode[events.Listed](t, contract.Send(h, http.MethodPost, path+"/erase", ""), http.StatusOK)
	require.NotNil(t, left.ErasedAt)
	require.Equal(t, "bob", left.Subject)
	require.Zero(t, personal(t, db))
	again := contract.Decode[events.Listed](t, contract.Send(h, http.MethodPost, path+"/erase", ""), http.StatusOK)
	require.Equal(t, left.ErasedAt, again.ErasedAt, "it may be asked twice")

	shown := contract.Decode[events.Explained](t, contract.Send(h, http.MethodGet, path, ""), http.StatusOK)
	require.Empty(t, shown.Data)
	require.Equal(t, left.ErasedAt, shown.ErasedAt)
	states := map[uuid.UUID]queue.State{}
	for _, j := range shown.Jobs {
		states[j.ID] = j.State
		if j.State != queue.Running {
			require.Equal(t, "The data of its event was erased.", *j.LastError)
		}
	}
	require.Equal(t, map[uuid.UUID]queue.State{e.JobIDs[0]: queue.Canceled, e.JobIDs[1]: queue.Failed, e.JobIDs[2]: queue.Running}, states)

	// Its worker is told to stop, and may yet write down what it sent.
	require.Equal(t, 1, count(t, db, "cancels"))
	require.NoError(t, eraser(db).Pass(t.Context()))
	settleAs(t, db, queue.Retrying, e.JobIDs[2])
	require.Equal(t, 1, personal(t, db))
	require.NoError(t, eraser(db).Pass(t.Context()))
	require.Zero(t, personal(t, db))
	require.Zero(t, count(t, db, "erasing"))
	job, err := jobs.Get(t.Context(), db, e.JobIDs[2])
	require.NoError(t, err)
	require.Equal(t, queue.Canceled, job.State)

	for _, id := range e.JobIDs {
		require.Equal(t, "event_erased", fault.As(queue.Retry(t.Context(), db, id)).Code, "there is nothing left to work on")
	}
}

func TestErasingAnEventErasesWhatItsStoredAnswerSaysOfTheData(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	h, reg := serve(t, db), registry(t, db)
	set(t, reg, http.MethodPost, "/event-types", `{"type":"a","schema":{"additionalProperties":false}}`)
	body := `{"type":"a","id":"1","subject":",\"warnings\":[{","data":{"bob@example.com":1}}`
	first := contract.Send(h, http.MethodPost, "/events", body, "Idempotency-Key", "k")
	require.Contains(t, first.Body.String(), "bob@example.com")
	e := contract.Decode[events.Event](t, first, http.StatusCreated)
	other := contract.Send(h, http.MethodPost, "/events", `{"type":"a","data":{"x":1}}`, "Idempotency-Key", "other")

	require.Equal(t, http.StatusOK, contract.Send(h, http.MethodPost, "/events/"+e.ID.String()+"/erase", "").Code)
	require.Zero(t, count(t, db, `idempotency_keys WHERE position('bob' IN convert_from(answer, 'UTF8')) > 0`))
	e.Warnings = nil
	require.Equal(t, e, accept(t, h, body, "Idempotency-Key", "k"), "all else is answered as before")
	require.Equal(t, other.Body.String(), contract.Send(h, http.MethodPost, "/events", `{"type":"a","data":{"x":1}}`, "Idempotency-Key", "other").Body.String())
}

func TestErasingASubjectTakesAllItsEventsAndNoOthers(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	h := serve(t, db)
	many := strings.TrimSuffix(strings.Repeat(`{"type":"a","subject":"bob","data":1},`, 250), ",")
	contract.Send(h, http.MethodPost, "/events", "["+many+"]")
	for _, body := range []string{`{"type":"a","subject":"bo","data":1}`, `{"type":"a","data":1}`, `{"type":"a","subject":"bob","data":1,"tenant":"acme"}`} {
		accept(t, h, body)
	}
	dry := contract.Decode[events.Erasure](t, contract.Send(h, http.MethodPost, "/events/erase", `{"subject":"bob","dry_run":true}`), http.StatusAccepted)
	require.EqualValues(t, 250, dry.Events)
	require.Nil(t, dry.ID)
	require.Equal(t, 253, count(t, db, "events WHERE data IS NOT NULL"))

	x := contract.Decode[events.Erasure](t, contract.Send(h, http.MethodPost, "/events/erase", `{"subject":"bob"}`), http.StatusAccepted)
	for x.Events < 250 { // a slow machine gets further with each pass
		require.NoError(t, eraser(db).Pass(t.Context()))
		x = contract.Decode[events.Erasure](t, contract.Send(h, http.MethodGet, "/erasures/"+x.ID.String(), ""), http.StatusOK)
	}
	require.Equal(t, 250, count(t, db, "events WHERE erased_at IS NOT NULL AND data IS NULL AND subject = 'bob' AND tenant = 'default'"))
	require.Equal(t, 3, count(t, db, "events WHERE data IS NOT NULL"))
	require.Nil(t, x.FinishedAt, "events that were on their way may yet be there")

	// One that was stored at that moment, and one that came later.
	exec(t, db, `INSERT INTO signalstack.events (id, tenant, type, source, subject, sender_id, time, received_at, data)
		SELECT $1, 'default', 'a', '', 'bob', '', now(), requested_at, 'x' FROM signalstack.erasures`, uuid.Must(uuid.NewV7()))
	later := accept(t, h, `{"type":"a","subject":"bob","data":"later"}`)
	exec(t, db, `UPDATE signalstack.erasures SET swept_since = requested_at + interval '15 seconds'`)
	require.NoError(t, eraser(db).Pass(t.Context()))
	x = contract.Decode[events.Erasure](t, contract.Send(h, http.MethodGet, "/erasures/"+x.ID.String(), ""), http.StatusOK)
	require.NotNil(t, x.FinishedAt)
	require.EqualValues(t, 251, x.Events)
	require.Equal(t, 1, count(t, db, "events WHERE subject = 'bob' AND tenant = 'default' AND data IS NOT NULL AND id = $1", later.ID))
	require.Contains(t, contract.Send(h, http.MethodGet, "/erasures?tenant=default", "").Body.String(), x.ID.String())
	require.NotContains(t, contract.Send(h, http.MethodGet, "/erasures?tenant=acme", "").Body.String(), x.ID.String())
	require.Equal(t, http.StatusUnprocessableEntity, contract.Send(h, http.MethodPost, "/events/erase", `{"subject":""}`).Code)
	require.Equal(t, http.StatusNotFound, contract.Send(h, http.MethodGet, "/erasures/"+uuid.NewString(), "").Code)
}

func TestErasingASubjectWaitsForItsEventsFromSQL(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	h := serve(t, db)
	aside, waiting := fromSQL(t, db, `'a', '1', subject => 'bob'`), fromSQL(t, db, `'a', '2', subject => 'bob'`)
	exec(t, db, `UPDATE signalstack.outbox SET failed_at = now(), error = 'personal' WHERE event_id = $1`, aside)
	require.Equal(t, "event_waiting", problemOf(t, contract.Send(h, http.MethodPost, "/events/"+waiting.String()+"/erase", "").Body.Bytes()))

	contract.Decode[events.Erasure](t, contract.Send(h, http.MethodPost, "/events/erase", `{"subject":"bob"}`), http.StatusAccepted)
	pass := func() {
		exec(t, db, `UPDATE signalstack.erasures SET swept_since = requested_at + interval '1 minute'`)
		require.NoError(t, eraser(db).Pass(t.Context()))
	}
	pass()
	require.Equal(t, 1, count(t, db, `outbox WHERE data IS NULL AND error = 'Its data was erased.' AND event_id = $1`, aside))
	require.Zero(t, count(t, db, "erasures WHERE finished_at IS NOT NULL"))

	consume(t, db, discard())
	require.Eventually(t, func() bool { return count(t, db, "events WHERE id = $1", waiting) == 1 }, 30*time.Second, 10*time.Millisecond)
	// It was accepted after the request, and sent before.
	pass()
	require.Equal(t, 1, count(t, db, "events WHERE data IS NULL AND erased_at IS NOT NULL"))
	require.Equal(t, 1, count(t, db, "erasures WHERE finished_at IS NOT NULL AND erased = 1"))
}

func problemOf(t *testing.T, body []byte) string {
	t.Helper()
	var p struct{ Code string }
	require.NoError(t, json.Unmarshal(body, &p))
	return p.Code
}

// typeKept registers a type with a period of its own.
func typeKept(t *testing.T, db *pg.DB, eventType string, period time.Duration) {
	t.Helper()
	exec(t, db, `INSERT INTO signalstack.event_types (tenant, type, description, mode, retention_ms, created_at, updated_at)
		VALUES ('default', $1, '', 'off', $2, now(), now())`, eventType, period.Milliseconds())
}

func TestEventsOfATypeThatIsKeptShorterGoWhenTheirJobsHaveEnded(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	h := serve(t, db)
	for _, eventType := range []string{"short", "long", "plain", "forever"} {
		rule(t, h, fmt.Sprintf(`{"type":[%q]}`, eventType))
	}
	typeKept(t, db, "short", 2*time.Hour)
	typeKept(t, db, "long", 90*24*time.Hour)
	typeKept(t, db, "forever", 0)
	var batch []string
	for range 450 {
		batch = append(batch, `{"type":"short","data":1}`)
	}
	contract.Send(h, http.MethodPost, "/events", "["+strings.Join(batch, ",")+"]")
	all := make([]uuid.UUID, 0, 450)
	require.NoError(t, db.SelectContext(t.Context(), &all, `SELECT id FROM signalstack.jobs`))
	exec(t, db, `
		WITH s AS (DELETE FROM signalstack.scheduled RETURNING job_id)
		INSERT INTO signalstack.attempts (job_id, lease, attempt, state, outcome, error, started_at, finished_at, duration_ms, exchange)
		SELECT job_id, 1, 1, 'failed', 'error', 'personal', now(), now(), 1, '{}' FROM s`)
	alive := accept(t, h, `{"type":"short","data":1}`)
	for _, eventType := range []string{"long", "plain", "forever"} {
		accept(t, h, fmt.Sprintf(`{"type":%q,"data":1}`, eventType))
	}
	accept(t, h, `{"type":"short","data":1,"tenant":"acme"}`)
	exec(t, db, `UPDATE signalstack.events SET received_at = now() - interval '121 minutes'`)
	young := accept(t, h, `{"type":"short","data":1}`)

	x := &events.Expirer{DB: db, Log: discard(), Default: time.Hour}
	require.NoError(t, x.Pass(t.Context()))
	require.Equal(t, 456, count(t, db, "events"), "two hours are longer than the one of all events")
	x.Default = 30 * 24 * time.Hour
	require.NoError(t, x.Pass(t.Context()))
	require.Equal(t, 6, count(t, db, "events"))
	require.Equal(t, 2, count(t, db, "events WHERE id IN ($1, $2)", alive.ID, young.ID))
	require.Equal(t, 450, count(t, db, "jobs WHERE event_type = 'short' AND payload IS NULL"), "the jobs stay for their own time")
	require.Equal(t, 450, count(t, db, "attempts WHERE exchange IS NULL AND error = 'The data of its event was erased.'"))
	require.Equal(t, 2, count(t, db, "jobs WHERE event_id IN ($1, $2) AND payload IS NOT NULL", alive.ID, young.ID))
	require.Equal(t, "event_erased", fault.As(queue.Retry(t.Context(), db, all[0])).Code)

	settleNow := alive.JobIDs[0]
	_, err := queue.Cancel(t.Context(), db, settleNow)
	require.NoError(t, err)
	x.Default = 0 // for ever
	require.NoError(t, x.Pass(t.Context()))
	require.Zero(t, count(t, db, "events WHERE id = $1", alive.ID))
	require.Equal(t, 5, count(t, db, "events"))
}
