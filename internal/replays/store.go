package replays

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"github.com/signalstack/signalstack/internal/bulk"
	"github.com/signalstack/signalstack/internal/events"
	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/idempotency"
	"github.com/signalstack/signalstack/internal/pg"
	"github.com/signalstack/signalstack/internal/queue"
	"github.com/signalstack/signalstack/internal/rules"
	"github.com/signalstack/signalstack/internal/webhooks"
)

// API serves replays.
type API struct {
	DB       *pg.DB
	Replayer *Replayer
	KeyTTL   time.Duration // how long an idempotency key is kept
}

// keyScope keeps the idempotency keys of replays apart from others.
const keyScope = "replays"

// answered is what a request was answered with, and whether it was before.
type answered struct {
	id     uuid.UUID
	body   []byte
	before bool
}

// tries bounds how often a request is tried that found no partition for its jobs.
const tries = 4

// once runs do in a transaction, but for a key that stands gives the first answer.
func (a *API) once(ctx context.Context, key idempotency.Reservation, do func(tx *sqlx.Tx) ([]byte, error)) (answered, error) {
	var err error
	for range tries {
		var body []byte
		var before bool
		body, before, err = idempotency.Once(ctx, a.DB, key, a.KeyTTL, do)
		switch {
		case err == nil:
			var made struct{ ID uuid.UUID }
			err = json.Unmarshal(body, &made)
			return answered{id: made.ID, body: body, before: before}, err
		case !pg.IsNoPartition(err):
			return answered{}, refused(err)
		}
		if err := queue.EnsurePartitions(ctx, a.DB, time.Now()); err != nil {
			return answered{}, err
		}
	}
	return answered{}, err
}

// refused makes the fault of named rules that were deleted while they were asked for.
func refused(err error) error {
	if gone, ok := errors.AsType[events.RulesError](err); ok {
		return fault.InvalidField("/rules", "%s", gone.Error())
	}
	return err
}

// check gives the mistakes of named rules and endpoints.
func check(ctx context.Context, q pg.Querier, tenant string, s spec) ([]fault.Detail, error) {
	var mistakes []fault.Detail
	if len(s.Rules) > 0 {
		_, problems, err := rules.LoadNamed(ctx, q, slog.New(slog.DiscardHandler), tenant, s.Rules) // to be checked, not used
		if err != nil {
			return nil, err
		}
		for i, id := range s.Rules {
			if why, wrong := problems[id]; wrong {
				mistakes = append(mistakes, fault.Detail{Pointer: fmt.Sprintf("/rules/%d", i), Detail: why})
			}
		}
	}
	known, err := webhooks.Known(ctx, q, tenant, s.Endpoints)
	if err != nil {
		return nil, err
	}
	for i, id := range s.Endpoints {
		if !known[id] {
			mistakes = append(mistakes, fault.Detail{Pointer: fmt.Sprintf("/endpoints/%d", i), Detail: "names no endpoint of this tenant"})
		}
	}
	return mistakes, nil
}

// begin makes a replay by filter, which workers take up.
func (a *API) begin(ctx context.Context, n NewReplay, tenant string, key idempotency.Reservation) (answered, error) {
	text, err := json.Marshal(n.spec())
	if err != nil {
		return answered{}, fmt.Errorf("write what the replay was asked for: %w", err)
	}
	id := uuid.Must(uuid.NewV7())
	return a.once(ctx, key, func(tx *sqlx.Tx) ([]byte, error) {
		op, err := bulk.Insert(ctx, tx, bulk.New{ID: id, Tenant: tenant, Kind: kindName, Spec: text, Rate: cmp.Or(n.Rate, defaultRate)})
		if err != nil {
			return nil, err
		}
		r, err := show(op)
		if err != nil {
			return nil, err
		}
		return json.Marshal(r)
	})
}

// replayOne routes one event again and writes its jobs, with a replay that is done.
func (a *API) replayOne(ctx context.Context, eventID uuid.UUID, s spec, key idempotency.Reservation) (answered, error) {
	s.EventID = &eventID
	text, err := json.Marshal(s)
	if err != nil {
		return answered{}, fmt.Errorf("write what the replay was asked for: %w", err)
	}
	id := uuid.Must(uuid.NewV7())
	return a.once(ctx, key, func(tx *sqlx.Tx) ([]byte, error) {
		e, err := a.event(ctx, tx, eventID, s)
		if err != nil {
			return nil, err
		}
		made, err := a.Replayer.make(ctx, tx, []events.Stored{e}, s, e.Tenant, id)
		if err != nil {
			return nil, err
		}
		n := bulk.New{ID: id, Tenant: e.Tenant, Kind: kindName, Spec: text, Rate: defaultRate}
		op, err := bulk.InsertDone(ctx, tx, n, 1, len(made))
		if err != nil {
			return nil, err
		}
		out := EventReplay{JobIDs: make([]uuid.UUID, len(made))}
		for i, j := range made {
			out.JobIDs[i] = j.ID
		}
		if out.Replay, err = show(op); err != nil {
			return nil, err
		}
		return json.Marshal(out)
	})
}

// event gives the event of a replay whose rules and endpoints are its tenant's.
func (a *API) event(ctx context.Context, tx *sqlx.Tx, id uuid.UUID, s spec) (events.Stored, error) {
	e, err := events.GetStored(ctx, tx, id)
	if err != nil {
		return events.Stored{}, err
	}
	mistakes, err := check(ctx, tx, e.Tenant, s)
	if err == nil && len(mistakes) > 0 {
		err = fault.InvalidBody(mistakes)
	}
	return e, err
}

// countOne says what the replay of an event would make.
func (a *API) countOne(ctx context.Context, id uuid.UUID, s spec) (DryRun, error) {
	d := DryRun{Events: 1, EventsExact: true, JobsExact: true}
	err := pg.InTx(ctx, a.DB, func(tx *sqlx.Tx) error {
		e, err := a.event(ctx, tx, id, s)
		if err != nil {
			return err
		}
		made, err := a.Replayer.router.Jobs(ctx, tx, []events.Stored{e}, s.through(e.Tenant))
		d.Jobs = len(made)
		return err
	})
	return d, refused(err)
}
