package jobs_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/contract"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

func (f *front) job(t *testing.T, status int, method, path, body string) jobs.Detailed {
	t.Helper()
	return contract.Decode[jobs.Detailed](t, contract.Send(f.handler, method, path, body), status)
}

func (f *front) code(t *testing.T, status int, method, path, body string) string {
	t.Helper()
	return contract.Decode[httpapi.Problem](t, contract.Send(f.handler, method, path, body), status).Code
}

func TestOperatorsCancelRetryAndChangeJobs(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	made := f.job(t, 201, http.MethodPost, "/jobs", `{"kind":"test","delay":"1h"}`)
	path := "/jobs/" + made.ID.String()
	changed := f.job(t, 200, http.MethodPatch, path, `{"priority":1,"run_at":"2020-01-01T00:00:00Z"}`)
	require.Equal(t, queue.Pending, changed.State)
	require.Equal(t, 1, changed.Priority)
	canceled := f.job(t, 200, http.MethodPost, path+"/cancel", "")
	require.Equal(t, queue.Canceled, canceled.State)
	require.Empty(t, canceled.Attempts, "it was never tried")
	require.NotNil(t, canceled.FinishedAt)
	require.Nil(t, canceled.StartedAt)
	require.Equal(t, "job_ended", f.code(t, 409, http.MethodPost, path+"/cancel", ""))
	require.Equal(t, "job_ended", f.code(t, 409, http.MethodPatch, path, `{"priority":1}`))
	again := f.job(t, 200, http.MethodPost, path+"/retry", "")
	require.Equal(t, queue.Pending, again.State)
	require.Nil(t, again.FinishedAt)
	require.Equal(t, "job_not_ended", f.code(t, 409, http.MethodPost, path+"/retry", ""))
	require.Len(t, claimAll(t, f.db), 1)
	running := f.job(t, 200, http.MethodPost, path+"/cancel", "")
	require.Equal(t, queue.Running, running.State, "its worker is asked")
	require.Equal(t, "job_running", f.code(t, 409, http.MethodPatch, path, `{"priority":1}`))
	for _, bad := range []string{`{"priority":5}`, `{"run_at":"soon"}`, `{"run_at":"2999-01-01T00:00:00Z"}`, `{"queue":"x"}`} {
		require.Equal(t, 422, contract.Send(f.handler, http.MethodPatch, path, bad).Code, bad)
	}
	require.Equal(t, 404, contract.Send(f.handler, http.MethodPost, "/jobs/"+uuid.NewString()+"/cancel", "").Code)
	require.Equal(t, 404, contract.Send(f.handler, http.MethodPost, "/jobs/"+uuid.NewString()+"/retry", "").Code)
}

func TestUniqueJobKeepsTheOneThatStands(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	body := `{"kind":"test","payload":1,"unique":{"key":"k"}}`
	first := f.job(t, 201, http.MethodPost, "/jobs", body)
	require.Equal(t, first.ID, f.job(t, 201, http.MethodPost, "/jobs", body).ID)
	require.NotEqual(t, first.ID, f.job(t, 201, http.MethodPost, "/jobs", `{"kind":"test","unique":{"key":"k"},"tenant":"acme"}`).ID, "keys are a tenant's own")
	claimed, err := queue.NewClaimer(f.db, "default", uuid.New(), time.Minute, 0).Claim(t.Context(), 10)
	require.NoError(t, err)
	require.Equal(t, first.ID, f.job(t, 201, http.MethodPost, "/jobs", body).ID, "also while it runs")
	for _, c := range claimed {
		_, err = queue.Settle(t.Context(), f.db, []queue.Settlement{{JobID: c.ID, Lease: 1, State: queue.Succeeded, Outcome: queue.OutcomeSucceeded}})
		require.NoError(t, err)
	}
	kept := f.job(t, 201, http.MethodPost, "/jobs", `{"kind":"test","unique":{"key":"k","states":["succeeded"]}}`)
	require.Equal(t, first.ID, kept.ID, "when that state counts")
	require.NotEqual(t, first.ID, f.job(t, 201, http.MethodPost, "/jobs", body).ID)
}

