package external_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/contract"
	"github.com/signalstack/signalstack/internal/external"
	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/intake"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/pgtest"
	"github.com/signalstack/signalstack/internal/queue"
)

// desk is a server process with the operations on jobs and those of external workers.
type desk struct {
	db      *pg.DB
	api     *external.API
	kinds   *jobs.Registry
	handler http.Handler
	plain   http.Handler // without the check against the document, which takes its time
}

func open(t *testing.T) *desk {
	t.Helper()
	db := pgtest.New(t)
	require.NoError(t, queue.EnsureAhead(t.Context(), db))
	return openOn(t, db)
}

// openOn adds a process on a database.
func openOn(t *testing.T, db *pg.DB) *desk {
	t.Helper()
	d := &desk{db: db, kinds: jobs.NewRegistry(external.Kind(), jobs.Kind{
		Name: "inside", Timeout: time.Minute, MaxAttempts: 3,
		Check: func(json.RawMessage, jobs.Later) []fault.Detail { return nil },
		Run:   func(context.Context, jobs.Job) (jobs.Result, error) { return jobs.Result{}, nil },
	})}
	log := slog.New(slog.DiscardHandler)
	in := jobs.NewIntake(db, intake.Config{KeyTTL: time.Hour, MaxWaiting: 500})
	d.api = external.New(db, db, d.kinds, log)
	ctx, stop := context.WithCancel(context.Background())
	ran, taken := make(chan struct{}), make(chan struct{})
	go func() { d.api.Run(ctx); close(ran) }()
	go func() { in.Run(ctx); close(taken) }()
	t.Cleanup(func() { stop(); <-ran; <-taken })
	api := httpapi.New(httpapi.Config{Version: "test", MaxBody: 4 << 20, Log: log, Fault: pg.Fault})
	(&jobs.API{DB: db, Kinds: d.kinds, Intake: in}).Routes(api)
	d.api.Routes(api)
	d.handler, d.plain = contract.Handler(t, api), api.Handler()
	return d
}

func (d *desk) post(path, body string) *httptest.ResponseRecorder {
	return contract.Send(d.handler, http.MethodPost, path, body)
}

// add makes a job; fields begins with a comma.
func (d *desk) add(t *testing.T, fields string) jobs.Detailed {
	t.Helper()
	return contract.Decode[jobs.Detailed](t, d.post("/jobs", `{"kind":"external"`+fields+`}`), http.StatusCreated)
}

func (d *desk) job(t *testing.T, id uuid.UUID) jobs.Detailed {
	t.Helper()
	return contract.Decode[jobs.Detailed](t, contract.Send(d.handler, http.MethodGet, "/jobs/"+id.String(), ""), http.StatusOK)
}

type claimed struct{ Data []external.ClaimedJob }

func (d *desk) claim(t *testing.T, body string) []external.ClaimedJob {
	t.Helper()
	return contract.Decode[claimed](t, d.post("/jobs/claim", body), http.StatusOK).Data
}

// claimOne claims the one job that there is.
func (d *desk) claimOne(t *testing.T, body string) external.ClaimedJob {
	t.Helper()
	got := d.claim(t, body)
	require.Len(t, got, 1)
	return got[0]
}

func (d *desk) say(t *testing.T, lease, what, body string) external.LeaseEnded {
	t.Helper()
	return contract.Decode[external.LeaseEnded](t, d.post("/leases/"+lease+"/"+what, body), http.StatusOK)
}

// lost is a 409 with what has happened since.
type lost struct {
	Code  string
	About external.Since
}

func (d *desk) lost(t *testing.T, lease, what, body string) lost {
	t.Helper()
	return contract.Decode[lost](t, d.post("/leases/"+lease+"/"+what, body), http.StatusConflict)
}

// words are what a worker can say of a lease, with a body that is right.
var words = map[string]string{
	"extend": `{}`, "progress": `{"progress":1}`, "complete": `{"result":1}`, "fail": `{"error":"x"}`, "snooze": `{}`,
}

// crash lets the lease of a job run out, and waits until the reaper has seen it.
func (d *desk) crash(t *testing.T, id uuid.UUID) {
	t.Helper()
	_, err := d.db.ExecContext(t.Context(), `UPDATE signalstack.running SET lease_until = now() - interval '1 second' WHERE job_id = $1`, id)
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	reaper := &queue.Reaper{DB: d.db, Log: slog.New(slog.DiscardHandler), Interval: 20 * time.Millisecond, Lease: 100 * time.Millisecond}
	go func() { _ = reaper.Run(ctx); close(done) }()
	require.Eventually(t, func() bool {
		var runs bool
		err := d.db.GetContext(context.Background(), &runs, `SELECT EXISTS (SELECT FROM signalstack.running WHERE job_id = $1 AND lease_until < now())`, id)
		return err == nil && !runs
	}, 20*time.Second, 10*time.Millisecond)
	stop()
	<-done
}

