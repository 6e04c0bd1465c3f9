package webhooks

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
)

// EndpointHealth is how deliveries to an endpoint have gone lately.
type EndpointHealth struct {
	State         string     `json:"state" enum:"healthy,failing,open,probing" doc:"healthy; failing: the last attempts failed; open: no attempt is made until retry_at; probing: one at a time is made, to see whether it is back"`
	Failures      int        `json:"failures" doc:"Failed attempts in a row"`
	FailingSince  *time.Time `json:"failing_since,omitempty" doc:"First of them"`
	LastFailureAt *time.Time `json:"last_failure_at,omitempty"`
	LastError     string     `json:"last_error,omitempty"`
	RetryAt       *time.Time `json:"retry_at,omitempty" doc:"When the next attempt may begin"`
}

// The circuit breaker of an endpoint. It opens after so many attempts in a row that say
// that the endpoint cannot be reached, for a time that doubles each time a probe fails.
const (
	breakAfter = 5
	openFirst  = 10 * time.Second
	openMost   = 5 * time.Minute
)

// openFor is how long the breaker stays open when it opens for the nth time, from 1.
func openFor(n int) time.Duration {
	return min(openMost, openFirst<<min(max(n-1, 0), 10))
}

// warnAt are the parts of the time to the end, in percent, at which the owner is
// warned. The first comes when the breaker opens.
var warnAt = []int{90, 70, 50, 1}

// failing is a row of endpoint_health.
type failing struct {
	Failures      int       `db:"failures"`
	Unavailable   int       `db:"unavailable"`
	Opened        int       `db:"opened"`
	FailingSince  time.Time `db:"failing_since"`
	LastFailureAt time.Time `db:"last_failure_at"`
	LastError     string    `db:"last_error"`
	Warned        int       `db:"warned"`
	Now           time.Time `db:"now"`
}

// note lets an attempt change what is known of its endpoint. A delivery to a healthy
// endpoint writes nothing.
func (e *Endpoints) note(ctx context.Context, to target, o outcome) error {
	if o.fate == delivered && to.Health.State == healthy {
		return nil
	}
	return pg.InTx(ctx, e.DB, func(tx *sqlx.Tx) error {
		switch o.fate {
		case delivered:
			return recovered(ctx, tx, to)
		case throttled:
			return queue.CloseLane(ctx, tx, to.lane(), o.after)
		case closed:
			reason := "it asked for no more webhooks"
			if o.err != nil {
				reason = o.err.Error()
			}
			return disable(ctx, tx, to, reason)
		default:
			return e.failed(ctx, tx, to, o)
		}
	})
}

// recovered forgets that the endpoint failed and lets its jobs come. The row's lock
// settles who tells of it.
func recovered(ctx context.Context, tx *sqlx.Tx, to target) error {
	var was failing
	err := tx.GetContext(ctx, &was, `
		DELETE FROM signalstack.endpoint_health WHERE endpoint_id = $1
		RETURNING failures, failing_since, warned, now() AS now`, to.ID)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("forget failures: %w", err)
	}
	if err := queue.OpenLane(ctx, tx, to.lane()); err != nil {
		return err
	}
	if was.Warned == 0 {
		return nil // nobody was told that it failed
	}
	return announce(ctx, tx, "endpoint.recovered", to, map[string]any{
		"failing_since": was.FailingSince.UTC(), "failed_for_seconds": int64(was.Now.Sub(was.FailingSince).Seconds()),
	})
}

// failed counts a failure, opens the breaker, and warns or disables when its time has
// come. Those who fail at once count one after the other, under the lock of the row;
// only who finds the breaker closed opens it.
func (e *Endpoints) failed(ctx context.Context, tx *sqlx.Tx, to target, o outcome) error {
	var f failing
	err := tx.GetContext(ctx, &f, `
		INSERT INTO signalstack.endpoint_health AS h
		       (endpoint_id, failures, unavailable, opened, failing_since, last_failure_at, last_error, warned)
		SELECT id, 1, $2::int, 0, now(), now(), $3::text, 0 FROM signalstack.endpoints WHERE id = $1
		ON CONFLICT (endpoint_id) DO UPDATE
		SET failures = h.failures + 1, unavailable = CASE $2::int WHEN 0 THEN 0 ELSE h.unavailable + 1 END, last_failure_at = now(), last_error = excluded.last_error
		RETURNING failures, unavailable, opened, failing_since, last_failure_at, last_error, warned, clock_timestamp() AS now`,
		to.ID, bit(o.fate == unavailable), cut(o.err.Error()))
	if errors.Is(err, sql.ErrNoRows) {
		return nil // the endpoint was deleted meanwhile
	}
	if err != nil {
		return fmt.Errorf("count a failure: %w", err)
	}
	gate, err := queue.GetControl(ctx, tx, queue.AnyQueue, to.lane())
	if err != nil {
		return err
	}
	opens := f.Unavailable >= breakAfter && (gate.ClosedUntil == nil || gate.ClosedUntil.Before(f.Now))
	if opens {
		f.Opened++
		if err := queue.CloseLane(ctx, tx, to.lane(), openFor(f.Opened)); err != nil {
			return err
		}
	}
	return e.warn(ctx, tx, to, f, opens)
}

