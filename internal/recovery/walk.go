package recovery

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/queue"
)

// walk goes over the jobs that a filter takes in the order of their ids, a stretch at
// a time.
type walk struct {
	JobFilter
	action string
	tenant string    // "": all
	by     time.Time // no job that ended later (retry) or was created later (cancel)
}

// stretch is what a step of a walk found.
type stretch struct {
	ids   []uuid.UUID // that fit, when they were asked for
	found int         // how many fit
	free  int         // those of them that are not on their way already
	last  string      // id of the last job that was looked at; the next step begins after it
	end   bool        // there are no more
}

// The rows that a step reads, $1 of them after the id $2, in the order of an index. As
// with events.Walk they bound what a step costs, however few of them fit, and as there
// the bounds are written as rows of all columns of the index that is meant, so that no
// other one can serve them: of a million jobs that went well, the primary key would have
// all read for a few that failed.
const (
	ofJobs  = `SELECT id FROM signalstack.jobs WHERE %s ORDER BY id LIMIT $1`
	ofEnded = `SELECT job_id AS id FROM signalstack.attempts
    WHERE state = '%[1]s' AND (state, job_id) > ('%[1]s', $2::uuid) AND (state, job_id) >= ('%[1]s', $3::uuid) AND (state, job_id) < ('%[1]s', $4::uuid)
    ORDER BY job_id LIMIT $1`
	ofLiving = `SELECT id FROM (
        (SELECT job_id AS id FROM signalstack.ready WHERE %[1]s ORDER BY job_id LIMIT $1)
        UNION ALL (SELECT job_id FROM signalstack.scheduled WHERE %[1]s ORDER BY job_id LIMIT $1)
        UNION ALL (SELECT job_id FROM signalstack.running WHERE %[1]s ORDER BY job_id LIMIT $1)
        UNION ALL (SELECT job_id FROM signalstack.ordered WHERE %[1]s ORDER BY job_id LIMIT $1)
        UNION ALL (SELECT job_id FROM signalstack.blocked WHERE %[1]s ORDER BY job_id LIMIT $1)
    ) AS living ORDER BY id LIMIT $1`
	livingBounds = `job_id > $2::uuid AND job_id >= $3::uuid AND job_id < $4::uuid`
	keyBounds    = `id > $2::uuid AND id >= $3::uuid AND id < $4::uuid`
)

// jobFits is what the filter says of the job.
const jobFits = `($5::text = '' OR j.tenant = $5) AND ($6::text = '' OR j.kind = $6) AND ($7::text = '' OR j.queue = $7)
        AND ($8::uuid IS NULL OR j.event_id = $8) AND ($9::uuid IS NULL OR j.rule_id = $9) AND ($10::uuid IS NULL OR j.endpoint_id = $10)
        AND ($11::uuid IS NULL OR j.replay_id = $11) AND ($12::text = '' OR j.event_type = $12)
        AND j.created_at >= $13::timestamptz AND j.created_at < $14::timestamptz`

// fitText joins to the rows s that were read what makes them fit, each by the primary
// keys; the LIMITs keep the planner from other ways, and the order from another index that
// has the id of a job that is ready. A job has one row there, or one for
// each time that it ended so.
const (
	fitEnded = `
    CROSS JOIN LATERAL (SELECT FROM signalstack.jobs AS j WHERE j.id = s.id AND ` + jobFits + ` LIMIT 1) AS j
    CROSS JOIN LATERAL (
        SELECT a.state FROM signalstack.attempts AS a WHERE a.job_id = s.id AND a.finished_at <= $15::timestamptz ORDER BY a.lease DESC LIMIT 1
    ) AS a
    WHERE a.state = $16::text`
	fitLiving = `
    CROSS JOIN LATERAL (SELECT FROM signalstack.jobs AS j WHERE j.id = s.id AND ` + jobFits + ` AND j.created_at <= $15::timestamptz LIMIT 1) AS j
    CROSS JOIN LATERAL (
        SELECT w.state FROM (
            (SELECT 'pending' AS state FROM signalstack.ready WHERE job_id >= s.id AND job_id <= s.id ORDER BY job_id LIMIT 1)
            UNION ALL SELECT CASE WHEN attempt > 0 THEN 'retrying' ELSE 'scheduled' END FROM signalstack.scheduled WHERE job_id = s.id
            UNION ALL SELECT CASE WHEN run_at > now() THEN 'scheduled' ELSE 'pending' END FROM signalstack.ordered WHERE job_id = s.id
            UNION ALL SELECT 'blocked' FROM signalstack.blocked WHERE job_id = s.id
            UNION ALL SELECT 'running' FROM signalstack.running WHERE job_id = s.id
        ) AS w LIMIT 1
    ) AS a
    WHERE ($16::text = '' OR a.state = $16)`
)

// isFree leaves out what is on its way already.
var isFree = `
    LEFT JOIN LATERAL (` + queue.Living("f.id") + `) AS living ON true
    WHERE living.yes IS NULL`

// countText counts what fits of the rows that are read, and findText gives the first $17
// of it: it stops reading when it has them.
const (
	countText = `
WITH scanned AS MATERIALIZED (
    %[1]s
), found AS MATERIALIZED (
    SELECT DISTINCT s.id FROM scanned AS s %[2]s
)
SELECT (SELECT count(*) FROM scanned) AS scanned, (SELECT count(*) FROM found) AS found,
       (SELECT count(*) FROM found AS f %[3]s) AS free,
       coalesce((SELECT id::text FROM scanned ORDER BY scanned.id DESC LIMIT 1), '') AS last`
	findText = `
SELECT DISTINCT ON (s.id) s.id FROM (
    %[1]s
) AS s %[2]s
ORDER BY s.id LIMIT $17`
)