func TestJobIsClaimedAndCompleted(t *testing.T) {
	t.Parallel()
	d := open(t)
	made := d.add(t, `,"payload":{"n":9007199254740993,"n":1},"tenant":"acme","priority":1,"ordering_key":"k"`)
	require.Equal(t, "external", made.Queue)
	require.Equal(t, "10m0s", made.Timeout)
	j := d.claimOne(t, `{"worker":"w 1","lease":"30s"}`)
	require.Equal(t, made.ID, j.ID)
	require.Equal(t, `{"n":9007199254740993,"n":1}`, string(j.Payload))
	require.Equal(t, []any{"acme", "external", "external", 1, 1, 8, "k"}, []any{j.Tenant, j.Kind, j.Queue, j.Priority, j.Attempt, j.MaxAttempts, j.OrderingKey})
	running := d.job(t, made.ID)
	require.Equal(t, queue.Running, running.State)
	require.Equal(t, "w 1", running.Attempts[0].WorkerName)
	require.Equal(t, 30*time.Second, j.LeaseUntil.Sub(*running.StartedAt))
	require.Equal(t, 10*time.Minute, j.Deadline.Sub(*running.StartedAt))
	require.Empty(t, d.claim(t, `{}`), "somebody has it")

	require.Equal(t, external.LeaseEnded{JobID: made.ID, State: queue.Succeeded}, d.say(t, j.Lease, "complete", `{"result":{"pages": 3}}`))
	done := d.job(t, made.ID)
	require.Equal(t, queue.Succeeded, done.State)
	require.JSONEq(t, `{"pages":3}`, string(done.Result))
	require.Equal(t, "w 1", done.Attempts[0].WorkerName)
	require.Equal(t, queue.OutcomeSucceeded, done.Attempts[0].Outcome)

	require.Equal(t, external.LeaseEnded{JobID: made.ID, State: queue.Succeeded, Replayed: true}, d.say(t, j.Lease, "complete", `{"result":"other"}`),
		"who did not hear the answer asks again")
	require.JSONEq(t, `{"pages":3}`, string(d.job(t, made.ID).Result), "the first stands")
	require.Equal(t, queue.OutcomeSucceeded, d.lost(t, j.Lease, "fail", `{"error":"x"}`).About.Outcome)

	var counted int
	require.NoError(t, d.db.GetContext(t.Context(), &counted, `SELECT sum(n) FROM signalstack.analytics_deltas WHERE fact = 'attempt' AND outcome = 'succeeded'`))
	require.Equal(t, 1, counted)
}

func TestLeaseThatWasNeverGivenIsUnknown(t *testing.T) {
	t.Parallel()
	d, other := open(t), open(t)
	d.add(t, "")
	other.add(t, "")
	mine, foreign := d.claimOne(t, `{}`).Lease, other.claimOne(t, `{}`).Lease
	flipped := []byte(mine)
	flipped[10] ^= 1
	for name, lease := range map[string]string{
		"of another database": foreign, "changed": string(flipped), "cut": mine[:len(mine)-1], "longer": mine + "A", "a job's id": uuid.NewString(), "made up": "lease_x",
	} {
		for what, body := range words {
			rec := d.post("/leases/"+lease+"/"+what, body)
			problem := contract.Decode[httpapi.Problem](t, rec, http.StatusNotFound)
			require.Equal(t, "lease_not_found", problem.Code, "%s: %s", name, what)
		}
	}
	d.say(t, mine, "complete", ``) // no body is an empty one
}

func TestCrashedWorkersJobRunsElsewhereAndItsLateWordIsRefused(t *testing.T) {
	t.Parallel()
	d := open(t)
	made := d.add(t, "")
	frozen := d.claimOne(t, `{"worker":"frozen"}`)
	d.crash(t, made.ID)
	second := openOn(t, d.db) // the other process knows the leases of the first
	heir := second.claimOne(t, `{"worker":"heir","wait":"20s"}`)
	require.Equal(t, made.ID, heir.ID)
	require.Equal(t, 2, heir.Attempt)
	for what, body := range words {
		got := d.lost(t, frozen.Lease, what, body)
		require.Equal(t, "lease_lost", got.Code, what)
		require.Equal(t, queue.Running, got.About.State, what)
		require.Equal(t, queue.OutcomeCrashed, got.About.Outcome, what)
		require.Equal(t, "heir", got.About.WorkerName, what)
		require.Equal(t, 2, got.About.Attempt, what)
		require.NotNil(t, got.About.EndedAt, what)
	}
	require.Equal(t, queue.Running, d.job(t, made.ID).State, "nothing was changed")
	require.Equal(t, queue.Succeeded, d.say(t, heir.Lease, "complete", `{"result":"heir's"}`).State)
	require.Equal(t, queue.Succeeded, d.lost(t, frozen.Lease, "complete", `{}`).About.State)
	require.JSONEq(t, `"heir's"`, string(d.job(t, made.ID).Result))
}

