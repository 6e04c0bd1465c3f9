package queue

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/signalstack/signalstack/internal/pg"
)

// Claimed is a job in a worker's hands, with the lease its writes must carry.
type Claimed struct {
	ID          uuid.UUID     `db:"job_id"`
	Lease       int64         `db:"lease"`
	Attempt     int           `db:"attempt"` // from 1
	Priority    int           `db:"priority"`
	RunAt       time.Time     `db:"run_at"`     // when it was due
	StartedAt   time.Time     `db:"started_at"` // the database's now of the claim
	Tenant      string        `db:"tenant"`
	Kind        string        `db:"kind"`
	Queue       string        `db:"queue"`
	Payload     []byte        `db:"payload"`
	RuleID      uuid.NullUUID `db:"rule_id"`
	EndpointID  uuid.NullUUID `db:"endpoint_id"`
	MaxAttempts int           `db:"max_attempts"`
	TimeoutMS   int64         `db:"timeout_ms"`
	Retry       string        `db:"retry"`
	CreatedAt   time.Time     `db:"created_at"`

	EventID      uuid.NullUUID `db:"event_id"`
	EventType    string        `db:"event_type"`
	EventSource  *string       `db:"event_source"`
	EventSubject *string       `db:"event_subject"`
	EventTime    *time.Time    `db:"event_time"`
	EventData    []byte        `db:"event_data"`
}

// claimSettings hold the plan of the claim to the index it was written for.
// Statistics of a table that swings between empty and a million rows are mostly
// wrong, and a sequential scan or a sort chosen by them would stop the queue.
const claimSettings = `SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off;
SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off; SET LOCAL jit = off`

// claimSQL moves due jobs of one queue from ready to running.
//
// Each priority is one range of the index ready_claim, read in order from its
// position; a scheduled job of a high priority is never walked over to reach a due
// one of a low priority. Rows that others hold are skipped, not waited for. The
// CTE is MATERIALIZED because a LIMIT below a join may be run again, and then
// claims more than it says.
const claimSQL = `
WITH due AS MATERIALIZED (
    SELECT r.job_id
    FROM unnest($2::smallint[], $3::timestamptz[]) AS p (priority, since)
    CROSS JOIN LATERAL (
        SELECT r.job_id
        FROM signalstack.ready AS r
        WHERE r.queue = $1 AND r.priority = p.priority AND r.run_at >= p.since AND r.run_at <= now()
        ORDER BY r.run_at, r.job_id
        LIMIT $4
        FOR UPDATE SKIP LOCKED
    ) AS r
    LIMIT $4
), gone AS (
    DELETE FROM signalstack.ready AS r USING due WHERE r.job_id = due.job_id
    RETURNING r.job_id, r.queue, r.priority, r.run_at, r.attempt, r.lease
), claimed AS (
    INSERT INTO signalstack.running (job_id, queue, priority, run_at, attempt, lease, worker, started_at, lease_until)
    SELECT job_id, queue, priority, run_at, attempt + 1, lease + 1, $5, now(), now() + $6 * interval '1 millisecond'
    FROM gone
    RETURNING job_id, queue, priority, run_at, attempt, lease, started_at
)
SELECT c.job_id, c.lease, c.attempt, c.priority, c.run_at, c.started_at, j.tenant, j.kind, c.queue, j.payload,
       j.rule_id, j.endpoint_id, j.max_attempts, j.timeout_ms, j.retry, j.created_at, j.event_id, j.event_type,
       e.source AS event_source, e.subject AS event_subject, e.time AS event_time, e.data AS event_data
FROM claimed AS c
JOIN signalstack.jobs AS j ON j.id = c.job_id
LEFT JOIN signalstack.events AS e ON e.id = j.event_id`

// Claimer claims the jobs of one queue for one worker and remembers how far it
// has read. It is not safe for concurrent use.
type Claimer struct {
	Queue    string
	Worker   uuid.UUID
	Lease    time.Duration
	FullPass time.Duration // how often the index is read from its start; 0: every time

	db       *pg.DB
	since    [LowestPriority]time.Time
	lastFull time.Time
}

// NewClaimer makes a claimer that starts with a full pass.
func NewClaimer(db *pg.DB, queue string, worker uuid.UUID, lease, fullPass time.Duration) *Claimer {
	return &Claimer{Queue: queue, Worker: worker, Lease: lease, FullPass: fullPass, db: db}
}

// positionSlack is how far before the last claimed run_at the next claim starts.
// It covers transactions that were open while it read; longer ones announce
// themselves by notification.
const positionSlack = time.Second

// Rewind makes the next claim start no later than runAt; a notification says what
// it must not miss.
func (c *Claimer) Rewind(runAt time.Time) {
	for i, since := range c.since {
		if runAt.Before(since) {
			c.since[i] = runAt
		}
	}
}

// Claim takes up to limit due jobs, most urgent first. An error leaves it open
// whether jobs were claimed: call ReleaseOrphans before the next claim.
func (c *Claimer) Claim(ctx context.Context, limit int) ([]Claimed, error) {
	if time.Since(c.lastFull) >= c.FullPass {
		c.since = [LowestPriority]time.Time{}
		c.lastFull = time.Now()
	}
	var jobs []Claimed
	err := pg.InTx(ctx, c.db, func(tx *sqlx.Tx) error {
		jobs = nil
		if _, err := tx.ExecContext(ctx, claimSettings); err != nil {
			return fmt.Errorf("set planner: %w", err)
		}
		return tx.SelectContext(ctx, &jobs, claimSQL, c.Queue, pq.Array([]int64{1, 2, 3, 4}), c.positions(),
			limit, c.Worker, c.Lease.Milliseconds())
	})
	if err != nil {
		return nil, fmt.Errorf("claim from %s: %w", c.Queue, err)
	}
	c.advance(jobs)
	return jobs, nil
}

func (c *Claimer) positions() pq.StringArray {
	a := make(pq.StringArray, len(c.since))
	for i, t := range c.since {
		if a[i] = timeText(t); t.IsZero() {
			a[i] = "-infinity"
		}
	}
	return a
}

// advance moves each priority's position to its newest claimed row. Rows before
// it that were skipped are in other hands; should those let go, the row comes
// back with a new run_at or the next full pass finds it.
func (c *Claimer) advance(jobs []Claimed) {
	for i := range jobs {
		p := jobs[i].Priority - 1
		if at := jobs[i].RunAt.Add(-positionSlack); at.After(c.since[p]) {
			c.since[p] = at
		}
	}
}
