package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/labstack/echo/v4"

	"github.com/signalstack/signalstack/internal/fault"
)

// Problem is the body of every failure: problem details of RFC 9457 with a
// stable code and the list of mistakes.
type Problem struct {
	Type      string         `json:"type" doc:"URI of the kind of problem" example:"about:blank"`
	Title     string         `json:"title" doc:"The text of the status"`
	Status    int            `json:"status" doc:"The HTTP status" example:"422"`
	Code      string         `json:"code" doc:"Stable code for programs" example:"invalid_body"`
	Detail    string         `json:"detail" doc:"What went wrong, for people"`
	RequestID string         `json:"request_id,omitempty" doc:"The X-Request-Id of the request"`
	Errors    []fault.Detail `json:"errors,omitempty" doc:"Each mistake in the request"`
	About     any            `json:"about,omitempty" doc:"What is known of the thing that the problem is about, where the operation says so"`

	retryAfter time.Duration
}

// Error gives the detail.
func (p *Problem) Error() string { return p.Detail }

// GetStatus is the HTTP status; huma asks for it.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType turns JSON into problem+json; huma asks for it.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// GetHeaders gives Retry-After when the caller should come again.
func (p *Problem) GetHeaders() http.Header {
	h := http.Header{}
	if p.retryAfter > 0 {
		h.Set("Retry-After", retryAfterSeconds(p.retryAfter))
	}
	return h
}

func retryAfterSeconds(d time.Duration) string {
	return strconv.Itoa(int((d + time.Second - 1) / time.Second))
}

var statusOf = map[fault.Kind]int{
	fault.Internal:     http.StatusInternalServerError,
	fault.Malformed:    http.StatusBadRequest,
	fault.Invalid:      http.StatusUnprocessableEntity,
	fault.NotFound:     http.StatusNotFound,
	fault.Conflict:     http.StatusConflict,
	fault.Unauthorized: http.StatusUnauthorized,
	fault.Forbidden:    http.StatusForbidden,
	fault.TooLarge:     http.StatusRequestEntityTooLarge,
	fault.Unsupported:  http.StatusUnsupportedMediaType,
	fault.Unavailable:  http.StatusServiceUnavailable,
}

// problem maps an error to what the caller may know of it. The text of an
// internal error is logged and replaced.
func (a *API) problem(ctx context.Context, err error) *Problem {
	err = a.fault(err)
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	f := fault.As(err)
	if f == nil {
		if ctx.Err() != nil {
			f = fault.New(fault.Unavailable, "canceled", "The request ended before it was answered.")
		} else {
			a.log.ErrorContext(ctx, "request failed", "request_id", RequestID(ctx), "error", err)
			f = fault.New(fault.Internal, "internal", "The server failed; the log has the reason under this request_id.")
		}
	}
	if f.Err != nil {
		a.log.WarnContext(ctx, "request refused", "request_id", RequestID(ctx), "code", f.Code, "error", f.Err)
	}
	return newProblem(ctx, f)
}

// ProblemOf is the problem of a fault of one part of a request.
func ProblemOf(f *fault.Error) *Problem { return newProblem(context.Background(), f) }

func newProblem(ctx context.Context, f *fault.Error) *Problem {
	status := statusOf[f.Kind]
	return &Problem{
		Type: "about:blank", Title: http.StatusText(status), Status: status, Code: f.Code,
		Detail: f.Message + outcome(ctx, f.Outcome), RequestID: RequestID(ctx), Errors: f.Details, About: f.About, retryAfter: f.RetryAfter,
	}
}

// outcome says what to do after a failure, by what became of the request's changes.
// One that only reads has none.
func outcome(ctx context.Context, o fault.Outcome) string {
	switch {
	case o == fault.Told:
		return ""
	case !writes(ctx):
		return " Try again."
	case o == fault.Nothing:
		return " Nothing was stored. Try again."
	default:
		return " The request may or may not have been stored; send it again with the same idempotency key, or look first if it had none."
	}
}