func TestHalfOfAnArrayIsExpired(t *testing.T) {
	t.Parallel()
	d := open(t)
	for range 5 {
		d.add(t, `,"max_attempts":2`)
	}
	got := d.claim(t, `{"max":1000}`)
	require.Len(t, got, 5)
	d.crash(t, got[1].ID)
	item := func(lease, rest string) string { return fmt.Sprintf(`{"lease":%q%s}`, lease, rest) }
	body := "[" + item(got[0].Lease, `,"result":0`) + "," + item(got[1].Lease, "") + "," + item("lease_x", "") + "," + item(got[0].Lease, "") + "," +
		item(got[2].Lease, `,"result":"`+long(64<<10)+`"`) + "," + item(got[3].Lease, "") + `,{"result":1}]`
	rec := d.post("/leases/complete", body)
	out := contract.Decode[struct{ Data []external.LeaseItem }](t, rec, http.StatusMultiStatus).Data
	var statuses []int
	for i, o := range out {
		require.Equal(t, i, o.Index)
		statuses = append(statuses, o.Status)
	}
	require.Equal(t, []int{200, 409, 404, 422, 422, 200, 422}, statuses, rec.Body)
	require.Equal(t, "/result", out[4].Error.Errors[0].Pointer)
	require.Equal(t, "/lease", out[6].Error.Errors[0].Pointer)
	require.Equal(t, got[0].ID, *out[0].JobID)
	for i, want := range map[int]queue.State{0: queue.Succeeded, 1: queue.Pending, 2: queue.Running, 3: queue.Succeeded, 4: queue.Running} {
		require.Equal(t, want, d.job(t, got[i].ID).State, i)
	}
	rec = d.post("/leases/fail", "["+item(got[2].Lease, `,"error":"a","retry":false`)+","+item(got[4].Lease, `,"error":"b","retry_after":"1h"`)+"]")
	out = contract.Decode[struct{ Data []external.LeaseItem }](t, rec, http.StatusOK).Data
	require.Equal(t, queue.Failed, out[0].State)
	require.Equal(t, queue.Retrying, out[1].State)
	require.WithinDuration(t, time.Now().Add(time.Hour), *out[1].NextAttemptAt, time.Minute)
}

func long(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = 'x'
	}
	return string(b)
}

func TestFailureSaysWhetherAndWhenToTryAgain(t *testing.T) {
	t.Parallel()
	d := open(t)
	by := func(fields, body string) (external.LeaseEnded, jobs.Detailed) {
		made := d.add(t, fields)
		ended := d.say(t, d.claimOne(t, `{}`).Lease, "fail", body)
		return ended, d.job(t, made.ID)
	}
	ladder := `,"retry":{"strategy":"ladder","ladder":["30m"],"jitter":"none"}`
	ended, job := by(ladder, `{"error":"disk\u0000 full"}`)
	require.Equal(t, queue.Retrying, ended.State)
	require.WithinDuration(t, job.CreatedAt.Add(30*time.Minute), *ended.NextAttemptAt, time.Minute, "the job's policy")
	require.Equal(t, *job.NextAttemptAt, *ended.NextAttemptAt)
	require.Equal(t, "disk\uFFFD full", job.Attempts[0].Error)
	ended, job = by(ladder, `{"error":"busy","retry_after":"2h"}`)
	require.WithinDuration(t, job.CreatedAt.Add(2*time.Hour), *ended.NextAttemptAt, time.Minute)
	ended, job = by(ladder, `{"error":"broken","retry":false}`)
	require.Equal(t, external.LeaseEnded{JobID: job.ID, State: queue.Failed}, ended)
	require.Equal(t, queue.OutcomePermanent, job.Attempts[0].Outcome)
	ended, job = by(`,"max_attempts":1`, `{"error":"again","retry":true,"retry_after":"1s"}`)
	require.Equal(t, queue.Failed, ended.State)
	require.Equal(t, queue.OutcomeError, job.Attempts[0].Outcome)

	made := d.add(t, ladder)
	lease := d.claimOne(t, `{}`).Lease
	d.say(t, lease, "fail", `{"error":"first"}`)
	require.True(t, d.say(t, lease, "fail", `{"error":"second"}`).Replayed)
	require.Equal(t, "first", d.job(t, made.ID).Attempts[0].Error)
	require.Equal(t, queue.OutcomeError, d.lost(t, lease, "complete", `{}`).About.Outcome)
}

