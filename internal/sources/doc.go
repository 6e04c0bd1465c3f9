// Package sources takes the webhooks of others in: POST /sources/{id} verifies that a
// delivery comes from whom it should and makes an event of it.
//
// Promises:
//   - The signature is verified over the bytes that came, before anything reads them,
//     in constant time and against all secrets of the source. Where the vendor signs a
//     time, it must be within the tolerance of the database's clock.
//   - What is not proved is answered 401, counted and not stored; neither is what it
//     said. A source has up to two secrets, so that they can be changed without a gap.
//   - One delivery of the vendor is one event, by the id that the vendor gives it, for
//     as long as idempotency keys are kept. A repetition gets the first answer, also
//     when the vendor has changed the body meanwhile (Stripe's pending_webhooks).
//   - The data of the event are the bytes of the delivery, or for a GitHub form those
//     of its payload.
//   - The sender has its answer before it gives up waiting (3 s for Slack, 5 s for
//     Shopify, 10 s for the others), when the database is slow too: 503 then, and the
//     vendor tries again.
//   - Secrets are sealed at rest and never shown again.
//
// Counts are gathered in memory and written once a second for all deliveries of a
// process together, so that a flood of forged ones costs the database reads only. A
// process that is killed loses those of its last second.
//
// The attributes of events: GitHub by the CloudEvents adapter for GitHub
// (cloudevents/spec, adapters/github.md); the others alike, com.VENDOR.TYPE.
package sources
