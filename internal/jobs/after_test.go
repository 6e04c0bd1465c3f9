package jobs_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/contract"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/queue"
)

// answers are those to the items of an array.
type answers struct {
	Data []struct {
		Status int
		jobs.Detailed
		Error *httpapi.Problem
	}
}

func TestJobsOfAnArrayWaitForEachOther(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	made := contract.Decode[answers](t, contract.Send(f.handler, http.MethodPost, "/jobs", `[
		{"kind":"test","ref":"last","after":["*"],"after_outcome":"any"},
		{"kind":"test","ref":"a"},
		{"kind":"test","after":["a","a"]}]`), http.StatusCreated).Data
	require.Equal(t, []queue.State{queue.Blocked, queue.Pending, queue.Blocked}, []queue.State{made[0].State, made[1].State, made[2].State})
	require.Equal(t, []uuid.UUID{made[1].ID, made[2].ID}, made[0].After)
	require.Equal(t, []uuid.UUID{made[1].ID}, made[2].After)
	require.Equal(t, []string{"any", "", "success"}, []string{made[0].AfterOutcome, made[1].AfterOutcome, made[2].AfterOutcome})
}

func TestCreatedFollowerIsShownAsItWasAnswered(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	first := contract.Decode[jobs.Detailed](t, contract.Send(f.handler, http.MethodPost, "/jobs", `{"kind":"test"}`), http.StatusCreated)
	rec := contract.Send(f.handler, http.MethodPost, "/jobs", fmt.Sprintf(`{"kind":"test","after":[%q],"after_outcome":"any","delay":"1h"}`, first.ID))
	made := contract.Decode[jobs.Detailed](t, rec, http.StatusCreated)
	require.Equal(t, queue.Blocked, made.State)
	require.Equal(t, []uuid.UUID{first.ID}, made.After)
	require.Equal(t, "any", made.AfterOutcome)
	require.Nil(t, made.NextAttemptAt)
	got := contract.Send(f.handler, http.MethodGet, "/jobs/"+made.ID.String(), "")
	require.JSONEq(t, rec.Body.String(), got.Body.String())
	listed := contract.Decode[struct{ Data []jobs.Record }](t, contract.Send(f.handler, http.MethodGet, "/jobs?state=blocked", ""), http.StatusOK)
	require.Len(t, listed.Data, 1)
	require.Equal(t, made.ID, listed.Data[0].ID)
}

func TestWhatCannotBeWaitedForIsRefused(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	stranger := contract.Decode[jobs.Detailed](t, contract.Send(f.handler, http.MethodPost, "/jobs", `{"kind":"test","tenant":"other"}`), http.StatusCreated)
	for body, pointer := range map[string]string{
		fmt.Sprintf(`{"kind":"test","after":[%q]}`, stranger.ID):                     "/after/0",
		fmt.Sprintf(`{"kind":"test","after":[%q]}`, uuid.New()):                      "/after/0",
		`{"kind":"test","after":["nobody"]}`:                                         "/after/0",
		`{"kind":"test","after":["*"]}`:                                              "/after/0",
		`{"kind":"test","ref":"me","after":["me"]}`:                                  "/after",
		`{"kind":"test","after_outcome":"any"}`:                                      "/after_outcome",
		`{"kind":"test","after":[],"after_outcome":"any"}`:                           "/after_outcome",
		`{"kind":"test","ref":"*"}`:                                                  "/ref",
		fmt.Sprintf(`{"kind":"test","ref":%q}`, uuid.New()):                          "/ref",
		fmt.Sprintf(`{"kind":"test","after":[%q],"unique":{"key":"k"}}`, uuid.New()): "/unique",
		`{"kind":"test","after":"a"}`:                                                "/after",
		`{"kind":"test","after":null}`:                                               "/after",
		`{"kind":"test","after":[1]}`:                                                "/after/0",
	} {
		rec := contract.Send(f.handler, http.MethodPost, "/jobs", body)
		require.Equal(t, http.StatusUnprocessableEntity, rec.Code, "%s: %s", body, rec.Body)
		require.Contains(t, rec.Body.String(), `"`+pointer+`"`, body)
	}
	require.Equal(t, 1, f.jobsStored(t))
}

