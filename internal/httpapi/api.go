package httpapi

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"sync/atomic"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humaecho"
	"github.com/labstack/echo/v4"
)

// Config is what the API needs to know.
type Config struct {
	Version string // of the product, shown in the document
	MaxBody int64  // bytes a request body may have
	// MaxBodies is how many bytes the bodies of all requests in flight may have
	// together; 0 is no bound. More are refused with 503 and a time to come again.
	MaxBodies int64
	Log       *slog.Logger // never nil
	// Access decides who may run what; nil lets whoever reaches the server do everything.
	Access Access
	// Fault turns errors of what the handlers use into faults; nil leaves them.
	Fault func(error) error
}

// API is the HTTP face of the process: routes are added to it, then Handler
// serves them.
type API struct {
	echo    *echo.Echo
	huma    huma.API
	log     *slog.Logger
	fault   func(error) error
	access  Access
	maxBody int64
	bodies  bodies
	// inFlight counts requests that are being answered, probes left out.
	inFlight atomic.Int64
}

// InFlight is how many requests are being answered now. Probes do not count.
func (a *API) InFlight() int64 { return a.inFlight.Load() }

// Operation describes one operation in the OpenAPI document.
type Operation = huma.Operation

// New builds the API with its middleware and /openapi.json.
func New(cfg Config) *API {
	hookHuma()
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	e.Logger.SetOutput(discard{})
	// Echo trusts X-Forwarded-For from anyone unless told otherwise.
	e.IPExtractor = echo.ExtractIPDirect()
	a := &API{echo: e, log: cfg.Log, fault: cfg.Fault, access: cfg.Access, maxBody: cfg.MaxBody, bodies: bodies{most: cfg.MaxBodies}}
	if a.fault == nil {
		a.fault = func(err error) error { return err }
	}
	e.HTTPErrorHandler = a.onEchoError
	e.Use(a.observe, a.refuseOtherSites, a.boundBodies)

	hc := huma.DefaultConfig("SignalStack", cfg.Version)
	hc.Info.Description = "Events in, jobs by rules, signed webhooks and more out; every job ends in one final state."
	hc.CreateHooks = nil
	hc.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"key": {Type: "http", Scheme: "bearer", Description: "An API key, or the token of a portal link. A server without SIGNALSTACK_ADMIN_KEY asks for none"},
	}
	hc.Security = []map[string][]string{{}, {"key": {}}}
	hc.DocsPath, hc.SchemasPath = "", ""
	hc.Formats = map[string]huma.Format{"application/json": marshaledFormat, "json": marshaledFormat}
	hc.Transformers = append(hc.Transformers, marshalFirst)
	a.huma = humaecho.New(e, hc)
	a.huma.UseMiddleware(a.authorize, a.checkRequest)
	return a
}

// Handler serves the registered routes. HEAD is answered as GET is, without the
// body, which net/http leaves out: it goes by the request that it read itself.
func (a *API) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			r = r.WithContext(r.Context()) // a copy
			r.Method = http.MethodGet
		}
		a.echo.ServeHTTP(w, r)
	})
}

// Echo gives the router, for pages that are no API operations and for tests that
// walk the routes.
func (a *API) Echo() *echo.Echo { return a.echo }

// OpenAPI gives the document as it stands.
func (a *API) OpenAPI() *huma.OpenAPI { return a.huma.OpenAPI() }

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// Register adds an operation that takes no body. Errors of the handler are faults
// or internal.
func Register[I, O any](a *API, op Operation, handle func(context.Context, *I) (*O, error)) {
	huma.Register(a.huma, op, func(ctx context.Context, in *I) (*O, error) {
		if err := refuseParameters(ctx); err != nil {
			return nil, a.problem(ctx, err)
		}
		out, err := handle(ctx, in)
		if err != nil {
			return nil, a.problem(ctx, err)
		}
		return out, nil
	})
}

// JSONBody stands in the input of an operation that takes a body; RegisterBody
// decodes it.
type JSONBody struct {
	RawBody []byte `contentType:"application/json"`
}

func (b *JSONBody) body() *JSONBody { return b }

// RegisterBody adds an operation whose body is JSON. The input embeds JSONBody; parse
// makes the value from the bytes and documents it: One, OneLoose, OptionalLoose or OneOrMany. The
// bytes given to it stay valid after the handler returns.
func RegisterBody[I, O, B any](
	a *API, op Operation, parse Parser[B], handle func(context.Context, *I, B) (*O, error),
) {
	register(a, op, func(_ context.Context, raw []byte) (B, error) {
		return parse.decode(a.huma.OpenAPI().Components.Schemas, raw)
	}, handle)
	documented := a.requestBody(op)
	documented.Content["application/json"].Schema = parse.schema(a.huma.OpenAPI().Components.Schemas)
	documented.Required = !parse.optional
}

// register adds an operation whose body is read by read.
func register[I, O, B any](
	a *API, op Operation, read func(context.Context, []byte) (B, error), handle func(context.Context, *I, B) (*O, error),
) {
	op.MaxBodyBytes = a.maxBody + 1 // huma refuses a body that reaches its limit
	op.SkipValidateBody = true
	huma.Register(a.huma, op, func(ctx context.Context, in *I) (*O, error) {
		if err := refuseParameters(ctx); err != nil {
			return nil, a.problem(ctx, err)
		}
		b := any(in).(interface{ body() *JSONBody }).body()
		value, err := read(ctx, bytes.Clone(b.RawBody))
		if g := granted(ctx); g != nil && err == nil {
			err = g.bindBody(&value, b.RawBody)
		}
		if err != nil {
			return nil, a.problem(ctx, err)
		}
		out, err := handle(ctx, in, value)
		if err != nil {
			return nil, a.problem(ctx, err)
		}
		return out, nil
	})
}

// requestBody is what the document says of the body of an operation; huma has written
// a schema for raw bytes there.
func (a *API) requestBody(op Operation) *huma.RequestBody {
	item := a.huma.OpenAPI().Paths[op.Path]
	ops := map[string]*huma.Operation{http.MethodPost: item.Post, http.MethodPut: item.Put, http.MethodPatch: item.Patch}
	return ops[op.Method].RequestBody
}
