package rules

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/expression"
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
	log      *slog.Logger
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
	actions []compiled
	trouble trouble
}

// Load compiles the enabled rules as q sees them.
func Load(ctx context.Context, q pg.Querier, log *slog.Logger) (*Set, error) {
	return (&Set{}).Reload(ctx, q, log)
}

// LoadNamed compiles the rules of a tenant that are named, disabled ones as well, and
// says which of them cannot be had, and why.
func LoadNamed(ctx context.Context, q pg.Querier, log *slog.Logger, tenant string, ids []uuid.UUID) (*Set, map[uuid.UUID]string, error) {
	problems := map[uuid.UUID]string{}
	for _, id := range ids {
		problems[id] = "names no rule of this tenant"
	}
	var rows []row
	err := q.SelectContext(ctx, &rows, `
		SELECT `+columns+` FROM signalstack.rules WHERE tenant = $1 AND id = ANY ($2::uuid[]) ORDER BY id`,
		tenant, pg.IDs(ids))
	if err != nil {
		return nil, nil, fmt.Errorf("load named rules: %w", err)
	}
	named := &tenantRules{}
	for _, r := range rows {
		rule, err := r.compile()
		if err != nil {
			problems[r.ID] = err.Error()
			continue
		}
		delete(problems, r.ID)
		named.rules = append(named.rules, rule)
	}
	named.index()
	return &Set{byTenant: map[string]*tenantRules{tenant: named}, log: log}, problems, nil
}

// compile makes of a row what makes jobs; the error says why it makes none here.
func (r row) compile() (*ready, error) {
	rule, err := r.rule()
	if err != nil {
		return nil, err
	}
	actions, mistakes := compileStored(rule.Actions)
	if len(mistakes) > 0 {
		return nil, fmt.Errorf("its action %s %s", strings.TrimPrefix(mistakes[0].Pointer, "/actions/"), mistakes[0].Detail)
	}
	p, err := pattern.Compile(rule.Pattern)
	if err != nil {
		return nil, fmt.Errorf("its pattern does not compile here: %w", err)
	}
	return &ready{Rule: rule, pattern: p, actions: actions}, nil
}

// Endpoints gives those of a tenant whose transforms its rules may need: the action says
// nothing of the body.
func (s *Set) Endpoints(tenant string) []uuid.UUID {
	if t := s.byTenant[tenant]; t != nil {
		return endpointsOf(t.rules)
	}
	return nil
}

func endpointsOf(rules []*ready) []uuid.UUID {
	var ids []uuid.UUID
	for _, r := range rules {
		for i := range r.actions {
			if id := r.actions[i].endpoint(); id.Valid && r.actions[i].hasNoBody() {
				ids = append(ids, id.UUID)
			}
		}
	}
	return ids
}

// Jobs gives the jobs that the tenant's rules make of an event, one for each action
// of each rule that matches whose condition holds, in the order of the rules. event is
// called only when an expression looks at the event; bodies has the endpoints' transforms.
func (s *Set) Jobs(kinds *jobs.Registry, tenant string, e *pattern.Event, event func() *expression.Event, bodies *webhooks.Subscribers) []queue.NewJob {
	t := s.byTenant[tenant]
	if t == nil {
		return nil
	}
	matching := t.patterns.Match(e)
	if len(matching) == 0 {
		return nil
	}
	var made []queue.NewJob
	for _, i := range matching {
		rule := t.rules[i]
		for n := range rule.actions {
			if holds, err := rule.holds(n, event); holds {
				made = append(made, rule.job(kinds, n, event, bodies))
			} else if err != nil {
				rule.trouble.tell(s.log, rule, n, err)
			}
		}
	}
	return made
}

// holds says whether an action is to be taken. One whose condition fails is not; the
// error says why.
func (r *ready) holds(index int, event func() *expression.Event) (bool, error) {
	if r.actions[index].condition == nil {
		return true, nil
	}
	return r.actions[index].condition.Holds(event())
}

// trouble counts conditions of a rule that failed. Each may fail with every event, so
// the log hears of them now and then.
type trouble struct {
	mu    sync.Mutex
	count int
	next  time.Time
}

// troubleEvery is the time between two lines in the log about one rule.
const troubleEvery = time.Minute

func (t *trouble) tell(log *slog.Logger, r *ready, action int, err error) {
	t.mu.Lock()
	t.count++
	count, now := t.count, time.Now()
	due := now.After(t.next)
	if due {
		t.next = now.Add(troubleEvery)
	}
	t.mu.Unlock()
	if due {
		log.Warn("the condition of a rule failed, which makes no job; GET /events/{id} tells of each event",
			"rule_id", r.ID, "action", action, "error", err, "failures", count)
	}
}
