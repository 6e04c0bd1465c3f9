package app

import (
	"github.com/signalstack/signalstack/internal/analytics"
	"github.com/signalstack/signalstack/internal/attempts"
	"github.com/signalstack/signalstack/internal/events"
	"github.com/signalstack/signalstack/internal/eventtypes"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/queues"
	"github.com/signalstack/signalstack/internal/rules"
	"github.com/signalstack/signalstack/internal/tenants"
)

// routes is the table of contents of the API: each line adds the operations of a
// package, which lists them in its own http.go.
func (a *App) routes(api *httpapi.API, acceptor *events.Acceptor, operators *jobs.API) {
	a.healthRoutes(api)                                 // GET /health /livez /readyz
	acceptor.Routes(api)                                // POST /events
	(&events.API{DB: a.db, Kinds: a.kinds}).Routes(api) // GET /events, GET /events/{id}, POST /rules/test
	a.eraser().Routes(api)                              // POST /events/{id}/erase, POST /events/erase, /erasures
	operators.Routes(api)                               // POST GET /jobs, GET /jobs/{id}
	a.leases.Routes(api)                                // POST /jobs/claim, /leases/{lease}/...
	(&attempts.API{DB: a.db}).Routes(api)               // GET /attempts, GET /attempts/{job_id}/{lease}
	(&queues.API{DB: a.db}).Routes(api)                 // /queues, /limits
	a.replays().Routes(api)                             // /replays, POST /events/{id}/replay
	a.recovery().Routes(api)                            // POST /jobs/retry, POST /jobs/cancel, POST /endpoints/{id}/recover, /operations
	(&rules.API{DB: a.db, Kinds: a.kinds}).Routes(api)  // /rules
	(&eventtypes.API{DB: a.db}).Routes(api)             // /event-types
	(&tenants.API{DB: a.db}).Routes(api)                // /tenants
	a.endpoints.Routes(api)                             // /endpoints
	a.sources.Routes(api, acceptor)                     // /sources
	analytics.Routes(api, a.db)                         // GET /analytics/summary, /analytics/timeseries
}
