package queue

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/signalstack/signalstack/internal/pg"
)

// Claimed is a job in a worker's hands, with the lease its writes must carry.
type Claimed struct {
	ID          uuid.UUID
	Lease       int64
	Attempt     int // from 1
	Priority    int
	ReadyAt     time.Time
	StartedAt   time.Time // the database's now of the claim
	Tenant      string
	Kind        string
	Queue       string
	Lane        string
	Payload     []byte
	RuleID      uuid.NullUUID
	EndpointID  uuid.NullUUID
	OrderingKey string
	Skips       bool // its turn passes to the next of its key when an attempt fails
	MaxAttempts int
	TimeoutMS   int64
	Retry       string
	CreatedAt   time.Time
	// AfterJobs are the jobs that it waited for, as PostgreSQL writes them; nil: none.
	AfterJobs *string

	EventID      uuid.NullUUID
	EventType    string
	EventSource  *string
	EventSubject *string
	EventTime    *time.Time
	EventData    []byte

	EventSenderID    *string
	EventContentType *string
	EventDataSchema  *string
	EventExtensions  *string
	EventOpaque      *bool // data are not JSON
}

// HasTurn says whether the job is the one of its ordering key whose turn it is: a job
// that skips has lost its turn with its first attempt.
func (j *Claimed) HasTurn() bool { return j.OrderingKey != "" && (!j.Skips || j.Attempt == 1) }

// claimSQL moves jobs of one queue from ready to running.
//
// Each lane's priorities are ranges of the index ready_claim, read in order from
// their positions; no lane is walked over to reach another. Rows that others hold
// are skipped, not waited for; a locked row stays where it is, so its place (ctid)
// finds it again. The CTE is MATERIALIZED because a LIMIT below a join may be run
// again, and then claims more than it says. The jobs and events are looked up one by
// one behind a LIMIT, or a plan that was made while their partitions were empty, and
// kept, would read them whole. %s is one of the two orders below. The
// first row is no job: it gives the time that the claim saw as now.
const claimSQL = `
WITH asked AS MATERIALIZED (
    SELECT * FROM unnest($2::text[], $3::bigint[], $4::bool[], $5::timestamptz[], $6::timestamptz[], $7::timestamptz[], $8::timestamptz[])
                  WITH ORDINALITY AS a (lane, take, limited, since1, since2, since3, since4, n)
), due AS MATERIALIZED (%s
    LIMIT $9
), gone AS (
    DELETE FROM signalstack.ready AS r USING due WHERE r.ctid = due.at
    RETURNING r.job_id, r.queue, r.lane, r.priority, r.ready_at, r.attempt, r.lease, due.limited
), claimed AS (
    INSERT INTO signalstack.running (job_id, queue, lane, priority, ready_at, attempt, lease, worker, limited, started_at, lease_until)
    SELECT job_id, queue, lane, priority, ready_at, attempt + 1, lease + 1, $10, limited, now(), now() + $11 * interval '1 millisecond'
    FROM gone
    RETURNING job_id, queue, lane, priority, ready_at, attempt, lease, started_at
)
SELECT '00000000-0000-0000-0000-000000000000'::uuid, 0::bigint, 0, 0::smallint, now(), now(), '', '', '', '', ''::bytea,
       NULL::uuid, NULL::uuid, '', false, 0, 0, '', now(), NULL, NULL::uuid, '', NULL, NULL, NULL::timestamptz, NULL::bytea,
       NULL, NULL, NULL, NULL, NULL::boolean
UNION ALL
` + claimedColumns + `
FROM claimed AS c` + claimedJoins

// claimedColumns are what a worker needs to know of a job that it has (c).
const claimedColumns = `
SELECT c.job_id, c.lease, c.attempt, c.priority, c.ready_at, c.started_at, j.tenant, j.kind, c.queue, c.lane, j.payload,
       j.rule_id, j.endpoint_id, j.ordering_key, j.skips, j.max_attempts, j.timeout_ms, j.retry, j.created_at, j.after_jobs::text, j.event_id, j.event_type,
       e.source AS event_source, e.subject AS event_subject, e.time AS event_time, e.data AS event_data,
       e.sender_id AS event_sender_id, e.content_type AS event_content_type, e.data_schema AS event_data_schema,
       e.extensions AS event_extensions, e.opaque AS event_opaque`

const claimedJoins = `
CROSS JOIN LATERAL (SELECT * FROM signalstack.jobs AS j WHERE j.id = c.job_id LIMIT 1) AS j
LEFT JOIN LATERAL (SELECT * FROM signalstack.events AS e WHERE e.id = j.event_id LIMIT 1) AS e ON true`

// byPriority serves the priorities of a lane strictly one after the other.
const byPriority = `
    SELECT r.at, a.limited
    FROM asked AS a
    CROSS JOIN LATERAL (
        SELECT r.at
        FROM (VALUES (1::smallint, a.since1), (2, a.since2), (3, a.since3), (4, a.since4)) AS p (priority, since)
        CROSS JOIN LATERAL (
            SELECT r.ctid AS at
            FROM signalstack.ready AS r
            WHERE r.queue = $1 AND r.lane = a.lane AND r.priority = p.priority AND r.ready_at >= p.since
            ORDER BY r.ready_at, r.job_id
            LIMIT a.take
            FOR UPDATE SKIP LOCKED
        ) AS r
        LIMIT a.take
    ) AS r`

