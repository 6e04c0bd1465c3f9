package rules

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/pattern"
	"github.com/signalstack/signalstack/internal/pg"
)

// version names the version of a rule's row by the transaction that wrote it. That
// tells of changes made by hand as well, which leave updated_at alone.
type version struct {
	ID   uuid.UUID `db:"id"`
	Xmin int64     `db:"written_by"`
}

const writtenBy = `xmin::text::bigint AS written_by`

// Reload gives the enabled rules as q sees them, and takes what has not changed from
// the set: events wait while it runs, and most changes are of one rule among many.
// Only changed rows are read and compiled, and only the rules of their tenants are
// indexed anew.
func (s *Set) Reload(ctx context.Context, q pg.Querier, log *slog.Logger) (*Set, error) {
	var versions []version
	// The order is that of the primary key.
	if err := q.SelectContext(ctx, &versions, `SELECT id, `+writtenBy+` FROM signalstack.rules WHERE enabled ORDER BY id`); err != nil {
		return nil, fmt.Errorf("list rules: %w", err)
	}
	changed, err := s.compileChanged(ctx, q, versions, log)
	if err != nil {
		return nil, err
	}
	fresh := &Set{byTenant: map[string]*tenantRules{}, byID: make(map[uuid.UUID]*ready, len(versions)), log: log}
	for _, v := range versions {
		rule := changed[v.ID]
		if rule == nil {
			rule = s.byID[v.ID]
		}
		if rule == nil { // deleted since its version was read
			continue
		}
		fresh.byID[v.ID] = rule
		if rule.pattern == nil {
			continue
		}
		t := fresh.byTenant[rule.Tenant]
		if t == nil {
			t = &tenantRules{}
			fresh.byTenant[rule.Tenant] = t
		}
		t.rules = append(t.rules, rule)
	}
	for tenant, t := range fresh.byTenant {
		if before := s.byTenant[tenant]; before != nil && slices.Equal(before.rules, t.rules) {
			fresh.byTenant[tenant] = before
			continue
		}
		t.index()
	}
	return fresh, nil
}

func (t *tenantRules) index() {
	patterns := make([]*pattern.Pattern, len(t.rules))
	for i, rule := range t.rules {
		patterns[i] = rule.pattern
	}
	t.patterns = pattern.NewSet(patterns)
}

// compileChanged compiles the rules whose rows are not those of the set.
func (s *Set) compileChanged(ctx context.Context, q pg.Querier, versions []version, log *slog.Logger) (map[uuid.UUID]*ready, error) {
	var ids []uuid.UUID
	for _, v := range versions {
		if before := s.byID[v.ID]; before == nil || before.version != v {
			ids = append(ids, v.ID)
		}
	}
	changed := make(map[uuid.UUID]*ready, len(ids))
	if len(ids) == 0 {
		return changed, nil
	}
	var rows []struct {
		row
		Xmin int64 `db:"written_by"`
	}
	err := q.SelectContext(ctx, &rows, `SELECT `+columns+`, `+writtenBy+` FROM signalstack.rules WHERE id = ANY ($1::uuid[])`,
		pg.IDs(ids))
	if err != nil {
		return nil, fmt.Errorf("load rules: %w", err)
	}
	for _, r := range rows {
		rule, err := r.compile()
		if err != nil {
			log.ErrorContext(ctx, "rule left out", "rule_id", r.ID, "error", err)
			rule = &ready{}
		}
		if !r.Enabled { // since its version was read
			rule = &ready{}
		}
		rule.version = version{ID: r.ID, Xmin: r.Xmin}
		changed[r.ID] = rule
	}
	return changed, nil
}
