package schedules_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/contract"
	"github.com/signalstack/signalstack/internal/events"
	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/pgtest"
	"github.com/signalstack/signalstack/internal/queue"
	"github.com/signalstack/signalstack/internal/rules"
	"github.com/signalstack/signalstack/internal/schedules"
)

// patience is how long something may take on a machine that has much to do.
const patience = 20 * time.Second

func kinds() *jobs.Registry {
	return jobs.NewRegistry(jobs.Kind{
		Name: "test", Timeout: time.Second, MaxAttempts: 3,
		Check: func(payload json.RawMessage, _ jobs.Later) []fault.Detail {
			if string(payload) == `"bad"` {
				return []fault.Detail{{Pointer: "/x", Detail: "is bad"}}
			}
			return nil
		},
		Run: func(context.Context, jobs.Job) (jobs.Result, error) { return jobs.Result{}, nil },
	})
}

// bundle is the HTTP face of schedules on a database.
type bundle struct {
	*testing.T
	db      *pg.DB
	handler http.Handler
}

func maker() *schedules.Maker {
	return &schedules.Maker{Kinds: kinds(), Events: events.NewWriter(kinds(), time.Hour, slog.New(slog.DiscardHandler))}
}

func start(t *testing.T, db *pg.DB) *bundle {
	t.Helper()
	require.NoError(t, queue.EnsureAhead(t.Context(), db))
	api := httpapi.New(httpapi.Config{Version: "test", MaxBody: 64 << 10, Log: slog.New(slog.DiscardHandler), Fault: pg.Fault})
	(&schedules.API{DB: db, Maker: maker(), KeyTTL: time.Hour}).Routes(api)
	(&rules.API{DB: db, Kinds: kinds()}).Routes(api)
	return &bundle{T: t, db: db, handler: contract.Handler(t, api)}
}

// fire runs firers, as so many processes have one each, until the test ends or stop is
// called.
func (b *bundle) fire(n int) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for range n {
		f := &schedules.Firer{DB: b.db, Maker: maker(), Log: slog.New(slog.DiscardHandler)}
		running.Go(func() { _ = f.Run(ctx) })
	}
	stop = func() { cancel(); running.Wait() }
	b.Cleanup(stop)
	return stop
}

func (b *bundle) send(method, path, body string, header ...string) *httptest.ResponseRecorder {
	return contract.Send(b.handler, method, path, body, header...)
}

const job = `"action":{"job":{"kind":"test"}}`

func (b *bundle) create(body string) schedules.Schedule {
	b.Helper()
	return contract.Decode[schedules.Schedule](b, b.send(http.MethodPost, "/schedules", body), 201)
}

func (b *bundle) get(id uuid.UUID) schedules.DetailedSchedule {
	b.Helper()
	return contract.Decode[schedules.DetailedSchedule](b, b.send(http.MethodGet, "/schedules/"+id.String(), ""), 200)
}

func (b *bundle) run(id uuid.UUID, status int) schedules.ScheduleRun {
	b.Helper()
	return contract.Decode[schedules.ScheduleRun](b, b.send(http.MethodPost, "/schedules/"+id.String()+"/run", ""), status)
}

func (b *bundle) exec(statement string, args ...any) {
	b.Helper()
	_, err := b.db.ExecContext(b.Context(), statement, args...)
	require.NoError(b, err)
}

func (b *bundle) count(query string, args ...any) (n int) {
	b.Helper()
	require.NoError(b, b.db.GetContext(b.Context(), &n, query, args...))
	return n
}

// mistakes are what an answer of status 422 says, by field.
func (b *bundle) mistakes(rec *httptest.ResponseRecorder) map[string]string {
	b.Helper()
	found := map[string]string{}
	for _, d := range contract.Decode[httpapi.Problem](b, rec, 422).Errors {
		found[d.Pointer] = d.Detail
	}
	return found
}

