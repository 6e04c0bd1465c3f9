// Package intake is the way in: requests that make something are committed in
// groups, under their idempotency keys.
//
// A request has one item or, from an array, several. All requests that wait when
// a transaction begins share it: one multi-row statement for each table, one
// COMMIT, then every caller is answered. Nothing is answered before it is durable.
//
//   - An array is answered item by item: what is good is stored, in one transaction,
//     and what is not is refused by itself. With ?atomic=true all of it is stored or
//     nothing.
//   - The same key and body again gets the first answer, byte for byte and with its
//     status; another body is refused. A key in the header of an array protects the
//     array as a whole.
//   - A key whose first request is still in flight, here or in another process, is
//     refused until that one is answered. A sender's own id, which says what the
//     event is and not which request it came in, is waited for instead.
//   - A request of which nothing was stored keeps no key: mend it and send it again
//     under the same one.
//   - Values that the database refuses sink only their own request: the batch is
//     then written request by request.
//   - When the database is away, or too many wait, by their number or by the memory
//     that they take, the caller gets a fault with a
//     time to come again. What was being committed at that moment may have
//     happened; a key makes the next try safe.
package intake
