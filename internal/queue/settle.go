package queue

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/signalstack/signalstack/internal/pg"
)

// State is where a job stands.
type State string

// The states of a job; the last three are final.
const (
	Blocked   State = "blocked" // waits for other jobs
	Scheduled State = "scheduled"
	Pending   State = "pending"
	Running   State = "running"
	Retrying  State = "retrying"
	Succeeded State = "succeeded"
	Failed    State = "failed"
	Canceled  State = "canceled"

	// Released is no state of a job but a way to settle: the job goes back as if
	// it had not been claimed.
	Released State = "released"
)

// Final says whether a job in this state stays in it.
func (s State) Final() bool { return s == Succeeded || s == Failed || s == Canceled }

// Outcomes of an attempt.
const (
	OutcomeSucceeded = "succeeded"
	OutcomeError     = "error"     // tried again, unless it was the last attempt
	OutcomePermanent = "permanent" // no further attempt would help
	OutcomeTimeout   = "timeout"
	OutcomePanic     = "panic"
	OutcomeCrashed   = "crashed"  // its worker died
	OutcomeCanceled  = "canceled" // somebody asked for it
	// OutcomeThrottled is an attempt that was turned away for a time. It is on record,
	// and the next one has its number.
	OutcomeThrottled = "throttled"
	OutcomeUnmade    = "unmade" // there was no attempt: the job could not be made of its event
)

// Settlement ends one claim.
type Settlement struct {
	JobID       uuid.UUID
	Lease       int64
	Tenant      string        // of the job
	OrderingKey string        // of the job
	Skips       bool          // whether the job does
	State       State         // Succeeded, Failed, Canceled, Retrying or Released
	Outcome     string        // of the attempt
	Error       string        // "" on success
	Delay       time.Duration // before the next attempt, when there is one
	Duration    time.Duration
	Exchange    json.RawMessage // nil: none
	Status      int             // of the response in the exchange; 0: none came
	ErrorClass  string          // why none came; "": one came, or none was asked for
	Result      json.RawMessage // nil: none
	TakeNext    bool            // by SettleAndTake
}

// settleText ends claims whose lease is still theirs: it deletes the running row,
// appends the attempt and, when the job goes on, makes it ready or schedules it. A
// job that somebody wants canceled does not go on. A row of the input whose lease
// is gone matches nothing and is missing in the answer. A lane with a limit is
// told of, as it has a free place now. The places of %s are for ordering keys.
//
// Each row is looked up by itself behind a LIMIT and deleted by its place: as a join
// the planner would read the whole of an index that it takes for one page, when the
// table was last vacuumed while it was empty. A row that an extension of its lease
// moves in between is missing in the answer too.
const settleText = `
WITH given AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::bytea[], $9::bytea[],
                         $10::smallint[], $11::text[]%[1]s)
             AS g (job_id, lease, state, outcome, error, delay_us, duration_ms, exchange, result, status, error_class%[2]s)
), held AS MATERIALIZED (
    SELECT g.*, r.at FROM given AS g
    CROSS JOIN LATERAL (SELECT r.ctid AS at FROM signalstack.running AS r WHERE r.job_id = g.job_id AND r.lease = g.lease LIMIT 1) AS r
), ended AS (
    DELETE FROM signalstack.running AS r USING held AS g WHERE r.ctid = g.at
    RETURNING r.job_id, r.queue, r.lane, r.priority, r.attempt, r.lease, r.worker, r.limited, r.started_at,
              g.state, g.outcome, g.error, g.delay_us, g.duration_ms, g.exchange, g.result, g.status, g.error_class%[2]s
), wanted AS (
    DELETE FROM signalstack.cancels WHERE job_id = ANY (ARRAY(SELECT job_id FROM ended)) RETURNING job_id
), gone AS MATERIALIZED (
    SELECT ended.*, CASE WHEN state IN ('retrying', 'released') AND wanted.job_id IS NOT NULL THEN 'canceled' ELSE state END AS becomes
    FROM ended LEFT JOIN wanted ON wanted.job_id = ended.job_id
), recorded AS (
    INSERT INTO signalstack.attempts (job_id, lease, attempt, state, outcome, error, worker, started_at, finished_at, duration_ms, exchange, result, status, error_class)
    SELECT job_id, lease, attempt, becomes, CASE WHEN becomes <> state THEN 'canceled' ELSE outcome END, error,
           worker, started_at, now(), duration_ms, nullif(exchange, ''),
           CASE WHEN becomes = 'succeeded' THEN nullif(result, '') END, nullif(status, 0), nullif(error_class, '')
    FROM gone
    WHERE becomes <> 'released'
), followed AS (
    %[7]s
), %[3]s waits AS (
    SELECT job_id, queue, lane, priority, now() + delay_us * interval '1 microsecond' AS run_at,
           CASE WHEN becomes = 'released' OR outcome = 'throttled' THEN attempt - 1 ELSE attempt END AS attempt, lease
    FROM gone
    WHERE becomes IN ('retrying', 'released')%[4]s
), later AS (
    INSERT INTO signalstack.scheduled (job_id, queue, lane, priority, run_at, attempt, lease)
    SELECT * FROM waits WHERE run_at > now()
    RETURNING run_at
), due AS (
    INSERT INTO signalstack.ready (job_id, queue, lane, priority, ready_at, attempt, lease)
    SELECT job_id, queue, lane, priority, now(), attempt, lease FROM waits WHERE run_at <= now()
    RETURNING queue, lane
), told AS (
    SELECT signalstack.notify_ready(queue, array_agg(DISTINCT lane))
    FROM (SELECT queue, lane FROM due UNION SELECT queue, lane FROM gone WHERE limited) AS d GROUP BY queue
    UNION ALL
    SELECT signalstack.notify_scheduled(min(run_at)) FROM later WHERE run_at < now() + interval '3 seconds' HAVING count(*) > 0
)
SELECT job_id, lease, becomes AS state, %[5]s AS last FROM gone WHERE (SELECT count(*) FROM told) >= 0%[6]s`