func TestMistakesNameTheField(t *testing.T) {
	t.Parallel()
	b := start(t, pgtest.New(t))
	for body, want := range map[string]string{
		`{"cron":"0 0 30 2 *",` + job + `}`:                         "/cron",
		`{"cron":"61 * * * *",` + job + `}`:                         "/cron",
		`{"cron":"@every 1ms",` + job + `}`:                         "/cron",
		`{` + job + `}`:                                             "/cron",
		`{"cron":"@daily","every":"1h",` + job + `}`:                "/every",
		`{"every":"soon",` + job + `}`:                              "/every",
		`{"cron":"@daily","timezone":"Europe/Berlinn",` + job + `}`: "/timezone",
		`{"cron":"@daily","timezone":"Local",` + job + `}`:          "/timezone",
		`{"cron":"@daily","start":"2031-01-02T00:00:00Z","end":"2031-01-01T00:00:00Z",` + job + `}`:    "/end",
		`{"cron":"0 0 1 1 *","start":"2031-01-02T00:00:00Z","end":"2031-02-01T00:00:00Z",` + job + `}`: "/end",
		`{"at":"2020-01-01T00:00:00Z",` + job + `}`:                                                    "/at",
		`{"every":"1s","jitter":"2s",` + job + `}`:                                                     "/jitter",
		`{"cron":"@daily","max_queued":3,` + job + `}`:                                                 "/max_queued",
		`{"cron":"@daily","misfire":{"policy":"latest","max":3},` + job + `}`:                          "/misfire/policy",
		`{"cron":"@daily","action":{}}`:                                                                "/action",
		`{"cron":"@daily","action":{"job":{"kind":"nope"}}}`:                                           "/action/job/kind",
		`{"cron":"@daily","action":{"job":{"kind":"test","payload":"bad"}}}`:                           "/action/job/payload/x",
		`{"cron":"@daily","action":{"job":{"kind":"test","payload":{"a":["<$.data.x>"]}}}}`:            "/action/job/payload/a/0",
		`{"cron":"@daily","action":{"job":{"kind":"test","delay":"x"}}}`:                               "/action/job/delay",
		`{"cron":"@daily","action":{"event":{"type":"a","subject":"<$.nope>"}}}`:                       "/action/event/subject",
		`{"cron":"@daily","action":{"event":{"type":"a"},"job":{"kind":"test"}}}`:                      "/action/job",
	} {
		found := b.mistakes(b.send(http.MethodPost, "/schedules", body))
		require.Contains(t, found, want, "%s: %v", body, found)
		require.Len(t, found, 1, "%s: %v", body, found)
	}
	require.Contains(t, b.mistakes(b.send(http.MethodPost, "/schedules", `{"cron":"0 0 30 2 *",`+job+`}`))["/cron"], "day of month")
	// All at once.
	require.Len(t, b.mistakes(b.send(http.MethodPost, "/schedules", `{"cron":"* * *","timezone":"X/Y","end":"never","action":{"job":{"kind":"nope"}},"what":1}`)), 5)
	require.Zero(t, b.count(`SELECT count(*) FROM signalstack.schedules`))
}

func TestPreview(t *testing.T) {
	t.Parallel()
	b := start(t, pgtest.New(t))
	p := contract.Decode[schedules.SchedulePreviewed](t, b.send(http.MethodPost, "/schedules/preview",
		`{"cron":"30 2 * * *","timezone":"Europe/Berlin","from":"2027-03-27T12:00:00Z","count":2}`), 200)
	require.Equal(t, "2027-03-28T03:00:00+02:00", p.NextFires[0].Local)
	require.Equal(t, "2027-03-29T02:30:00+02:00", p.NextFires[1].Local)
	require.Len(t, contract.Decode[schedules.SchedulePreviewed](t, b.send(http.MethodPost, "/schedules/preview", `{"every":"90s"}`), 200).NextFires, 10)
	require.Contains(t, b.mistakes(b.send(http.MethodPost, "/schedules/preview", `{"cron":"0 25 * * *"}`))["/cron"], "hour")
	require.Contains(t, b.mistakes(b.send(http.MethodPost, "/schedules/preview", `{"cron":"@daily","timezone":"Nowhere"}`)), "/timezone")
}

