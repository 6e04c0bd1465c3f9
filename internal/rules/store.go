package rules

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/pg"
)

// row is a rule as the table has it.
type row struct {
	ID        uuid.UUID `db:"id"`
	Tenant    string    `db:"tenant"`
	Name      string    `db:"name"`
	Pattern   string    `db:"pattern"`
	Actions   string    `db:"actions"`
	Enabled   bool      `db:"enabled"`
	CreatedAt time.Time `db:"created_at"`
	UpdatedAt time.Time `db:"updated_at"`
}

const columns = `id, tenant, name, pattern, actions, enabled, created_at, updated_at`

func (r row) rule() (Rule, error) {
	rule := Rule{
		ID: r.ID, Tenant: r.Tenant, Name: r.Name, Pattern: []byte(r.Pattern), Enabled: r.Enabled,
		CreatedAt: r.CreatedAt, UpdatedAt: r.UpdatedAt,
	}
	if err := json.Unmarshal([]byte(r.Actions), &rule.Actions); err != nil {
		return Rule{}, fmt.Errorf("read actions of rule %s: %w", r.ID, err)
	}
	return rule, nil
}

// writeActions gives the JSON of actions, with the < and > of placeholders as they were
// written.
func writeActions(actions []Action) (string, error) {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(actions); err != nil {
		return "", fmt.Errorf("write actions: %w", err)
	}
	return strings.TrimSpace(b.String()), nil
}

func insert(ctx context.Context, q pg.Querier, n NewRule, tenant string) (Rule, error) {
	actions, err := writeActions(n.Actions)
	if err != nil {
		return Rule{}, err
	}
	enabled := n.Enabled == nil || *n.Enabled
	var r row
	err = q.GetContext(ctx, &r, `
		INSERT INTO signalstack.rules (id, tenant, name, pattern, actions, enabled, created_at, updated_at)
		VALUES ($1, $2, $3, $4, $5, $6, now(), now())
		RETURNING `+columns, uuid.Must(uuid.NewV7()), tenant, n.Name, string(n.Pattern), actions, enabled)
	if err != nil {
		return Rule{}, fmt.Errorf("insert rule: %w", err)
	}
	return r.rule()
}

func update(ctx context.Context, q pg.Querier, rule Rule) (Rule, error) {
	actions, err := writeActions(rule.Actions)
	if err != nil {
		return Rule{}, err
	}
	var r row
	err = q.GetContext(ctx, &r, `
		UPDATE signalstack.rules
		SET name = $2, pattern = $3, actions = $4, enabled = $5, updated_at = now()
		WHERE id = $1
		RETURNING `+columns, rule.ID, rule.Name, string(rule.Pattern), actions, rule.Enabled)
	if errors.Is(err, sql.ErrNoRows) {
		return Rule{}, fault.Missing("rule", rule.ID.String())
	}
	if err != nil {
		return Rule{}, fmt.Errorf("update rule: %w", err)
	}
	return r.rule()
}

// get gives a rule; lock keeps others from changing it until the transaction ends.
func get(ctx context.Context, q pg.Querier, id uuid.UUID, lock bool) (Rule, error) {
	query := `SELECT ` + columns + ` FROM signalstack.rules WHERE id = $1`
	if lock {
		query += ` FOR UPDATE`
	}
	var r row
	err := q.GetContext(ctx, &r, query, id)
	if errors.Is(err, sql.ErrNoRows) {
		return Rule{}, fault.Missing("rule", id.String())
	}
	if err != nil {
		return Rule{}, fmt.Errorf("get rule: %w", err)
	}
	return r.rule()
}

func remove(ctx context.Context, q pg.Querier, id uuid.UUID) error {
	res, err := q.ExecContext(ctx, `DELETE FROM signalstack.rules WHERE id = $1`, id)
	if err != nil {
		return fmt.Errorf("delete rule: %w", err)
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return errors.Join(err, fault.Missing("rule", id.String()))
	}
	return nil
}

// list gives up to limit rules, oldest first, after the given id.
func list(ctx context.Context, q pg.Querier, tenant, after string, limit int) ([]Rule, error) {
	var rows []row
	err := q.SelectContext(ctx, &rows, `
		SELECT `+columns+` FROM signalstack.rules
		WHERE ($1 = '' OR tenant = $1) AND id > coalesce(nullif($2, '')::uuid, '00000000-0000-0000-0000-000000000000')
		ORDER BY id
		LIMIT $3`, tenant, after, limit)
	if err != nil {
		return nil, fmt.Errorf("list rules: %w", err)
	}
	rules := make([]Rule, len(rows))
	for i, r := range rows {
		if rules[i], err = r.rule(); err != nil {
			return nil, err
		}
	}
	return rules, nil
}
