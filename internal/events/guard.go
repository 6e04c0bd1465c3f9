package events

import (
	"context"
	"log/slog"

	"github.com/signalstack/signalstack/internal/eventtypes"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/tenants"
)

// guard is what may keep an event out, or warn of it: the limits of its tenant and
// the schema of its type. It is part of the routes and as old as they are; the zero
// guard lets everything through.
type guard struct {
	limits tenants.Limits
	types  *eventtypes.Set
}

// loadGuard gives the guard as q sees it. What the guard before has compiled is kept.
func loadGuard(ctx context.Context, q pg.Querier, before guard, log *slog.Logger) (guard, error) {
	limits, err := tenants.Load(ctx, q)
	if err != nil {
		return guard{}, err
	}
	types, err := eventtypes.Load(ctx, q, before.types, log)
	return guard{limits, types}, err
}

// check notes why an event may not be stored, or what its sender is to be warned of.
// The intake refuses it in the transaction, once it is known that the guard is not
// too old and the event is not one that was accepted before.
func (g guard) check(x *acceptance) {
	x.refusal, x.event.Warnings = nil, nil
	if f := g.limits.Check(x.event.Tenant, x.data); f != nil {
		x.refusal = f
		return
	}
	verdict, checked := g.types.Check(x.event.Tenant, x.event.Type, x.view)
	switch {
	case !checked || len(verdict.Mistakes) == 0:
	case verdict.Mode == eventtypes.Reject:
		x.refusal = verdict.Refusal()
	default:
		x.event.Warnings = verdict.Mistakes
	}
}
