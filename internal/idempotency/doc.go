// Package idempotency lets a request be sent again without being done again.
//
// A key belongs to a tenant and an operation (its scope) and is reserved in the
// transaction of what it protects, with the fingerprint of the body and the
// answer. The same key and body again gets the first answer, byte for byte;
// another body is refused. A key is kept for a configured time, 24 h by default,
// and may be used afresh after it.
//
// The unique index decides: a reservation waits for a concurrent transaction that
// holds the same key and then sees what it left. So that a caller is told of a key in
// flight and does not wait for it, keys are claimed by advisory locks as well (Find);
// they only spare the wait, and nothing is decided by them.
package idempotency
