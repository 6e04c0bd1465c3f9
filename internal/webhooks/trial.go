package webhooks

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/eventtypes"
	"github.com/signalstack/signalstack/internal/expression"
	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/outbound"
	"github.com/signalstack/signalstack/internal/pattern"
)

const (
	// headerTest marks a test webhook, so that a receiver need not act on it.
	headerTest = "Webhook-Test"
	// testType is the type of a test that names none.
	testType = "endpoint.test"
	// testTime bounds a test whatever the endpoint's timeout, as somebody waits for it.
	testTime = 30 * time.Second
	// maxTests bounds the requests that wait for receivers.
	maxTests = 32
)

// sampleData are those of a test whose type has no example.
const sampleData = `{"message":"This is a test of your endpoint. Nothing happened."}`

// newTrial asks for a test webhook.
type newTrial struct {
	Type string       `json:"type,omitempty" doc:"Type of the sample event; default endpoint.test" example:"payment.succeeded"`
	Data httpapi.JSON `json:"data,omitempty" doc:"Its data; default: the example of the type in the registry, else a text that says what it is"`
}

// Validate gives the mistakes that the schema does not know.
func (n newTrial) Validate() []fault.Detail {
	if n.Type != "" && strings.TrimSpace(n.Type) == "" {
		return []fault.Detail{{Pointer: "/type", Detail: "must not be blank"}}
	}
	return httpapi.CheckText("/type", n.Type, 255)
}

// Trial is what a test webhook came to.
type Trial struct {
	WebhookID uuid.UUID      `json:"webhook_id" doc:"The webhook-id that was sent"`
	Type      string         `json:"type" doc:"Type of the sample event"`
	Delivered bool           `json:"delivered" doc:"The receiver answered 2xx"`
	Error     string         `json:"error,omitempty" doc:"Why it was not delivered, as an attempt would say it"`
	Exchange  *jobs.Exchange `json:"exchange,omitempty" doc:"What was sent and what came back, as in the attempt log; absent when nothing was sent, as no token was to be had"`
}

// tester sends test webhooks.
type tester struct {
	deliverer
	slots chan struct{}
}

// testRoute lists the operation that sends a test webhook.
func (e *Endpoints) testRoute(api *httpapi.API) {
	t := &tester{deliverer: deliverer{endpoints: e, client: e.Client}, slots: make(chan struct{}, maxTests)}
	httpapi.RegisterBody(api, httpapi.Operation{
		OperationID: "test-endpoint", Method: http.MethodPost, Path: "/endpoints/{id}/test", DefaultStatus: http.StatusOK, Tags: []string{"endpoints"},
		Summary: "Send a test webhook at once",
		Description: "The answer comes when the receiver has answered, or in half a minute, and has what was sent and what came back; it is 200 whatever that was. " +
			"The webhook is signed and made as any other, and has the header Webhook-Test: true. It is no job, changes nothing of the endpoint's health, " +
			"and goes to disabled endpoints too. An address that webhooks may not reach is 422.",
	}, httpapi.OptionalLoose[newTrial](), t.test)
}

type trialOut struct{ Body Trial }

func (t *tester) test(ctx context.Context, in *updateIn, given httpapi.Item[newTrial]) (*trialOut, error) {
	id, err := httpapi.ParseID(in.ID)
	if err != nil {
		return nil, err
	}
	if err := given.Err(); err != nil {
		return nil, err
	}
	select {
	case t.slots <- struct{}{}:
		defer func() { <-t.slots }()
	default:
		return nil, &fault.Error{
			Kind: fault.Unavailable, Code: "too_many_tests", RetryAfter: time.Second, Outcome: fault.Nothing,
			Message: fmt.Sprintf("%d test webhooks wait for their receivers; send it again later.", maxTests),
		}
	}
	to, err := get(ctx, t.endpoints.DB, t.endpoints.Box, id, false)
	if err != nil {
		return nil, err
	}
	if mistakes := t.endpoints.Guard.Check("/url", to.URL); len(mistakes) > 0 {
		return nil, refusedAddress(to, mistakes[0].Detail)
	}
	job, err := t.sample(ctx, to, given.Value)
	if err != nil {
		return nil, err
	}
	exchange, err := t.try(ctx, to, job)
	if exchange != nil && exchange.ErrorClass == outbound.ClassBlocked {
		return nil, refusedAddress(to, err.Error())
	}
	out := &trialOut{Body: Trial{WebhookID: job.ID, Type: job.Event.Type, Delivered: err == nil, Exchange: exchange}}
	if err != nil {
		out.Body.Error = err.Error()
	}
	return out, nil
}

func refusedAddress(to target, why string) error {
	return &fault.Error{
		Kind: fault.Invalid, Code: "address_refused", Message: "Webhooks may not reach the address of endpoint " + to.ID.String() + ".",
		Details: []fault.Detail{{Pointer: "/url", Detail: why}},
	}
}

// sample makes the job of an event that never was.
func (t *tester) sample(ctx context.Context, to target, n newTrial) (jobs.Job, error) {
	eventType, data := cmp.Or(n.Type, testType), n.Data
	if data == nil {
		var err error
		if data, err = eventtypes.Example(ctx, t.endpoints.DB, to.Tenant, eventType); err != nil {
			return jobs.Job{}, err
		}
	}
	if data == nil {
		data = httpapi.JSON(sampleData)
	}
	job := jobs.Job{
		ID: uuid.Must(uuid.NewV7()), Tenant: to.Tenant, Kind: KindName, Attempt: 1, MaxAttempts: 1, CreatedAt: to.now,
		EndpointID: uuid.NullUUID{UUID: to.ID, Valid: true},
		Event:      &jobs.Event{ID: uuid.Must(uuid.NewV7()), Type: eventType, Time: to.now, Data: []byte(data)},
	}
	var err error
	job.Payload, err = shape(to, job)
	return job, err
}

// shape makes the body that the endpoint's transform makes of the sample; nil when it has
// none.
func shape(to target, job jobs.Job) ([]byte, error) {
	if to.Transform == "" {
		return nil, nil
	}
	event := expression.NewEvent(pattern.Envelope{
		ID: job.Event.ID.String(), Tenant: job.Tenant, Type: job.Event.Type, Time: job.Event.Time.UTC().Format(time.RFC3339Nano),
	}, job.Event.Data)
	program, err := expression.CompileTransform(to.Transform)
	if err == nil {
		var body []byte
		if body, err = program.Apply(event); err == nil {
			return body, nil
		}
	}
	return nil, &fault.Error{
		Kind: fault.Invalid, Code: "transform_failed", Message: "The transform of endpoint " + to.ID.String() + " makes no body of the sample event.",
		Details: []fault.Detail{{Pointer: "/data", Detail: err.Error()}},
	}
}

// try makes the one attempt of a test, and notes nothing.
func (t *tester) try(ctx context.Context, to target, job jobs.Job) (*jobs.Exchange, error) {
	ctx, stop := context.WithTimeoutCause(ctx, testTime, jobs.ErrTimeout)
	defer stop()
	request, err := requestOf(job, to)
	if err != nil {
		return nil, err
	}
	request.Header.Set(headerTest, "true")
	request.KeepBody = true
	response, exchange, err := t.exchange(ctx, job, to, request)
	return exchange, judge(response, err).err
}
