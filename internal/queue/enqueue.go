package queue

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/signalstack/signalstack/internal/pg"
)

// Priorities run from 1, served first, to 4.
const (
	HighestPriority = 1
	DefaultPriority = 2
	LowestPriority  = 4
)

// DefaultQueue is where jobs go that name no other.
const DefaultQueue = "default"

// Channel is where Enqueue notifies: "queue earliest-run_at-in-microseconds".
const Channel = "signalstack_ready"

// NewJob is a job as it is written. All fields are checked by who makes it.
type NewJob struct {
	ID          uuid.UUID // UUIDv7, made by the caller before the first write
	Tenant      string
	Kind        string
	Queue       string
	Priority    int
	RunAt       time.Time     // zero: now plus Delay
	Delay       time.Duration // from the database's now
	Payload     []byte        // nil: the event's data is what it works on
	EventID     uuid.NullUUID
	EventType   string
	RuleID      uuid.NullUUID
	EndpointID  uuid.NullUUID
	OrderingKey string
	MaxAttempts int
	Timeout     time.Duration
	Retry       string // JSON policy; "" is the kind's own
}

// Enqueue writes jobs and makes them ready, in the caller's transaction and in one
// statement. Workers are notified at commit, once for each queue with a job that
// is due.
func Enqueue(ctx context.Context, q pg.Querier, jobs []NewJob) error {
	if len(jobs) == 0 {
		return nil
	}
	_, err := q.ExecContext(ctx, enqueueSQL, enqueueArgs(jobs)...)
	if err != nil {
		return fmt.Errorf("enqueue %d jobs: %w", len(jobs), err)
	}
	return nil
}

// enqueueSQL writes both rows of each job from the same arrays. run_at in ready is
// never before now(): the claim's remembered position relies on it.
const enqueueSQL = `
WITH given AS MATERIALIZED (
    SELECT id, tenant, kind, queue, priority::smallint,
           coalesce(nullif(run_at, '')::timestamptz, now() + delay_us * interval '1 microsecond') AS run_at,
           nullif(payload, '') AS payload, nullif(event_id, '')::uuid AS event_id, event_type, nullif(rule_id, '')::uuid AS rule_id,
           nullif(endpoint_id, '')::uuid AS endpoint_id, ordering_key, max_attempts::int, timeout_ms::int, retry
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::bigint[], $8::bytea[],
                $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::bigint[], $15::bigint[], $16::text[])
         AS g (id, tenant, kind, queue, priority, run_at, delay_us, payload,
               event_id, event_type, rule_id, endpoint_id, ordering_key, max_attempts, timeout_ms, retry)
), written AS (
    INSERT INTO signalstack.jobs (id, tenant, kind, queue, priority, run_at, payload, event_id, event_type, rule_id,
                                  endpoint_id, ordering_key, max_attempts, timeout_ms, retry, created_at)
    SELECT id, tenant, kind, queue, priority, run_at, payload, event_id, event_type, rule_id,
           endpoint_id, ordering_key, max_attempts, timeout_ms, retry, now()
    FROM given
), waiting AS (
    INSERT INTO signalstack.ready (job_id, queue, priority, run_at, attempt, lease)
    SELECT id, queue, priority, greatest(run_at, now()), 0, 0 FROM given
    RETURNING queue, run_at
)
SELECT pg_notify('` + Channel + `', queue || ' ' || (extract(epoch FROM min(run_at)) * 1000000)::bigint)
FROM waiting
WHERE run_at <= now()
GROUP BY queue`

func enqueueArgs(jobs []NewJob) []any {
	n := len(jobs)
	text := func(f func(*NewJob) string) pq.StringArray {
		a := make(pq.StringArray, n)
		for i := range jobs {
			a[i] = f(&jobs[i])
		}
		return a
	}
	number := func(f func(*NewJob) int64) pq.Int64Array {
		a := make(pq.Int64Array, n)
		for i := range jobs {
			a[i] = f(&jobs[i])
		}
		return a
	}
	payloads := make(pq.ByteaArray, n)
	for i := range jobs {
		payloads[i] = jobs[i].Payload
	}
	return []any{
		text(func(j *NewJob) string { return j.ID.String() }),
		text(func(j *NewJob) string { return j.Tenant }),
		text(func(j *NewJob) string { return j.Kind }),
		text(func(j *NewJob) string { return j.Queue }),
		number(func(j *NewJob) int64 { return int64(j.Priority) }),
		text(func(j *NewJob) string { return timeText(j.RunAt) }),
		number(func(j *NewJob) int64 { return j.Delay.Microseconds() }),
		payloads,
		text(func(j *NewJob) string { return idText(j.EventID) }),
		text(func(j *NewJob) string { return j.EventType }),
		text(func(j *NewJob) string { return idText(j.RuleID) }),
		text(func(j *NewJob) string { return idText(j.EndpointID) }),
		text(func(j *NewJob) string { return j.OrderingKey }),
		number(func(j *NewJob) int64 { return int64(j.MaxAttempts) }),
		number(func(j *NewJob) int64 { return j.Timeout.Milliseconds() }),
		text(func(j *NewJob) string { return j.Retry }),
	}
}

func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

func idText(id uuid.NullUUID) string {
	if !id.Valid {
		return ""
	}
	return id.UUID.String()
}