// way is one along the jobs.
type way struct{ count, find string }

func newWay(scan, fits, free string) way {
	return way{fmt.Sprintf(countText, scan, fits, free), fmt.Sprintf(findText, scan, fits)}
}

// along is the scan along an index of jobs by a column and the id; also is what else
// the index says of its rows.
func along(column, parameter, also string) string {
	return fmt.Sprintf(ofJobs, fmt.Sprintf(
		`%[3]s%[1]s = %[2]s AND (%[1]s, id) > (%[2]s, $2::uuid) AND (%[1]s, id) >= (%[2]s, $3::uuid) AND (%[1]s, id) < (%[2]s, $4::uuid)`,
		column, parameter, also))
}

// ways are those of an action.
type ways struct{ event, replay, endpoint, rule, queue, tenant, all way }

// waysOf are those by the indexes of jobs, of which those of queues and tenants leave the
// default ones out.
func waysOf(fits, free string) ways {
	return ways{
		event:    newWay(along("event_id", "$8::uuid", ""), fits, free),
		rule:     newWay(along("rule_id", "$9::uuid", ""), fits, free),
		endpoint: newWay(along("endpoint_id", "$10::uuid", ""), fits, free),
		replay:   newWay(along("replay_id", "$11::uuid", ""), fits, free),
		queue:    newWay(along("queue", "$7::text", "queue <> 'default' AND "), fits, free),
		tenant:   newWay(along("tenant", "$5::text", "tenant <> 'default' AND "), fits, free),
		all:      newWay(fmt.Sprintf(ofJobs, keyBounds), fits, free),
	}
}

var (
	retryWays     = waysOf(fitEnded, isFree)
	cancelWays    = waysOf(fitLiving, "")
	wayOfFailed   = newWay(fmt.Sprintf(ofEnded, queue.Failed), fitEnded, isFree)
	wayOfCanceled = newWay(fmt.Sprintf(ofEnded, queue.Canceled), fitEnded, isFree)
	wayOfLiving   = newWay(fmt.Sprintf(ofLiving, livingBounds), fitLiving, "")
)

// way chooses what reads the fewest rows: an event and a replay have few jobs, few jobs
// fail, and few of all have not ended.
func (w walk) way() way {
	by := retryWays
	if w.action == actCancel {
		by = cancelWays
	}
	switch {
	case w.EventID != "":
		return by.event
	case w.ReplayID != "":
		return by.replay
	case w.action == actCancel:
		return wayOfLiving
	case w.State == string(queue.Failed):
		return wayOfFailed
	case w.State == string(queue.Canceled):
		return wayOfCanceled
	case w.EndpointID != "":
		return by.endpoint
	case w.RuleID != "":
		return by.rule
	case w.Queue != "" && w.Queue != queue.DefaultQueue:
		return by.queue
	case w.tenant != "" && w.tenant != httpapi.DefaultTenant:
		return by.tenant
	}
	return by.all
}

// clocksApart is how far the clock of a process that made an id may be from the
// database's.
const clocksApart = time.Hour

func (w walk) args(after string, scan int) []any {
	if after == "" {
		after = uuid.Nil.String()
	}
	from, before, created, until, by := uuid.Nil, uuid.Max, "-infinity", "infinity", "infinity"
	if at, _ := httpapi.ParseTime("", w.CreatedAfter); w.CreatedAfter != "" { // checked
		from, created = queue.FirstID(at.Add(-clocksApart)), timeText(at)
	}
	if at, _ := httpapi.ParseTime("", w.CreatedBefore); w.CreatedBefore != "" {
		before, until = queue.FirstID(at.Add(clocksApart)), timeText(at)
	}
	if !w.by.IsZero() {
		by = timeText(w.by)
		if id := queue.FirstID(w.by.Add(clocksApart)); id.String() < before.String() {
			before = id
		}
	}
	return []any{
		scan, after, from, before, w.tenant, w.Kind, w.Queue, idOrNull(w.EventID), idOrNull(w.RuleID), idOrNull(w.EndpointID), idOrNull(w.ReplayID),
		w.Type, created, until, by, w.State,
	}
}

func timeText(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// idOrNull reads an id that was checked.
func idOrNull(text string) uuid.NullUUID {
	id, err := uuid.Parse(text)
	return uuid.NullUUID{UUID: id, Valid: err == nil}
}

// count counts what fits of the next scan rows after an id ("" for the first).
func (w walk) count(ctx context.Context, tx *sqlx.Tx, after string, scan int) (stretch, error) {
	var row struct {
		Scanned, Found, Free int
		Last                 string
	}
	if err := tx.GetContext(ctx, &row, w.way().count, w.args(after, scan)...); err != nil {
		return stretch{}, fmt.Errorf("count jobs: %w", err)
	}
	return stretch{found: row.Found, free: row.Free, last: row.Last, end: row.Scanned < scan}, nil
}

// next gives up to limit jobs of the next scan rows after an id ("" for the first).
func (w walk) next(ctx context.Context, tx *sqlx.Tx, after string, scan, limit int) (stretch, error) {
	var ids []uuid.UUID
	if err := tx.SelectContext(ctx, &ids, w.way().find, append(w.args(after, scan), limit)...); err != nil {
		return stretch{}, fmt.Errorf("find jobs: %w", err)
	}
	s := stretch{ids: ids, found: len(ids)}
	if len(ids) == limit { // what comes after them is for the next step
		s.last = ids[len(ids)-1].String()
		return s, nil
	}
	rest, err := w.count(ctx, tx, after, scan) // what was read beyond them does not fit
	s.last, s.end = rest.last, rest.end
	return s, err
}
