package webhooks

import (
	"bytes"
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

// Limits of a delivery that its job does not set otherwise. Ten attempts on the
// standard ladder span three days.
const (
	timeout     = 15 * time.Second
	maxAttempts = 10
)

// Kind delivers to endpoints.
func Kind(endpoints *Endpoints, client *outbound.Client) jobs.Kind {
	d := &deliverer{endpoints: endpoints, client: client}
	decode := httpapi.ObjectDecoder[payload]()
	return jobs.Kind{
		Name: KindName, Timeout: timeout, MaxAttempts: maxAttempts, Retry: jobs.StandardLadder(),
		Check: func(raw json.RawMessage, fromEvent bool) []fault.Detail {
			if fromEvent {
				return nil // rules checks what an action says of a webhook
			}
			_, mistakes := decode(raw)
			return mistakes
		},
		Endpoint: endpointOf, Run: d.run,
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
}

// run makes one attempt at a delivery.
func (d *deliverer) run(ctx context.Context, job jobs.Job) (jobs.Result, error) {
	to, err := d.target(ctx, job)
	if err != nil {
		return jobs.Result{}, err
	}
	body, err := bodyOf(job)
	if err != nil {
		return jobs.Result{}, jobs.Permanent(err)
	}
	request, err := sign(to, job.ID.String(), time.Now(), body)
	if err != nil {
		return jobs.Result{}, err
	}
	response, exchange, err := d.client.Do(ctx, request)
	if err == nil {
		err = outbound.Judge(response, func(status int) bool { return status == http.StatusGone })
	}
	return jobs.Result{Exchange: exchange}, err
}

// target finds where a job delivers to. Without it there is nothing to try again.
func (d *deliverer) target(ctx context.Context, job jobs.Job) (target, error) {
	to, err := get(ctx, d.endpoints.DB, d.endpoints.Box, job.EndpointID.UUID, false)
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

// bodyOf writes the envelope around the data's own bytes. The payload of an event's
// job is a body that its rule has made.
func bodyOf(job jobs.Job) ([]byte, error) {
	if job.Event != nil && job.Payload != nil {
		return job.Payload, nil
	}
	eventType, at, data := "", job.CreatedAt, json.RawMessage(nil)
	if job.Event != nil {
		eventType, at, data = job.Event.Type, job.Event.Time, job.Event.Data
	} else {
		var p payload
		if err := json.Unmarshal(job.Payload, &p); err != nil {
			return nil, fmt.Errorf("read the payload: %w", err)
		}
		eventType, data = p.Type, json.RawMessage(p.Data)
	}
	if len(data) == 0 {
		data = json.RawMessage("null")
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	b.WriteString(`{"type":`)
	if err := enc.Encode(eventType); err != nil {
		return nil, fmt.Errorf("write the type: %w", err)
	}
	b.Truncate(b.Len() - 1) // the line feed of Encode
	b.WriteString(`,"timestamp":"` + at.UTC().Format(time.RFC3339Nano) + `","data":`)
	b.Write(data)
	b.WriteByte('}')
	return b.Bytes(), nil
}

// sign makes the request of an attempt at a time.
func sign(to target, id string, at time.Time, body []byte) (outbound.Request, error) {
	signer, err := standardwebhooks.NewWebhook(to.secret)
	if err != nil {
		return outbound.Request{}, errors.New("read the endpoint's secret") // the cause may show it
	}
	signature, err := signer.Sign(id, at, body)
	if err != nil {
		return outbound.Request{}, fmt.Errorf("sign: %w", err)
	}
	header := http.Header{}
	secret := []string{standardwebhooks.HeaderWebhookSignature}
	for name, value := range to.headers {
		header.Set(name, value)
		secret = append(secret, name)
	}
	header.Set("Content-Type", "application/json")
	header.Set(standardwebhooks.HeaderWebhookID, id)
	header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(at.Unix(), 10))
	header.Set(standardwebhooks.HeaderWebhookSignature, signature)
	return outbound.Request{Method: http.MethodPost, URL: to.URL, Header: header, Body: body, Hidden: secret}, nil
}
