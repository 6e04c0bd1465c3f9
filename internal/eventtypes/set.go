package eventtypes

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/pg"
)

// Set is every schema that events are checked by, compiled. It does not change. A nil
// Set checks nothing.
type Set struct {
	byTenant map[string]map[string]enforced
	compiled map[uuid.UUID]*Schema // by version; nil: does not compile here
	slots    chan struct{}         // one for each check that goes on
}

// enforced is what events of a type are checked by.
type enforced struct {
	mode    Mode
	version int
	schema  *Schema
}

// SchemaCheck is what the schema of a type says of data.
type SchemaCheck struct {
	Mode     Mode           `json:"mode" enum:"warn,reject" doc:"What becomes of events that break the schema"`
	Version  int            `json:"version" doc:"The version of the schema"`
	Mistakes []fault.Detail `json:"mistakes" nullable:"false" doc:"Where the data breaks the schema; empty when it does not"`
}

// Check says what the schema makes of the data of an event; false when it has none or
// its type is off. The mistakes have pointers from the event's root.
//
// A check is work without waiting, so that only as many go on as there are
// processors: one that finds a mistake in each value takes many times the memory of
// its data.
func (s *Set) Check(tenant, eventType string, data []byte) (SchemaCheck, bool) {
	if s == nil {
		return SchemaCheck{}, false
	}
	e, ok := s.byTenant[tenant][eventType]
	if !ok {
		return SchemaCheck{}, false
	}
	s.slots <- struct{}{}
	defer func() { <-s.slots }()
	return SchemaCheck{Mode: e.mode, Version: e.version, Mistakes: below("/data", e.schema.Validate(data))}, true
}

// Refusal is the fault of an event that its type rejects.
func (v SchemaCheck) Refusal() *fault.Error {
	f := fault.New(fault.Invalid, "schema_mismatch", "The data breaks the schema of its event type; errors lists the mistakes.")
	f.Details = v.Mistakes
	return f
}

// Load gives the schemas as q sees them. Those that the set before has compiled are
// taken from there, and neither read nor compiled again.
func Load(ctx context.Context, q pg.Querier, before *Set, log *slog.Logger) (*Set, error) {
	var rows []struct {
		ID      uuid.UUID `db:"id"`
		Tenant  string    `db:"tenant"`
		Type    string    `db:"type"`
		Mode    Mode      `db:"mode"`
		Version int       `db:"version"`
	}
	// By the primary keys: one step for each type.
	err := q.SelectContext(ctx, &rows, `
		SELECT v.id, t.tenant, t.type, t.mode, v.version
		FROM signalstack.event_types AS t
		CROSS JOIN LATERAL (
		    SELECT v.id, v.version FROM signalstack.event_type_versions AS v
		    WHERE v.tenant = t.tenant AND v.type = t.type AND (t.enforced IS NULL OR v.version = t.enforced)
		    ORDER BY v.version DESC LIMIT 1
		) AS v
		WHERE t.mode <> 'off'`)
	if err != nil {
		return nil, fmt.Errorf("load event types: %w", err)
	}
	s := &Set{byTenant: map[string]map[string]enforced{}, compiled: make(map[uuid.UUID]*Schema, len(rows))}
	var unknown pq.StringArray
	if before == nil {
		before = &Set{slots: make(chan struct{}, runtime.GOMAXPROCS(0))}
	}
	s.slots = before.slots
	for _, r := range rows {
		schema, known := before.compiled[r.ID]
		if !known {
			unknown = append(unknown, r.ID.String())
			continue
		}
		s.compiled[r.ID] = schema
	}
	if err := s.compile(ctx, q, unknown, log); err != nil {
		return nil, err
	}
	for _, r := range rows {
		schema := s.compiled[r.ID]
		if schema == nil {
			continue
		}
		if s.byTenant[r.Tenant] == nil {
			s.byTenant[r.Tenant] = map[string]enforced{}
		}
		s.byTenant[r.Tenant][r.Type] = enforced{r.Mode, r.Version, schema}
	}
	return s, nil
}

// compile reads and compiles versions. One that this binary does not take, as another
// one or a hand stored it, is left out: its events are accepted.
func (s *Set) compile(ctx context.Context, q pg.Querier, ids pq.StringArray, log *slog.Logger) error {
	if len(ids) == 0 {
		return nil
	}
	var rows []struct {
		ID     uuid.UUID `db:"id"`
		Type   string    `db:"type"`
		Schema string    `db:"schema"`
	}
	err := q.SelectContext(ctx, &rows, `SELECT id, type, schema FROM signalstack.event_type_versions WHERE id = ANY ($1::uuid[])`, ids)
	if err != nil {
		return fmt.Errorf("load schemas: %w", err)
	}
	for _, r := range rows {
		schema, mistakes := Compile([]byte(r.Schema))
		if schema == nil {
			log.ErrorContext(ctx, "schema left out: it does not compile here", "type", r.Type, "pointer", mistakes[0].Pointer, "error", mistakes[0].Detail)
		}
		s.compiled[r.ID] = schema
	}
	return nil
}

// CheckOne says of one event what a Set would, from the database.
func CheckOne(ctx context.Context, q pg.Querier, tenant, eventType string, data []byte) (*SchemaCheck, error) {
	var rows []struct {
		Mode    Mode   `db:"mode"`
		Version int    `db:"version"`
		Schema  string `db:"schema"`
	}
	err := q.SelectContext(ctx, &rows, `
		SELECT t.mode, v.version, v.schema
		FROM signalstack.event_types AS t JOIN signalstack.event_type_versions AS v USING (tenant, type)
		WHERE t.tenant = $1 AND t.type = $2 AND t.mode <> 'off' AND (t.enforced IS NULL OR v.version = t.enforced)
		ORDER BY v.version DESC LIMIT 1`, tenant, eventType)
	if err != nil {
		return nil, fmt.Errorf("read schema of event: %w", err)
	}
	if len(rows) == 0 {
		return nil, nil //nolint:nilnil // nothing is checked, which is no mistake
	}
	schema, _ := Compile([]byte(rows[0].Schema))
	if schema == nil {
		return nil, nil //nolint:nilnil // as in Load
	}
	return &SchemaCheck{rows[0].Mode, rows[0].Version, below("/data", schema.Validate(data))}, nil
}
