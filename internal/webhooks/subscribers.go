package webhooks

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/signalstack/signalstack/internal/expression"
	"github.com/signalstack/signalstack/internal/pattern"
	"github.com/signalstack/signalstack/internal/pg"
)

// Subscribers are the endpoints of all tenants that want events without a rule, by
// what they want, and those with a transform, an order or batches. They do not change.
type Subscribers struct {
	stamp    string // names the versions of the rows that they come from
	byTenant map[string]*subscribed
	byID     map[uuid.UUID]*Subscriber
}

// Subscriber is what the routing of events knows of an endpoint, compiled.
type Subscriber struct {
	ID      uuid.UUID
	Enabled bool
	Types   []string         // that it wants; none: it does not subscribe
	Pattern *pattern.Pattern // that an event must match as well; nil: none
	// PatternError says why the stored pattern does not compile here. Such an endpoint
	// gets no event: more than it wants could be more than it may see.
	PatternError error

	tenant         string
	version        int64
	transform      *expression.Transform
	transformError error // why the stored transform does not compile here
	line           *line
	collector      *collector
}

// Body gives what the endpoint's transform makes of an event; nil when it has none.
// event is called only when there is one.
func (s *Subscriber) Body(event func() *expression.Event) ([]byte, error) {
	switch {
	case s == nil:
		return nil, nil
	case s.transformError != nil:
		return nil, fmt.Errorf("transform of endpoint %s: does not compile here: %w", s.ID, s.transformError)
	case s.transform == nil:
		return nil, nil
	}
	body, err := s.transform.Apply(event())
	if err != nil {
		return nil, fmt.Errorf("transform of endpoint %s: %w", s.ID, err)
	}
	return body, nil
}

// Body is Subscriber.Body of an endpoint by its id.
func (s *Subscribers) Body(id uuid.UUID, event func() *expression.Event) ([]byte, error) {
	if s == nil {
		return nil, nil
	}
	return s.byID[id].Body(event)
}

// Wants gives the first of the endpoint's types that takes an event, "" when none does.
func (s *Subscriber) Wants(eventType, source string) string {
	for _, wanted := range s.Types {
		if (source != SystemSource || !strings.HasPrefix(wanted, everything)) && pattern.NewWildcard(wanted).Match(eventType) {
			return wanted
		}
	}
	return ""
}

// subscribed are endpoints of a tenant by the types that they want.
type subscribed struct {
	of       []*Subscriber // all of them
	exact    map[string]*crowd
	prefixes map[string]*crowd // each ends with a dot
	all      *crowd
	others   []odd
}

// odd are those who want types with a star elsewhere. They are few and asked one by one.
type odd struct {
	text     string
	wildcard pattern.Wildcard
	*crowd
}

// crowd are endpoints that want the same types: at once, or if a pattern matches.
type crowd struct {
	plain    []*Subscriber
	filtered []*Subscriber
	patterns *pattern.Set // of those that are filtered, in their order
}

// find appends those of the crowd that want an event.
func (c *crowd) find(found []*Subscriber, e *pattern.Event) []*Subscriber {
	if c == nil {
		return found
	}
	found = append(found, c.plain...)
	if c.patterns != nil {
		for _, i := range c.patterns.Match(e) {
			found = append(found, c.filtered[i])
		}
	}
	return found
}

