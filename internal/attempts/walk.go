package attempts

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/queue"
)

// Filter narrows the log; zero fields do not.
type Filter struct {
	Tenant, Kind, EventType     string
	JobID, EventID, EndpointID  uuid.NullUUID
	CreatedAfter, CreatedBefore time.Time // of the job
	State, Outcome, ErrorClass  string
	StatusFrom, StatusTo        int  // both in the range; 0, 0: any
	NoStatus                    bool // no response came
	StartedAfter, StartedBefore time.Time
	Text                        string // in the error, the URL or the response's body
}

// place is where a walk stands: after an attempt, or after all of a job with lease 0.
type place struct {
	job   uuid.UUID
	lease int64
}

// jobFits is what the filter says of the job.
const jobFits = `($5::text = '' OR j.tenant = $5) AND ($6::text = '' OR j.kind = $6) AND ($7::text = '' OR j.event_type = $7)
      AND ($8::uuid IS NULL OR j.event_id = $8) AND ($9::uuid IS NULL OR j.endpoint_id = $9)
      AND j.created_at >= $10::timestamptz AND j.created_at < $11::timestamptz`

// foundText ends a statement that has scanned rows: it gives the keys of the first $22
// that fit, and how far the scan came. A row without a worker was no attempt. The text
// is looked for in the record as it stands, which is JSON; where it is in there the
// caller sees whether it is in what is searched.
const foundText = `, found AS MATERIALIZED (
    SELECT s.job_id, s.lease FROM scanned AS s
    WHERE s.worker IS NOT NULL AND ($12::text = '' OR s.state = $12) AND ($13::text = '' OR s.outcome = $13)
      AND ($14::text = '' OR s.error_class = $14) AND ($15::int = 0 OR s.status BETWEEN $15 AND $16::int)
      AND (NOT $17::bool OR s.status IS NULL) AND s.started_at >= $18::timestamptz AND s.started_at < $19::timestamptz
      AND ($20::text = '' OR position($20 IN lower(s.error COLLATE "C")) > 0
           OR position($21::text IN lower(convert_from(s.exchange, 'UTF8') COLLATE "C")) > 0)%s
    ORDER BY s.job_id DESC, s.lease DESC LIMIT $22
)
SELECT (SELECT count(*) FROM scanned) AS scanned,
       (SELECT l.job_id FROM scanned AS l ORDER BY l.job_id, l.lease LIMIT 1) AS last_job,
       (SELECT l.lease FROM scanned AS l ORDER BY l.job_id, l.lease LIMIT 1) AS last_lease,
       ARRAY(SELECT f.job_id::text FROM found AS f ORDER BY f.job_id DESC, f.lease DESC) AS jobs,
       ARRAY(SELECT f.lease FROM found AS f ORDER BY f.job_id DESC, f.lease DESC) AS leases`

const attemptColumns = `a.lease, a.worker, a.state, a.outcome, a.error, a.status, a.error_class, a.started_at, a.exchange`

// byJobsText reads $1 jobs in the order of an index (%s), from place ($2, $3) to the id
// $4, and of each its attempts by the primary key; a job without one that fits has a row
// too, so that jobs which wait count as read. Bounds on an index other than the primary
// key are rows of all its columns, which no other index can serve: read by their ids, most
// jobs would be those of others.
const byJobsText = `
WITH scanned AS MATERIALIZED (
    SELECT j.id AS job_id, coalesce(a.lease, 0) AS lease, a.worker, a.state, a.outcome, a.error, a.status, a.error_class, a.started_at, a.exchange
    FROM (
        SELECT j.* FROM signalstack.jobs AS j WHERE %s ORDER BY j.id DESC LIMIT $1
    ) AS j
    LEFT JOIN LATERAL (
        SELECT ` + attemptColumns + ` FROM signalstack.attempts AS a
        WHERE a.job_id = j.id AND (j.id < $2::uuid OR a.lease < $3::bigint) AND ` + jobFits + `
        ORDER BY a.lease DESC LIMIT $1
    ) AS a ON true
    ORDER BY j.id DESC, coalesce(a.lease, 0) DESC LIMIT $1
)`

// notableText reads $1 attempts by the index attempts_notable, from place ($2, $3) to the
// id $4. Their jobs are looked up one by one behind a LIMIT: as a join, the planner would
// read the whole of a partition that it takes for empty.
const notableText = `
WITH scanned AS MATERIALIZED (
    SELECT a.job_id, ` + attemptColumns + ` FROM signalstack.attempts AS a
    WHERE (a.state <> 'succeeded' OR a.status >= 300)
      AND a.job_id <= $2::uuid AND a.job_id >= $4::uuid AND (a.job_id, a.lease) < ($2::uuid, $3::bigint)
    ORDER BY a.job_id DESC, a.lease DESC LIMIT $1
)`

func byJobs(bounds string) string {
	return fmt.Sprintf(byJobsText, bounds) + fmt.Sprintf(foundText, "")
}

