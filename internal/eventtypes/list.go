package eventtypes

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/signalstack/signalstack/internal/analytics"
	"github.com/signalstack/signalstack/internal/pg"
)

// recent is for how long a type is listed that nobody registered.
const recent = 30 * 24 * time.Hour

// key is the place of a type in the list, which is in the order of the bytes.
type key struct{ Type, Tenant string }

func (k key) compare(other key) int {
	return cmp.Or(strings.Compare(k.Type, other.Type), strings.Compare(k.Tenant, other.Tenant))
}

// text is a key as a cursor holds it: neither name has a line break.
func (k key) text() string { return k.Type + "\n" + k.Tenant }

func keyOf(text string) key {
	eventType, tenant, _ := strings.Cut(text, "\n")
	return key{eventType, tenant}
}

// list gives up to limit types after a key: those that are registered (only true),
// those that came lately and are not (only false), or all of them (only nil).
func list(ctx context.Context, q pg.Querier, tenant string, only *bool, after key, limit int) ([]ListedType, error) {
	now, err := pg.Now(ctx, q)
	if err != nil {
		return nil, err
	}
	seen, err := analytics.SeenTypes(ctx, q, tenant, now.Add(-recent), now)
	if err != nil {
		return nil, err
	}
	counts := make(map[key]analytics.SeenType, len(seen))
	for _, s := range seen {
		counts[key{s.Type, s.Tenant}] = s
	}
	var all []ListedType
	if only == nil || *only {
		if all, err = listRegistered(ctx, q, tenant, after, limit); err != nil {
			return nil, err
		}
	}
	if only == nil || !*only {
		unregistered, err := withoutRegistered(ctx, q, counts, after)
		if err != nil {
			return nil, err
		}
		all = append(all, unregistered...)
	}
	slices.SortFunc(all, func(a, b ListedType) int { return key{a.Type, a.Tenant}.compare(key{b.Type, b.Tenant}) })
	all = all[:min(limit, len(all))]
	came := make([]*ListedType, 0, len(all))
	for i := range all {
		if s, ok := counts[key{all[i].Type, all[i].Tenant}]; ok {
			all[i].Events, all[i].Warnings, all[i].LastSeen = s.Events, s.Warned, &s.Day
			came = append(came, &all[i])
		}
	}
	return all, lastSeen(ctx, q, came)
}

func listRegistered(ctx context.Context, q pg.Querier, tenant string, after key, limit int) ([]ListedType, error) {
	rows, err := registered(ctx, q, tenant, after, limit)
	if err != nil {
		return nil, err
	}
	all := make([]ListedType, len(rows))
	for i, r := range rows {
		all[i] = ListedType{Type: r.Type, Tenant: r.Tenant, Registered: true, Settings: new(r.settings())}
	}
	return all, nil
}

// withoutRegistered gives the types that came and that nobody registered, after a key.
func withoutRegistered(ctx context.Context, q pg.Querier, counts map[key]analytics.SeenType, after key) ([]ListedType, error) {
	var known []struct{ Type, Tenant string }
	if err := q.SelectContext(ctx, &known, `SELECT type, tenant FROM signalstack.event_types`); err != nil {
		return nil, fmt.Errorf("read names of event types: %w", err)
	}
	is := make(map[key]bool, len(known))
	for _, k := range known {
		is[key(k)] = true
	}
	var all []ListedType
	for k := range counts {
		if !is[k] && k.compare(after) > 0 {
			all = append(all, ListedType{Type: k.Type, Tenant: k.Tenant})
		}
	}
	return all, nil
}
