// Package queue is the engine: every statement that moves a job is here.
//
// A job's row is written once. While the job waits it has a narrow row in one
// table, which is where it stands:
//
//	             enqueue             claim              settle
//	(nothing) -----+------> ready ----------> running ---------> attempts
//	               |          ^                  |    succeeded, failed, canceled
//	      run_at   |  promote |    retrying,     |
//	      is later +-> scheduled <---------------+
//	               |          |    released      |
//	      ordering |          |                  | reaped: as retrying, or failed
//	      key is   |          | the one before has ended
//	      busy     +-> ordered ---------> running, where its worker goes on with it
//	               |
//	      it waits |  the last has ended
//	    for others +-> blocked ---------> ready, scheduled, ordered; or canceled, in attempts
//
// A job that could not be made of its event goes to attempts at once, as failed. There
// is nothing in it to try again, and Retry says so.
//
// Promises:
//   - Leases fence. The lease of a job grows with each claim and never goes back,
//     while attempt numbers do; a settle or extend with an old lease changes
//     nothing and is reported as stale.
//   - Nothing stands between one table and the next: a claim, a settle, a promotion
//     and a reap are one statement each. What several rows must agree on, as the
//     order of a key, is one transaction.
//   - A worker that lost the answer to its claim gets those jobs back by
//     ReleaseOrphans without burning an attempt.
//   - A job whose worker died runs again after its lease, and the crash counts as
//     an attempt; one that takes three workers down is put away as failed. An
//     outage or a stall of the database is no crash: nothing is reaped until the
//     server has been up, and this reaper has seen it answer, for a whole lease, so
//     workers can settle what they hold.
//   - Times are compared with the database's clock only.
//   - Limits are exact across workers, and leak nothing: what runs is counted under
//     the lock of the limit, not kept in a counter.
//
// # Lanes
//
// A job stands in a lane of its queue: that of its tenant, or of one endpoint or
// limit key of the tenant. A claim asks some lanes for some jobs each, in turn and
// by weight, so a lane of a million jobs has one turn like any other; lanes without
// jobs leave their share to the rest. Within a lane priorities are strict, but for
// one claim in eight, which goes by age, so that no priority waits for ever.
//
// Turns alone would not do: with every slot of a worker held by one lane's jobs, the
// first job of another would wait until one of them ends. So where there are several
// lanes, a worker of twenty slots or more keeps one in twenty for lanes of which it
// runs nothing. A lane that is alone has all slots.
//
// A claimer learns of lanes by notification, and looks for itself when it is idle
// and now and then: into the lanes it knows, and into the gaps between them.
//
// # Order
//
// Of the jobs of an ordering key one has its turn: it is ready, scheduled or running as
// any other job. The rest wait in ordered, and the end of the one in turn, however it
// came, moves the next. Jobs without a key know nothing of this.
//
// A job that skips passes its turn on earlier, at the end of its first attempt, whatever
// came of it. Where that failed, it is tried again outside of the line: it does not come
// back into it, and its end moves nobody. So whether such a job has its turn is told by
// the number of its attempts, which all that moves it keeps: none yet, or the first one
// running. A claim that is handed back, a snooze and an attempt that the receiver turned
// away for a time (throttled) take their number back, and the turn stays; a crash is an
// attempt. Jobs that skip and others may stand in one line.
//
// An operator who cancels the job in turn moves the next one, and who cancels one that
// waits, or one that has skipped, moves none. Changes of priority or time leave the turn
// where it is. A job that is taken up again after its end is the last of its line, with
// no attempts made.
//
// A busy key has a row in ordering_keys. Adding to the key locks that row until the
// commit, so jobs wait in the order of their commits. Who ends the job in turn is alone
// in that, and needs no lock to move the next one: it sees the front of the line. Only
// where it sees nobody wait it locks the row and looks again, as the key is idle then,
// unless somebody adds to it just now.
//
// A worker may go on with the next job of a key, which costs what a claim does and not
// a place in ready as well, but passes the rest of the lane. It does so for 20 jobs or a
// second at most, with jobs of one priority that no limit counts, and while it knows of
// another lane with jobs for four or ten milliseconds.
//
// # Company
//
// A job may say that until its time it waits for company (Gathers): it is scheduled as
// any other, and a worker that has a job of its lane may claim it along (Gather), in one
// statement, to do both at once. That costs no slot and passes limits, which have
// counted the job that takes the others.
//
// # Flows
//
// A job that waits for others is in blocked, with a row in dependencies for each that has
// not ended. Whatever ends a job looks there for it, one step down an index that is empty
// where nobody uses flows, and leaves a mark in followed: many ends at once touch no row in
// common. The Resolver of one worker at a time takes the marks, takes the rows of what has
// ended out of dependencies, and lets those come who have none left. That it is alone makes
// the last of two ends be seen as the last; that it asks the tables, and not the marks,
// what has ended makes a mark too many do no harm.
//
// Who begins to wait and what ends a job meanwhile do not see each other. So who waits
// marks what he waits for, and the resolver, after that commit, moves the rows of those
// that run: a settle that is under way then waits or looks again, and one that comes later
// sees who waits. Cancels and crashes, of which that does not hold, are found by a
// sweeper. A job that is in blocked locks nothing and is locked by nobody but who moves it.
//
// # Positions
//
// A claim walks a lane's range of the index from a remembered position instead of
// its start. Dead entries before it, which another session's old snapshot keeps
// vacuum from removing, are not visited; that is what keeps the claim flat. The
// position is safe because ready_at is never before the start of the transaction
// that inserted the row, a notification carries it, and a full pass runs every few
// seconds for what slips through, less often where it takes long. The promoter and
// the reaper remember positions in the same way.
//
// Scheduled jobs and retries have a table of their own. A million of them beside
// the ready ones would be walked over by every claim, or need an index column of
// their own; a promotion costs each of them one row more, and comes within
// milliseconds of its time, as the promoter sleeps until the next one is due.
//
// # Partitions
//
// Ids are UUIDv7 and partitions are ranges of ids, so a job's attempts lie in the
// partition of the job's own day and go with it. Retention drops old days; of a day
// on which something still lives it writes the rest into a new partition and swaps
// the two, so a living job stays where its id finds it.
package queue
