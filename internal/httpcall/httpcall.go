package httpcall

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/outbound"
	"github.com/signalstack/signalstack/internal/template"
)

// Limits of a call that its job does not set otherwise.
const (
	timeout     = 15 * time.Second
	maxAttempts = 8
)

// checkTime bounds the rendering of a job that is being created.
const checkTime = 5 * time.Second

// Kind calls HTTP services.
func Kind(guard *outbound.Guard, client *outbound.Client) jobs.Kind {
	c := caller{guard: guard, client: client, decode: httpapi.ObjectDecoder[payload]()}
	return jobs.Kind{
		Name: "http", Timeout: timeout, MaxAttempts: maxAttempts, Retry: jobs.DefaultPolicy(),
		Check: c.check, Run: c.run,
	}
}

// caller runs the jobs.
type caller struct {
	guard  *outbound.Guard
	client *outbound.Client
	decode func(raw []byte) (payload, []fault.Detail)
}

// check reports every mistake of a payload that can be known now.
func (c caller) check(raw json.RawMessage, later jobs.Later) []fault.Detail {
	p, mistakes := c.decode(raw)
	if p.URL == "" {
		return mistakes
	}
	if !p.templated(later.Any()) {
		if template.Is(p.URL) && p.Templates == nil {
			return append(mistakes, fault.Detail{Pointer: "/url", Detail: `is a template, which needs data in the payload; with "templates": false it is none`})
		}
		return append(mistakes, c.guard.Check("/url", p.URL)...)
	}
	ctx, cancel := context.WithTimeout(context.Background(), checkTime)
	defer cancel()
	parsed, wrong := p.compile(template.NewBudget(ctx))
	mistakes = append(mistakes, wrong...)
	if later.Any() && !template.Is(p.URL) {
		mistakes = append(mistakes, c.guard.Check("/url", p.URL)...)
	}
	if later.Any() || len(mistakes) > 0 {
		return mistakes
	}
	p, mistakes = parsed.render(p, template.Scope(json.RawMessage(p.Data), jobs.Job{}))
	if len(mistakes) == 0 {
		mistakes = c.guard.Check("/url", p.URL)
	}
	return mistakes
}

// run makes one attempt at a call.
func (c caller) run(ctx context.Context, job jobs.Job) (jobs.Result, error) {
	p, err := c.payloadOf(ctx, job)
	if err != nil {
		return jobs.Result{}, err
	}
	expected, _ := readExpected(p.ExpectedStatus) // decode has checked both
	wanted, _ := readExtraction(p.Result)
	request := requestOf(p, job)
	if wanted != nil {
		request.Read = maxExtracted
	}
	response, exchange, err := c.client.Do(ctx, request)
	result := jobs.Result{Exchange: exchange}
	if err != nil {
		return result, err
	}
	if !isExpected(expected, response.Status) {
		return result, outbound.Refusal(response, hopeless)
	}
	if wanted == nil {
		return result, nil
	}
	if err := response.BodyErr; errors.Is(err, outbound.ErrBodyTooLarge) {
		return result, jobs.Permanent(fmt.Errorf("the receiver answered %d, but no result can be read of it: %w", response.Status, err))
	} else if err != nil {
		return result, fmt.Errorf("read the response for its result: %w", err)
	}
	result.Value, err = wanted.extract(response)
	return result, err
}

// payloadOf reads a job's payload and executes its templates.
func (c caller) payloadOf(ctx context.Context, job jobs.Job) (payload, error) {
	p, mistakes := c.decode(job.Payload)
	if p.Method == "" {
		p.Method = http.MethodPost
	}
	if len(mistakes) == 0 && p.templated(job.Event != nil || job.Before != nil) {
		var parsed compiled
		if parsed, mistakes = p.compile(template.NewBudget(ctx)); len(mistakes) == 0 {
			p, mistakes = parsed.render(p, template.Scope(json.RawMessage(p.Data), job))
		}
	}
	if ctx.Err() != nil {
		return p, fmt.Errorf("make the request: %w", context.Cause(ctx))
	}
	if len(mistakes) == 0 {
		mistakes = c.guard.Check("/url", p.URL)
	}
	if len(mistakes) == 0 {
		return p, nil
	}
	lines := make([]string, len(mistakes))
	for i, m := range mistakes {
		lines[i] = strings.TrimPrefix(m.Pointer, "/") + " " + m.Detail
	}
	return p, jobs.Permanentf("the request cannot be made: %s", strings.Join(lines, "; "))
}

// requestOf makes the request of a payload without templates.
func requestOf(p payload, job jobs.Job) outbound.Request {
	request := outbound.Request{Method: p.Method, URL: p.URL, Header: http.Header{}}
	for name, value := range p.Headers {
		request.Header.Set(name, value)
		request.Hidden = append(request.Hidden, name) // it may be a credential
	}
	if request.Header.Get("Idempotency-Key") == "" {
		request.Header.Set("Idempotency-Key", job.ID.String())
	}
	request.Body = bodyOf(p, job, request.Header)
	if request.Body != nil && request.Header.Get("Content-Type") == "" {
		request.Header.Set("Content-Type", "application/json")
	}
	return request
}

// bodyOf chooses what to send, and names its type where it is not JSON: the payload's
// body, else its data or the event's where the method carries a body, byte for byte
// also where they are not JSON.
func bodyOf(p payload, job jobs.Job, header http.Header) []byte {
	if text, ok := p.text(); ok {
		return []byte(text)
	}
	switch {
	case p.Body != nil:
		return p.Body
	case !carriesBody(p.Method):
		return nil
	case p.Data != nil:
		return p.Data
	case job.Event == nil:
		return nil
	}
	also := job.Event.CloudEvent
	if !also.Opaque {
		return job.Event.Data
	}
	if header.Get("Content-Type") == "" {
		header.Set("Content-Type", cmp.Or(also.ContentType, "application/octet-stream"))
	}
	return job.Event.Opaque
}

// hopeless tells answers that no further attempt can mend. A success that was not
// expected (202 where 200 is) may become the expected one.
func hopeless(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return status >= 300 && status < 500
}
