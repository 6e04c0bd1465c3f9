// Package intake is the way in: requests that make something are committed in
// groups, each whole or not at all, under their idempotency keys.
//
// A request has one item or, from an array, several. All requests that wait when
// a transaction begins share it: one multi-row statement for each table, one
// COMMIT, then every caller is answered. Nothing is answered before it is durable.
//
//   - The same key and body again gets the first answer; another body is refused,
//     and with it its whole request. Callers with the same key in one batch are
//     answered by the first of them.
//   - Values that the database refuses sink only their own request: the batch is
//     then written request by request.
//   - When the database is away, or too many wait, by their number or by the memory
//     that they take, the caller gets a fault with a
//     time to come again. What was being committed at that moment may have
//     happened; a key makes the next try safe.
package intake