// TestEachFireOnce has five firers at many schedules, and looks at what they made.
func TestEachFireOnce(t *testing.T) {
	t.Parallel()
	b := start(t, pgtest.New(t))
	const n = 20
	for i := range n {
		b.create(fmt.Sprintf(`{"name":"s%d","cron":"* * * * * *",%s}`, i, job))
	}
	b.create(`{"name":"jitter","every":"1s","jitter":"900ms",` + job + `}`)
	stop := b.fire(5)
	require.Eventually(t, func() bool {
		return b.count(`SELECT coalesce(min(fires), 0) FROM signalstack.schedules`) >= 6
	}, patience, 50*time.Millisecond)
	stop()
	require.Zero(t, b.count(`SELECT count(*) FROM signalstack.schedule_misfires`))
	// No second is left out, and each has its job.
	require.Zero(t, b.count(`
		SELECT count(*) FROM (
		    SELECT schedule_id, extract(epoch FROM max(fire_at) - min(fire_at)) + 1 - count(*) AS gaps FROM signalstack.schedule_fires GROUP BY 1
		) AS f WHERE gaps <> 0`))
	require.Zero(t, b.count(`SELECT count(*) FROM signalstack.schedule_fires AS f LEFT JOIN signalstack.jobs AS j ON j.id = f.job_id AND j.schedule_id = f.schedule_id WHERE j.id IS NULL`))
	require.Equal(t, b.count(`SELECT count(*) FROM signalstack.schedule_fires`), b.count(`SELECT count(*) FROM signalstack.jobs`))
	require.Equal(t, b.count(`SELECT count(*) FROM signalstack.jobs`), b.count(`SELECT sum(fires) FROM signalstack.schedules`))
	require.Zero(t, b.count(`SELECT count(*) FROM signalstack.schedule_fires WHERE made_at < due_at OR due_at < fire_at`))
}

// TestHeldRowHoldsUpNoOther leaves a transaction open that holds a schedule, as a
// process does that dies in the midst of it.
func TestHeldRowHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	b := start(t, pgtest.New(t))
	held, other := b.create(`{"every":"1s",`+job+`}`), b.create(`{"every":"1s",`+job+`}`)
	tx, err := b.db.BeginTxx(t.Context(), nil)
	require.NoError(t, err)
	_, err = tx.ExecContext(t.Context(), `SELECT FROM signalstack.schedules WHERE id = $1 FOR UPDATE`, held.ID)
	require.NoError(t, err)
	b.fire(2)
	require.Eventually(t, func() bool { return b.get(other.ID).Fires >= 3 }, patience, 50*time.Millisecond)
	require.Zero(t, b.get(held.ID).Fires)
	require.NoError(t, tx.Rollback())
	require.Eventually(t, func() bool { return b.get(held.ID).Fires >= 4 }, patience, 50*time.Millisecond)
	// In one statement, as it goes on firing.
	require.Equal(t, 1, b.count(`
		SELECT ((SELECT count(*) FROM signalstack.jobs WHERE schedule_id = $1) = (SELECT count(*) FROM signalstack.schedule_fires WHERE schedule_id = $1))::int`, other.ID))
}

// TestDatabaseClock has a database whose clock is 40 minutes ahead of the host's.
func TestDatabaseClock(t *testing.T) {
	t.Parallel()
	url := pgtest.URL(t)
	// Past a pooler, whose connections must be made after the setting.
	db := pgtest.Open(t, cmp.Or(pgtest.Direct(t, url), url))
	for _, statement := range []string{
		`CREATE SCHEMA ahead`,
		`CREATE FUNCTION ahead.now() RETURNS timestamptz LANGUAGE sql STABLE AS $$ SELECT pg_catalog.now() + interval '40 minutes' $$`,
		`CREATE FUNCTION ahead.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS $$ SELECT pg_catalog.clock_timestamp() + interval '40 minutes' $$`,
		`DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = ahead, pg_catalog, public', current_database()); END $$`,
	} {
		_, err := db.ExecContext(t.Context(), statement)
		require.NoError(t, err)
	}
	b := start(t, pgtest.Open(t, url))
	require.Equal(t, 1, b.count(`SELECT (now() > pg_catalog.now() + interval '39 minutes')::int`), "the clock is not ahead")
	b.fire(1)
	over := time.Now().Add(20 * time.Minute).Format(time.RFC3339)
	require.Contains(t, b.mistakes(b.send(http.MethodPost, "/schedules", `{"at":"`+over+`",`+job+`}`)), "/at")
	s := b.create(`{"at":"` + time.Now().Add(40*time.Minute+2*time.Second).Format(time.RFC3339Nano) + `",` + job + `}`)
	require.Eventually(t, func() bool { return b.get(s.ID).Fires == 1 }, patience, 50*time.Millisecond)
	require.Equal(t, "ended", b.get(s.ID).State)
	require.Less(t, b.get(s.ID).History[0].LatenessM, 15_000.0)
}

