package events

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"github.com/signalstack/signalstack/internal/expression"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pattern"
	"github.com/signalstack/signalstack/internal/queue"
	"github.com/signalstack/signalstack/internal/rules"
	"github.com/signalstack/signalstack/internal/webhooks"
)

// router keeps the routes of all tenants in memory.
type router struct {
	kinds   *jobs.Registry
	log     *slog.Logger
	current atomic.Pointer[routes]
}

// routes are all rules and subscriptions as of one version. They do not change.
type routes struct {
	version     int64
	rules       *rules.Set
	subscribers *webhooks.Subscribers
	guard       guard
}

func newRouter(kinds *jobs.Registry, log *slog.Logger) *router {
	r := &router{kinds: kinds, log: log}
	r.current.Store(&routes{version: -1, rules: &rules.Set{}, subscribers: &webhooks.Subscribers{}})
	return r
}

// versionSQL reads the transaction's time and the version of the routes.
const versionSQL = `SELECT now() AS now, version FROM signalstack.routing_version`

// refresh gives the transaction's time and routes that are not older than it.
func (r *router) refresh(ctx context.Context, tx *sqlx.Tx) (time.Time, *routes, error) {
	var row struct {
		Now     time.Time
		Version int64
	}
	if err := tx.GetContext(ctx, &row, versionSQL); err != nil {
		return time.Time{}, nil, err
	}
	now := r.current.Load()
	if now.version == row.Version {
		return row.Now, now, nil
	}
	set, err := now.rules.Reload(ctx, tx, r.log)
	if err != nil {
		return time.Time{}, nil, err
	}
	subscribers, err := now.subscribers.Reload(ctx, tx, r.log)
	if err != nil {
		return time.Time{}, nil, err
	}
	guard, err := loadGuard(ctx, tx, now.guard, r.log)
	if err != nil {
		return time.Time{}, nil, err
	}
	fresh := &routes{version: row.Version, rules: set, subscribers: subscribers, guard: guard}
	r.current.Store(fresh)
	return row.Now, fresh, nil
}

// jobsFor gives the jobs that the routes make of an event.
func (r *router) jobsFor(rt *routes, a *acceptance) []queue.NewJob {
	e := &a.event
	seen := pattern.NewEvent(e.envelope(), a.view)
	event := expression.Once(seen)
	made := rt.rules.Jobs(r.kinds, e.Tenant, seen, event, rt.subscribers)
	for _, endpoint := range rt.subscribers.Of(e.Tenant, e.Type, e.Source, seen) {
		job := queue.NewJob{
			ID: uuid.Must(uuid.NewV7()), Tenant: e.Tenant, Kind: webhooks.KindName,
			EndpointID: uuid.NullUUID{UUID: endpoint.ID, Valid: true},
		}
		var err error
		if job.Payload, err = endpoint.Body(event); err != nil {
			job.Unmade = err.Error()
		}
		r.kinds.Fill(&job, jobs.Options{})
		made = append(made, job)
	}
	rt.subscribers.Order(made, event)
	for i := range made {
		rt.subscribers.Collect(&made[i])
		made[i].EventID, made[i].EventType = uuid.NullUUID{UUID: e.ID, Valid: true}, e.Type
	}
	return made
}