func TestSnoozeBurnsNoAttempt(t *testing.T) {
	t.Parallel()
	d := open(t)
	made := d.add(t, `,"max_attempts":1`)
	lease := d.claimOne(t, `{}`).Lease
	require.Equal(t, queue.Pending, d.say(t, lease, "snooze", ``).State)
	require.Empty(t, d.lost(t, lease, "snooze", `{}`).About.Outcome)
	again := d.claimOne(t, `{}`)
	require.Equal(t, 1, again.Attempt)
	require.NotEqual(t, lease, again.Lease)
	ended := d.say(t, again.Lease, "snooze", `{"delay":"3h"}`)
	require.Equal(t, queue.Scheduled, ended.State)
	job := d.job(t, made.ID)
	require.Equal(t, queue.Scheduled, job.State)
	require.Equal(t, *ended.NextAttemptAt, *job.NextAttemptAt)
	require.Empty(t, job.Attempts)
}

func TestCancelIsToldWithTheNextWord(t *testing.T) {
	t.Parallel()
	d := open(t)
	begin := func() external.ClaimedJob {
		d.add(t, "")
		j := d.claimOne(t, `{}`)
		held := contract.Decode[external.LeaseHeld](t, d.post("/leases/"+j.Lease+"/extend", ``), http.StatusOK)
		require.False(t, held.Canceled)
		require.Equal(t, queue.Running, contract.Decode[jobs.Detailed](t, d.post("/jobs/"+j.ID.String()+"/cancel", ``), http.StatusOK).State)
		return j
	}
	j := begin()
	for _, what := range []string{"extend", "progress"} {
		require.True(t, contract.Decode[external.LeaseHeld](t, d.post("/leases/"+j.Lease+"/"+what, words[what]), http.StatusOK).Canceled, what)
	}
	require.Equal(t, queue.Canceled, d.say(t, j.Lease, "fail", `{"error":"stopped","retry":false}`).State)
	require.Equal(t, queue.OutcomeCanceled, d.job(t, j.ID).Attempts[0].Outcome)
	j = begin()
	require.Equal(t, queue.Succeeded, d.say(t, j.Lease, "complete", `{}`).State, "the work is done all the same")
	j = begin()
	require.Equal(t, queue.Canceled, d.say(t, j.Lease, "snooze", `{}`).State)
	j = begin()
	d.crash(t, j.ID)
	require.Equal(t, queue.Canceled, d.job(t, j.ID).State)
}

func TestProgressIsShownWhileTheJobRuns(t *testing.T) {
	t.Parallel()
	d := open(t)
	made := d.add(t, "")
	require.Nil(t, made.Progress)
	j := d.claimOne(t, `{"lease":"5s"}`)
	say := func(body string) external.LeaseHeld {
		return contract.Decode[external.LeaseHeld](t, d.post("/leases/"+j.Lease+"/progress", body), http.StatusOK)
	}
	require.Equal(t, j.LeaseUntil, say(`{"progress":{"done":1,"of":9}}`).LeaseUntil, "it leaves the lease as it is")
	require.Greater(t, say(`{"progress":{"done":2,"of":9},"lease":"2m"}`).LeaseUntil.Sub(j.LeaseUntil), time.Minute)
	require.JSONEq(t, `{"done":2,"of":9}`, string(d.job(t, made.ID).Progress.Progress))
	sweeper := &external.Sweeper{DB: d.db}
	require.NoError(t, sweeper.Pass(t.Context()))
	require.NotNil(t, d.job(t, made.ID).Progress)
	d.crash(t, made.ID)
	j = d.claimOne(t, `{"wait":"20s"}`)
	require.Nil(t, d.job(t, made.ID).Progress, "that was another attempt")
	d.say(t, j.Lease, "complete", ``)
	require.NoError(t, sweeper.Pass(t.Context()))
	var left int
	require.NoError(t, d.db.GetContext(t.Context(), &left, `SELECT count(*) FROM signalstack.lease_progress`))
	require.Zero(t, left)
}

