package jobs

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

// Record is a job as operators see it.
type Record struct {
	ID            uuid.UUID   `db:"id" json:"id"`
	Tenant        string      `db:"tenant" json:"tenant"`
	Kind          string      `db:"kind" json:"kind"`
	Queue         string      `db:"queue" json:"queue"`
	State         queue.State `db:"state" json:"state" enum:"blocked,scheduled,pending,running,retrying,succeeded,failed,canceled" doc:"blocked waits for other jobs; the last three are final"`
	Priority      int         `db:"priority" json:"priority" doc:"1 is served first, 4 last"`
	Attempt       int         `db:"attempt" json:"attempt" doc:"Attempts begun so far"`
	MaxAttempts   int         `db:"max_attempts" json:"max_attempts"`
	RunAt         time.Time   `db:"run_at" json:"run_at" doc:"When the job was first due"`
	Timeout       string      `db:"-" json:"timeout" doc:"How long one attempt may take"`
	OrderingKey   string      `db:"ordering_key" json:"ordering_key,omitempty"`
	OnFailure     string      `db:"on_failure" json:"on_failure,omitempty" enum:"block,skip" doc:"Of a job with an ordering_key: whether those behind it wait while it is tried again"`
	LimitKey      string      `db:"-" json:"limit_key,omitempty"`
	EventID       *uuid.UUID  `db:"event_id" json:"event_id,omitempty" doc:"The event that made the job"`
	RuleID        *uuid.UUID  `db:"rule_id" json:"rule_id,omitempty" doc:"The rule that made the job"`
	EndpointID    *uuid.UUID  `db:"endpoint_id" json:"endpoint_id,omitempty" doc:"Where the job delivers to"`
	ScheduleID    *uuid.UUID  `db:"schedule_id" json:"schedule_id,omitempty" doc:"The schedule that made the job"`
	ReplayID      *uuid.UUID  `db:"replay_id" json:"replay_id,omitempty" doc:"The replay of its event that made the job; absent when the event's acceptance did"`
	CreatedAt     time.Time   `db:"created_at" json:"created_at"`
	StartedAt     *time.Time  `db:"started_at" json:"started_at,omitempty" doc:"Start of the newest attempt"`
	FinishedAt    *time.Time  `db:"finished_at" json:"finished_at,omitempty" doc:"When the job reached its final state"`
	NextAttemptAt *time.Time  `db:"next_attempt_at" json:"next_attempt_at,omitempty" doc:"When the job is next due"`
	LastError     *string     `db:"last_error" json:"last_error,omitempty" doc:"Error of the newest attempt that failed"`

	TimeoutMS int64  `db:"timeout_ms" json:"-"`
	Lane      string `db:"lane" json:"-"`
}

// Detailed is a job with what it works on and its attempts.
type Detailed struct {
	Record
	After        []uuid.UUID  `json:"after,omitempty" doc:"The jobs that it waited for, or does"`
	AfterOutcome string       `json:"after_outcome,omitempty" enum:"success,any" doc:"How those must end"`
	Payload      httpapi.JSON `json:"payload,omitempty" doc:"What the kind works on; absent when that is the event's data"`
	Retry        httpapi.JSON `json:"retry,omitempty" doc:"The job's own retry policy; absent when it is the kind's"`
	Result       httpapi.JSON `json:"result,omitempty" doc:"What the job came to, of kinds that say so; there once it succeeded"`
	Progress     *Progress    `json:"progress,omitempty" doc:"What the external worker that has the job last said of it"`
	Attempts     []Attempt    `json:"attempts" nullable:"false" doc:"Every attempt, oldest first"`
}

// Progress is how far an external worker is with a job.
type Progress struct {
	Progress httpapi.JSON `db:"progress" json:"progress"`
	At       time.Time    `db:"at" json:"at"`
}

