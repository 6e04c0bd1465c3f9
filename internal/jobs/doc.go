// Package jobs knows what a kind of job is, runs the jobs and shows them to
// operators.
//
// The Runner claims batches from its queues, runs each job's attempt and settles
// outcomes in batches. Promises:
//   - A slot is free only once its outcome is durable, so a crash can repeat no
//     more attempts than there are slots.
//   - A kind may make one attempt at several jobs of a lane (Job.Together). Those that
//     were gathered for it have no slot, but leases and outcomes of their own.
//   - An attempt's writes carry its lease. When the lease is lost the attempt's
//     context ends and its outcome is dropped.
//   - A panic in a kind is a failed attempt with its stack and nothing else.
//   - While the database is away outcomes wait in memory; no attempt is lost by it.
//   - On shutdown claiming stops at once, what runs may finish within the grace
//     time, and the rest goes back without burning an attempt.
//   - A running job that somebody wants canceled has its context ended within two
//     seconds, in whatever process it runs, with notifications or without.
//   - A job of a kind that this binary does not know goes back for one that does.
package jobs
