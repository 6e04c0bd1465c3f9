// Package events accepts events: it validates them, routes them through rules and
// subscriptions, and stores each with its jobs in one transaction.
//
// Promises:
//   - An event that was answered 2xx is durable, and so are its jobs.
//   - An event is routed by every rule that was answered before the event came, in
//     whichever process: the version of the routes is read in the transaction of
//     the batch, and an event that was matched by older ones is matched again. No
//     notification is needed for that, and none is used.
//   - The bytes of data are stored, matched and delivered as they came.
//   - A sender's own id deduplicates within its source, as CloudEvents has it
//     (section 3.1.1: source plus id names one event), by the same mechanism as an
//     idempotency key and for as long.
//
// A change of the routes costs the events that wait for it little: only rules that
// changed are compiled, and only those of their tenants are indexed anew; endpoints are
// found by the type that they want, so that many of them cost an event no more than few.
//
// An event is shown with what came of it and with what the rules, as they are now,
// make of it and why; patterns are tried on events that are not stored. Both take
// the event as matching does when it comes in, and both are bounded.
//
// An application on the same database may send events in its own transactions, by
// signalstack.send_event: they wait in the outbox, which workers route and store
// like any others, each exactly once.
package events