// Attempt is one try at a job.
type Attempt struct {
	Lease      int64        `db:"lease" json:"lease" doc:"Names the attempt in GET /attempts/{job_id}/{lease}; unlike the number of the attempt it is never given twice"`
	Attempt    int          `db:"attempt" json:"attempt"`
	State      string       `db:"state" json:"state" doc:"The state it left the job in; running while it lasts"`
	Outcome    string       `db:"outcome" json:"outcome,omitempty" enum:"succeeded,error,permanent,timeout,panic,crashed,canceled,throttled" doc:"Absent while it lasts"`
	Error      string       `db:"error" json:"error,omitempty"`
	Worker     *uuid.UUID   `db:"worker" json:"worker,omitempty" doc:"The worker process that made it"`
	WorkerName string       `db:"worker_name" json:"worker_name,omitempty" doc:"What the external worker called itself when it claimed the job"`
	StartedAt  time.Time    `db:"started_at" json:"started_at"`
	FinishedAt *time.Time   `db:"finished_at" json:"finished_at,omitempty"`
	DurationMS *int64       `db:"duration_ms" json:"duration_ms,omitempty" doc:"As the worker measured it"`
	Exchange   httpapi.JSON `db:"exchange" json:"exchange,omitempty" doc:"The HTTP request and response, for kinds that speak HTTP"`

	Result httpapi.JSON `db:"result" json:"-"`
}

// columns derive a job's state: it runs, or waits, or else its newest attempt says
// how it ended. One statement sees one of them. A job that waits for others of its
// ordering key is pending, or scheduled before its time.
const columns = `
SELECT j.id, j.tenant, j.kind, j.queue, j.lane, coalesce(x.priority, r.priority, s.priority, o.priority, b.priority, j.priority) AS priority,
       j.max_attempts, j.run_at, j.timeout_ms, j.ordering_key, CASE WHEN j.ordering_key = '' THEN '' WHEN j.skips THEN 'skip' ELSE 'block' END AS on_failure,
       j.event_id, j.rule_id, j.endpoint_id, j.schedule_id, j.replay_id, j.created_at,
       CASE WHEN x.job_id IS NOT NULL THEN 'running'
            WHEN r.job_id IS NOT NULL THEN 'pending'
            WHEN s.job_id IS NOT NULL THEN CASE WHEN s.attempt > 0 THEN 'retrying' ELSE 'scheduled' END
            WHEN o.job_id IS NOT NULL THEN CASE WHEN o.run_at > now() THEN 'scheduled' ELSE 'pending' END
            WHEN b.job_id IS NOT NULL THEN 'blocked'
            ELSE a.state END AS state,
       coalesce(x.attempt, r.attempt, s.attempt, a.attempt, 0) AS attempt,
       coalesce(x.started_at, CASE WHEN a.worker IS NOT NULL THEN a.started_at END) AS started_at,
       CASE WHEN x.job_id IS NULL AND r.job_id IS NULL AND s.job_id IS NULL AND o.job_id IS NULL AND b.job_id IS NULL THEN a.finished_at END AS finished_at,
       coalesce(r.ready_at, s.run_at, o.run_at) AS next_attempt_at,
       nullif(a.error, '') AS last_error`

// The tables that a job may have a row in, besides its own.
const (
	joinReady     = `LEFT JOIN signalstack.ready AS r ON r.job_id = j.id `
	joinScheduled = `LEFT JOIN signalstack.scheduled AS s ON s.job_id = j.id `
	joinRunning   = `LEFT JOIN signalstack.running AS x ON x.job_id = j.id `
	joinOrdered   = `LEFT JOIN signalstack.ordered AS o ON o.job_id = j.id `
	joinBlocked   = `LEFT JOIN signalstack.blocked AS b ON b.job_id = j.id `
	joinPlaces    = joinReady + joinScheduled + joinRunning + joinOrdered + joinBlocked + joinAttempt
	joinAttempt   = `LEFT JOIN LATERAL (
    SELECT state, lease, attempt, worker, started_at, finished_at, error
    FROM signalstack.attempts AS t WHERE t.job_id = j.id ORDER BY t.lease DESC LIMIT 1
) AS a ON true`
)

// from drives the list from the table that holds the asked state, so that a few
// failed jobs are not looked for among millions.
var from = map[queue.State]string{
	"":              `FROM signalstack.jobs AS j ` + joinPlaces,
	queue.Blocked:   `FROM signalstack.blocked AS q JOIN signalstack.jobs AS j ON j.id = q.job_id ` + joinPlaces,
	queue.Scheduled: fromWaiting("scheduled"), queue.Retrying: fromWaiting("scheduled"), queue.Pending: fromWaiting("ready"),
	queue.Running: `FROM signalstack.running AS q JOIN signalstack.jobs AS j ON j.id = q.job_id ` + joinPlaces,
	queue.Failed:  fromEnded, queue.Canceled: fromEnded,
}

