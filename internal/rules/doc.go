// Package rules turns events into jobs: a rule is a pattern over events and the
// actions to take when it matches.
//
// Every process keeps all enabled rules compiled in memory (Set), indexed for each
// tenant; matching an event costs no query, and hardly more for many rules than for
// a few. A rule that is written is checked whole: its pattern compiles, its kinds
// exist, their payloads are right, its endpoints are the tenant's own. A rule that is stored and no longer compiles, or whose jobs could
// not be written, after a downgrade for instance, is left out of the set and
// logged; it never stops the others. A kind that only a newer binary knows is no
// such reason: its jobs are written with limits of their own.
//
// An Explainer says field by field what patterns and the stored rules make of an
// event. An enormous event and a pattern of hundreds of combinations of $or could
// keep it busy for minutes, so a server bounds it: by the size of an event that is
// sent to be tried, by the work of one request, and by the length of its answer.
package rules