func TestCirclesAndWhatHangsOnThemAreRefusedAndTheRestIsNot(t *testing.T) {
	t.Parallel()
	f := newFront(t)
	rec := contract.Send(f.handler, http.MethodPost, "/jobs", `[
		{"kind":"test","ref":"a","after":["c"]},
		{"kind":"test","ref":"b","after":["a"]},
		{"kind":"test","ref":"c","after":["b","free"]},
		{"kind":"test","ref":"behind","after":["c"]},
		{"kind":"test","ref":"free"},
		{"kind":"nonsense","ref":"bad"},
		{"kind":"test","after":["bad"]},
		{"kind":"test","ref":"keyed","idempotency_key":"k"},
		{"kind":"test","after":["keyed"]},
		{"kind":"test","ref":"free"},
		{"kind":"test","tenant":"other","after":["free"]},
		{"kind":"test","after":["free"]}]`)
	var statuses []int
	for _, g := range contract.Decode[answers](t, rec, http.StatusMultiStatus).Data {
		statuses = append(statuses, g.Status)
	}
	const ok, no = http.StatusCreated, http.StatusUnprocessableEntity
	require.Equal(t, []int{no, no, no, no, ok, no, no, ok, no, no, no, ok}, statuses, rec.Body.String())
	require.Equal(t, 3, f.jobsStored(t))

	all := contract.Send(f.handler, http.MethodPost, "/jobs?atomic=true", `[{"kind":"test","ref":"a","after":["b"]},{"kind":"test","ref":"b","after":["a"]}]`)
	require.Equal(t, no, all.Code, all.Body.String())
	require.Equal(t, 3, f.jobsStored(t))
}

func TestFollowersSeeResultsAndRunInTime(t *testing.T) {
	t.Parallel()
	saw := make(chan jobs.Job, 100)
	b := start(t, func(_ context.Context, job jobs.Job) (jobs.Result, error) {
		saw <- job
		if strings.Contains(string(job.Payload), "fail") {
			return jobs.Result{}, jobs.Permanent(errors.New("no"))
		}
		return jobs.Result{Value: json.RawMessage(fmt.Sprintf(`{"of":%q}`, job.ID))}, nil
	})
	good := b.add(t)
	bad := b.add(t, func(j *queue.NewJob) { j.Payload = []byte(`"fail"`) })
	after := b.add(t, func(j *queue.NewJob) { j.After, j.AfterAny = []uuid.UUID{bad, good}, true })
	done := b.await(t, after, queue.Succeeded)
	require.Equal(t, []uuid.UUID{bad, good}, done.After)
	require.Equal(t, "any", done.AfterOutcome)
	for job := range saw {
		if job.ID != after {
			require.Nil(t, job.Before)
			continue
		}
		require.Equal(t, []jobs.Before{
			{ID: bad, State: queue.Failed}, {ID: good, State: queue.Succeeded, Result: []byte(fmt.Sprintf(`{"of":%q}`, good))},
		}, job.Before)
		break
	}
	vain := b.add(t, func(j *queue.NewJob) { j.After = []uuid.UUID{bad} })
	ended := b.await(t, vain, queue.Canceled)
	require.Contains(t, *ended.LastError, "ended as failed")

	// One after the other, each is told at once of the end of the one before.
	began, last := time.Now(), good
	for range 20 {
		before := last
		last = b.add(t, func(j *queue.NewJob) { j.After = []uuid.UUID{before} })
	}
	b.await(t, last, queue.Succeeded)
	t.Logf("20 steps took %s", time.Since(began))
}
