// Package recovery takes up jobs again after an outage, or cancels them: all that a
// filter takes, in the background, or what an endpoint missed.
//
// Promises:
//   - Each job that the filter takes is taken up once for each operation, whatever dies
//     meanwhile and however many workers there are: what is done with a slice of the
//     jobs and the position after it are one commit.
//   - A job that fails again is not taken up again by the same operation: what ended
//     after it was asked for is none of its jobs, and the walk goes by the jobs' ids and
//     never back.
//   - A job is taken up as POST /jobs/{id}/retry takes it up: it keeps its id, which is
//     the webhook-id, and its attempts count from 1, so that its whole retry policy is
//     before it. What cannot be taken up is passed over and counted: a job that somebody
//     took up before, one whose event was erased, one that was never made of its event.
//   - What is live goes first. Jobs that are taken up have the lowest priority of their
//     lane unless the operation gives them another, and lanes have turns: the backlog of
//     one endpoint holds up neither its own new webhooks nor those of others. So many
//     are taken up in a second as the operation's rate says.
//   - There is no bound on how many they are. A step looks at a bounded number of rows
//     along an index, so that a filter which takes few of millions ends its steps in time.
//
// How it goes on in the background is internal/bulk's, and how jobs move
// internal/queue's. A dry run walks the same way and counts.
package recovery
