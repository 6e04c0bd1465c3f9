package events

import (
	"context"
	"net/http"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/intake"
)

// Routes lists the operations on events.
func (a *Acceptor) Routes(api *httpapi.API) {
	httpapi.RegisterBody(api, httpapi.Operation{
		OperationID: "send-events", Method: http.MethodPost, Path: "/events", DefaultStatus: http.StatusCreated, Tags: []string{"events"},
		Summary: "Accept one event, or an array of up to 1,000",
		Description: "The answer comes when the event and the jobs that rules and subscriptions make of it are durable. " +
			"An array is accepted whole or not at all.",
	}, httpapi.OneOrMany[NewEvent](), a.send)
}

func (a *Acceptor) send(ctx context.Context, in *intake.CreateIn, body httpapi.Batch[NewEvent]) (*intake.CreateOut[Event], error) {
	items := make([]*intake.Item[*acceptance], len(body.Items))
	for i := range body.Items {
		given := &body.Items[i]
		key, wrong := intake.KeyOf(in.IdempotencyKey, given.Value.IdempotencyKey, body.Array, i)
		given.Add(wrong...)
		if len(given.Mistakes) > 0 {
			continue
		}
		tenant := given.Value.Tenant
		if tenant == "" {
			tenant = httpapi.Tenant(ctx)
		}
		items[i] = &intake.Item[*acceptance]{
			Value: a.begin(given.Value, tenant),
			Keys:  keys(given.Value, tenant, key, given.Raw),
		}
	}
	if mistakes := body.Mistakes(); len(mistakes) > 0 {
		return nil, fault.InvalidBody(mistakes)
	}
	return intake.Accept[NewEvent, *acceptance, Event](ctx, a.intake, body, items)
}
