// Package bench measures a machine: what the engine does in a second, how it fares
// under what usually hurts queues on PostgreSQL (an old snapshot, a long backlog, a
// noisy tenant, limits), and what it costs when it has nothing to do. Each scenario
// runs the real mechanism on a real PostgreSQL with durable commits.
//
// Every scenario has scratch databases of its own, made and dropped again; no data
// is ever touched, and no scenario pays for what another one left. Beside each rate
// stands what a job cost the server: commits, WAL bytes and, where the database of
// the URL has the extension pg_stat_statements, statements. Commits are read once a
// part's sessions have ended, since a session may keep its counts for seconds; WAL is
// that of the whole server, which should have nothing else to do.
//
// Payloads, slots and the server's settings stand at the head of the output: figures
// mean nothing without them.
package bench
