// Package bulk does work on many rows in the background: a replay of a year's events,
// or a retry of all jobs that failed, say. What one item is, and what is done with it, is its Kind's; this package has the
// rest: how far it is, how fast it may be, how it is canceled, and what happens when
// something goes wrong.
//
// An operation is one row. A worker locks it, does a slice of it and writes where it
// stands, all in one transaction. Promises:
//   - Each item is done once for each operation, whatever dies in between and however
//     many workers there are: what a slice did and the position after it are one
//     commit.
//   - There is no lease and no leader. The lock of the row is the right to do its next
//     slice, and the server frees it with the connection of a worker that died: another
//     one goes on within its poll, or, when the network is gone without a word, within
//     ten seconds more.
//   - The rate is in the row as the time of the next slice, so it holds over all
//     workers and restarts. A second's worth may be caught up at once.
//   - A cancel waits for the slice in progress, and is the end of it.
//   - Items that cannot be done hold up no others: a slice that fails on its data is
//     tried with half of the items, down to the one that spoils it, which is passed over
//     and counted. Other failures are tried again later and later; after failuresMost in
//     a row, or when the Kind says that there is no use, the operation has failed. An
//     absent database is waited for without a limit.
//   - Operations have turns, so a large one does not hold up a small one.
//
// A Kind may find by itself that an item cannot be done, and counts it as skipped.
//
// Items are counted before they are done, by the same slices: total is known when the
// first of them is done.
package bulk
