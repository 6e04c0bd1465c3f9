package events

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/idempotency"
	"github.com/signalstack/signalstack/internal/intake"
)

// Accept stores an event that another part of this process made, with its jobs, in
// the same shared transactions as those of POST /events. The key, unless it is zero,
// names the event: the same key again gives the first event and true, whatever the
// event is then said to be, and nothing is stored. A fault lists the mistakes of an
// event that POST /events would refuse.
func (a *Acceptor) Accept(ctx context.Context, n NewEvent, tenant string, key idempotency.Key) (Event, bool, error) {
	if mistakes := n.Validate(); len(mistakes) > 0 {
		return Event{}, false, fault.InvalidBody(mistakes)
	}
	item := &intake.Item[*acceptance]{Value: a.begin(n, tenant)}
	if key != (idempotency.Key{}) {
		item.Keys = []idempotency.Reservation{{Key: key, Fingerprint: idempotency.Fingerprint([]byte(key.Key)), Waits: true}}
	}
	reply, err := a.intake.Do(ctx, &intake.Request[*acceptance]{Items: []*intake.Item[*acceptance]{item}})
	if err != nil {
		return Event{}, false, err
	}
	var e Event
	if err := json.Unmarshal(reply.Body, &e); err != nil {
		return Event{}, false, fmt.Errorf("read the answer of an event: %w", err)
	}
	return e, reply.Replayed, nil
}