// turnEnds says of a claim that is gone whether the turn of its job in its ordering key
// is over: the job has ended, or an attempt of one that skips has failed. A job that
// skips and failed before had no turn any more. One that was handed back or turned away
// keeps it, as nothing of it was tried.
const turnEnds = `(ordering_key <> '' AND NOT (skips AND attempt > 1)
        AND (becomes IN ('succeeded', 'failed', 'canceled') OR skips AND becomes = 'retrying' AND outcome <> 'throttled'))`

// settleSQL is for batches in which no job has an ordering key. settleInOrderSQL
// also lets the next job of each key come whose turn is over: the first that the
// statement sees, by one step of the index ordered_key, found again by its place
// (ctid), whatever statistics say of the table. It becomes ready or scheduled, or is
// running at once where the worker asked for it.
var (
	settleSQL        = fmt.Sprintf(settleText, "", "", "", "", "false", "", settleFollowed)
	settleInOrderSQL = fmt.Sprintf(settleText, ", $12::text[], $13::text[], $14::bool[], $15::bool[]", ", tenant, ordering_key, skips, take_next", `next AS (
    DELETE FROM signalstack.ordered WHERE ctid = ANY (ARRAY(
        SELECT f.at
        FROM gone CROSS JOIN LATERAL (
            SELECT o.ctid AS at FROM signalstack.ordered AS o
            WHERE o.tenant = gone.tenant AND o.ordering_key = gone.ordering_key ORDER BY o.seq LIMIT 1
        ) AS f
        WHERE `+turnEnds+`))
    RETURNING tenant, ordering_key, job_id, queue, lane, priority, run_at, lease
), come AS MATERIALIZED (
    SELECT *, run_at <= now() AND (tenant, ordering_key, queue, lane, priority) IN (
        SELECT tenant, ordering_key, queue, lane, priority FROM gone WHERE take_next AND NOT limited AND `+turnEnds+`
    ) AS taken
    FROM next
), taken AS (
    INSERT INTO signalstack.running (job_id, queue, lane, priority, ready_at, attempt, lease, worker, limited, started_at, lease_until)
    SELECT job_id, queue, lane, priority, now(), 1, lease + 1, $16, false, now(), now() + $17 * interval '1 millisecond'
    FROM come WHERE taken
),`, `
    UNION ALL SELECT job_id, queue, lane, priority, run_at, 0, lease FROM come WHERE NOT taken`,
		turnEnds+` AND (tenant, ordering_key) NOT IN (SELECT tenant, ordering_key FROM next)`, `
UNION ALL SELECT job_id, lease + 1, 'running', false FROM come WHERE taken`, settleFollowed)
)

// settleFollowed marks the jobs that ended where others wait for them.
var settleFollowed = markFollowed("gone", "becomes IN ('succeeded', 'failed', 'canceled')")

// SettleAndTake settles, and where a settlement that ends a turn says TakeNext it claims the next job
// of the ordering key for the worker in the same statement, past all others of its
// lane: whoever asks must know that it takes no turn from them. A job that differs in
// its queue, lane or priority from the one before it is not taken, nor is one whose
// time has not come or that a limit would count. Where the answer is lost it is an
// orphan, as after a claim.
func SettleAndTake(ctx context.Context, q pg.Querier, all []Settlement, worker uuid.UUID, lease time.Duration) (map[Held]State, []Claimed, error) {
	states, taken, err := settle(ctx, q, all, worker, lease)
	if err != nil || len(taken) == 0 {
		return states, nil, err
	}
	jobs, err := claimedJobs(ctx, q, taken)
	return states, jobs, err
}

// claimedJobs reads jobs that this transaction has claimed.
func claimedJobs(ctx context.Context, q pg.Querier, ids pq.StringArray) ([]Claimed, error) {
	rows, err := q.QueryContext(ctx, claimedColumns+` FROM signalstack.running AS c`+claimedJoins+` WHERE c.job_id = ANY ($1::uuid[])`, ids)
	if err != nil {
		return nil, fmt.Errorf("read claimed jobs: %w", err)
	}
	jobs, _, err := scanClaimed(rows, len(ids))
	return jobs, err
}