func TestAttemptLastsNoLongerThanItsTimeout(t *testing.T) {
	t.Parallel()
	d := open(t)
	made := d.add(t, `,"timeout":"20s","retry":{"strategy":"ladder","ladder":["1h"]}`)
	j := d.claimOne(t, `{"lease":"1h"}`)
	require.Equal(t, j.Deadline, j.LeaseUntil, "no lease is longer than the timeout")
	var until time.Time
	require.NoError(t, d.db.GetContext(t.Context(), &until, `SELECT lease_until FROM signalstack.running`))
	require.WithinDuration(t, j.Deadline, until, 10*time.Second, "nor in truth")
	held := contract.Decode[external.LeaseHeld](t, d.post("/leases/"+j.Lease+"/extend", `{"lease":"16s"}`), http.StatusOK)
	require.LessOrEqual(t, held.LeaseUntil.Sub(held.Deadline), 8*time.Second, "half a lease beyond")
	_, err := d.db.ExecContext(t.Context(), `UPDATE signalstack.running SET started_at = started_at - interval '1 hour'`)
	require.NoError(t, err)
	got := d.lost(t, j.Lease, "extend", `{}`)
	require.Equal(t, "lease_timed_out", got.Code)
	require.Equal(t, queue.OutcomeTimeout, got.About.Outcome)
	job := d.job(t, made.ID)
	require.Equal(t, queue.Retrying, job.State)
	require.Equal(t, queue.OutcomeTimeout, job.Attempts[0].Outcome)
	require.Equal(t, "lease_lost", d.lost(t, j.Lease, "complete", `{}`).Code)
}

func TestWrongBodiesAreRefusedWithEveryMistake(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.add(t, "")
	lease := d.claimOne(t, `{}`).Lease
	for _, c := range []struct {
		path, body string
		pointers   []string
	}{
		{
			"/jobs/claim", `{"queues":["a b",""],"kinds":["webhook","external"],"max":0,"wait":"61s","lease":"4s","worker":"a\nb","tenant":"#","more":1}`,
			[]string{"/kinds/0", "/lease", "/max", "/more", "/queues/0", "/queues/1", "/tenant", "/wait", "/worker"},
		},
		{"/jobs/claim", `{"queues":[],"max":1001,"wait":30,"lease":"61m"}`, []string{"/lease", "/max", "/queues", "/wait"}},
		{"/leases/" + lease + "/extend", `{"lease":"1s"}`, []string{"/lease"}},
		{"/leases/" + lease + "/progress", `{"lease":"x"}`, []string{"/lease", "/progress"}},
		{"/leases/" + lease + "/progress", `{"progress":"` + long(8<<10) + `"}`, []string{"/progress"}},
		{"/leases/" + lease + "/complete", `{"result":"` + long(64<<10) + `"}`, []string{"/result"}},
		{"/leases/" + lease + "/fail", `{}`, []string{"/error"}},
		{"/leases/" + lease + "/fail", `{"error":"","retry":false,"retry_after":"1s"}`, []string{"/error", "/retry_after"}},
		{"/leases/" + lease + "/fail", `{"error":"x","retry_after":"-1s"}`, []string{"/retry_after"}},
		{"/leases/" + lease + "/snooze", `{"delay":"soon"}`, []string{"/delay"}},
		{"/jobs", `{"kind":"inside","queue":"external"}`, []string{"/queue"}},
		{"/jobs", `{"kind":"inside","queue":"external:mail"}`, []string{"/queue"}},
		{"/jobs", `{"kind":"external","queue":"` + long(55) + `"}`, []string{"/queue"}},
	} {
		problem := contract.Decode[httpapi.Problem](t, d.post(c.path, c.body), http.StatusUnprocessableEntity)
		var pointers []string
		for _, m := range problem.Errors {
			pointers = append(pointers, m.Pointer)
		}
		require.ElementsMatch(t, c.pointers, pointers, "%s %.80s", c.path, c.body)
	}
	require.Equal(t, queue.Succeeded, d.say(t, lease, "complete", ``).State, "none of it ended the lease")
}

// enqueue makes jobs as SQL may: without the checks of the API.
func (d *desk) enqueue(t *testing.T, all ...queue.NewJob) {
	t.Helper()
	for i := range all {
		j := &all[i]
		j.ID, j.Priority, j.MaxAttempts, j.Timeout = uuid.Must(uuid.NewV7()), 2, 3, time.Minute
		if j.Tenant == "" {
			j.Tenant = "default"
		}
	}
	require.NoError(t, pg.InTx(t.Context(), d.db, func(tx *sqlx.Tx) error { return queue.Enqueue(t.Context(), tx, all) }))
}
