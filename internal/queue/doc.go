// Package queue is the engine: every statement that moves a job is here.
//
// A job's row is written once. While the job waits it has a narrow row in ready;
// a claim moves that row to running under a new lease; a settle deletes it and
// appends to attempts, in one statement each.
//
//	            enqueue                claim               settle
//	(nothing) -----------> ready ----------------> running -------> attempts
//	                         ^   scheduled, pending    |   succeeded, failed, canceled
//	                         |   or retrying           |
//	                         +-------------------------+
//	                           retrying, released, reaped
//
// Promises:
//   - Leases fence. The lease of a job grows with each claim and never goes back,
//     while attempt numbers do; a settle or extend with an old lease changes
//     nothing and is reported as stale.
//   - Nothing stands between "left ready" and "has an owner": a claim is one
//     statement, and so is a reap.
//   - A worker that lost the answer to its claim gets those jobs back by
//     ReleaseOrphans without burning an attempt.
//   - A job whose worker died runs again after its lease, and the crash counts as
//     an attempt. An outage of the database is no crash: nothing is reaped until
//     the server has been up, and this reaper has seen it, for a whole lease, so
//     workers can settle what they hold.
//   - Due times are compared with the database's clock only.
//
// The claim walks the index from a remembered position instead of its start. Dead
// entries before it, which another session's old snapshot keeps vacuum from
// removing, are not visited; that is what keeps the claim flat. The position is
// safe because a row's run_at is never before the start of the transaction that
// inserted it, a notification carries the earliest run_at of its commit, and a
// full pass runs every few seconds for what slips through.
//
// Ids are UUIDv7 and partitions are ranges of ids, so a job's attempts lie in the
// partition of the job's own day and go with it.
package queue
