// Package httpcall is the kind "http": one request to any HTTP service.
//
// 2xx is success. A server's trouble (5xx) and what asks for patience (408, 409,
// 425, 429) is tried again, as are errors of the network; every other answer says
// that the request itself is wrong and gives up. Retry-After is obeyed.
//
// Delivery is at least once: a request carries the job's id as Idempotency-Key,
// the same on every attempt, unless the payload sets that header itself.
package httpcall
