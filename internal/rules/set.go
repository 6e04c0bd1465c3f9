package rules

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pattern"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
	"github.com/signalstack/signalstack/internal/webhooks"
)

// Set is all enabled rules, compiled and indexed. It does not change.
type Set struct {
	byTenant map[string]*tenantRules
	byID     map[uuid.UUID]*ready // those that are left out, too
}

// tenantRules are the rules of a tenant, and their patterns in the same order.
type tenantRules struct {
	rules    []*ready
	patterns *pattern.Set
}

// ready is a rule that makes jobs.
type ready struct {
	Rule
	version version
	pattern *pattern.Pattern // nil when the rule is left out
}

// Load compiles the enabled rules as q sees them.
func Load(ctx context.Context, q pg.Querier, log *slog.Logger) (*Set, error) {
	return (&Set{}).Reload(ctx, q, log)
}

// compile makes of a row what makes jobs; the error says why it makes none here.
func (r row) compile() (*ready, error) {
	rule, err := r.rule()
	if err != nil {
		return nil, err
	}
	if mistakes := checkStored(rule.Actions); len(mistakes) > 0 {
		return nil, fmt.Errorf("its action %s %s", strings.TrimPrefix(mistakes[0].Pointer, "/actions/"), mistakes[0].Detail)
	}
	p, err := pattern.Compile(rule.Pattern)
	if err != nil {
		return nil, fmt.Errorf("its pattern does not compile here: %w", err)
	}
	return &ready{Rule: rule, pattern: p}, nil
}

// Jobs gives the jobs that the tenant's rules make of an event, one for each
// action of each rule that matches, in the order of the rules.
func (s *Set) Jobs(kinds *jobs.Registry, tenant string, e *pattern.Event) []queue.NewJob {
	t := s.byTenant[tenant]
	if t == nil {
		return nil
	}
	var made []queue.NewJob
	for _, i := range t.patterns.Match(e) {
		for _, a := range t.rules[i].Actions {
			made = append(made, t.rules[i].job(kinds, a))
		}
	}
	return made
}

// job is what an action makes; the event's part is for the caller to fill in.
func (r Rule) job(kinds *jobs.Registry, a Action) queue.NewJob {
	job := queue.NewJob{
		ID: uuid.Must(uuid.NewV7()), Tenant: r.Tenant, Kind: a.Kind, Payload: a.Payload,
		RuleID: uuid.NullUUID{UUID: r.ID, Valid: true},
	}
	if a.Kind == webhooks.KindName {
		if id, err := uuid.Parse(a.EndpointID); err == nil {
			job.EndpointID = uuid.NullUUID{UUID: id, Valid: true}
		}
	}
	kinds.Fill(&job, a.Options)
	return job
}