// byAge serves what has waited longest in a lane, whatever its priority. It looks
// first and locks only what it takes, by its place: the planner takes a table that was
// last vacuumed while it was empty for one of a single page, and would as soon walk a
// whole index to find a job_id.
const byAge = `
    SELECT r.at, a.limited
    FROM asked AS a
    CROSS JOIN LATERAL (
        SELECT oldest.at
        FROM (VALUES (1::smallint, a.since1), (2, a.since2), (3, a.since3), (4, a.since4)) AS p (priority, since)
        CROSS JOIN LATERAL (
            SELECT r.ctid AS at, r.job_id, r.ready_at
            FROM signalstack.ready AS r
            WHERE r.queue = $1 AND r.lane = a.lane AND r.priority = p.priority AND r.ready_at >= p.since
            ORDER BY r.ready_at, r.job_id
            LIMIT a.take
        ) AS oldest
        ORDER BY oldest.ready_at, oldest.job_id
        LIMIT a.take
    ) AS oldest
    CROSS JOIN LATERAL (
        SELECT r.ctid AS at FROM signalstack.ready AS r WHERE r.ctid = oldest.at FOR UPDATE SKIP LOCKED
    ) AS r`

// The two forms of the statement.
var (
	claimByPriority = fmt.Sprintf(claimSQL, byPriority)
	claimByAge      = fmt.Sprintf(claimSQL, byAge)
)

// claimsByAge: one claim in so many serves by age alone, so that a low priority
// waits long behind a busy high one but not for ever.
const claimsByAge = 8

// Claimer claims the jobs of one queue for one worker. It knows the lanes of the
// queue, serves them in turn, and remembers how far it has read in each. It is not
// safe for concurrent use.
type Claimer struct {
	Queue    string
	Worker   uuid.UUID
	Lease    time.Duration
	FullPass time.Duration // least time between two readings from the start; 0: every time

	db       *pg.DB
	lanes    lanes
	controls map[string]Control // of this queue, by lane
	// everywhere are the controls of lanes that hold in every queue.
	everywhere map[string]Control
	count      int // of claims
	slots      Slots
	lastFull   time.Time
	fullTook   time.Duration
}

// NewClaimer makes a claimer that starts with a full pass.
func NewClaimer(db *pg.DB, queue string, worker uuid.UUID, lease, fullPass time.Duration) *Claimer {
	return &Claimer{Queue: queue, Worker: worker, Lease: lease, FullPass: fullPass, db: db, lanes: newLanes(), controls: map[string]Control{}}
}

// Hear takes in a notice of ready jobs: the next claim misses none of them.
func (c *Claimer) Hear(n Notice) {
	if n.Lanes == nil {
		c.lanes.wakeAll(n.At)
		return
	}
	for _, lane := range n.Lanes {
		c.lanes.wake(lane, n.At)
	}
}

// Listens tells the claimer that it is told of what becomes ready, from now on, so
// that it need not look back as far for it.
func (c *Claimer) Listens() {
	c.lanes.slack = heardSlack
	c.Forget()
}

// Forget makes the next claim read all lanes from their start: notices may have
// been missed.
func (c *Claimer) Forget() { c.lastFull, c.fullTook = time.Time{}, 0 }

// SetControls gives the claimer what has been set of its queue and its lanes, and of
// lanes in every queue (AnyQueue). What an old limit held back is tried again.
func (c *Claimer) SetControls(controls, everywhere map[string]Control) {
	c.controls, c.everywhere = controls, everywhere
	c.lanes.setWeights(controls)
	c.lanes.unblock()
}

// Share says how the places of the next claims are given out.
func (c *Claimer) Share(s Slots) { c.slots = s }

// share is how places are given out now: a lane that is alone leaves none.
func (c *Claimer) share() Slots {
	s := c.slots
	if c.Lanes() < 2 {
		s.Spare = 0
	}
	return s
}

// Lanes is how many lanes of the queue are known: those that had jobs in the last
// minutes, or have a weight or a limit.
func (c *Claimer) Lanes() int { return len(c.lanes.byName) }

// Claim takes up to limit jobs: lanes in turn, and the most urgent of each first.
// An error leaves it open whether jobs were claimed: call ReleaseOrphans before the
// next claim.
func (c *Claimer) Claim(ctx context.Context, limit int) ([]Claimed, error) {
	if err := c.look(ctx, limit); err != nil {
		return nil, err
	}
	picks := c.lanes.pick(limit, c.share())
	if len(picks) == 0 || c.controls[wholeQueue].Paused {
		return nil, nil
	}
	var jobs []Claimed
	var room allowance
	var now time.Time
	err := pg.InSteadyTx(ctx, c.db, func(tx *sqlx.Tx) (err error) {
		jobs = nil
		if room, err = c.allow(ctx, tx, picks, limit); err != nil || room.limit == 0 {
			return err
		}
		if jobs, now, err = c.claim(ctx, tx, picks, room.limit); err != nil {
			return err
		}
		return room.spend(ctx, tx, jobs)
	})
	if err != nil {
		return nil, fmt.Errorf("claim from %s: %w", c.Queue, err)
	}
	if room.limit > 0 { // else no lane had its turn
		c.lanes.served(picks, room.limit, jobs, now)
	}
	return jobs, nil
}

