package events

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

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
	version       int64
	rules         *rules.Set
	subscriptions map[string][]webhooks.Subscription // by tenant
}

func newRouter(kinds *jobs.Registry, log *slog.Logger) *router {
	r := &router{kinds: kinds, log: log}
	r.current.Store(&routes{version: -1, rules: &rules.Set{}})
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
	if now := r.current.Load(); now.version == row.Version {
		return row.Now, now, nil
	}
	set, err := rules.Load(ctx, tx, r.log)
	if err != nil {
		return time.Time{}, nil, err
	}
	subscriptions, err := webhooks.Subscriptions(ctx, tx)
	if err != nil {
		return time.Time{}, nil, err
	}
	fresh := &routes{version: row.Version, rules: set, subscriptions: map[string][]webhooks.Subscription{}}
	for _, s := range subscriptions {
		fresh.subscriptions[s.Tenant] = append(fresh.subscriptions[s.Tenant], s)
	}
	r.current.Store(fresh)
	return row.Now, fresh, nil
}

// jobsFor gives the jobs that the routes make of an event.
func (r *router) jobsFor(rt *routes, a *acceptance) []queue.NewJob {
	e := &a.event
	made := rt.rules.Jobs(r.kinds, e.Tenant, pattern.NewEvent(e.envelope(), a.data))
	for _, s := range rt.subscriptions[e.Tenant] {
		if !s.Wants(e.Type) {
			continue
		}
		job := queue.NewJob{
			ID: uuid.Must(uuid.NewV7()), Tenant: e.Tenant, Kind: webhooks.KindName,
			EndpointID: uuid.NullUUID{UUID: s.EndpointID, Valid: true},
		}
		r.kinds.Fill(&job, jobs.Options{})
		made = append(made, job)
	}
	for i := range made {
		made[i].EventID, made[i].EventType = uuid.NullUUID{UUID: e.ID, Valid: true}, e.Type
	}
	return made
}