func TestEventsGoThroughRules(t *testing.T) {
	t.Parallel()
	b := start(t, pgtest.New(t))
	for _, tenant := range []string{"a", "b"} {
		contract.Decode[rules.Rule](t, b.send(http.MethodPost, "/rules", `{"name":"r","tenant":"`+tenant+`","pattern":{"type":["tick"]},"actions":[{"kind":"test","payload":"<$.data.at>"}]}`), 201)
	}
	s := b.create(`{"name":"clock","tenant":"a","cron":"* * * * * *","action":{"event":{"type":"tick","subject":"of <$.schedule.name>","data":{"at":"<$.schedule.fire_time>"}}}}`)
	b.fire(2)
	require.Eventually(t, func() bool { return b.get(s.ID).Fires >= 2 }, patience, 50*time.Millisecond)
	fire := b.get(s.ID).History[0]
	require.Equal(t, "made", fire.State)
	var e struct {
		Tenant, Source, Subject, Data string
		Time                          time.Time
	}
	require.NoError(t, b.db.GetContext(t.Context(), &e, `SELECT tenant, source, subject, time, convert_from(data, 'UTF8') AS data FROM signalstack.events WHERE id = $1`, fire.EventID))
	at := fire.FireAt.Format(time.RFC3339Nano)
	require.Equal(t, []string{"a", "/schedules/" + s.ID.String(), "of clock", `{"at":"` + at + `"}`}, []string{e.Tenant, e.Source, e.Subject, e.Data})
	require.True(t, fire.FireAt.Equal(e.Time))
	var payloads []string
	require.NoError(t, b.db.SelectContext(t.Context(), &payloads, `SELECT tenant || convert_from(payload, 'UTF8') FROM signalstack.jobs WHERE event_id = $1`, fire.EventID))
	require.Equal(t, []string{`a"` + at + `"`}, payloads)
	listed := contract.Decode[httpapi.Page[schedules.Schedule]](t, b.send(http.MethodGet, "/schedules?tenant=b", ""), 200)
	require.Empty(t, listed.Data)
}

// back puts the next fire of a schedule into the past, as an outage does.
func (b *bundle) back(id uuid.UUID, ago string) {
	b.Helper()
	b.exec(`UPDATE signalstack.schedules SET next_at = date_trunc('minute', now()) - $2::interval, due_at = date_trunc('minute', now()) - $2::interval, anchor = date_trunc('minute', now()) - $2::interval WHERE id = $1`, id, ago)
}

