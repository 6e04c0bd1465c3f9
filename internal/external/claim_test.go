package external_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/contract"
	"github.com/signalstack/signalstack/internal/external"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/queue"
)

// asking is a claim in the background.
func (d *desk) asking(ctx context.Context, body string) <-chan *httptest.ResponseRecorder {
	answer := make(chan *httptest.ResponseRecorder, 1)
	go func() {
		req := httptest.NewRequestWithContext(ctx, http.MethodPost, "/jobs/claim", strings.NewReader(body))
		req.Header.Set("Content-Type", "application/json")
		rec := httptest.NewRecorder()
		d.plain.ServeHTTP(rec, req)
		answer <- rec
	}()
	return answer
}

// awaitAsking waits until so many claims wait.
func (d *desk) awaitAsking(t *testing.T, n int) {
	t.Helper()
	require.Eventually(t, func() bool { return external.Asking(d.api) == n }, 20*time.Second, time.Millisecond)
}

func TestClaimWaitsForAJob(t *testing.T) {
	t.Parallel()
	d := open(t)
	require.Empty(t, d.claim(t, `{}`), "without a wait it says at once that there is none")
	require.Empty(t, d.claim(t, `{"wait":"50ms"}`), "nobody came")
	answer := d.asking(t.Context(), `{"wait":"1m","queues":["a","b"],"max":5}`)
	d.awaitAsking(t, 1)
	made := d.add(t, `,"queue":"b"`)
	require.Equal(t, "external:b", made.Queue)
	got := contract.Decode[claimed](t, <-answer, http.StatusOK).Data
	require.Len(t, got, 1)
	require.Equal(t, made.ID, got[0].ID)
	d.awaitAsking(t, 0)
}

func TestQueueOfAnExternalJobIsItsOwn(t *testing.T) {
	t.Parallel()
	d := open(t)
	for _, fields := range []string{"", `,"queue":"default"`, `,"queue":"external"`, `,"queue":"mail"`, `,"queue":"external:mail"`} {
		d.add(t, fields)
	}
	require.Len(t, d.claim(t, `{"max":9,"queues":["default"]}`), 3)
	require.Len(t, d.claim(t, `{"max":9,"queues":["mail"],"kinds":["external"]}`), 2)
}

// TestJobsInQueuesOfTheOtherKindFail puts jobs where only SQL can put them.
func TestJobsInQueuesOfTheOtherKindFail(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.enqueue(t, queue.NewJob{Kind: "inside", Queue: "external"}, queue.NewJob{Kind: "external", Queue: "external"})
	got := d.claim(t, `{"max":9}`)
	require.Len(t, got, 1)
	require.Equal(t, "external", got[0].Kind)
	failed, err := jobs.List(t.Context(), d.db, jobs.Filter{State: queue.Failed, Limit: 9})
	require.NoError(t, err)
	require.Len(t, failed, 1)
	require.Equal(t, "inside", failed[0].Kind)
	require.Contains(t, *failed[0].LastError, "enqueue this one into another queue")
	_, err = external.Kind().Run(t.Context(), jobs.Job{})
	require.True(t, jobs.IsPermanent(err), "as a runner that claims such a job does")
}

func TestEventComesWithItsJob(t *testing.T) {
	t.Parallel()
	d := open(t)
	text, bytes := uuid.Must(uuid.NewV7()), uuid.Must(uuid.NewV7())
	_, err := d.db.ExecContext(t.Context(), `
		INSERT INTO signalstack.events (id, tenant, type, source, subject, sender_id, time, received_at, data, content_type, data_schema, extensions, opaque)
		SELECT id, 'default', 'order.paid', '/shop', 'o-7', '', now(), now(), data, '', '', '', opaque
		FROM (VALUES ($1::uuid, '{"id": 7}'::bytea, false), ($2, '\xff00'::bytea, true)) AS e (id, data, opaque)`, text, bytes)
	require.NoError(t, err)
	for _, id := range []uuid.UUID{text, bytes} {
		d.enqueue(t, queue.NewJob{Kind: "external", Queue: "external", EventID: uuid.NullUUID{UUID: id, Valid: true}, EventType: "order.paid"})
	}
	got := d.claim(t, `{"max":2}`)
	require.Len(t, got, 2)
	require.Equal(t, []string{"order.paid", "/shop", "o-7", `{"id":7}`}, []string{got[0].Event.Type, got[0].Event.Source, got[0].Event.Subject, string(got[0].Event.Data)})
	require.Empty(t, got[0].Payload)
	require.Equal(t, []byte{0xff, 0}, got[1].Event.DataBase64)
}

