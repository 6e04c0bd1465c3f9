package events

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/queue"
	"github.com/signalstack/signalstack/internal/rules"
	"github.com/signalstack/signalstack/internal/webhooks"
)

// Through says which way stored events go again; zero fields narrow nothing.
type Through struct {
	Tenant    string      // whose rules
	Rules     []uuid.UUID // these rules alone, disabled ones too, and no subscriptions
	Endpoints []uuid.UUID // of what comes of it, only what goes to these
}

// RulesError says that named rules cannot be used, and why.
type RulesError map[uuid.UUID]string

func (e RulesError) Error() string {
	for id, why := range e {
		return fmt.Sprintf("rule %s: it %s", id, why)
	}
	return "no rule is missing"
}

// Rerouter makes the jobs of stored events anew, by the routes of the moment. That an
// event had the same jobs before does not matter to it: a replay is meant to repeat.
// So what keeps an action from making its job twice must leave alone jobs with a
// ReplayID, and it is where these are written that this has to be decided.
type Rerouter struct{ router *router }

// NewRerouter makes a rerouter. It loads no routes before it needs some.
func NewRerouter(kinds *jobs.Registry, log *slog.Logger) *Rerouter {
	return &Rerouter{router: newRouter(kinds, log)}
}

// Jobs gives the jobs that come of events of the tenant, with nothing written. Its
// error is a RulesError where named rules are gone.
func (r *Rerouter) Jobs(ctx context.Context, tx *sqlx.Tx, all []Stored, through Through) ([]queue.NewJob, error) {
	rt, err := r.routes(ctx, tx, through)
	if err != nil {
		return nil, err
	}
	var made []queue.NewJob
	for _, e := range all {
		made = append(made, r.router.jobsFor(rt, &acceptance{event: Event{Listed: e.Listed}, data: e.Data, opaque: e.Opaque, view: e.view()})...)
	}
	if len(through.Endpoints) > 0 {
		made = slices.DeleteFunc(made, func(j queue.NewJob) bool {
			return !j.EndpointID.Valid || !slices.Contains(through.Endpoints, j.EndpointID.UUID)
		})
	}
	return made, nil
}

func (r *Rerouter) routes(ctx context.Context, tx *sqlx.Tx, through Through) (*routes, error) {
	if len(through.Rules) == 0 {
		_, rt, err := r.router.refresh(ctx, tx)
		if err != nil {
			return nil, fmt.Errorf("refresh routes: %w", err)
		}
		return rt, nil
	}
	set, problems, err := rules.LoadNamed(ctx, tx, r.router.log, through.Tenant, through.Rules)
	if err != nil {
		return nil, err
	}
	if len(problems) > 0 {
		return nil, RulesError(problems)
	}
	named, err := webhooks.LoadNamed(ctx, tx, r.router.log, through.Tenant, set.Endpoints(through.Tenant))
	if err != nil {
		return nil, err
	}
	return &routes{rules: set, subscribers: named}, nil
}

// GetStored gives one event with its data. Nobody erases or drops it before the
// transaction has ended.
func GetStored(ctx context.Context, tx *sqlx.Tx, id uuid.UUID) (Stored, error) {
	if _, err := tx.ExecContext(ctx, `SELECT FROM signalstack.events WHERE id = $1 FOR KEY SHARE`, id); err != nil {
		return Stored{}, fmt.Errorf("lock event: %w", err)
	}
	return get(ctx, tx, id)
}
