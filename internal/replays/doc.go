// Package replays routes stored events again and makes new jobs of them: one event at
// once, or all that a filter takes in the background.
//
// Promises:
//   - Each event that the filter takes is routed once for each replay, whatever dies
//     meanwhile, and its jobs are written in the transaction that says so. Events that
//     are accepted after the replay was asked for are not taken; one that is being
//     accepted at that very moment may be or not.
//   - Events go through the rules and subscriptions of the moment at which they are
//     routed, or through the rules that are named alone, disabled ones as well. When
//     one of these is deleted meanwhile the replay fails, and says so. Where endpoints
//     are named, only jobs that deliver to them are made.
//   - The jobs are new ones, with their own ids, attempts and full retry policy. They
//     keep the event and are marked with the replay. A webhook has its job's id as
//     webhook-id, so a receiver that deduplicates on it takes the replay for new, as it
//     should: it was asked for. The body has the event's own time.
//   - What is live goes first: jobs of a replay by filter have the lowest priority
//     unless it is given one, and events are routed at a bounded rate.
//   - An event whose data was erased is routed and delivered without it.
//
// How it goes on in the background is internal/bulk's.
package replays
