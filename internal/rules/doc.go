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
// # Jobs
//
// What an action makes of an event is made once, when the event is accepted: a rule
// that is changed later changes no job. Rules without condition, transform and
// placeholders never have the event decoded for them.
//
//   - A condition that fails is one that does not hold: it makes no job. The log hears
//     of it now and then, and GET /events/{id} tells of each event.
//   - An action whose transform or placeholders fail, or give what the API would
//     refuse, makes a job that is failed from the start and says why. The event is
//     accepted, as its other jobs must not wait for somebody to mend a rule.
//   - An action for a webhook without a transform or payload goes by the transform of its
//     endpoint, if that has one.
//   - A transform of a webhook is its whole body, as users of Svix and EventBridge
//     expect; that of an email makes the data that its templates see and never a
//     template, so an event cannot write one; else it makes the payload.
//   - Placeholders are those of EventBridge Pipes, <$.data.name>: payloads that were
//     written before do not have them, and templates with {{ }} stay what they are.
//     A value that is missing is an error unless the placeholder ends in ?, where AWS
//     would write nothing: a job without its order number is worse than one that failed.
//   - All expressions on one event have two seconds together.
//
// An Explainer says field by field what patterns and the stored rules make of an
// event. An enormous event and a pattern of hundreds of combinations of $or could
// keep it busy for minutes, so a server bounds it: by the size of an event that is
// sent to be tried, by the work of one request, and by the length of its answer.
package rules