func TestTenantGetsItsOwnJobsOnly(t *testing.T) {
	t.Parallel()
	d := open(t)
	for range 3 {
		d.add(t, `,"tenant":"acme"`)
		d.add(t, `,"tenant":"acme2"`)
		d.add(t, `,"tenant":"acme","limit_key":"k"`)
	}
	answer := d.asking(t.Context(), `{"tenant":"none","wait":"1m"}`)
	d.awaitAsking(t, 1)
	got := 0
	for range 10 { // lanes are asked in turn
		for _, j := range d.claim(t, `{"tenant":"acme","max":100}`) {
			require.Equal(t, "acme", j.Tenant)
			got++
		}
	}
	require.Equal(t, 6, got)
	require.Len(t, d.claim(t, `{"max":100}`), 3, "the others' jobs were left for who may have them")
	made := d.add(t, `,"tenant":"none"`)
	require.Equal(t, made.ID, contract.Decode[claimed](t, <-answer, http.StatusOK).Data[0].ID)
}

func TestLimitsAndOrderHold(t *testing.T) {
	t.Parallel()
	d := open(t)
	one := 1
	require.NoError(t, queue.SetControl(t.Context(), d.db, queue.Control{Queue: "external:slow", Weight: 1, MaxRunning: &one}))
	d.add(t, `,"queue":"slow"`)
	d.add(t, `,"queue":"slow"`)
	first := d.claimOne(t, `{"queues":["slow"],"max":10}`)
	answer := d.asking(t.Context(), `{"queues":["slow"],"max":10,"wait":"1m"}`)
	d.awaitAsking(t, 1)
	d.say(t, first.Lease, "complete", ``)
	require.Len(t, contract.Decode[claimed](t, <-answer, http.StatusOK).Data, 1)

	a := d.add(t, `,"ordering_key":"k"`)
	b := d.add(t, `,"ordering_key":"k"`)
	j := d.claimOne(t, `{"max":10}`)
	require.Equal(t, a.ID, j.ID)
	require.Empty(t, d.claim(t, `{}`))
	d.say(t, j.Lease, "fail", `{"error":"x","retry":false}`)
	require.Equal(t, b.ID, d.claimOne(t, `{"wait":"20s"}`).ID)

	require.NoError(t, queue.SetControl(t.Context(), d.db, queue.Control{Queue: "external:still", Weight: 1, Paused: true}))
	d.add(t, `,"queue":"still"`)
	require.Empty(t, d.claim(t, `{"queues":["still"]}`))
	answer = d.asking(t.Context(), `{"queues":["still"],"wait":"1m"}`)
	d.awaitAsking(t, 1)
	require.NoError(t, queue.SetControl(t.Context(), d.db, queue.Control{Queue: "external:still", Weight: 1}))
	require.Len(t, contract.Decode[claimed](t, <-answer, http.StatusOK).Data, 1, "the queue was resumed")
}

// TestJobsOfACallerThatWentAwayGoBackAtOnce holds a claim's statement up until its
// caller is gone.
func TestJobsOfACallerThatWentAwayGoBackAtOnce(t *testing.T) {
	t.Parallel()
	d := open(t)
	require.Empty(t, d.claim(t, `{}`)) // the line stands
	lock, err := d.db.BeginTxx(t.Context(), nil)
	require.NoError(t, err)
	defer func() { _ = lock.Rollback() }()
	_, err = lock.ExecContext(t.Context(), `LOCK TABLE signalstack.running IN EXCLUSIVE MODE`)
	require.NoError(t, err)
	made := d.add(t, `,"max_attempts":1`)
	ctx, leave := context.WithCancel(t.Context())
	answer := d.asking(ctx, `{"wait":"1m","lease":"1h"}`)
	require.Eventually(t, func() bool {
		var waits bool
		err := d.db.GetContext(context.Background(), &waits, `
			SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'signalstack.running'::regclass)`)
		return err == nil && waits
	}, 20*time.Second, time.Millisecond, "the claim waits for the table")
	leave()
	require.NoError(t, lock.Rollback())
	require.Equal(t, http.StatusServiceUnavailable, (<-answer).Code)
	job := d.job(t, made.ID)
	require.Equal(t, queue.Pending, job.State)
	require.Zero(t, job.Attempt)
	require.Equal(t, 1, d.claimOne(t, `{"wait":"20s"}`).Attempt)
}