// Settle ends claims in the caller's transaction and gives the states that the jobs
// of those are in that were still theirs to end. The others are stale: their lease
// was taken away and another attempt stands.
func Settle(ctx context.Context, q pg.Querier, all []Settlement) (map[Held]State, error) {
	states, _, err := settle(ctx, q, all, uuid.UUID{}, 0)
	return states, err
}

// settle gives the states of the jobs, and the jobs that were taken. What is missing
// after a look may have had its lease extended meanwhile, or somebody wait for its end,
// both of which move the row; the next look sees where to.
func settle(ctx context.Context, q pg.Querier, all []Settlement, worker uuid.UUID, lease time.Duration) (map[Held]State, pq.StringArray, error) {
	const looks = 3
	keys := keysOf(all)
	states := make(map[Held]State, len(all))
	var last []orderingKey
	var taken pq.StringArray
	for look, rest := 0, all; look < looks && len(rest) > 0; look++ {
		rows, err := settleOnce(ctx, q, rest, len(keys) > 0, worker, lease)
		if err != nil {
			return nil, nil, fmt.Errorf("settle %d jobs: %w", len(all), err)
		}
		for _, r := range rows {
			if r.State == Running {
				taken = append(taken, r.JobID.String())
				continue
			}
			states[r.Held] = r.State
			if r.Last {
				last = append(last, keys[r.JobID])
			}
		}
		rest = unsettled(rest, states)
	}
	return states, taken, advance(ctx, q, last)
}

// settledRow is what the statement answers of a job: the state that it is in, and
// whether its turn is over and the statement saw none that waits for it.
type settledRow struct {
	Held
	State State `db:"state"`
	Last  bool  `db:"last"`
}

func settleOnce(ctx context.Context, q pg.Querier, all []Settlement, keyed bool, worker uuid.UUID, lease time.Duration) (rows []settledRow, err error) {
	statement, args := settleSQL, settleArgs(all)
	if keyed {
		tenants, names, skips, takes := make(pq.StringArray, len(all)), make(pq.StringArray, len(all)), make(pq.BoolArray, len(all)), make(pq.BoolArray, len(all))
		for i, s := range all {
			tenants[i], names[i], skips[i], takes[i] = s.Tenant, s.OrderingKey, s.Skips, s.TakeNext && worker != uuid.Nil
		}
		statement, args = settleInOrderSQL, append(args, tenants, names, skips, takes, worker, lease.Milliseconds())
	}
	err = q.SelectContext(ctx, &rows, statement, args...)
	return rows, err
}

// unsettled gives those of the settlements that have no state yet.
func unsettled(all []Settlement, states map[Held]State) []Settlement {
	if len(states) == len(all) {
		return nil
	}
	var rest []Settlement
	for _, s := range all {
		if _, ok := states[Held{s.JobID, s.Lease}]; !ok {
			rest = append(rest, s)
		}
	}
	return rest
}

// keysOf gives the ordering keys of the jobs that have one.
func keysOf(all []Settlement) map[uuid.UUID]orderingKey {
	keys := map[uuid.UUID]orderingKey{}
	for _, s := range all {
		if s.OrderingKey != "" {
			keys[s.JobID] = orderingKey{s.Tenant, s.OrderingKey}
		}
	}
	return keys
}

func settleArgs(all []Settlement) []any {
	n := len(all)
	ids, states, outcomes, errs := make(pq.StringArray, n), make(pq.StringArray, n), make(pq.StringArray, n), make(pq.StringArray, n)
	leases, delays, durations := make(pq.Int64Array, n), make(pq.Int64Array, n), make(pq.Int64Array, n)
	exchanges, results := make(pq.ByteaArray, n), make(pq.ByteaArray, n)
	statuses, classes := statusesOf(all)
	for i, s := range all {
		ids[i], leases[i], states[i], outcomes[i], errs[i] = s.JobID.String(), s.Lease, string(s.State), s.Outcome, s.Error
		delays[i], durations[i], exchanges[i], results[i] = s.Delay.Microseconds(), s.Duration.Milliseconds(), s.Exchange, s.Result
	}
	return []any{ids, leases, states, outcomes, errs, delays, durations, exchanges, results, statuses, classes}
}

// statusesOf gives what is told of exchanges, without the end of which nothing is: most
// jobs have no error class, and many no exchange. unnest fills up with NULL.
func statusesOf(all []Settlement) (statuses pq.Int32Array, classes pq.StringArray) {
	statuses, classes = pq.Int32Array{}, pq.StringArray{}
	for i, s := range all {
		for s.Status != 0 && len(statuses) <= i {
			statuses = append(statuses, int32(all[len(statuses)].Status)) //nolint:gosec // three digits
		}
		for s.ErrorClass != "" && len(classes) <= i {
			classes = append(classes, all[len(classes)].ErrorClass)
		}
	}
	return statuses, classes
}