func TestUniqueJobReplacesOrExtendsTheOneThatWaits(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	unique := func(mode, delay, payload string) jobs.Detailed {
		return f.job(t, 201, http.MethodPost, "/jobs", `{"kind":"test","delay":"`+delay+`","payload":`+payload+`,"unique":{"key":"k","mode":"`+mode+`"}}`)
	}
	first := unique("replace", "1h", "1")
	second := unique("replace", "3h", "2")
	require.WithinDuration(t, first.RunAt, second.RunAt, time.Second, "the time of the one before")
	third := unique("extend", "5h", "3")
	require.WithinDuration(t, time.Now().Add(5*time.Hour), third.RunAt, time.Minute, "a time of its own")
	for _, gone := range []jobs.Detailed{first, second} {
		require.Equal(t, queue.Canceled, f.job(t, 200, http.MethodGet, "/jobs/"+gone.ID.String(), "").State)
	}
	require.Equal(t, []string{third.ID.String()}, f.list(t, "/jobs?state=scheduled"))
	now := time.Now()
	require.NoError(t, queue.Change{RunAt: &now}.Apply(t.Context(), f.db, third.ID))
	require.Len(t, claimAll(t, f.db), 1)
	beside := unique("replace", "1ms", "4")
	require.NotEqual(t, third.ID, beside.ID, "one that runs is left alone, and nothing is swallowed")
}

func TestFiftyUniqueAtOnceMakeOneJob(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	fronts := []http.Handler{f.handler, serve(t, f.db)}
	ids := make([]uuid.UUID, 50)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			rec := contract.Send(fronts[i%2], http.MethodPost, "/jobs", `{"kind":"test","unique":{"key":"same"}}`)
			var j jobs.Detailed
			if rec.Code == 201 && json.Unmarshal(rec.Body.Bytes(), &j) == nil {
				ids[i] = j.ID
			}
		})
	}
	wg.Wait()
	for _, id := range ids {
		require.Equal(t, ids[0], id)
	}
	require.Equal(t, 1, f.jobsStored(t))
	require.Equal(t, 422, contract.Send(f.handler, http.MethodPost, "/jobs?atomic=true", `[{"kind":"test","unique":{"key":"a"}},{"kind":"test","unique":{"key":"a"}}]`).Code)
	for _, bad := range []string{`{"key":""}`, `{"key":"a","mode":"maybe"}`, `{"key":"a","states":["gone"]}`, `{"key":"a\u0000"}`} {
		require.Equal(t, 422, contract.Send(f.handler, http.MethodPost, "/jobs", `{"kind":"test","unique":`+bad+`}`).Code, bad)
	}
}

// TestRunningJobIsCanceledWithinTwoSeconds hears of it by notification, and without.
func TestRunningJobIsCanceledWithinTwoSeconds(t *testing.T) {
	t.Parallel()
	for name, deaf := range map[string]bool{"notified": false, "notifications cut off": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			running := make(chan struct{})
			b := start(t, func(ctx context.Context, _ jobs.Job) (jobs.Result, error) {
				close(running)
				<-ctx.Done()
				return jobs.Result{}, ctx.Err()
			}, func(c *jobs.RunnerConfig) {
				c.Lease = time.Minute
				if deaf {
					nowhere, err := pg.Open("postgres://u@127.0.0.1:1/x?sslmode=disable", pg.Options{Role: "test"})
					require.NoError(t, err)
					c.Listen = nowhere
				}
			})
			id := b.add(t)
			<-running
			asked := time.Now()
			state, err := queue.Cancel(t.Context(), b.db, id)
			require.NoError(t, err)
			require.Equal(t, queue.Running, state)
			job := b.await(t, id, queue.Canceled)
			require.Less(t, time.Since(asked), 2*time.Second)
			require.Equal(t, queue.OutcomeCanceled, job.Attempts[0].Outcome)
		})
	}
}

func TestSnoozeBurnsNoAttempt(t *testing.T) {
	t.Parallel()
	runs := make(chan int, 10)
	b := start(t, func(_ context.Context, j jobs.Job) (jobs.Result, error) {
		runs <- j.Attempt
		if len(runs) < 3 {
			return jobs.Result{}, jobs.Snooze(20*time.Millisecond, errors.New("not now"))
		}
		return jobs.Result{}, nil
	})
	job := b.await(t, b.add(t), queue.Succeeded)
	require.Len(t, job.Attempts, 1)
	require.Equal(t, []int{1, 1, 1}, []int{<-runs, <-runs, <-runs})
}