// TestClaimWithoutAnAnswerIsUndone ends the connection of a claim while it waits for a
// lock, which leaves open whether it happened, and leaves a job to the worker as one
// that did would.
func TestClaimWithoutAnAnswerIsUndone(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.add(t, "")
	before := d.claimOne(t, `{"worker":"w"}`)
	var worker uuid.UUID
	require.NoError(t, d.db.GetContext(t.Context(), &worker, `SELECT worker FROM signalstack.running`))
	lost := d.add(t, "")
	ready, err := queue.NewClaimer(d.db, "external", worker, time.Hour, 0).Claim(t.Context(), 1)
	require.NoError(t, err)
	require.Len(t, ready, 1)
	lock, err := d.db.BeginTxx(t.Context(), nil)
	require.NoError(t, err)
	defer func() { _ = lock.Rollback() }()
	_, err = lock.ExecContext(t.Context(), `LOCK TABLE signalstack.running IN EXCLUSIVE MODE`)
	require.NoError(t, err)
	third := d.add(t, "")
	answer := d.asking(t.Context(), `{"worker":"w","wait":"1m"}`)
	require.Eventually(t, func() bool {
		var ended int
		err := d.db.GetContext(context.Background(), &ended, `
			SELECT count(*) FROM (SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted AND relation = 'signalstack.running'::regclass) AS t`)
		return err == nil && ended > 0
	}, 20*time.Second, time.Millisecond)
	rec := <-answer
	require.Equal(t, http.StatusServiceUnavailable, rec.Code, rec.Body)
	require.NotEmpty(t, rec.Header().Get("Retry-After"))
	require.NoError(t, lock.Rollback())
	seen := map[uuid.UUID]bool{}
	for len(seen) < 2 {
		j := d.claimOne(t, `{"worker":"w","wait":"20s"}`)
		require.Equal(t, 1, j.Attempt)
		seen[j.ID] = true
	}
	require.Equal(t, map[uuid.UUID]bool{lost.ID: true, third.ID: true}, seen)
	require.Equal(t, queue.Running, d.job(t, before.ID).State, "what was handed out before is its worker's")
}

func TestClosingEndsTheWaiting(t *testing.T) {
	t.Parallel()
	d := open(t)
	d.add(t, "")
	lease := d.claimOne(t, `{}`).Lease
	answer := d.asking(t.Context(), `{"wait":"1m"}`)
	d.awaitAsking(t, 1)
	d.api.Close()
	require.Empty(t, contract.Decode[claimed](t, <-answer, http.StatusOK).Data)
	rec := d.post("/jobs/claim", `{"wait":"1m"}`)
	require.Equal(t, "draining", contract.Decode[httpapi.Problem](t, rec, http.StatusServiceUnavailable).Code)
	require.Equal(t, "1", rec.Header().Get("Retry-After"))
	d.say(t, lease, "complete", ``)
}

