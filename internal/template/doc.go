// Package template is the language in which payloads of jobs say what depends on the
// event: Go templates over .event and .data, bounded.
//
//   - .event has id, type, source, subject and time, as texts; .data is the
//     payload's data, or else the event's; .before are the jobs that it waited for, each
//     with its id, its state and, where it has one, its result.
//   - A field that does not exist is an error: no receiver reads "<no value>". get
//     asks for one that may be absent, by its path, and null prints as nothing.
//   - Integers that fit 64 bits are integers and can be compared; every other number
//     is printed with the digits it came with, and {{gt (number .data.price) 9.5}}
//     compares it.
//   - Functions beside Go's: upper, lower, truncate, join, default, get, number,
//     date and json (funcs.go). There are no templates within templates.
//   - A template cannot run away: what it may print, build and loop over is bounded
//     (Budget), and it ends with its context.
//
// HTML is escaped by context, as html/template does. Text is escaped by whoever uses
// it: each value passes through a function that sees what was printed before it, and
// so knows, in a URL for instance, whether it stands in the path or in the query.
// Looking at what was printed, and not at the template, makes that right after any
// branch or loop.
package template