// The ways along the log. The index of tenants leaves the default one out.
var (
	wayOfAll      = byJobs(`j.id <= $2::uuid AND j.id >= $4::uuid`)
	wayOfEvent    = byJobs(`j.event_id = $8::uuid AND (j.event_id, j.id) <= ($8::uuid, $2::uuid) AND (j.event_id, j.id) >= ($8::uuid, $4::uuid)`)
	wayOfEndpoint = byJobs(`j.endpoint_id = $9::uuid AND (j.endpoint_id, j.id) <= ($9::uuid, $2::uuid) AND (j.endpoint_id, j.id) >= ($9::uuid, $4::uuid)`)
	wayOfTenant   = byJobs(`j.tenant <> 'default' AND j.tenant = $5::text AND (j.tenant, j.id) <= ($5::text, $2::uuid)
          AND (j.tenant, j.id) >= ($5::text, $4::uuid)`)
	wayOfNotable = notableText + fmt.Sprintf(foundText, `
      AND (SELECT true FROM signalstack.jobs AS j WHERE j.id = s.job_id AND `+jobFits+` LIMIT 1)`)
)

func (f Filter) way() string {
	switch {
	case f.JobID.Valid:
		return wayOfAll
	case f.EventID.Valid:
		return wayOfEvent
	case f.EndpointID.Valid:
		return wayOfEndpoint
	case f.Tenant != "" && f.Tenant != httpapi.DefaultTenant:
		return wayOfTenant
	case f.ErrorClass != "", f.Outcome != "" && f.Outcome != queue.OutcomeSucceeded,
		f.State != "" && f.State != string(queue.Succeeded), f.StatusFrom >= 300:
		return wayOfNotable
	}
	return wayOfAll
}

// clockSlack is how far the clock of a process that made an id may be from the
// database's.
const clockSlack = time.Hour

// start is the place before the first attempt that may fit. A job is older than its
// attempts.
func (f Filter) start() place {
	if f.JobID.Valid {
		return place{f.JobID.UUID, math.MaxInt64}
	}
	first := place{uuid.Max, math.MaxInt64}
	for _, before := range []time.Time{f.CreatedBefore, f.StartedBefore} {
		if id := queue.FirstID(before.Add(clockSlack)); !before.IsZero() && id.String() < first.job.String() {
			first = place{job: id}
		}
	}
	return first
}

// end is the least id of a job that may fit.
func (f Filter) end() uuid.UUID {
	switch {
	case f.JobID.Valid:
		return f.JobID.UUID
	case f.CreatedAfter.IsZero():
		return uuid.Nil
	}
	return queue.FirstID(f.CreatedAfter.Add(-clockSlack))
}

func (f Filter) args(from place, scan, limit int) []any {
	escaped, _ := json.Marshal(f.Text) // a text can be marshaled
	return []any{
		scan, from.job, from.lease, f.end(), f.Tenant, f.Kind, f.EventType, f.EventID, f.EndpointID,
		timeOr(f.CreatedAfter, "-infinity"), timeOr(f.CreatedBefore, "infinity"),
		f.State, f.Outcome, f.ErrorClass, f.StatusFrom, f.StatusTo, f.NoStatus,
		timeOr(f.StartedAfter, "-infinity"), timeOr(f.StartedBefore, "infinity"),
		lower(f.Text), lower(string(escaped[1 : len(escaped)-1])), limit,
	}
}

func timeOr(t time.Time, none string) string {
	if t.IsZero() {
		return none
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// stretch is what one statement found.
type stretch struct {
	keys []place
	last place // the last that was looked at
	end  bool  // there are no more
}

// next looks at the next scan rows and gives the first limit that fit.
func (f Filter) next(ctx context.Context, tx *sqlx.Tx, from place, scan, limit int) (stretch, error) {
	var row struct {
		Scanned   int            `db:"scanned"`
		LastJob   uuid.NullUUID  `db:"last_job"`
		LastLease *int64         `db:"last_lease"`
		Jobs      pq.StringArray `db:"jobs"`
		Leases    pq.Int64Array  `db:"leases"`
	}
	if err := tx.GetContext(ctx, &row, f.way(), f.args(from, scan, limit)...); err != nil {
		return stretch{}, fmt.Errorf("find attempts: %w", err)
	}
	s := stretch{last: from, end: row.Scanned < scan}
	if row.LastJob.Valid {
		s.last = place{row.LastJob.UUID, *row.LastLease}
	}
	for i, job := range row.Jobs {
		id, err := uuid.Parse(job)
		if err != nil {
			return stretch{}, fmt.Errorf("read id of job: %w", err)
		}
		s.keys = append(s.keys, place{id, row.Leases[i]})
	}
	if len(s.keys) == limit { // what is after the last of them was not taken
		s.last, s.end = s.keys[limit-1], false
	}
	return s, nil
}
