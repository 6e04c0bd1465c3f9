package webhooks

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/pg"
)

// Subscribers are the enabled endpoints of all tenants by the types that they want
// without a rule. They do not change.
type Subscribers struct {
	stamp    string // names the versions of the rows that they come from
	byTenant map[string]*subscribed
	// collectors hold back what goes to endpoints that want several events at once,
	// subscribed or not.
	collectors map[uuid.UUID]*collector
}

// subscribed are endpoints by what they want.
type subscribed struct {
	exact    map[string][]uuid.UUID
	prefixes map[string][]uuid.UUID // each ends with a dot
	all      []uuid.UUID
}

// Reload gives the subscribers as q sees them: these, while no endpoint has changed.
func (s *Subscribers) Reload(ctx context.Context, q pg.Querier) (*Subscribers, error) {
	fresh := &Subscribers{byTenant: map[string]*subscribed{}, collectors: map[uuid.UUID]*collector{}}
	// xmin is the transaction that wrote the version of a row.
	err := q.GetContext(ctx, &fresh.stamp, `
		SELECT count(*) || ' ' || coalesce(sum(hashtextextended(id || ' ' || xmin::text, 0)::numeric), 0)
		FROM signalstack.endpoints`)
	if err != nil {
		return nil, fmt.Errorf("look for changed endpoints: %w", err)
	}
	if fresh.stamp == s.stamp {
		return s, nil
	}
	var rows []row
	err = q.SelectContext(ctx, &rows, `
		SELECT id, tenant, event_types, delivery FROM signalstack.endpoints
		WHERE enabled AND (event_types <> '{}' OR delivery LIKE '%"batch"%')
		ORDER BY id`)
	if err != nil {
		return nil, fmt.Errorf("load subscriptions: %w", err)
	}
	for _, r := range rows {
		fresh.add(r)
		var d Delivery
		if err := json.Unmarshal([]byte(r.Delivery), &d); err != nil {
			return nil, fmt.Errorf("read how endpoint %s is delivered to: %w", r.ID, err)
		}
		if c := collectorOf(d.Batch); c != nil {
			fresh.collectors[r.ID] = c
		}
	}
	return fresh, nil
}

func (s *Subscribers) add(r row) {
	t := s.byTenant[r.Tenant]
	if t == nil {
		t = &subscribed{exact: map[string][]uuid.UUID{}, prefixes: map[string][]uuid.UUID{}}
		s.byTenant[r.Tenant] = t
	}
	for _, wanted := range r.EventTypes {
		start, isPrefix := strings.CutSuffix(wanted, "*")
		switch {
		case wanted == everything:
			t.all = append(t.all, r.ID)
		case isPrefix && strings.HasSuffix(wanted, wildcard):
			t.prefixes[start] = append(t.prefixes[start], r.ID)
		default:
			t.exact[wanted] = append(t.exact[wanted], r.ID)
		}
	}
}

// Of gives the endpoints of a tenant that want an event of a type, each once and in
// the order of their ids. What it costs does not depend on how many want others. What
// the system tells of itself is for those only that name it: endpoints with all types
// are mostly customers'.
func (s *Subscribers) Of(tenant, eventType, source string) []uuid.UUID {
	t := s.byTenant[tenant]
	if t == nil {
		return nil
	}
	found := slices.Clone(t.exact[eventType])
	if source != SystemSource {
		found = append(found, t.all...)
	}
	if len(t.prefixes) > 0 {
		for i := range len(eventType) {
			if eventType[i] == '.' {
				found = append(found, t.prefixes[eventType[:i+1]]...)
			}
		}
	}
	slices.SortFunc(found, func(a, b uuid.UUID) int { return bytes.Compare(a[:], b[:]) })
	return slices.Compact(found)
}
