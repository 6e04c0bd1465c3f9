// Package events accepts events: it validates them, routes them through rules and
// subscriptions, and stores each with its jobs in one transaction.
//
// Promises:
//
//   - An event that was answered 2xx is durable, and so are its jobs.
//
//   - An event is routed by every rule that was answered before the event came, in
//     whichever process: the version of the routes is read in the transaction of
//     the batch, and an event that was matched by older ones is matched again. No
//     notification is needed for that, and none is used.
//
//   - The bytes of data are stored, matched and delivered as they came.
//
//   - A sender's own id deduplicates within its source, as CloudEvents has it
//     (section 3.1.1: source plus id names one event), by the same mechanism as an
//     idempotency key and for as long. Type, subject and data say whether it is the
//     same event; its time, its extensions and the form it comes in do not matter.
//
//   - CloudEvents come in all the forms of their HTTP binding and keep all that they
//     say: their extensions are shown, matched and sent on. Data that are not JSON are
//     a string to patterns and jobs where they are text, and absent where they are not.
//
//   - An idempotency key of an action is reserved in the transaction that writes its
//     job, so a job is neither made twice nor lost to an event that was refused.
//
// Conditions and transforms run outside the transaction, in the caller's goroutine.
// Only events that older routes matched, and those from SQL, are matched within it.
//
// What keeps an event out, as the limit of its tenant and the schema of its type, is
// part of the routes: it is decided in the same transaction, after it is known that
// the event was not accepted before, so that a repeated request is answered as at
// first. Data can be erased on request and events of a type deleted before others;
// see Eraser and Expirer. Who makes a job of an event that is there must lock its row
// (FOR KEY SHARE) and find erased_at empty.
//
// A change of the routes costs the events that wait for it little: only rules that
// changed are compiled, and only those of their tenants are indexed anew; endpoints are
// found by the type that they want, so that many of them cost an event no more than few.
//
// An event is shown with what came of it and with what the rules, as they are now,
// make of it and why; patterns are tried on events that are not stored. Both take
// the event as matching does when it comes in, and both are bounded.
//
// Stored events can be walked over and routed again: Walk and Rerouter are the parts of
// that which know events; internal/replays is what users see of it.
//
// An application on the same database may send events in its own transactions, by
// signalstack.send_event: they wait in the outbox, which workers route and store
// like any others, each exactly once.
package events
