package queue

import (
	"context"
	"fmt"
	"slices"
	"strings"
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
	LimitKey    string // gives the job a lane, and with it limits, of its own
	OrderingKey string // jobs of one key run one after the other
	Skips       bool   // the next of its key comes when an attempt of it fails, and not at its end only
	MaxAttempts int
	Timeout     time.Duration
	Retry       string        // JSON policy; "" is the kind's own
	ReplayID    uuid.NullUUID // the replay that makes it of an old event
	ScheduleID  uuid.NullUUID // the schedule that makes it
	// After are the jobs that must have ended before it runs: all of them well, or in any
	// way when AfterAny is set. Its Delay counts from then, and its place in the order of its key
	// is one from then.
	After    []uuid.UUID
	AfterAny bool
	// Once names what makes the job; of the jobs with the same one only the first is
	// to be made. Whoever enqueues the job sees to that.
	Once string
	// Gathers says that until its time the job waits for company: a job of its lane
	// that runs may take it along before.
	Gathers bool
	// Unmade says why the job could not be made as its rule has it, or is "". The job
	// is written as failed, without an attempt.
	Unmade string
}

// Lane is the line in its queue that the job stands in: jobs of one tenant, and of
// one endpoint or limit key where it has one. Lanes are served in turn, so a long
// one does not hold up the others.
func (j *NewJob) Lane() string {
	switch {
	case j.LimitKey != "":
		return LaneOf(j.Tenant, j.LimitKey)
	case j.EndpointID.Valid:
		return EndpointLane(j.Tenant, j.EndpointID.UUID)
	}
	return j.Tenant
}

// EndpointLane names the lane of a tenant's endpoint.
func EndpointLane(tenant string, id uuid.UUID) string { return tenant + "/" + id.String() }

// LaneOf names the lane of a tenant's limit key. No tenant's name has a / or #, so
// no lane of one is that of another.
func LaneOf(tenant, limitKey string) string { return tenant + "#" + limitKey }

// PartsOfLane takes the name of a lane apart.
func PartsOfLane(lane string) (tenant, endpointID, limitKey string) {
	at := strings.IndexAny(lane, "/#")
	switch {
	case at < 0:
		return lane, "", ""
	case lane[at] == '/':
		return lane[:at], lane[at+1:], ""
	}
	return lane[:at], "", lane[at+1:]
}

// Enqueue writes jobs and makes them ready, in the caller's transaction and in one
// statement, which also runs what else the caller has to write. Workers are notified
// at commit, once for each queue with a job that is due.
//
// Jobs that could not be made, and those that wait for others, are written in statements
// of their own, where there are any.
func Enqueue(ctx context.Context, q pg.Querier, jobs []NewJob, also ...pg.Write) error {
	jobs, err := without(ctx, q, jobs, func(j *NewJob) bool { return j.Unmade != "" }, writeUnmade)
	if err != nil {
		return err
	}
	if jobs, err = without(ctx, q, jobs, func(j *NewJob) bool { return len(j.After) > 0 }, writeBlocked); err != nil {
		return err
	}
	if len(jobs) > 0 {
		also = append(also[:len(also):len(also)], enqueueing(jobs))
	}
	if len(also) == 0 {
		return nil
	}
	last := len(also) - 1
	if err := pg.Together(also[last], also[:last]...).Run(ctx, q); err != nil {
		return fmt.Errorf("enqueue %d jobs: %w", len(jobs), err)
	}
	return nil
}

// enqueueing is the shortest statement that the jobs can be written by.
func enqueueing(jobs []NewJob) pg.Write {
	inOrder := slices.ContainsFunc(jobs, func(j NewJob) bool { return j.OrderingKey != "" })
	gathers := slices.ContainsFunc(jobs, func(j NewJob) bool { return j.Gathers })
	w := pg.Write{SQL: enqueueSQL[forms{inOrder, gathers}], Args: enqueueArgs(jobs)}
	if inOrder {
		w.Args = append(w.Args, flags(jobs, func(j *NewJob) bool { return j.Skips }))
	}
	if gathers {
		w.Args = append(w.Args, flags(jobs, func(j *NewJob) bool { return j.Gathers }))
	}
	return w
}

