// Package webhooks knows the endpoints of customers and delivers to them: the kind
// "webhook", by the Standard Webhooks specification 1.0.0.
//
// Promises:
//   - The body is {"type", "timestamp", "data"}, or a CloudEvent 1.0 in binary or
//     structured mode where the endpoint's format asks for it, and data are the event's
//     own bytes: nothing is decoded and written anew. The bytes that are signed are the
//     bytes that are sent, in every format. A rule may put a body of its own in the
//     place of all three.
//   - A CloudEvent that came in goes out with all its attributes. Of other events the
//     id is ours, and the source urn:signalstack:TENANT where they have none.
//   - webhook-id is the job's id and the same on every attempt, so a receiver can
//     tell a repetition; webhook-timestamp is that of the attempt.
//   - 2xx is success and nothing else is. Redirects are failures. 410 and the answer
//     "webhook-delivery: disable" disable the endpoint, "abort-message" gives one
//     message up; every other refusal is tried again by the endpoint's policy, as a
//     receiver that is being mended answers anything. 429 and 503 with Retry-After are
//     obeyed and cost no attempt, a number of times.
//   - A secret is shown once, in the answer that creates it, and sealed at rest.
//     The values of an endpoint's headers, which may be credentials, are sealed as
//     well and never shown. During a rotation all secrets that have their time sign.
//   - An endpoint is read anew for each attempt, if together with others that begin at
//     that moment: a change holds from its answer on.
//   - A test webhook is made, signed and sent as any other, at once and without a job.
//     It says so in a header, and says nothing of the endpoint's health.
//
// An endpoint with event_types subscribes to them and needs no rule.
//
// # Filters
//
//   - A star in event_types is any run of characters. Those that want exact types, or
//     what begins with a text and a dot, are found in maps, so that an event costs the
//     same however many endpoints want others; those with stars elsewhere are asked one
//     by one.
//   - A pattern must match as well. Endpoints that want the same types share an index
//     of their patterns, and the data of an event is parsed only if one of its type looks.
//     An endpoint that is given a pattern and no event_types gets [*], so that what it
//     wants is always shown, and an empty list ends the subscription, whatever the pattern.
//   - A transform makes the body when the event is accepted, of subscriptions and of
//     rules whose action has neither a transform nor a payload. One that fails makes a job
//     that is failed from the start and says why.
//   - What is stored and does not compile here, after a downgrade for instance, is logged
//     and shown by GET /events/{id}. Without its pattern an endpoint gets no event, as more
//     than it wants could be more than it may see; without its transform its jobs fail.
//
// An endpoint with an ordering has its webhooks delivered in the order in which their
// events were accepted, all of them or those of one value. Their jobs get an ordering key
// that begins with the endpoint when they are made, and queue does the rest. Events are
// committed one group after the other in each process, and across processes the lock of
// the key puts them in the order of their commits.
//
// # Batches
//
// An endpoint may have several events in one request. Each stays a job of its own: it
// is routed, tried again, shown, canceled and erased as any other, and only the attempt
// is made for several at once (jobs.Job.Together). Until its time, which is max_wait
// after its event came, a job waits in scheduled for company; the first to be due, and
// each max_events-th, takes the others of the endpoint along. So nobody keeps a list of
// what is in a batch, and no row is shared by the events of an endpoint.
//
// # Isolation
//
// The jobs of an endpoint stand in a lane of their own. What keeps a broken endpoint
// from the others is one truth in the database, its lane's control:
//
//   - Limits of rate and of attempts in flight hold in all queues and workers together.
//   - The circuit breaker closes the lane after breakAfter attempts in a row that could
//     not reach the receiver: nobody claims from it, so its backlog takes no slot and
//     burns no attempt. When the time is over one attempt at a time probes; a success
//     opens the lane, a failure closes it for twice as long.
//   - Until it opens, a worker's window (jobs/window.go) gives a receiver that hangs a
//     part of the slots only.
//
// A row of endpoint_health exists only while an endpoint fails: what goes well writes
// nothing. One that fails for days without a success is disabled, with warnings before.
// All of that is told as events of the source urn:signalstack, which rules may mail or
// post: endpoint.failing, endpoint.recovered, endpoint.disabled, delivery.exhausted.
// Subscriptions to all types do not cover them.
package webhooks
