// Package analytics counts events, jobs and attempts, and shows the counts.
//
//	the transaction of a fact            the folder           readers
//	Record ----------------> deltas ---------------> rollups
//	                            |                       |
//	                            +------ one snapshot ---+---> summary, time series
//
// Promises:
//   - Counts equal facts. A delta is written in the transaction that makes its
//     fact true, so there is neither a fact without its count nor the reverse.
//   - Counts are exact at any moment. A fold moves deltas to the rollups in one
//     statement, and a reader adds up both in one snapshot; all parts of a summary
//     are of the same snapshot, so they agree.
//   - A fact belongs to the minute in which its transaction began, by the
//     database's clock.
//   - A fold that dies changes nothing, and any number of folders may run: one
//     folds, the others skip.
//   - A percentile is within a factor of 2^(1/4), or 19 %, of the exact one (nearest
//     rank), for durations from 1 us to 24 h. Averages are exact.
//   - Buckets of time are those of the zone's clock. A day begins with its first
//     moment, also where midnight does not exist or comes twice, and has 23 or 25
//     hours when the clocks change. A week begins on Monday. An hour is cut where
//     the clocks change by less than one. Buckets lie end to end: nothing is
//     counted twice or left out.
//
// The rollups have four grains. All offsets since 2000 are multiples of a quarter
// of an hour, so a bucket of any zone is a whole number of quarters; hours and days
// of UTC replace most of them, which is what keeps a long period cheap. Minutes are
// kept for a week. The grains are kept once by all dimensions and once without
// kind, queue, type and endpoint, as most questions are about all of these.
//
// Measured on two busy cores with 90 days of 520 rows a quarter of an hour (50
// combinations of dimensions, 8 buckets of durations each): the summary of a week
// takes 16 ms, that of 90 days 50 ms, a time series 1 to 20 ms; grouped over 90 days
// of a zone other than UTC it takes 120 ms.
//
// Periods are rounded outwards, to quarters of an hour in a summary and to whole
// buckets in a time series; the answer says to what. A time series by the minute
// reads minutes only: a period that begins before they were kept is refused, since
// quarters cannot tell its minutes.
package analytics