func TestOutageOfTwoWeeks(t *testing.T) {
	t.Parallel()
	b := start(t, pgtest.New(t))
	policies := map[string]int{
		`"misfire":{"policy":"skip"}`: 0, `"misfire":{"policy":"latest"}`: 1, `"name":"default"`: 1,
		`"misfire":{"policy":"all","window":"60s","max":50}`: 12, `"misfire":{"policy":"all","window":"200h","max":50}`: 50,
	}
	made := map[uuid.UUID]int{}
	var cron []uuid.UUID
	for policy, n := range policies {
		made[b.create(`{"every":"5s",`+policy+`,`+job+`}`).ID] = n
		if policy != `"name":"default"` {
			id := b.create(`{"cron":"*/5 * * * * *","timezone":"America/New_York",` + policy + `,` + job + `}`).ID
			cron, made[id] = append(cron, id), n
		}
	}
	for id := range made {
		b.back(id, "14 days")
	}
	b.fire(2)
	for id, n := range made {
		require.Eventually(t, func() bool { return len(b.get(id).Misfires) == 1 }, patience, 20*time.Millisecond)
		m := b.get(id).Misfires[0]
		require.InDelta(t, n, m.Made, 1)
		require.WithinDuration(t, m.NoticedAt, m.To, 6*time.Second)
		require.WithinDuration(t, m.NoticedAt.Add(-14*24*time.Hour), m.From, time.Minute)
		// Beside them there are only those that were due in time since then.
		require.Zero(t, b.count(`
			SELECT count(j.id) - $2 - (SELECT count(*) FROM signalstack.schedule_fires WHERE schedule_id = $1 AND fire_at > $3)
			FROM signalstack.jobs AS j WHERE j.schedule_id = $1`, id, m.Made, m.To))
	}
	for id := range made {
		m := b.get(id).Misfires[0]
		exact := !slicesContain(cron, id)
		require.Equal(t, exact, m.Exact)
		if exact {
			require.Equal(t, int64(m.To.Sub(m.From)/(5*time.Second))+1, m.Count)
		}
		require.Equal(t, m.Count, b.get(id).Missed)
	}
}

func slicesContain(ids []uuid.UUID, id uuid.UUID) bool {
	for _, x := range ids {
		if x == id {
			return true
		}
	}
	return false
}

// TestShortStopIsNoMisfire stops the firers for a moment: what was due is made late.
func TestShortStopIsNoMisfire(t *testing.T) {
	t.Parallel()
	b := start(t, pgtest.New(t))
	s := b.create(`{"every":"1s",` + job + `}`)
	b.exec(`UPDATE signalstack.schedules SET anchor = now() - interval '8 seconds', next_at = now() - interval '8 seconds', due_at = now() - interval '8 seconds'`)
	b.fire(1)
	require.Eventually(t, func() bool { return b.get(s.ID).Fires >= 9 }, patience, 20*time.Millisecond)
	require.Empty(t, b.get(s.ID).Misfires)
}

// end ends a job.
func (b *bundle) end(id uuid.UUID) {
	b.Helper()
	_, err := queue.Cancel(b.Context(), b.db, id)
	require.NoError(b, err)
}

func TestOverlap(t *testing.T) {
	t.Parallel()
	b := start(t, pgtest.New(t))
	const far = `"cron":"0 0 1 1 *",` + job
	t.Run("skip", func(t *testing.T) {
		s := b.create(`{"overlap":"skip",` + far + `}`)
		first := b.run(s.ID, 201)
		require.Equal(t, "made", first.State)
		problem := contract.Decode[httpapi.Problem](t, b.send(http.MethodPost, "/schedules/"+s.ID.String()+"/run", ""), 409)
		require.Equal(t, "run_in_progress", problem.Code)
		b.end(*first.JobID)
		require.NotEqual(t, first.JobID, b.run(s.ID, 201).JobID)
	})
	t.Run("allow", func(t *testing.T) {
		s := b.create(`{` + far + `}`)
		first, second := b.run(s.ID, 201), b.run(s.ID, 201)
		require.NotEqual(t, first.JobID, second.JobID)
	})
	t.Run("cancel", func(t *testing.T) {
		s := b.create(`{"overlap":"cancel",` + far + `}`)
		first, second := b.run(s.ID, 201), b.run(s.ID, 201)
		require.Equal(t, []uuid.UUID{*first.JobID}, second.Canceled)
		require.Equal(t, 1, b.count(`SELECT count(*) FROM signalstack.attempts WHERE job_id = $1 AND state = 'canceled'`, first.JobID))
		require.Equal(t, 1, b.count(`SELECT count(*) FROM signalstack.ready WHERE job_id = $1`, second.JobID))
	})
	t.Run("queue", func(t *testing.T) {
		s := b.create(`{"overlap":"queue","max_queued":2,"paused":true,` + far + `}`)
		first := b.run(s.ID, 201)
		for range 2 {
			waits := b.run(s.ID, 202)
			require.Equal(t, "queued", waits.State)
			require.Nil(t, waits.JobID)
		}
		require.Equal(t, 409, b.send(http.MethodPost, "/schedules/"+s.ID.String()+"/run", "").Code)
		require.Equal(t, 2, b.get(s.ID).Queued)
		b.fire(2)
		b.end(*first.JobID)
		require.Eventually(t, func() bool { d := b.get(s.ID); return d.Queued == 1 && d.Fires == 2 }, patience, 20*time.Millisecond)
		oldest := b.get(s.ID).History[1]
		require.Equal(t, "made", oldest.State)
		b.end(*oldest.JobID)
		require.Eventually(t, func() bool { d := b.get(s.ID); return d.Queued == 0 && d.Fires == 3 }, patience, 20*time.Millisecond)
	})
	t.Run("by the clock", func(t *testing.T) {
		s := b.create(`{"overlap":"skip","every":"1s",` + job + `}`)
		b.fire(1)
		require.Eventually(t, func() bool { d := b.get(s.ID); return len(d.History) >= 3 }, patience, 20*time.Millisecond)
		require.Equal(t, int64(1), b.get(s.ID).Fires)
		require.Equal(t, "skipped", b.get(s.ID).History[0].State)
	})
}