func flags(jobs []NewJob, of func(*NewJob) bool) pq.BoolArray {
	all := make(pq.BoolArray, len(jobs))
	for i := range jobs {
		all[i] = of(&jobs[i])
	}
	return all
}

// without writes jobs of a sort in their own way, and gives the others.
func without(ctx context.Context, q pg.Querier, jobs []NewJob, is func(*NewJob) bool, write func(context.Context, pg.Querier, []NewJob) error) ([]NewJob, error) {
	if !slices.ContainsFunc(jobs, func(j NewJob) bool { return is(&j) }) {
		return jobs, nil
	}
	var own, others []NewJob
	for _, j := range jobs {
		if is(&j) {
			own = append(own, j)
		} else {
			others = append(others, j)
		}
	}
	return others, write(ctx, q, own)
}

// enqueueText writes all rows of each job from the same arrays. ready_at is now():
// the claim's remembered position relies on its never being before the start of
// the transaction. The first places of %s are for ordering keys, the next for jobs
// that wait for company.
const enqueueText = `
WITH given AS MATERIALIZED (
    SELECT id, tenant, kind, queue, lane, priority::smallint,
           coalesce(run_at, now() + delay_us * interval '1 microsecond') AS run_at,
           payload, event_id, event_type, rule_id, endpoint_id, ordering_key, max_attempts::int, timeout_ms::int, retry, replay_id, schedule_id, n%[4]s%[5]s
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::timestamptz[], $8::bigint[], $9::bytea[],
                $10::uuid[], $11::text[], $12::uuid[], $13::uuid[], $14::text[], $15::bigint[], $16::bigint[], $17::text[], $18::uuid[], $19::uuid[]%[3]s)
         WITH ORDINALITY AS g (id, tenant, kind, queue, lane, priority, run_at, delay_us, payload,
                               event_id, event_type, rule_id, endpoint_id, ordering_key, max_attempts, timeout_ms, retry, replay_id, schedule_id%[5]s%[4]s, n)
), written AS (
    INSERT INTO signalstack.jobs (id, tenant, kind, queue, lane, priority, run_at, payload, event_id, event_type, rule_id,
                                  endpoint_id, ordering_key%[5]s, max_attempts, timeout_ms, retry, replay_id, schedule_id, created_at)
    SELECT id, tenant, kind, queue, lane, priority, run_at, payload, event_id, event_type, rule_id,
           endpoint_id, ordering_key%[5]s, max_attempts, timeout_ms, retry, replay_id, schedule_id, now()
    FROM given
), %[1]slater AS (
    INSERT INTO signalstack.scheduled (job_id, queue, lane, priority, run_at, attempt, lease%[4]s)
    SELECT id, queue, lane, priority, run_at, 0, 0%[4]s FROM given WHERE run_at > now()%[2]s
    RETURNING run_at
), due AS (
    INSERT INTO signalstack.ready (job_id, queue, lane, priority, ready_at, attempt, lease)
    SELECT id, queue, lane, priority, now(), 0, 0 FROM given WHERE run_at <= now()%[2]s
    RETURNING queue, lane
)
` + tellDueAndLater

