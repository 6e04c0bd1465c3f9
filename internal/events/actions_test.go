package events_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/analytics"
	"github.com/signalstack/signalstack/internal/contract"
	"github.com/signalstack/signalstack/internal/events"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/pgtest"
	"github.com/signalstack/signalstack/internal/queue"
	"github.com/signalstack/signalstack/internal/rules"
)

// act stores a rule for events of type a with these actions.
func act(t *testing.T, h http.Handler, actions ...string) rules.Rule {
	t.Helper()
	body := `{"name":"r","pattern":{"type":["a"]},"actions":[` + strings.Join(actions, ",") + `]}`
	return contract.Decode[rules.Rule](t, contract.Send(h, http.MethodPost, "/rules", body), http.StatusCreated)
}

func jobOf(t *testing.T, db *pg.DB, id uuid.UUID) jobs.Detailed {
	t.Helper()
	job, err := jobs.Get(t.Context(), db, id)
	require.NoError(t, err)
	return job
}

// ways are the two by which an event comes in; each gives the ids of its jobs.
func ways(t *testing.T, db *pg.DB, h http.Handler) map[string]func(data string) []uuid.UUID {
	t.Helper()
	consume(t, db, discard())
	return map[string]func(string) []uuid.UUID{
		"HTTP": func(data string) []uuid.UUID { return accept(t, h, `{"type":"a","data":`+data+`}`).JobIDs },
		"SQL": func(data string) []uuid.UUID {
			event := fromSQL(t, db, `'a', $1`, data)
			awaitEmpty(t, db)
			var ids []uuid.UUID
			require.NoError(t, db.SelectContext(t.Context(), &ids, `SELECT id FROM signalstack.jobs WHERE event_id = $1 ORDER BY id`, event))
			return ids
		},
	}
}

func TestActionsTakeTheirJobsFromTheEvent(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	h := serve(t, db)
	act(t, h,
		`{"kind":"test","condition":"event.data.n > 100","transform":"{sum: (.data.list | add), big: .data.big}","queue":"q-<$.data.region>","delay":"<$.data.wait>","priority":1,"max_attempts":7,"timeout":"9s","retry":{"strategy":"ladder","ladder":["1s"]},"ordering_key":"customer-<$.data.customer>"}`,
		`{"kind":"test","condition":"event.data.n < 100"}`,
		`{"kind":"test","payload":{"id": "<$.data.big>", "text":"<$.type>: <$.data.customer>"}}`,
	)
	for name, send := range ways(t, db, h) {
		ids := send(`{"n":101,"list":[1,2.5],"big":12345678901234567890,"region":"eu","wait":"90m","customer":7}`)
		require.Len(t, ids, 2, name)
		first, second := jobOf(t, db, ids[0]), jobOf(t, db, ids[1])
		require.JSONEq(t, `{"big":12345678901234567890,"sum":3.5}`, string(first.Payload), name)
		require.Contains(t, string(first.Payload), "12345678901234567890", name)
		require.Equal(t, []any{"q-eu", 1, 7, "9s", "customer-7", queue.Scheduled},
			[]any{first.Queue, first.Priority, first.MaxAttempts, first.Timeout, first.OrderingKey, first.State}, name)
		require.InDelta(t, 90*60, first.RunAt.Sub(first.CreatedAt).Seconds(), 1, name)
		require.Contains(t, string(first.Retry), "ladder", name)
		require.Contains(t, string(second.Payload), `"id":12345678901234567890,"text":"a: 7"`, name)
	}
}