func TestPauseChangeAndDelete(t *testing.T) {
	t.Parallel()
	b := start(t, pgtest.New(t))
	s := b.create(`{"name":"one","every":"1s","misfire":{"policy":"all"},` + job + `}`)
	path := "/schedules/" + s.ID.String()
	require.Equal(t, "paused", contract.Decode[schedules.Schedule](t, b.send(http.MethodPost, path+"/pause", ""), 200).State)
	b.exec(`UPDATE signalstack.schedules SET anchor = now() - interval '1 hour'`)
	stop := b.fire(1)
	b.run(s.ID, 201) // also while paused
	require.Equal(t, "active", contract.Decode[schedules.Schedule](t, b.send(http.MethodPost, path+"/resume", ""), 200).State)
	require.Eventually(t, func() bool { return b.get(s.ID).Fires >= 2 }, patience, 20*time.Millisecond)
	require.Zero(t, b.get(s.ID).Missed, "what was passed while it was paused is no misfire")
	stop()

	changed := contract.Decode[schedules.Schedule](t, b.send(http.MethodPatch, path, `{"cron":"0 12 * * *","timezone":"Asia/Kolkata","overlap":"skip"}`), 200)
	require.Empty(t, changed.Every)
	require.Equal(t, "06:30:00", changed.NextFireAt.Format(time.TimeOnly))
	next := contract.Decode[schedules.Schedule](t, b.send(http.MethodPatch, path, `{"name":"two"}`), 200).NextFireAt
	require.Equal(t, changed.NextFireAt, next)
	require.Contains(t, b.mistakes(b.send(http.MethodPatch, path, `{"cron":"0 0 31 4 *"}`)), "/cron")
	require.Contains(t, b.mistakes(b.send(http.MethodPatch, path, `{"every":"1h","at":"2040-01-01T00:00:00Z"}`)), "/at")
	require.Contains(t, b.mistakes(b.send(http.MethodPatch, path, `{"end":"2020-01-01T00:00:00Z"}`)), "/end")
	b.create(`{"name":"three","cron":"@daily",` + job + `}`)
	require.Equal(t, 409, b.send(http.MethodPatch, path, `{"name":"three"}`).Code)
	require.Equal(t, 409, b.send(http.MethodPost, "/schedules", `{"name":"three","cron":"@daily",`+job+`}`).Code)
	b.create(`{"name":"three","tenant":"other","cron":"@daily",` + job + `}`)

	page := contract.Decode[httpapi.Page[schedules.ScheduleFire]](t, b.send(http.MethodGet, path+"/fires?limit=1", ""), 200)
	require.Len(t, page.Data, 1)
	require.NotEmpty(t, page.NextCursor)
	require.Equal(t, 204, b.send(http.MethodDelete, path, "").Code)
	require.Equal(t, 404, b.send(http.MethodGet, path, "").Code)
	require.Equal(t, 404, b.send(http.MethodPost, path+"/run", "").Code)
	require.Zero(t, b.count(`SELECT count(*) FROM signalstack.schedule_fires`))
	require.NotZero(t, b.count(`SELECT count(*) FROM signalstack.jobs`))
}

