package httpapi

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/google/uuid"
	"github.com/labstack/echo/v4"

	"github.com/signalstack/signalstack/internal/fault"
)

type ctxKey int

const (
	requestIDKey ctxKey = iota
	grantKey
	writesKey
	mistakesKey
	headerKey
)

// DefaultTenant is whose everything is when nobody says otherwise.
const DefaultTenant = "default"

// RequestID gives the id of the request in ctx, or "" outside a request.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey).(string)
	return id
}

// Tenant gives the tenant that the caller's credentials stand for.
func Tenant(ctx context.Context) string {
	if g := granted(ctx); g != nil {
		return g.Tenant
	}
	return DefaultTenant
}

// observe gives each request its id, recovers from panics and logs how it ended.
func (a *API) observe(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		start := time.Now()
		if !isProbe(c.Path()) {
			a.inFlight.Add(1)
			defer a.inFlight.Add(-1)
		}
		id := c.Request().Header.Get(echo.HeaderXRequestID)
		if !validRequestID(id) {
			id = uuid.Must(uuid.NewV7()).String()
		}
		c.Response().Header().Set(echo.HeaderXRequestID, id)
		ctx := context.WithValue(c.Request().Context(), requestIDKey, id)
		ctx = context.WithValue(ctx, writesKey, c.Request().Method != http.MethodGet)
		c.SetRequest(c.Request().WithContext(ctx))
		defer func() {
			if p := recover(); p != nil {
				a.log.ErrorContext(ctx, "handler panicked", "request_id", id, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
				err = fault.New(fault.Internal, "internal", "The server failed; the log has the reason under this request_id.")
			}
			if err != nil {
				a.onEchoError(err, c)
				err = nil
			}
			a.logRequest(ctx, c, start)
		}()
		return next(c)
	}
}

// writes says whether the request asks for a change.
func writes(ctx context.Context) bool {
	is, _ := ctx.Value(writesKey).(bool)
	return is
}

// refuseOtherSites keeps the pages of other sites from changing anything with the
// browser of somebody who reaches this server. Only browsers send the headers that
// it goes by.
func (a *API) refuseOtherSites(next echo.HandlerFunc) echo.HandlerFunc {
	protection := http.NewCrossOriginProtection()
	return func(c echo.Context) error {
		if err := protection.Check(c.Request()); err != nil {
			return fault.New(fault.Forbidden, "cross_site_request",
				"A page of another site sent this request; only pages of this server's own origin may change anything.")
		}
		return next(c)
	}
}

// isProbe tells the routes that orchestrators poll.
func isProbe(route string) bool {
	return route == "/health" || route == "/livez" || route == "/readyz"
}

func (a *API) logRequest(ctx context.Context, c echo.Context, start time.Time) {
	level := slog.LevelDebug
	if c.Response().Status >= 500 {
		level = slog.LevelWarn
	}
	if !a.log.Enabled(ctx, level) {
		return
	}
	a.log.Log(ctx, level, "request",
		"request_id", RequestID(ctx), "method", c.Request().Method, "route", c.Path(),
		"status", c.Response().Status, "duration_ms", float64(time.Since(start).Microseconds())/1000)
}

// validRequestID accepts what is safe to write in a log line and a header.
func validRequestID(id string) bool {
	if id == "" || len(id) > 128 {
		return false
	}
	for i := range len(id) {
		if id[i] <= ' ' || id[i] > '~' {
			return false
		}
	}
	return true
}
