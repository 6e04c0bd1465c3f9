// Package eventtypes is the registry of event types: what a type means, JSON Schemas
// (2020-12) of its data in versions, an example of each, and how long its events are
// kept.
//
// The registry is optional: an event may have a type that nobody registered, and the
// types that came lately are listed with the registered ones. Counts are those of
// analytics, exact and never counted over events.
//
// A type's mode says what becomes of an event whose data breaks the schema. With off
// nothing is looked at, and the data is not even parsed. With warn the event is
// accepted, its answer has the mistakes, and the type counts it. With reject it is
// refused with a JSON pointer to each mistake. The newest version holds, unless the
// type names another one. What is looked at is the data; an event without data counts
// as one with null.
//
// A schema is made by a client and evaluated for every event, so:
//   - it refers to nothing outside itself: a $ref to a URL or a file is refused, and
//     nothing is loaded;
//   - its size, its depth and how often it looks at one value are bounded when it
//     is registered, see weigh; regular expressions are RE2, which is linear;
//   - "format" is checked, which JSON Schema leaves open;
//   - the example must satisfy the schema that it stands beside.
//
// A schema's mistakes name places and what the schema says, and never the values of
// the data.
package eventtypes
