// Package bench measures a machine: jobs inserted, jobs worked from a backlog,
// events through HTTP and pickup latency, each on the real mechanism and a real
// PostgreSQL with durable commits.
//
// It works on a scratch database that it makes and drops again; no data is ever
// touched. Beside each rate it prints what the job cost the server: commits,
// transactions per job and WAL bytes per job, from the server's own counters.
package bench
