// Package schedules fires by the clock: each fire of a schedule makes a job or emits an
// event.
//
// Promises:
//   - A fire happens once for each schedule and fire time, with any number of processes
//     and whichever of them dies: its row in schedule_fires, which its key lets in once,
//     what it makes and the schedule's next time are one transaction.
//   - There is no leader. Every worker sleeps until the next schedule is due, takes the
//     rows that nobody else holds and fires them, so that a process that dies at the
//     worst moment delays nothing but by the time in which the server ends its
//     transaction. A process that stops with a transaction open loses it after 5 s.
//   - Time is the database's clock. The host's is used to sleep only.
//   - A look costs one step in an index, however many schedules wait for later. Without
//     schedules there is one look every five seconds.
//   - What a change of the clock in a zone means is said in internal/cron.
//   - Fires that could not be made within 15 seconds of their time are misfires: they
//     are shown, and the policy of their schedule says which are made up for. Which they
//     are is found by halving, so that an outage of weeks costs no more than one of
//     hours.
//   - While the last run is going, which is as long as a job of it has not ended, a fire
//     runs beside it, is left out, waits or cancels it. Waiting fires are rows too. It
//     is looked once a second whether their turn has come.
//   - Jitter is a function of the schedule's id and the fire's time, so all processes
//     find the same.
//   - History is kept as long as jobs are, and of each schedule the newest 1,000 fires
//     at least and 2,000 or so at most. A one-off schedule goes with its history.
package schedules