// inOrderText lets the first of each ordering key that was idle have its turn, and the
// rest wait. Who has a turn is known when all keys are locked, and only then do those
// that wait get their numbers (seq), so that these grow in the order of the commits.
const (
	inOrderText = `idle AS (
    INSERT INTO signalstack.ordering_keys AS k (tenant, ordering_key)
    SELECT DISTINCT tenant COLLATE "C", ordering_key COLLATE "C" FROM given WHERE ordering_key <> '' ORDER BY 1, 2` + lockKey + `
), turns AS MATERIALIZED (
    SELECT min(n) AS n FROM idle JOIN given USING (tenant, ordering_key) GROUP BY tenant, ordering_key
), in_order AS (
    INSERT INTO signalstack.ordered (job_id, tenant, ordering_key, queue, lane, priority, run_at, lease)
    SELECT id, tenant, ordering_key, queue, lane, priority, run_at, 0 FROM given
    WHERE ordering_key <> '' AND n NOT IN (SELECT n FROM turns) ORDER BY n
), `
	inOrderTurn = ` AND (ordering_key = '' OR n IN (SELECT n FROM turns))`
)

// forms are what the jobs of a batch need beyond the plain statement.
type forms struct{ inOrder, gathers bool }

var enqueueSQL = map[forms]string{
	{}:                             fmt.Sprintf(enqueueText, "", "", "", "", ""),
	{inOrder: true}:                fmt.Sprintf(enqueueText, inOrderText, inOrderTurn, ", $20::boolean[]", "", ", skips"),
	{gathers: true}:                fmt.Sprintf(enqueueText, "", "", ", $20::boolean[]", ", gathers", ""),
	{inOrder: true, gathers: true}: fmt.Sprintf(enqueueText, inOrderText, inOrderTurn, ", $20::boolean[], $21::boolean[]", ", gathers", ", skips"),
}

// tellDueAndLater ends a statement that has made jobs ready (due) or scheduled
// (later). A job for the next moments is told too: the promoter sleeps that long.
const tellDueAndLater = `
SELECT signalstack.notify_ready(queue, array_agg(DISTINCT lane)) FROM due GROUP BY queue
UNION ALL
SELECT signalstack.notify_scheduled(min(run_at)) FROM later WHERE run_at < now() + interval '3 seconds' HAVING count(*) > 0`

func enqueueArgs(jobs []NewJob) []any {
	n := len(jobs)
	text := func(of func(*NewJob) string) pg.Array {
		return pg.Texts(n, func(i int) string { return of(&jobs[i]) })
	}
	number := func(of func(*NewJob) int64) pg.Array {
		return pg.Int8s(n, func(i int) int64 { return of(&jobs[i]) })
	}
	id := func(of func(*NewJob) uuid.NullUUID) pg.Array {
		return pg.NullUUIDs(n, func(i int) uuid.NullUUID { return of(&jobs[i]) })
	}
	return []any{
		pg.UUIDs(n, func(i int) uuid.UUID { return jobs[i].ID }),
		text(func(j *NewJob) string { return j.Tenant }),
		text(func(j *NewJob) string { return j.Kind }),
		text(func(j *NewJob) string { return j.Queue }),
		text((*NewJob).Lane),
		number(func(j *NewJob) int64 { return int64(j.Priority) }),
		pg.NullTimes(n, func(i int) time.Time { return jobs[i].RunAt }),
		number(func(j *NewJob) int64 { return j.Delay.Microseconds() }),
		pg.Blobs(n, func(i int) []byte { return jobs[i].Payload }),
		id(func(j *NewJob) uuid.NullUUID { return j.EventID }),
		text(func(j *NewJob) string { return j.EventType }),
		id(func(j *NewJob) uuid.NullUUID { return j.RuleID }),
		id(func(j *NewJob) uuid.NullUUID { return j.EndpointID }),
		text(func(j *NewJob) string { return j.OrderingKey }),
		number(func(j *NewJob) int64 { return int64(j.MaxAttempts) }),
		number(func(j *NewJob) int64 { return j.Timeout.Milliseconds() }),
		text(func(j *NewJob) string { return j.Retry }),
		id(func(j *NewJob) uuid.NullUUID { return j.ReplayID }),
		id(func(j *NewJob) uuid.NullUUID { return j.ScheduleID }),
	}
}

func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}
