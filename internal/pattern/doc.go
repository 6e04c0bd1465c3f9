// Package pattern is the language of rules: which events does a rule want? It is
// the event pattern of Amazon EventBridge over the events of SignalStack. A
// pattern is compiled once, an event is parsed at most once, and any number of
// patterns are matched against it. The package is pure: it knows no database, no
// HTTP and no clock.
//
// # What a pattern matches against
//
// An event is the object {id, type, source, subject, time, tenant, data}. The
// first six are strings, and one that is empty is absent. data is any JSON value
// or absent, and null is a value. A pattern names no other field at its top: a
// rule that waits for detail-type would never fire, so it is refused with the
// name to use.
//
// # The pattern
//
//	{"type": [{"prefix": "order."}], "data": {"amount": [100, 250], "customer.tier": ["gold"]}}
//
// wants orders of 100 or 250 by gold customers. The rules:
//
//   - A pattern is an object that mirrors the event. Every field of it must match
//     (AND); fields of the event that it does not name do not matter.
//   - A leaf is a list, and one of its values must match (OR). A value is a
//     string, a number, true, false or null, matched exactly and by type ("42" is
//     not 42, "null" is not null), or {"prefix": "text"}, which matches strings
//     only, any string when the text is empty.
//   - Numbers are equal when their exact decimal values are: 300, 300.0 and 3e2
//     are one number, 9007199254740993 and 9007199254740992 are two, 1e400 is
//     10e399. Nothing goes through float64, and 1e1000000000 costs as much as any
//     other twelve bytes.
//   - Strings are equal code point by code point after their escapes are read,
//     without case folding or Unicode normalisation. A lone surrogate (\ud800)
//     equals itself only, never U+FFFD.
//   - A list matches an array when one element of it does. Everything a pattern
//     asks below an array must hold in the same element. Arrays within arrays are
//     looked through, and an empty array counts as absent.
//   - A dot in a key of a pattern joins levels: {"data.a": [1]} is
//     {"data": {"a": [1]}}, and both spellings may be mixed. A dot in a key of an
//     event is part of its name, out of reach of patterns.
//   - A key that stands twice in a pattern is legal, as in EventBridge: objects
//     are merged, and of two lists for one path the last one counts. Every list is
//     checked all the same.
//   - A key that stands twice in an object of the event has its last value, as
//     receivers read it.
//   - An operator is one inside a list only. Elsewhere its name is a plain field:
//     {"data": {"prefix": ["x"]}} asks for the field data.prefix.
//
// # What is refused
//
// Compile reports every mistake of a pattern at once, each with its place and the
// mend: what is not a JSON object, an empty object or list, a leaf that is no
// list, a list within a list, an unknown field of the event or operator, fields
// below one of the six strings, and patterns beyond MaxBytes, MaxDepth or
// MaxValues. The operators suffix, equals-ignore-case, wildcard, anything-but,
// numeric, cidr, exists and $or, and prefix with equals-ignore-case in it, are
// refused as not supported yet: never ignored, never taken for a plain field. A
// rule that is stored therefore does all that it says.
//
// # Invariants
//
//   - Match and Compile never panic, whatever bytes they are given.
//   - A Pattern does not change and is shared by goroutines freely. An Event
//     parses itself when first asked and belongs to one goroutine.
//   - Match takes time in proportion to the event, however its arrays nest: each
//     value of the event meets one node of the pattern at most.
//   - data is not parsed unless a pattern that the six strings satisfy looks
//     inside it.
package pattern
