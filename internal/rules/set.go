package rules

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pattern"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
	"github.com/signalstack/signalstack/internal/webhooks"
)

// Set is all enabled rules, compiled. It does not change.
type Set struct {
	byTenant map[string][]compiled
}

type compiled struct {
	rule    Rule
	pattern *pattern.Pattern
}

// Load compiles the enabled rules as q sees them.
func Load(ctx context.Context, q pg.Querier, log *slog.Logger) (*Set, error) {
	var rows []row
	err := q.SelectContext(ctx, &rows, `SELECT `+columns+` FROM signalstack.rules WHERE enabled ORDER BY id`)
	if err != nil {
		return nil, fmt.Errorf("load rules: %w", err)
	}
	s := &Set{byTenant: map[string][]compiled{}}
	for _, r := range rows {
		rule, err := r.rule()
		if err != nil {
			log.ErrorContext(ctx, "rule left out: its actions cannot be read", "rule_id", r.ID, "error", err)
			continue
		}
		if mistakes := checkStored(rule.Actions); len(mistakes) > 0 {
			log.ErrorContext(ctx, "rule left out: its actions are wrong", "rule_id", r.ID, "mistakes", mistakes)
			continue
		}
		p, err := pattern.Compile(rule.Pattern)
		if err != nil {
			log.ErrorContext(ctx, "rule left out: its pattern does not compile here", "rule_id", r.ID, "error", err)
			continue
		}
		s.byTenant[rule.Tenant] = append(s.byTenant[rule.Tenant], compiled{rule: rule, pattern: p})
	}
	return s, nil
}

// Jobs gives the jobs that the tenant's rules make of an event, one for each
// action of each rule that matches, in the order of the rules.
func (s *Set) Jobs(kinds *jobs.Registry, tenant string, e *pattern.Event) []queue.NewJob {
	var made []queue.NewJob
	for _, c := range s.byTenant[tenant] {
		if !c.pattern.Match(e) {
			continue
		}
		for _, a := range c.rule.Actions {
			made = append(made, c.rule.job(kinds, a))
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
