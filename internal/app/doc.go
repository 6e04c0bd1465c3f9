// Package app puts the process together: it opens what the roles need, runs them
// and closes in reverse.
//
// There are two roles, Serve (the HTTP API) and Work (the runner and the upkeep).
// "serve" and "work" run one each, "all" runs both in one process, after starting
// a private PostgreSQL when none is named and migrating it; there is no third code
// path. routes.go and kinds.go are the tables of contents.
//
// Shutdown, on the first signal: readiness turns to 503 and claiming stops at
// once; requests in flight and running jobs finish within the grace time, what
// does not is handed back; then pools close, and last the private PostgreSQL
// stops. A second signal ends the grace.
package app