// fromWaiting drives from the rows of a table and those that wait for others of
// their ordering key; both are read in the order of their primary keys.
func fromWaiting(table string) string {
	return `FROM (SELECT job_id FROM signalstack.` + table + ` UNION ALL SELECT job_id FROM signalstack.ordered) AS q
JOIN signalstack.jobs AS j ON j.id = q.job_id ` + joinPlaces
}

const fromEnded = `FROM signalstack.attempts AS e JOIN signalstack.jobs AS j ON j.id = e.job_id
` + joinPlaces

var stateIs = map[queue.State]string{
	queue.Blocked:   `b.job_id IS NOT NULL`,
	queue.Scheduled: `(s.attempt = 0 OR o.run_at > now())`,
	queue.Retrying:  `s.attempt > 0`,
	queue.Pending:   `(r.job_id IS NOT NULL OR o.run_at <= now())`,
	queue.Running:   `x.job_id IS NOT NULL`,
	queue.Succeeded: endedNow + ` AND a.state = 'succeeded'`,
	// A job that was taken up again after it ended has several such attempts; the
	// newest counts, and only while the job neither waits nor runs.
	queue.Failed:   `e.state = 'failed' AND ` + endedNow + newestIs,
	queue.Canceled: `e.state = 'canceled' AND ` + endedNow + newestIs,
}

const (
	endedNow = `r.job_id IS NULL AND s.job_id IS NULL AND x.job_id IS NULL AND o.job_id IS NULL AND b.job_id IS NULL`
	newestIs = ` AND e.lease = a.lease`
)

// Filter narrows a list of jobs; zero fields do not.
type Filter struct {
	State                       queue.State
	Kind, Queue, Tenant         string
	EventID, RuleID, EndpointID string // UUIDs
	ReplayID, ScheduleID        string // UUIDs
	CreatedAfter, CreatedBefore time.Time
	After                       string // id of the last job of the page before
	Ascending                   bool
	Limit                       int
}

// List gives up to Limit jobs in the order of their ids, which is the order of
// their creation.
func List(ctx context.Context, q pg.Querier, f Filter) ([]Record, error) {
	source, ok := from[f.State]
	if !ok {
		source = from[""]
	}
	query, args := f.where()
	var rows []Record
	if err := q.SelectContext(ctx, &rows, columns+"\n"+source+query, args...); err != nil {
		return nil, fmt.Errorf("list jobs: %w", err)
	}
	for i := range rows {
		rows[i].complete()
	}
	return rows, nil
}

func (f Filter) where() (string, []any) {
	var conditions []string
	var args []any
	add := func(condition string, arg any) {
		args = append(args, arg)
		conditions = append(conditions, fmt.Sprintf(condition, len(args)))
	}
	for _, c := range []struct{ condition, value string }{
		{"j.kind = $%d", f.Kind},
		{"j.queue = $%d", f.Queue},
		{"j.tenant = $%d", f.Tenant},
		{"j.event_id = $%d::uuid", f.EventID},
		{"j.rule_id = $%d::uuid", f.RuleID},
		{"j.endpoint_id = $%d::uuid", f.EndpointID},
		{"j.replay_id = $%d::uuid", f.ReplayID},
		{"j.schedule_id = $%d::uuid", f.ScheduleID},
	} {
		if c.value != "" {
			add(c.condition, c.value)
		}
	}
	if f.State != "" {
		conditions = append(conditions, stateIs[f.State])
	}
	// Ids carry the time of the client process, so the bound on the id, which finds
	// the partitions, is an hour wider than the one on the column.
	if !f.CreatedAfter.IsZero() {
		add("j.created_at >= $%d", f.CreatedAfter)
		add("j.id >= $%d::uuid", queue.FirstID(f.CreatedAfter.Add(-time.Hour)))
	}
	if !f.CreatedBefore.IsZero() {
		add("j.created_at < $%d", f.CreatedBefore)
		add("j.id < $%d::uuid", queue.FirstID(f.CreatedBefore.Add(time.Hour)))
	}
	order, beyond := "DESC", "j.id < $%d::uuid"
	if f.Ascending {
		order, beyond = "ASC", "j.id > $%d::uuid"
	}
	if f.After != "" {
		add(beyond, f.After)
	}
	args = append(args, f.Limit)
	text := ""
	if len(conditions) > 0 {
		text = "\nWHERE " + strings.Join(conditions, "\n  AND ")
	}
	return fmt.Sprintf("%s\nORDER BY j.id %s\nLIMIT $%d", text, order, len(args)), args
}

