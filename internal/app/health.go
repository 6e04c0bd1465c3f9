package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/pg"
)

// health is the answer of a process that is well.
type health struct {
	Status        string  `json:"status" enum:"ok" doc:"ok; anything else is a problem with status 503"`
	Version       string  `json:"version"`
	Role          string  `json:"role" enum:"serve,all"`
	UptimeSeconds int64   `json:"uptime_seconds"`
	DatabaseMS    float64 `json:"database_ms" doc:"How long the database took to answer"`
}

type healthOut struct{ Body health }

type liveOut struct {
	Body struct {
		Status string `json:"status" enum:"ok"`
	}
}

func (a *App) healthRoutes(api *httpapi.API) {
	httpapi.Register(api, httpapi.Operation{
		OperationID: "health", Method: http.MethodGet, Path: "/health", Tags: []string{"health"},
		Summary: "Is the server well, and its database?", Description: "503 with the reason when the database does not answer.",
	}, func(ctx context.Context, _ *struct{}) (*healthOut, error) { return a.health(ctx) })
	httpapi.Register(api, httpapi.Operation{
		OperationID: "readyz", Method: http.MethodGet, Path: "/readyz", Tags: []string{"health"},
		Summary: "Should the server get requests?", Description: "503 while it stops and while the database does not answer.",
	}, func(ctx context.Context, _ *struct{}) (*healthOut, error) {
		if a.draining.Load() {
			return nil, fault.New(fault.Unavailable, "draining", "The server is stopping and takes no new requests.")
		}
		return a.health(ctx)
	})
	httpapi.Register(api, httpapi.Operation{
		OperationID: "livez", Method: http.MethodGet, Path: "/livez", Tags: []string{"health"},
		Summary: "Does the process answer at all?",
	}, func(context.Context, *struct{}) (*liveOut, error) {
		out := &liveOut{}
		out.Body.Status = "ok"
		return out, nil
	})
}

// probeTimeout is how long the database may take to prove that it is there.
const probeTimeout = 2 * time.Second

func (a *App) health(ctx context.Context) (*healthOut, error) {
	start := time.Now()
	if err := a.probe(ctx); err != nil {
		return nil, fault.Away(err, pg.RetryAfter)
	}
	return &healthOut{Body: health{
		Status: "ok", Version: a.opt.Version, Role: role(a.opt), UptimeSeconds: int64(time.Since(a.started).Seconds()),
		DatabaseMS: float64(time.Since(start).Microseconds()) / 1000,
	}}, nil
}

// probe asks the database for a sign of life. It does not wait for the query when
// the time is over: on a dead network that would take as long as a read may.
func (a *App) probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	answer := make(chan error, 1)
	go func() {
		var one int
		answer <- a.db.GetContext(ctx, &one, `SELECT 1`)
	}()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return fmt.Errorf("no answer within %s: %w", probeTimeout, ctx.Err())
	}
}

// LocalURL makes the URL under which this machine reaches a listening address.
func LocalURL(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		host, port = "", "8080"
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// Healthcheck asks a process whether it is ready. The error is ErrUnreachable when
// it says no or nothing.
func Healthcheck(ctx context.Context, url string, timeout time.Duration) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(url, "/")+"/readyz", nil)
	if err != nil {
		return fmt.Errorf("read --url: %w", err)
	}
	client := http.Client{Timeout: timeout}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnreachable, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	var problem httpapi.Problem
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&problem); err != nil {
		return fmt.Errorf("%w: %s answers %s", ErrUnreachable, url, resp.Status)
	}
	return errors.Join(ErrUnreachable, errors.New(problem.Detail))
}