// TestJobThatCannotBeMadeIsAFailedJob has an action for each way to go wrong beside
// one that goes well, which nothing keeps from it.
func TestJobThatCannotBeMadeIsAFailedJob(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	h := serve(t, db)
	wrong := map[string]string{
		`"transform":".data.n + 1"`:                    `transform: cannot add`,
		`"transform":"empty"`:                          `transform: it gave no result`,
		`"transform":"1, 2"`:                           `transform: it gave more than one result`,
		`"transform":"\"x\" * 300000"`:                 `transform: its result has 300002 bytes`,
		`"transform":"\"x\" * 1000000000"`:             `transform: it makes a value that is too large`,
		`"transform":"def f: f | f; f"`:                `transform: it `,
		`"transform":"\"bad\""`:                        `transform: kind test refuses what it makes: x is bad`,
		`"payload":"<$.data.what>"`:                    `payload: kind test refuses what it makes: x is bad`,
		`"payload":{"a":["<$.data.gone>"]}`:            `payload: /a/0: <$.data.gone>: the event has no such value`,
		`"ordering_key":"<$.data.gone>"`:               `ordering_key: <$.data.gone>: the event has no such value`,
		`"ordering_key":"<$.data.long>"`:               `must have at most 255 characters`,
		`"idempotency_key":"<$.data.empty>"`:           `must not be empty`,
		`"queue":"<$.data.long>","delay":"<$.data.n>"`: `queue, which is "zzz`,
		`"queue":"q","delay":"<$.data.n>"`:             `delay, which is "text" here, must be a duration`,
	}
	actions := []string{`{"kind":"test"}`}
	var want []string
	for fields, why := range wrong {
		actions, want = append(actions, `{"kind":"test",`+fields+`}`), append(want, why)
	}
	r := act(t, h, actions...)
	data := fmt.Sprintf(`{"n":"text","what":"bad","empty":"","long":"%s"}`, strings.Repeat("z", 300))
	for name, send := range ways(t, db, h) {
		ids := send(data)
		require.Len(t, ids, len(actions), name)
		require.Equal(t, queue.Pending, jobOf(t, db, ids[0]).State, name)
		for i, why := range want {
			job := jobOf(t, db, ids[i+1])
			require.Equal(t, queue.Failed, job.State, why)
			require.Contains(t, *job.LastError, fmt.Sprintf(`action %d of rule "r": `, i+1), name)
			require.Contains(t, *job.LastError, why, name)
			require.Equal(t, []any{0, 0}, []any{job.Attempt, len(job.Attempts)}, why)
			require.NotNil(t, job.FinishedAt, why)
			require.Equal(t, r.ID, *job.RuleID, why)
		}
	}
	failed, err := jobs.List(t.Context(), db, jobs.Filter{State: queue.Failed, Limit: 100})
	require.NoError(t, err)
	require.Len(t, failed, 2*len(want))
	var ended, created int
	require.NoError(t, db.QueryRowContext(t.Context(), `
		SELECT sum(n) FILTER (WHERE fact = $1 AND outcome = 'failed'), sum(n) FILTER (WHERE fact = $2) FROM signalstack.analytics_deltas`,
		analytics.JobEnded, analytics.JobCreated).Scan(&ended, &created))
	require.Equal(t, []int{2 * len(want), 2 * len(actions)}, []int{ended, created})
	require.Zero(t, count(t, db, "ordering_keys"))
}

func TestJobThatCouldNotBeMadeIsNotTakenUpAgain(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	h := serve(t, db)
	act(t, h, `{"kind":"test","transform":"error(\"no amount\u0000\")"}`)
	id := accept(t, h, `{"type":"a"}`).JobIDs[0]
	err := queue.Retry(t.Context(), db, id)
	require.ErrorContains(t, err, "no amount")
	require.ErrorContains(t, err, "PATCH /rules/")
	_, err = queue.Cancel(t.Context(), db, id)
	require.ErrorContains(t, err, "failed already")
	require.Equal(t, queue.Failed, jobOf(t, db, id).State)
}

func TestActionMakesOneJobForItsKey(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	h := serve(t, db)
	act(t, h, `{"kind":"test","idempotency_key":"welcome-<$.data.user>"}`, `{"kind":"test","idempotency_key":"other-<$.data.user>"}`)
	sent := 0
	for name, send := range ways(t, db, h) {
		user := fmt.Sprintf(`{"user":"%s"}`, name)
		require.Len(t, send(user), 2, name)
		require.Empty(t, send(user), name)
		sent += 2
	}
	rec := contract.Send(h, http.MethodPost, "/events", `[{"type":"a","data":{"user":1}},{"type":"a","data":{"user":1}},{"type":"a","data":{"user":2}}]`)
	require.Equal(t, http.StatusCreated, rec.Code, rec.Body)
	sent += 4
	require.Equal(t, sent, count(t, db, "jobs"), "two of them are for one user")
	// Many at once, in two processes, with keys of their own that some share.
	two := []http.Handler{h, serve(t, db)}
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			contract.Send(two[i%2], http.MethodPost, "/events", fmt.Sprintf(`{"type":"a","id":"e%d","data":{"user":"u%d"}}`, i%20, i%4))
		})
	}
	all.Wait()
	require.Equal(t, sent+2*4, count(t, db, "jobs"))
	require.Equal(t, sent+2*4, count(t, db, "ready"))
}

