// Package pg opens PostgreSQL and holds what every store needs of it:
// transactions, the meaning of its errors, LISTEN, migrations and group commit.
//
// Promises:
//   - A dead network ends a query: every read of a connection has a deadline, as
//     lib/pq itself watches neither the context nor the clock while it reads.
//   - Parameters travel in one round trip (binary_parameters=yes). Without it a
//     pooler in transaction mode hands clients each other's rows, silently.
//     Its price: JSON goes as string, since bytes into jsonb are refused.
//   - Every connection has statement_timeout and client_connection_check_interval,
//     so a killed client does not leave its statement running.
//   - Through a pooler that refuses such parameters, or drops them, each transaction
//     sets them itself, in the round trip of its BEGIN. A statement of its own has
//     only the deadline for its answer: the server may go on with it.
//   - Listen says ErrDeaf, by trying, when a pooler loses notifications. Migrations
//     refuse a pooler: the server connection that keeps their lock may be another one
//     for the next statement, and then nobody gives it back.
//   - InSteadyTx is for the statements that run all the time: they are planned once for
//     each connection, by their indexes and not by statistics, and cost one round trip.
//     Behind a pooler, which cannot keep plans, they are planned each time.
//   - Round trips are few where a crowd waits: Ahead sends a first query with the BEGIN,
//     Together makes one statement of several, and arrays travel in binary form.
//   - A Group holds no more than a number of bytes, whoever waits; who is beyond is told
//     at once to come again, and who has gone is left out of the next batch.
//   - InTx repeats a transaction that lost to a deadlock or a serialization
//     failure, never one whose COMMIT may have happened.
//   - A connection that finds itself on a read-only server (25006: the primary
//     moved) empties the pool, so that the next dial finds the new primary.
//
// lib/pq is held at v1.11.2: 1.12.0 to 1.12.3 keep a broken connection in the
// pool for ever after an error answer is followed by a closed socket.
package pg
