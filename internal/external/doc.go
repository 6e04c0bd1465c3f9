// Package external is the kind "external": its jobs are handed out over HTTP to
// workers of other programs, in any language, which say how they ended.
//
// A worker claims jobs with POST /jobs/claim, which waits for some, and gets each with
// a lease: the right to this attempt until a time, and the name under which it extends,
// completes, fails or snoozes it. Promises:
//   - The engine is that of all jobs: lanes in turn, priorities, limits, ordering keys,
//     retries, rescue by the reaper. A lease fences: of one that ran out or was
//     superseded nothing is taken, and the answer says what has happened since.
//   - A lease cannot be made up, and every process knows one that any process gave out:
//     it is the job, the lease's number and a MAC over them by a key in the database.
//   - Workers that wait cost a process one LISTEN, and each queue that is waited for one
//     look every few seconds, however many they are. Those who ask alike share a claim.
//   - A caller who is gone when its jobs come burns no attempt: they go back at once. So
//     do jobs of a claim whose answer was lost.
//   - A second complete or fail of the attempt that it ended is answered as the first.
//   - An attempt lasts no longer than its job's timeout, and half a lease where the
//     worker says nothing any more: the extension after that time ends it.
//
// # Queues
//
// External jobs stand in queues of their own: external, or external:NAME, which is what
// the queue NAME of such a job means. Two kinds of workers on one queue would each walk
// over what is the other's, and a limit would count both. A queue is also what tells
// tasks apart; there is one kind.
//
// # Who claims
//
// For each queue that is asked for a process has a line: one goroutine with one claimer.
// It serves those who ask in the order of their coming. Those of one worker name, tenant
// and length of lease are one group, for which it claims at once. Where it has looked and
// listens since, it does not look again for somebody new.
//
// The worker of an attempt is a UUID, one for each name in each process, and a table
// gives the name. After a claim without an answer the process takes another one, so that
// everything that comes to the old one later is an orphan.
//
// Scheduled jobs and retries become ready, and leases are reaped, by the workers of
// SignalStack: one "work" or "all" must run, whatever queues it serves.
package external
