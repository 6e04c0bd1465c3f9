package httpcall

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/outbound"
)

// Limits of a call that its job does not set otherwise.
const (
	timeout     = 15 * time.Second
	maxAttempts = 8
)

// Kind calls HTTP services.
func Kind(guard *outbound.Guard, client *outbound.Client) jobs.Kind {
	decode := httpapi.ObjectDecoder[payload]()
	return jobs.Kind{
		Name: "http", Timeout: timeout, MaxAttempts: maxAttempts, Retry: jobs.DefaultPolicy(),
		Check: func(raw json.RawMessage, _ bool) []fault.Detail {
			p, mistakes := decode(raw)
			if p.URL != "" {
				mistakes = append(mistakes, guard.Check("/url", p.URL)...)
			}
			return mistakes
		},
		Run: func(ctx context.Context, job jobs.Job) (jobs.Result, error) { return run(ctx, client, job) },
	}
}

// payload is what a job says of its request.
type payload struct {
	Method  string            `json:"method,omitempty" enum:"GET,HEAD,OPTIONS,DELETE,POST,PUT,PATCH" doc:"Default POST"`
	URL     string            `json:"url" minLength:"1"`
	Headers map[string]string `json:"headers,omitempty"`
	Body    httpapi.JSON      `json:"body,omitempty" doc:"Default: the event's data"`
}

// Validate gives the mistakes that the schema does not know.
func (p payload) Validate() []fault.Detail { return outbound.CheckHeaders("/headers", p.Headers) }

// run makes one attempt at a call.
func run(ctx context.Context, client *outbound.Client, job jobs.Job) (jobs.Result, error) {
	p := payload{Method: http.MethodPost}
	if err := json.Unmarshal(job.Payload, &p); err != nil {
		return jobs.Result{}, jobs.Permanent(fmt.Errorf("read the payload: %w", err))
	}
	request := outbound.Request{Method: p.Method, URL: p.URL, Header: http.Header{}}
	for name, value := range p.Headers {
		request.Header.Set(name, value)
		request.Hidden = append(request.Hidden, name) // it may be a credential
	}
	if request.Header.Get("Idempotency-Key") == "" {
		request.Header.Set("Idempotency-Key", job.ID.String())
	}
	request.Body = bodyOf(p, job, request.Header)
	response, exchange, err := client.Do(ctx, request)
	if err == nil {
		err = outbound.Judge(response, hopeless)
	}
	return jobs.Result{Exchange: exchange}, err
}

// bodyOf chooses what to send and names its type: the payload's body, else the
// event's data where the method carries a body, byte for byte also where they are not
// JSON. A JSON string under a Content-Type
// that is no JSON is sent as the text it holds.
func bodyOf(p payload, job jobs.Job, header http.Header) []byte {
	body := []byte(p.Body)
	if body == nil && job.Event != nil && carriesBody(p.Method) {
		if also := job.Event.CloudEvent; also.Opaque {
			if header.Get("Content-Type") == "" {
				header.Set("Content-Type", cmp.Or(also.ContentType, "application/octet-stream"))
			}
			return job.Event.Opaque
		}
		body = job.Event.Data
	}
	if body == nil {
		return nil
	}
	media := header.Get("Content-Type")
	if media == "" {
		header.Set("Content-Type", "application/json")
		return body
	}
	var text string
	if !strings.Contains(strings.ToLower(media), "json") && body[0] == '"' && json.Unmarshal(body, &text) == nil {
		return []byte(text)
	}
	return body
}

// carriesBody tells methods under which the event's data goes along unasked.
func carriesBody(method string) bool {
	return method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch
}

// hopeless tells answers that no further attempt can mend.
func hopeless(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return status < 500
}
