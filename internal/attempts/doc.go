// Package attempts is the log of what was tried: each attempt at each job, with what
// was sent, what came back and what happens next, found by filters.
//
// # Order
//
// Attempts are listed by their job, the newest first, and those of one job by their
// lease, the newest first. Ids of jobs tell when they were created and choose the
// partition, so this order is that of the primary keys: a page is found by a step down
// an index. An order by the time of the attempt would need an index on each attempt that
// is written, on the path that all jobs take. Jobs that are retried for days stand where
// they were created.
//
// # Bounds
//
// A filter that fits nothing must not run for seconds. A statement therefore takes a
// slice of rows from an index, whatever fits of it, and a request looks at so many rows
// at most. Where they are used up before the page is full the answer has what was found
// and a cursor to go on from; only a page without a cursor is the end. Reading goes
// along the index of the event, the endpoint or the tenant where the filter names one,
// else of the attempts that did not go well where only those can fit, else along all
// jobs.
//
// An attempt that is being made has no outcome and is not in the log; GET /jobs/{id}
// shows it. What is hidden of a request or response is decided when it is recorded; see
// package outbound.
package attempts