// Sole gives the only lane that may have jobs, or "" when none is known to; ok is
// false when there are several.
func (c *Claimer) Sole() (lane string, ok bool) {
	switch len(c.lanes.ring) {
	case 0:
		return "", true
	case 1:
		return c.lanes.ring[0].name, true
	}
	return "", false
}

// More says whether there may be jobs that the last claim left for lack of room.
func (c *Claimer) More() bool { return c.lanes.next(time.Now()) == 0 && !c.controls[wholeQueue].Paused }

// Wait is how long until a lane that reached its rate may be served again, at most
// most. While the queue is paused none is.
func (c *Claimer) Wait(most time.Duration) time.Duration {
	if c.controls[wholeQueue].Paused {
		return most
	}
	return min(most, c.lanes.next(time.Now()))
}

// claim gives the jobs and the time that the statement saw as now.
func (c *Claimer) claim(ctx context.Context, tx *sqlx.Tx, picks []*pick, limit int) (jobs []Claimed, now time.Time, err error) {
	c.count++
	order := claimByPriority
	if c.count%claimsByAge == 0 {
		order = claimByAge
	}
	names, takes, limited := make(pq.StringArray, len(picks)), make(pq.Int64Array, len(picks)), make(pq.BoolArray, len(picks))
	var since [LowestPriority]pq.StringArray
	for i, p := range picks {
		names[i], takes[i], limited[i] = p.lane.name, int64(p.take), c.limited(p.lane.name)
		for at := range since {
			since[at] = append(since[at], positionText(p.lane.since[at]))
		}
	}
	rows, err := tx.QueryContext(ctx, order, c.Queue, names, takes, limited,
		since[0], since[1], since[2], since[3], limit, c.Worker, c.Lease.Milliseconds())
	if err != nil {
		return nil, now, err
	}
	return scanClaimed(rows, limit)
}

// scanClaimed reads up to n rows of claimedColumns, and the time where a row gives it.
func scanClaimed(rows *sql.Rows, n int) (jobs []Claimed, now time.Time, err error) {
	defer func() { _ = rows.Close() }()
	jobs = make([]Claimed, 0, n+1)
	for rows.Next() {
		jobs = append(jobs, Claimed{})
		last := len(jobs) - 1
		if err := jobs[last].scan(rows); err != nil {
			return nil, now, err
		}
		if jobs[last].ID == uuid.Nil {
			jobs, now = jobs[:last], jobs[last].StartedAt
		}
	}
	return jobs, now, rows.Err()
}

// scan reads a row of claimedColumns, by place: finding columns by name costs as much as
// reading them.
func (j *Claimed) scan(rows *sql.Rows) error {
	return rows.Scan(&j.ID, &j.Lease, &j.Attempt, &j.Priority, &j.ReadyAt, &j.StartedAt, &j.Tenant, &j.Kind, &j.Queue, &j.Lane, &j.Payload,
		&j.RuleID, &j.EndpointID, &j.OrderingKey, &j.Skips, &j.MaxAttempts, &j.TimeoutMS, &j.Retry, &j.CreatedAt, &j.AfterJobs, &j.EventID, &j.EventType,
		&j.EventSource, &j.EventSubject, &j.EventTime, &j.EventData,
		&j.EventSenderID, &j.EventContentType, &j.EventDataSchema, &j.EventExtensions, &j.EventOpaque)
}

// look finds lanes that have jobs without our having heard of it.
func (c *Claimer) look(ctx context.Context, limit int) error {
	full := time.Since(c.lastFull) >= max(c.FullPass, 50*c.fullTook) || c.FullPass == 0
	if !full && limit > c.share().Spare && c.lanes.next(time.Now()) == 0 {
		return nil // there is enough to do
	}
	if full {
		if err := c.fullPass(ctx); err != nil {
			return err
		}
	}
	found, err := findLanes(ctx, c.db, c.Queue, &c.lanes)
	if err != nil {
		return err
	}
	for _, lane := range found {
		c.lanes.wake(lane, time.Time{})
	}
	return nil
}

// fullPass finds jobs that were left behind by the positions. One that takes too
// long, because an old snapshot keeps very many dead rows in its way, is given up
// rather than let it keep claims from going on.
func (c *Claimer) fullPass(ctx context.Context) error {
	began := time.Now()
	c.lanes.forget()
	err := pg.InSteadyTx(ctx, c.db, func(tx *sqlx.Tx) error { return findMissed(ctx, tx, c.Queue, &c.lanes) })
	took := time.Since(began)
	if err != nil && took < tooLong {
		return err
	}
	c.lastFull, c.fullTook = time.Now(), took
	return nil
}

// tooLong is when a full pass did not fail for lack of a database.
const tooLong = 5 * time.Second
