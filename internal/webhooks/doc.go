// Package webhooks knows the endpoints of customers and delivers to them: the kind
// "webhook", by the Standard Webhooks specification 1.0.0.
//
// Promises:
//   - The body is {"type", "timestamp", "data"}, or a CloudEvent 1.0 in binary or
//     structured mode where the endpoint's format asks for it, and data are the event's
//     own bytes: nothing is decoded and written anew. The bytes that are signed are the
//     bytes that are sent, in every format.
//   - A CloudEvent that came in goes out with all its attributes. Of other events the
//     id is ours, and the source urn:signalstack:TENANT where they have none.
//   - webhook-id is the job's id and the same on every attempt, so a receiver can
//     tell a repetition; webhook-timestamp is that of the attempt.
//   - 2xx is success and nothing else is. Redirects are failures. 410 gives up at
//     once; every other refusal is tried again by the job's retry policy, as a
//     receiver that is being mended answers anything. Retry-After is obeyed.
//   - A secret is shown once, in the answer that creates it, and sealed at rest.
//     The values of an endpoint's headers, which may be credentials, are sealed as
//     well and never shown.
//   - An endpoint is read anew for each attempt: a change holds from its answer on.
//
// An endpoint with event_types subscribes to them and needs no rule.
package webhooks
