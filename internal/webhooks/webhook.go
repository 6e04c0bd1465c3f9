package webhooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/google/uuid"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/outbound"
)

// KindName is the kind of jobs that deliver webhooks.
const KindName = "webhook"

// Limits of a delivery that neither its job nor its endpoint sets. Ten attempts on the
// standard ladder span three days.
const maxAttempts = 10

// Kind delivers to endpoints.
func Kind(endpoints *Endpoints, client *outbound.Client) jobs.Kind {
	d := &deliverer{endpoints: endpoints, client: client, reader: reader{db: endpoints.DB, box: endpoints.Box}}
	decode := httpapi.ObjectDecoder[payload]()
	return jobs.Kind{
		Name: KindName, Timeout: maxTimeout, MaxAttempts: maxAttempts, Retry: jobs.StandardLadder(),
		Check: func(raw json.RawMessage, later jobs.Later) []fault.Detail {
			if later.Event {
				return nil // rules checks what an action says of a webhook
			}
			_, mistakes := decode(raw)
			return mistakes
		},
		Endpoint: endpointOf, Run: d.run, Failed: exhausted,
	}
}

// payload is what a job says that no event made: POST /jobs. A job of an event has
// none.
type payload struct {
	EndpointID string       `json:"endpoint_id" format:"uuid" doc:"Where the webhook goes"`
	Type       string       `json:"type" minLength:"1" doc:"What happened"`
	Data       httpapi.JSON `json:"data,omitempty" doc:"Any JSON value"`
}

// Validate gives the mistakes that the schema does not know.
func (p payload) Validate() []fault.Detail { return httpapi.CheckText("/type", p.Type, 255) }

func endpointOf(raw json.RawMessage) uuid.NullUUID {
	var p payload
	if err := json.Unmarshal(raw, &p); err != nil {
		return uuid.NullUUID{}
	}
	id, err := uuid.Parse(p.EndpointID)
	return uuid.NullUUID{UUID: id, Valid: err == nil}
}

type deliverer struct {
	endpoints *Endpoints
	client    *outbound.Client
	reader    reader
	tokens    tokens
}

// run makes one attempt at a delivery.
func (d *deliverer) run(ctx context.Context, job jobs.Job) (jobs.Result, error) {
	to, err := d.target(ctx, job)
	if err != nil {
		return jobs.Result{}, err
	}
	if to.batches() {
		return job.Together(ctx, to.Batch.MaxEvents, func(ctx context.Context, all []jobs.Job) (int, jobs.Result, error) {
			return d.deliverBatch(ctx, all, to)
		})
	}
	request, err := requestOf(job, to)
	if err != nil {
		return jobs.Result{}, err
	}
	return d.send(ctx, job, to, request)
}

// send sends a request, and lets what comes of it change what is known of its endpoint.
func (d *deliverer) send(ctx context.Context, job jobs.Job, to target, request outbound.Request) (jobs.Result, error) {
	response, exchange, err := d.exchange(ctx, job, to, request)
	if err != nil && jobs.Interrupted(ctx) {
		return jobs.Result{Exchange: exchange}, err // which says nothing of the endpoint
	}
	o := judge(response, err)
	d.note(ctx, to, o)
	return jobs.Result{Exchange: exchange}, jobs.WithPolicy(to.Delivery.override(), o.err)
}

// exchange sends a request with the endpoint's credentials, in its time.
func (d *deliverer) exchange(ctx context.Context, job jobs.Job, to target, request outbound.Request) (outbound.Response, *jobs.Exchange, error) {
	timed, stop := to.Delivery.timed(ctx, job)
	defer stop()
	var response outbound.Response
	var exchange *jobs.Exchange
	err := d.authorize(timed, to, &request)
	if err == nil {
		response, exchange, err = d.client.Do(timed, request)
	}
	if response.Status == http.StatusUnauthorized {
		d.tokens.forget(to.ID)
	}
	if err != nil && !jobs.Interrupted(ctx) && errors.Is(context.Cause(timed), jobs.ErrTimeout) {
		err = fmt.Errorf("%w: %w", jobs.ErrTimeout, err)
	}
	return response, exchange, err
}

// target finds where a job delivers to. Without it there is nothing to try again.
func (d *deliverer) target(ctx context.Context, job jobs.Job) (target, error) {
	to, err := d.reader.get(ctx, job.EndpointID.UUID)
	switch f := fault.As(err); {
	case f != nil && f.Kind == fault.NotFound || err == nil && to.Tenant != job.Tenant:
		return target{}, jobs.Permanentf("there is no endpoint %s of this tenant (any more)", job.EndpointID.UUID)
	case err != nil:
		return target{}, err
	case !to.Enabled:
		return target{}, jobs.Permanentf("endpoint %s is disabled", to.ID)
	}
	return to, nil
}

// noteTime is how long an attempt waits for what is known of its endpoint to be stored.
const noteTime = 5 * time.Second

// note is Endpoints.note beside the attempt's own time. Where the database is away, the
// next attempt will tell.
func (d *deliverer) note(ctx context.Context, to target, o outcome) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTime)
	defer cancel()
	if err := d.endpoints.note(ctx, to, o); err != nil {
		d.endpoints.Log.WarnContext(ctx, "the health of an endpoint could not be noted", "endpoint_id", to.ID, "error", err)
	}
}

// timed bounds an attempt: by the endpoint's timeout, by that of a job that has one of
// its own, or by the default.
func (d Delivery) timed(ctx context.Context, job jobs.Job) (context.Context, context.CancelFunc) {
	limit := defaultTimeout
	if own, err := time.ParseDuration(d.Timeout); err == nil {
		limit = own
	} else if job.Timeout > 0 && job.Timeout != maxTimeout {
		limit = job.Timeout
	}
	return context.WithTimeoutCause(ctx, limit, jobs.ErrTimeout)
}

// requestOf makes the signed request of an attempt, at the database's time.
func requestOf(job jobs.Job, to target) (outbound.Request, error) {
	header := http.Header{}
	for name, value := range to.headers {
		header.Set(name, value)
	}
	body, err := write(job, to.Format, header)
	if err != nil {
		return outbound.Request{}, jobs.Permanent(err)
	}
	return sign(to, job.ID.String(), to.now, header, body)
}

// sign makes the request of an attempt at a time. The header has all but what signing
// adds.
func sign(to target, id string, at time.Time, header http.Header, body []byte) (outbound.Request, error) {
	signed, err := to.signatures(id, at, body)
	if err != nil {
		return outbound.Request{}, err
	}
	secret := []string{standardwebhooks.HeaderWebhookSignature}
	for name := range to.headers {
		secret = append(secret, name)
	}
	header.Set(standardwebhooks.HeaderWebhookID, id)
	header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(at.Unix(), 10))
	header.Set(standardwebhooks.HeaderWebhookSignature, signed)
	return outbound.Request{Method: http.MethodPost, URL: to.URL, Header: header, Body: body, Hidden: secret}, nil
}