// TestRefusedEventTakesNoKey sends an event under a key that belongs to another body.
func TestRefusedEventTakesNoKey(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	h := serve(t, db)
	act(t, h, `{"kind":"test","idempotency_key":"<$.data>"}`)
	require.Len(t, accept(t, h, `{"type":"a","id":"1","data":"x"}`).JobIDs, 1)
	require.Equal(t, 422, contract.Send(h, http.MethodPost, "/events", `{"type":"a","id":"1","data":"y"}`).Code)
	require.Len(t, accept(t, h, `{"type":"a","id":"2","data":"y"}`).JobIDs, 1)
}

func TestConditionThatFailsMakesNoJobAndIsRecorded(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	h := serve(t, db)
	act(t, h, `{"kind":"test","condition":"event.data.gone > 1"}`, `{"kind":"test","condition":"event.data.n > 1"}`, `{"kind":"test","condition":"event.data.n > 2"}`,
		`{"kind":"test","transform":"error(\"no\")"}`)
	e := accept(t, h, `{"type":"a","data":{"n":2}}`)
	require.Len(t, e.JobIDs, 2)
	shown := contract.Decode[events.Explained](t, contract.Send(h, http.MethodGet, "/events/"+e.ID.String(), ""), 200)
	require.Len(t, shown.Rules, 1)
	actions := shown.Rules[0].Actions
	require.Len(t, actions, 4)
	require.Equal(t, "no such key: gone; ask has(...gone) first where it may be missing", actions[0].ConditionError)
	require.False(t, actions[0].MakesJob)
	require.Nil(t, actions[0].Condition)
	require.True(t, *actions[1].Condition && actions[1].MakesJob)
	require.False(t, *actions[2].Condition || actions[2].MakesJob)
	require.Contains(t, actions[3].Error, "transform: error: no")

	e = accept(t, h, `{"type":"b"}`)
	shown = contract.Decode[events.Explained](t, contract.Send(h, http.MethodGet, "/events/"+e.ID.String(), ""), 200)
	require.Empty(t, shown.Rules[0].Actions)
}

// TestLogHearsNowAndThenOfAConditionThatFails counts lines, not events.
func TestLogHearsNowAndThenOfAConditionThatFails(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	h := serve(t, db)
	act(t, h, `{"kind":"test","condition":"event.data.gone"}`)
	var log lockedBuffer
	consume(t, db, slog.New(slog.NewTextHandler(&log, nil)))
	for range 20 {
		fromSQL(t, db, `'a', '{}'`)
	}
	act(t, h, `{"kind":"test"}`) // another version of the rules
	fromSQL(t, db, `'a', '{}'`)
	awaitEmpty(t, db)
	require.Eventually(t, func() bool { return strings.Contains(log.String(), "no such key: gone") }, 30*time.Second, 10*time.Millisecond)
	require.Equal(t, 1, strings.Count(log.String(), "the condition of a rule failed"), log.String())
}

// lockedBuffer may be read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write appends.
func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String gives what was written.
func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestActionsAreTriedWithoutARule(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	h := serve(t, db)
	try := func(actions string) events.Tried {
		body := `{"pattern":{"type":["a"]},"event":{"type":"a","data":{"n":9007199254740993}},"actions":` + actions + `}`
		return contract.Decode[events.Tried](t, contract.Send(h, http.MethodPost, "/rules/test", body), 200)
	}
	tried := try(`[{"kind":"test","condition":"event.data.n > 1","transform":"{n: .data.n}","idempotency_key":"k-<$.data.n>","queue":"q"},{"kind":"webhook","payload":{"n":"<$.data.n>"}},{"kind":"test","condition":"event.data.x"},{"kind":"test","payload":"<$.data.x>"}]`)
	require.True(t, tried.Matched)
	require.Len(t, tried.Actions, 4)
	require.Equal(t, `{"n":9007199254740993}`, string(tried.Actions[0].Job.Payload))
	require.Equal(t, []string{"q", "k-9007199254740993"}, []string{tried.Actions[0].Job.Queue, tried.Actions[0].Job.IdempotencyKey})
	require.Equal(t, `{"n":9007199254740993}`, string(tried.Actions[1].Job.Payload))
	require.Contains(t, tried.Actions[2].ConditionError, "no such key: x")
	require.Contains(t, tried.Actions[3].Error, "the event has no such value")
	require.Nil(t, tried.Actions[3].Job)
	rec := contract.Send(h, http.MethodPost, "/rules/test", `{"pattern":{"type":["a"]},"event":{"type":"a"},"actions":[{"kind":"test","transform":"{","condition":"1"},{"kind":"test","payload":"bad"}]}`)
	require.ElementsMatch(t, []string{"/actions/0/condition", "/actions/0/transform"}, pointers(t, rec, 422))
	require.Zero(t, count(t, db, "jobs"))
}