// Of gives the endpoints of a tenant that want an event, each once and in the order of
// their ids. What it costs hardly depends on how many want others: those of other types
// are not looked at, patterns are indexed, and the data is parsed only if one asks for
// it. What the system tells of itself is for those only that name how its type begins:
// endpoints with all types are mostly customers'.
func (s *Subscribers) Of(tenant, eventType, source string, e *pattern.Event) []*Subscriber {
	t := s.byTenant[tenant]
	if t == nil {
		return nil
	}
	found := t.exact[eventType].find(nil, e)
	if source != SystemSource {
		found = t.all.find(found, e)
	}
	if len(t.prefixes) > 0 {
		for i := range len(eventType) {
			if eventType[i] == '.' {
				found = t.prefixes[eventType[:i+1]].find(found, e)
			}
		}
	}
	for i := range t.others {
		o := &t.others[i]
		if (source != SystemSource || !strings.HasPrefix(o.text, everything)) && o.wildcard.Match(eventType) {
			found = o.find(found, e)
		}
	}
	if len(found) < 2 {
		return found
	}
	slices.SortFunc(found, func(a, b *Subscriber) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	return slices.Compact(found)
}

// routed are the columns that routing knows of an endpoint.
const routed = `id, tenant, enabled, event_types, pattern, transform, delivery, xmin::text::bigint AS version`

type routedRow struct {
	ID        uuid.UUID      `db:"id"`
	Tenant    string         `db:"tenant"`
	Enabled   bool           `db:"enabled"`
	Types     pq.StringArray `db:"event_types"`
	Pattern   *string        `db:"pattern"`
	Transform string         `db:"transform"`
	Delivery  string         `db:"delivery"`
	Version   int64          `db:"version"`
}

func (r routedRow) compile() *Subscriber {
	s := &Subscriber{ID: r.ID, Enabled: r.Enabled, Types: r.Types, tenant: r.Tenant, version: r.Version}
	if r.Pattern != nil {
		s.Pattern, s.PatternError = pattern.Compile([]byte(*r.Pattern))
	}
	if r.Transform != "" {
		s.transform, s.transformError = expression.CompileTransform(r.Transform)
	}
	var d Delivery
	if err := json.Unmarshal([]byte(r.Delivery), &d); err == nil { // an attempt tells what is wrong
		s.line, s.collector = d.Ordering.line(r.ID), collectorOf(d.Batch)
	}
	return s
}

// Reload gives the subscribers as q sees them: these, while no endpoint has changed.
// Events wait while it runs, and most changes are of one endpoint among many: only
// changed rows are read and compiled, and only tenants with one are indexed anew.
func (s *Subscribers) Reload(ctx context.Context, q pg.Querier, log *slog.Logger) (*Subscribers, error) {
	fresh := &Subscribers{byTenant: map[string]*subscribed{}}
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
	var versions []struct {
		ID      uuid.UUID `db:"id"`
		Version int64     `db:"version"`
	}
	// What shapes its jobs counts for a disabled endpoint as well: a rule makes jobs for
	// it, which may be delivered when it is enabled again.
	err = q.SelectContext(ctx, &versions, `
		SELECT id, xmin::text::bigint AS version FROM signalstack.endpoints
		WHERE enabled AND event_types <> '{}' OR transform <> '' OR delivery LIKE '%"batch"%' OR delivery LIKE '%"ordering"%'
		ORDER BY id`)
	if err != nil {
		return nil, fmt.Errorf("list subscriptions: %w", err)
	}
	fresh.byID = make(map[uuid.UUID]*Subscriber, len(versions))
	var changed []uuid.UUID
	for _, v := range versions {
		if before := s.byID[v.ID]; before != nil && before.version == v.Version {
			fresh.byID[v.ID] = before
		} else {
			changed = append(changed, v.ID)
		}
	}
	if err := fresh.load(ctx, q, log, changed); err != nil {
		return nil, err
	}
	for _, v := range versions {
		if r := fresh.byID[v.ID]; r != nil && r.Enabled && len(r.Types) > 0 && r.PatternError == nil {
			fresh.add(r)
		}
	}
	for tenant, t := range fresh.byTenant {
		if before := s.byTenant[tenant]; before != nil && slices.Equal(before.of, t.of) {
			fresh.byTenant[tenant] = before
		} else {
			t.index(before)
		}
	}
	return fresh, nil
}

// LoadNamed gives endpoints of a tenant for what shapes their jobs alone: as subscribers,
// none of them wants an event.
func LoadNamed(ctx context.Context, q pg.Querier, log *slog.Logger, tenant string, ids []uuid.UUID) (*Subscribers, error) {
	s := &Subscribers{byID: make(map[uuid.UUID]*Subscriber, len(ids))}
	if err := s.load(ctx, q, log, ids); err != nil {
		return nil, err
	}
	for id, r := range s.byID {
		if r.tenant != tenant {
			delete(s.byID, id)
		}
	}
	return s, nil
}

// load reads and compiles endpoints.
func (s *Subscribers) load(ctx context.Context, q pg.Querier, log *slog.Logger, ids []uuid.UUID) error {
	if len(ids) == 0 {
		return nil
	}
	var rows []routedRow
	err := q.SelectContext(ctx, &rows, `SELECT `+routed+` FROM signalstack.endpoints WHERE id = ANY ($1::uuid[])`,
		pg.IDs(ids))
	if err != nil {
		return fmt.Errorf("load subscriptions: %w", err)
	}
	for _, row := range rows {
		r := row.compile()
		if r.PatternError != nil {
			log.ErrorContext(ctx, "endpoint gets no events: its pattern does not compile here", "endpoint_id", r.ID, "error", r.PatternError)
		}
		if r.transformError != nil {
			log.ErrorContext(ctx, "webhooks of an endpoint fail: its transform does not compile here", "endpoint_id", r.ID, "error", r.transformError)
		}
		s.byID[r.ID] = r
	}
	return nil
}

// Subscriptions gives a tenant's endpoints that subscribe to events, the oldest of them,
// disabled ones and those whose pattern does not compile too.
func Subscriptions(ctx context.Context, q pg.Querier, tenant string, limit int) ([]*Subscriber, error) {
	var rows []routedRow
	err := q.SelectContext(ctx, &rows, `
		SELECT `+routed+` FROM signalstack.endpoints
		WHERE tenant = $1 AND event_types <> '{}'
		ORDER BY id
		LIMIT $2`, tenant, limit)
	if err != nil {
		return nil, fmt.Errorf("list subscriptions to explain: %w", err)
	}
	all := make([]*Subscriber, len(rows))
	for i, r := range rows {
		all[i] = r.compile()
	}
	return all, nil
}

func (s *Subscribers) add(r *Subscriber) {
	t := s.byTenant[r.tenant]
	if t == nil {
		t = &subscribed{}
		s.byTenant[r.tenant] = t
	}
	t.of = append(t.of, r)
}

// index puts the endpoints into crowds. Patterns of a crowd that is as it was before
// are not indexed anew.
func (t *subscribed) index(before *subscribed) {
	t.exact, t.prefixes = map[string]*crowd{}, map[string]*crowd{}
	if before == nil {
		before = &subscribed{}
	}
	for _, r := range t.of {
		for _, wanted := range r.Types {
			t.crowd(wanted).add(r)
		}
	}
	for wanted, c := range t.exact {
		c.index(before.exact[wanted])
	}
	for wanted, c := range t.prefixes {
		c.index(before.prefixes[wanted])
	}
	t.all.index(before.all)
	for _, o := range t.others {
		var was *crowd
		if i := before.other(o.text); i >= 0 {
			was = before.others[i].crowd
		}
		o.index(was)
	}
}

// crowd gives those who want a type, and makes them when there are none yet.
func (t *subscribed) crowd(wanted string) *crowd {
	start, isPrefix := strings.CutSuffix(wanted, everything)
	switch {
	case wanted == everything:
		if t.all == nil {
			t.all = &crowd{}
		}
		return t.all
	case !strings.Contains(wanted, everything):
		return crowdOf(t.exact, wanted)
	case isPrefix && strings.HasSuffix(start, ".") && !strings.Contains(start, everything):
		return crowdOf(t.prefixes, start)
	}
	i := t.other(wanted)
	if i < 0 {
		i = len(t.others)
		t.others = append(t.others, odd{text: wanted, wildcard: pattern.NewWildcard(wanted), crowd: &crowd{}})
	}
	return t.others[i].crowd
}

func crowdOf(all map[string]*crowd, wanted string) *crowd {
	c := all[wanted]
	if c == nil {
		c = &crowd{}
		all[wanted] = c
	}
	return c
}

func (t *subscribed) other(text string) int {
	return slices.IndexFunc(t.others, func(o odd) bool { return o.text == text })
}

func (c *crowd) add(r *Subscriber) {
	if r.Pattern == nil {
		c.plain = append(c.plain, r)
	} else {
		c.filtered = append(c.filtered, r)
	}
}

func (c *crowd) index(before *crowd) {
	switch {
	case c == nil || len(c.filtered) == 0:
	case before != nil && slices.Equal(before.filtered, c.filtered):
		c.patterns = before.patterns
	default:
		patterns := make([]*pattern.Pattern, len(c.filtered))
		for i, r := range c.filtered {
			patterns[i] = r.Pattern
		}
		c.patterns = pattern.NewSet(patterns)
	}
}