func (r *Record) complete() {
	r.Timeout = (time.Duration(r.TimeoutMS) * time.Millisecond).String()
	_, _, r.LimitKey = queue.PartsOfLane(r.Lane)
}

// getTries bounds how often a job is read that moves meanwhile.
const getTries = 10

// Get gives one job with its attempts. They are two statements, so a job that moved
// between them is read again.
func Get(ctx context.Context, q pg.Querier, id uuid.UUID) (d Detailed, err error) {
	for range getTries {
		if d, err = get(ctx, q, id); err != nil || !d.moved() {
			break
		}
	}
	return d, err
}

// moved says that the attempts are not those of the state.
func (d *Detailed) moved() bool {
	last := queue.State("")
	if n := len(d.Attempts); n > 0 {
		last = queue.State(d.Attempts[n-1].State)
	}
	return (d.State == queue.Running) != (last == queue.Running) || d.State == queue.Retrying && last.Final()
}

func get(ctx context.Context, q pg.Querier, id uuid.UUID) (Detailed, error) {
	var row struct {
		Record
		Payload  []byte         `db:"payload"`
		Retry    string         `db:"retry"`
		After    pq.StringArray `db:"after_jobs"`
		AfterAny bool           `db:"after_any"`
	}
	err := q.GetContext(ctx, &row, columns+", j.payload, j.retry, j.after_jobs::text[], j.after_any\n"+from[""]+"\nWHERE j.id = $1", id)
	if errors.Is(err, sql.ErrNoRows) {
		return Detailed{}, fault.Missing("job", id.String())
	}
	if err != nil {
		return Detailed{}, fmt.Errorf("get job: %w", err)
	}
	row.complete()
	d := Detailed{Record: row.Record, Payload: row.Payload, Retry: httpapi.JSON(row.Retry)}
	d.waitsFor(idsOf(row.After), row.AfterAny)
	// The running attempt stands last; it has no row in attempts yet. A job that was
	// canceled while it waited has a row there that was no attempt.
	err = q.SelectContext(ctx, &d.Attempts, `
		SELECT lease, attempt, state, outcome, error, worker, coalesce(w.name, '') AS worker_name, started_at, finished_at, duration_ms, exchange, result
		FROM (
		    SELECT lease, attempt, state, outcome, error, worker, started_at, finished_at, duration_ms, exchange, result
		    FROM signalstack.attempts WHERE job_id = $1 AND worker IS NOT NULL
		    UNION ALL
		    SELECT lease, attempt, 'running', '', '', worker, started_at, NULL, NULL, NULL, NULL
		    FROM signalstack.running WHERE job_id = $1
		) AS t
		LEFT JOIN signalstack.lease_workers AS w ON w.id = t.worker
		ORDER BY lease`, id)
	if err != nil {
		return Detailed{}, fmt.Errorf("get attempts of job: %w", err)
	}
	if d.Attempts == nil {
		d.Attempts = []Attempt{}
	}
	if n := len(d.Attempts); d.State == queue.Succeeded && n > 0 {
		d.Result = d.Attempts[n-1].Result
	}
	if d.State == queue.Running && queue.IsExternalQueue(d.Queue) {
		d.Progress, err = progressOf(ctx, q, id)
	}
	return d, err
}

// progressOf gives what was said of the running attempt; nil when nothing was.
func progressOf(ctx context.Context, q pg.Querier, id uuid.UUID) (*Progress, error) {
	var p Progress
	err := q.GetContext(ctx, &p, `
		SELECT p.progress, p.at FROM signalstack.lease_progress AS p
		JOIN signalstack.running AS r ON r.job_id = p.job_id AND r.lease = p.lease
		WHERE p.job_id = $1`, id)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get progress of job: %w", err)
	}
	return &p, nil
}