// TestThousandsWaitForNothing has 2,000 claims wait, 200 of them of workers with names
// of their own, which share no claim, and counts what that costs the database. Then each gets a job.
func TestThousandsWaitForNothing(t *testing.T) {
	t.Parallel()
	d := open(t)
	const n = 2000
	answers := make([]<-chan *httptest.ResponseRecorder, n)
	for i := range answers {
		body := `{"wait":"1m"}`
		if i%10 == 1 {
			body = fmt.Sprintf(`{"wait":"1m","worker":"w%d"}`, i)
		}
		answers[i] = d.asking(t.Context(), body)
	}
	d.awaitAsking(t, n)
	count := func() (commits, listening int) {
		// The server's counts come late, by a second at most.
		require.NoError(t, d.db.QueryRowContext(t.Context(), `
			SELECT pg_stat_get_db_xact_commit(oid) + pg_stat_get_db_xact_rollback(oid),
			       (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%')
			FROM pg_database WHERE datname = current_database()`).Scan(&commits, &listening))
		return commits, listening
	}
	const seconds = 6
	before, _ := count()
	<-time.After(seconds * time.Second)
	after, listening := count()
	require.Less(t, after-before, 60, "commits in %d seconds", seconds)
	require.Equal(t, 1, listening)
	t.Logf("%d waiting claims: %d transactions in %d s", n, after-before, seconds)

	for range n / 1000 {
		require.Equal(t, http.StatusCreated, d.post("/jobs", "["+strings.TrimSuffix(strings.Repeat(`{"kind":"external"},`, 1000), ",")+"]").Code)
	}
	seen := map[uuid.UUID]bool{}
	for _, answer := range answers {
		got := contract.Decode[claimed](t, <-answer, http.StatusOK).Data
		require.Len(t, got, 1)
		seen[got[0].ID] = true
	}
	require.Len(t, seen, n)
}

// TestEachJobIsDoneOnce has workers of two processes compete.
func TestEachJobIsDoneOnce(t *testing.T) {
	t.Parallel()
	d := open(t)
	desks := []*desk{d, openOn(t, d.db)}
	const n = 1000
	require.Equal(t, http.StatusCreated, d.post("/jobs", "["+strings.TrimSuffix(strings.Repeat(`{"kind":"external"},`, n), ",")+"]").Code)
	var mu sync.Mutex
	seen := map[uuid.UUID]int{}
	var workers sync.WaitGroup
	for w := range 8 {
		workers.Go(func() {
			for done := false; !done; {
				var got claimed
				rec := desks[w%2].post("/jobs/claim", fmt.Sprintf(`{"max":7,"wait":"1s","worker":"w%d"}`, w%3))
				if rec.Code != http.StatusOK || !decodeInto(rec, &got) {
					t.Errorf("claim: %d %s", rec.Code, rec.Body)
					return
				}
				var items []string
				mu.Lock()
				for _, j := range got.Data {
					seen[j.ID]++
					items = append(items, fmt.Sprintf(`{"lease":%q}`, j.Lease))
				}
				done = len(seen) == n
				mu.Unlock()
				if len(items) == 0 {
					continue
				}
				if rec := desks[(w+1)%2].post("/leases/complete", "["+strings.Join(items, ",")+"]"); rec.Code != http.StatusOK {
					t.Errorf("complete: %d %s", rec.Code, rec.Body)
					return
				}
			}
		})
	}
	workers.Wait()
	require.Len(t, seen, n)
	for id, times := range seen {
		require.Equal(t, 1, times, id)
	}
	var left int
	require.NoError(t, d.db.GetContext(t.Context(), &left, `SELECT (SELECT count(*) FROM signalstack.ready) + (SELECT count(*) FROM signalstack.running)`))
	require.Zero(t, left)
}

func decodeInto(rec *httptest.ResponseRecorder, v any) bool {
	return json.Unmarshal(rec.Body.Bytes(), v) == nil
}

func TestAClaimTellsWhatTheJobWaitedFor(t *testing.T) {
	t.Parallel()
	d := open(t)
	first := d.add(t, "")
	follower := d.add(t, `,"after":["`+first.ID.String()+`"]`)
	lease := d.claimOne(t, `{"max":10}`)
	require.Equal(t, first.ID, lease.ID)
	require.Nil(t, lease.Before)
	d.say(t, lease.Lease, "complete", `{"result":{"n":1}}`)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { _ = queue.NewResolver(d.db, slog.New(slog.DiscardHandler)).Run(ctx); close(done) }()
	t.Cleanup(func() { stop(); <-done })
	next := d.claimOne(t, `{"wait":"10s"}`)
	require.Equal(t, follower.ID, next.ID)
	require.Equal(t, []jobs.Before{{ID: first.ID, State: queue.Succeeded, Result: []byte(`{"n":1}`)}}, next.Before)
}
