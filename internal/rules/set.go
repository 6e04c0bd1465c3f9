package rules

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/pattern"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
	"github.com/signalstack/signalstack/internal/webhooks"
)

// Set is all enabled rules, compiled and indexed. It does not change.
type Set struct {
	byTenant map[string]*tenantRules
}

// tenantRules are the rules of a tenant, and their patterns in the same order.
type tenantRules struct {
	rules    []Rule
	patterns *pattern.Set
}

// Load compiles the enabled rules as q sees them.
func Load(ctx context.Context, q pg.Querier, log *slog.Logger) (*Set, error) {
	var rows []row
	err := q.SelectContext(ctx, &rows, `SELECT `+columns+` FROM signalstack.rules WHERE enabled ORDER BY id`)
	if err != nil {
		return nil, fmt.Errorf("load rules: %w", err)
	}
	return newSet(rows, func(id uuid.UUID, err error) {
		log.ErrorContext(ctx, "rule left out", "rule_id", id, "error", err)
	}), nil
}

// LoadNamed compiles the rules of a tenant that are named, disabled ones as well, and
// says which of them cannot be had, and why.
func LoadNamed(ctx context.Context, q pg.Querier, tenant string, ids []uuid.UUID) (*Set, map[uuid.UUID]string, error) {
	texts, problems := make(pq.StringArray, len(ids)), map[uuid.UUID]string{}
	for i, id := range ids {
		texts[i], problems[id] = id.String(), "names no rule of this tenant"
	}
	var rows []row
	err := q.SelectContext(ctx, &rows, `
		SELECT `+columns+` FROM signalstack.rules WHERE tenant = $1 AND id = ANY ($2::uuid[]) ORDER BY id`, tenant, texts)
	if err != nil {
		return nil, nil, fmt.Errorf("load named rules: %w", err)
	}
	for _, r := range rows {
		delete(problems, r.ID)
	}
	return newSet(rows, func(id uuid.UUID, err error) { problems[id] = err.Error() }), problems, nil
}

// newSet compiles rules; leftOut is told of those that do not compile.
func newSet(rows []row, leftOut func(uuid.UUID, error)) *Set {
	s, patterns := &Set{byTenant: map[string]*tenantRules{}}, map[string][]*pattern.Pattern{}
	for _, r := range rows {
		rule, p, err := r.compile()
		if err != nil {
			leftOut(r.ID, err)
			continue
		}
		if s.byTenant[rule.Tenant] == nil {
			s.byTenant[rule.Tenant] = &tenantRules{}
		}
		t := s.byTenant[rule.Tenant]
		t.rules = append(t.rules, rule)
		patterns[rule.Tenant] = append(patterns[rule.Tenant], p)
	}
	for tenant, t := range s.byTenant {
		t.patterns = pattern.NewSet(patterns[tenant])
	}
	return s
}

// compile makes of a row what makes jobs; the error says why it makes none here.
func (r row) compile() (Rule, *pattern.Pattern, error) {
	rule, err := r.rule()
	if err != nil {
		return Rule{}, nil, err
	}
	if mistakes := checkStored(rule.Actions); len(mistakes) > 0 {
		return Rule{}, nil, fmt.Errorf("its action %s %s", strings.TrimPrefix(mistakes[0].Pointer, "/actions/"), mistakes[0].Detail)
	}
	p, err := pattern.Compile(rule.Pattern)
	if err != nil {
		return Rule{}, nil, fmt.Errorf("its pattern does not compile here: %w", err)
	}
	return rule, p, nil
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