func TestIdempotencyKeys(t *testing.T) {
	t.Parallel()
	b := start(t, pgtest.New(t))
	body := `{"name":"one","cron":"@daily",` + job + `}`
	first := b.send(http.MethodPost, "/schedules", body, "Idempotency-Key", "k")
	again := b.send(http.MethodPost, "/schedules", body, "Idempotency-Key", "k")
	require.Equal(t, 201, again.Code)
	require.Equal(t, first.Body.String(), again.Body.String())
	require.Equal(t, "true", again.Header().Get("Idempotency-Replayed"))
	require.Equal(t, 422, b.send(http.MethodPost, "/schedules", `{"cron":"@daily",`+job+`}`, "Idempotency-Key", "k").Code)
	path := "/schedules/" + contract.Decode[schedules.Schedule](t, first, 201).ID.String() + "/run"
	run, same := b.send(http.MethodPost, path, "", "Idempotency-Key", "r"), b.send(http.MethodPost, path, "", "Idempotency-Key", "r")
	require.Equal(t, run.Body.String(), same.Body.String())
	require.Equal(t, 1, b.count(`SELECT count(*) FROM signalstack.jobs`))
}

// TestBadActionSpoilsNoOther has an action that was right once.
func TestBadActionSpoilsNoOther(t *testing.T) {
	t.Parallel()
	b := start(t, pgtest.New(t))
	bad, good, unreadable := b.create(`{"every":"1s",`+job+`}`), b.create(`{"every":"1s",`+job+`}`), b.create(`{"every":"1s",`+job+`}`)
	b.exec(`UPDATE signalstack.schedules SET action = '{"job":{"kind":"gone"}}' WHERE id = $1`, bad.ID)
	b.exec(`UPDATE signalstack.schedules SET spec = '{"cron":"@newer"}' WHERE id = $1`, unreadable.ID)
	b.fire(1)
	require.Eventually(t, func() bool { return b.get(good.ID).Fires >= 2 && len(b.get(bad.ID).History) >= 2 }, patience, 20*time.Millisecond)
	fire := b.get(bad.ID).History[0]
	require.Equal(t, "failed", fire.State)
	require.Contains(t, fire.Detail, "/kind")
	require.Equal(t, 409, b.send(http.MethodPost, "/schedules/"+bad.ID.String()+"/run", "").Code)
	require.Equal(t, 1, b.count(`SELECT count(*) FROM signalstack.schedules WHERE due_at > now() + interval '30 seconds'`), "it is put off")
}

func TestRetention(t *testing.T) {
	t.Parallel()
	b := start(t, pgtest.New(t))
	often, once := b.create(`{"cron":"@daily",`+job+`}`), b.create(`{"at":"2040-01-01T00:00:00Z",`+job+`}`)
	insert := `INSERT INTO signalstack.schedule_fires SELECT $1, now() - n * interval '1 second', false, 'made', now(), now() - $3::interval, NULL, NULL, '' FROM generate_series(1, $2::int) AS n`
	b.exec(insert, often.ID, 2500, "0")
	b.exec(`UPDATE signalstack.schedules SET history = 2500 WHERE id = $1`, often.ID)
	b.exec(insert, once.ID, 1, "8 days")
	b.exec(`UPDATE signalstack.schedules SET next_at = NULL, due_at = NULL, updated_at = now() - interval '8 days' WHERE id = $1`, once.ID)
	s := schedules.Sweeper{DB: b.db, Log: slog.New(slog.DiscardHandler), Keep: 30 * 24 * time.Hour}
	require.NoError(t, s.Pass(t.Context()))
	require.Equal(t, 1001, b.count(`SELECT count(*) FROM signalstack.schedule_fires`))
	s.Keep = 7 * 24 * time.Hour
	require.NoError(t, s.Pass(t.Context()))
	require.Equal(t, 1000, b.count(`SELECT count(*) FROM signalstack.schedule_fires`))
	require.Equal(t, 1, b.count(`SELECT count(*) FROM signalstack.schedules`))
}