// hookHuma makes huma's own refusals (parameters, size) problems of ours. Huma
// offers package variables only; they are set once and always to the same.
var hookHuma = sync.OnceFunc(func() {
	huma.ValidateStrictCasing = true
	huma.DefaultArrayNullable = false
	setWords()
	huma.NewErrorWithContext = func(ctx huma.Context, status int, msg string, errs ...error) huma.StatusError {
		if f := fault.As(errors.Join(errs...)); f != nil { // the body had no room
			if f.RetryAfter > 0 {
				ctx.SetHeader("Retry-After", retryAfterSeconds(f.RetryAfter))
			}
			return newProblem(ctx.Context(), f)
		}
		switch {
		case msg == "request body is required":
			return newProblem(ctx.Context(), emptyBody())
		case status == http.StatusRequestEntityTooLarge:
			msg = fmt.Sprintf("The body is larger than %d bytes; send less, or raise SIGNALSTACK_MAX_BODY.", ctx.Operation().MaxBodyBytes-1)
		}
		p := humaProblem(status, msg, errs)
		p.RequestID = RequestID(ctx.Context())
		if status == http.StatusUnprocessableEntity {
			p.Errors = withoutRepeats(append(parameterMistakes(ctx.Context()), p.Errors...))
		}
		return p
	}
	huma.NewError = func(status int, msg string, errs ...error) huma.StatusError {
		return humaProblem(status, msg, errs)
	}
})

func humaProblem(status int, msg string, errs []error) *Problem {
	p := &Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Code: codeOf(status), Detail: msg}
	if invalid := fault.InvalidParameters(nil); p.Code == invalid.Code {
		p.Detail = invalid.Message
	}
	for _, err := range errs {
		detail := fault.Detail{Detail: err.Error()}
		if d, ok := errors.AsType[*huma.ErrorDetail](err); ok {
			detail = detailOf(d)
		}
		p.Errors = append(p.Errors, detail)
	}
	return p
}

// withoutRepeats keeps the first mistake of each parameter.
func withoutRepeats(all []fault.Detail) []fault.Detail {
	seen := map[string]bool{}
	return slices.DeleteFunc(all, func(d fault.Detail) bool {
		twice := seen[d.Pointer]
		seen[d.Pointer] = true
		return twice
	})
}

// codeOf names a status for failures that no domain raised.
func codeOf(status int) string {
	switch status {
	case http.StatusBadRequest:
		return "malformed_request"
	case http.StatusUnprocessableEntity:
		return "invalid_parameter"
	case http.StatusInternalServerError:
		return "internal"
	default:
		return strings.ReplaceAll(strings.ToLower(http.StatusText(status)), " ", "_")
	}
}

// pointerOf turns huma's location ("query.limit", "body.actions[0].kind") into a
// JSON pointer; a body's pointer starts at the body itself.
func pointerOf(location string) string {
	location = strings.TrimPrefix(strings.TrimPrefix(location, "body"), ".")
	if location == "" {
		return ""
	}
	return "/" + strings.NewReplacer(".", "/", "[", "/", "]", "").Replace(location)
}

// onEchoError answers what no operation answered: unknown routes, wrong methods,
// panics.
func (a *API) onEchoError(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	ctx := c.Request().Context()
	p, ok := errors.AsType[*Problem](err)
	if he, isEcho := errors.AsType[*echo.HTTPError](err); !ok && isEcho {
		p = humaProblem(he.Code, echoDetail(he.Code, c), nil)
		p.RequestID = RequestID(ctx)
	} else if !ok {
		p = a.problem(ctx, err)
	}
	for k, v := range p.GetHeaders() {
		c.Response().Header()[k] = v
	}
	c.Response().Header().Set(echo.HeaderContentType, "application/problem+json")
	c.Response().WriteHeader(p.Status)
	if err := c.Echo().JSONSerializer.Serialize(c, p, ""); err != nil {
		a.log.WarnContext(ctx, "answer not written", "request_id", p.RequestID, "error", err)
	}
}

func echoDetail(status int, c echo.Context) string {
	r := c.Request()
	switch status {
	case http.StatusNotFound:
		return "There is no " + r.URL.Path + "; /openapi.json lists what there is."
	case http.StatusMethodNotAllowed:
		return r.Method + " is not allowed here; the Allow header lists what is."
	default:
		return http.StatusText(status)
	}
}