// warn tells of an endpoint that fails, and ends it when it has failed for too long.
func (e *Endpoints) warn(ctx context.Context, tx *sqlx.Tx, to target, f failing, opens bool) error {
	part := 0
	if e.DisableAfter > 0 {
		part = int(100 * f.Now.Sub(f.FailingSince) / e.DisableAfter)
	}
	if part >= 100 {
		return disable(ctx, tx, to, fmt.Sprintf("every attempt since %s failed: %s", f.FailingSince.UTC().Format(time.RFC3339), f.LastError))
	}
	warned := f.Warned
	for _, at := range warnAt {
		if due := part >= at || at == warnAt[len(warnAt)-1] && f.Opened > 0; due && at > f.Warned {
			warned = at
			break
		}
	}
	if warned == f.Warned && !opens {
		return nil
	}
	_, err := tx.ExecContext(ctx, `UPDATE signalstack.endpoint_health SET opened = $2, warned = $3 WHERE endpoint_id = $1`, to.ID, f.Opened, warned)
	if err != nil {
		return fmt.Errorf("note a warning: %w", err)
	}
	if warned == f.Warned {
		return nil
	}
	data := map[string]any{"failing_since": f.FailingSince.UTC(), "failures": f.Failures, "last_error": f.LastError, "percent": max(part, 0)}
	if e.DisableAfter > 0 {
		data["disabled_at"] = f.FailingSince.Add(e.DisableAfter).UTC()
	}
	return announce(ctx, tx, "endpoint.failing", to, data)
}

// disable ends deliveries to an endpoint until somebody enables it.
func disable(ctx context.Context, tx *sqlx.Tx, to target, reason string) error {
	n, err := tx.ExecContext(ctx, `
		UPDATE signalstack.endpoints SET enabled = false, disabled_reason = $2, disabled_at = now(), updated_at = now()
		WHERE id = $1 AND enabled`, to.ID, cut(reason))
	if err != nil {
		return fmt.Errorf("disable endpoint: %w", err)
	}
	if rows, err := n.RowsAffected(); err != nil || rows == 0 {
		return err // somebody else did
	}
	if err := forget(ctx, tx, to); err != nil {
		return err
	}
	return announce(ctx, tx, "endpoint.disabled", to, map[string]any{"reason": cut(reason)})
}

// forget begins anew with an endpoint: what waits for it goes on at once, to fail or to
// be delivered.
func forget(ctx context.Context, q pg.Querier, to target) error {
	if _, err := q.ExecContext(ctx, `DELETE FROM signalstack.endpoint_health WHERE endpoint_id = $1`, to.ID); err != nil {
		return fmt.Errorf("forget failures: %w", err)
	}
	return queue.OpenLane(ctx, q, to.lane())
}

// SystemSource is the source of events about the system itself.
const SystemSource = "urn:signalstack"

// announce sends an event about an endpoint, for its tenant's rules.
func announce(ctx context.Context, q pg.Querier, eventType string, to target, data map[string]any) error {
	data["endpoint_id"], data["url"], data["description"] = to.ID, to.URL, to.Description
	return send(ctx, q, eventType, to.Tenant, to.ID, data)
}

func send(ctx context.Context, q pg.Querier, eventType, tenant string, subject uuid.UUID, data map[string]any) error {
	text, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("write event: %w", err)
	}
	_, err = q.ExecContext(ctx, `SELECT signalstack.send_event(type => $1, data => $2, source => $3, subject => $4, tenant => $5)`,
		eventType, string(text), SystemSource, subject.String(), tenant)
	if err != nil {
		return fmt.Errorf("send %s: %w", eventType, err)
	}
	return nil
}

// exhausted tells of a webhook that is given up on. One that was itself about the
// system is not told of: that would never end.
func exhausted(ctx context.Context, q pg.Querier, job jobs.Job, last string) error {
	if !job.EndpointID.Valid || job.Event != nil && job.Event.Source == SystemSource {
		return nil
	}
	data := map[string]any{"job_id": job.ID, "endpoint_id": job.EndpointID.UUID, "attempts": job.Attempt, "last_error": cut(last)}
	if job.Event != nil {
		data["event_id"], data["event_type"] = job.Event.ID, job.Event.Type
	}
	return send(ctx, q, "delivery.exhausted", job.Tenant, job.ID, data)
}

// The states of an endpoint's health.
const (
	healthy = "healthy"
	broken  = "failing"
	open    = "open"
	probing = "probing"
)

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// maxShownError bounds the text of an error that is kept of an endpoint, in bytes.
const maxShownError = 1000

func cut(text string) string { return jobs.ErrorText(text, maxShownError) }
