// Package pattern is the language of rules: which events does a rule want? It is
// the event pattern of Amazon EventBridge over the events of SignalStack. A
// pattern is compiled once, an event is parsed at most once, and any number of
// patterns are matched against it, through an index (Set) at about the cost of
// those that it does not rule out. Explain says field by field why a pattern
// matches or does not. The package is pure: it knows no database, no HTTP and no
// clock.
//
// The rules are those of the EventBridge user guide ("Creating event patterns",
// "Comparison operators"), and of EventBridge's published engine, event-ruler,
// where the guide is silent. Where SignalStack differs, it is said below.
//
// # What a pattern matches against
//
// An event is the object {id, type, source, subject, time, tenant, datacontenttype,
// dataschema, extensions, data}. The first eight are strings, and one that is empty is
// absent. data is any JSON value or absent, and null is a value. extensions are the
// extension attributes of a CloudEvent, an object of strings, booleans and numbers, or
// absent; they are matched like data and not indexed. A pattern names no other field at its top: a
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
//   - A leaf is a list, and one of its members must match (OR). A member is a
//     string, a number, true, false or null, matched exactly and by type ("42" is
//     not 42, "null" is not null), or an object with one operator, see below.
//   - Numbers are compared by their exact decimal values: 300, 300.0 and 3e2
//     are one number, 9007199254740993 is the greater neighbour of
//     9007199254740992, 1e400 is 10e399. Nothing is decided by float64, as in
//     EventBridge, and 1e1000000000 costs as much as any other twelve bytes.
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
//   - $or, at any depth, is a list of two or more objects of which one must match
//     together with what stands beside $or. A pattern with $or is as many patterns
//     as its branches can be combined in: what is asked for below one array, in a
//     branch and beside it, must hold in one element. A path that a branch and its
//     surroundings both name must satisfy both lists; EventBridge takes one of
//     them, depending on the order.
//   - $or is a plain field when its value is an object, or a list in which an
//     operator stands. Below $or no field may be named like an operator.
//   - An operator is one inside a list only. Elsewhere its name is a plain field:
//     {"data": {"prefix": ["x"]}} asks for the field data.prefix.
//
// # Operators
//
//	{"prefix": "a"}, {"suffix": "a"}            strings that begin, end so; any string when empty
//	{"equals-ignore-case": "a"}                 strings that differ by case at most
//	{"prefix": {"equals-ignore-case": "a"}}     both at once; and so with suffix
//	{"wildcard": "a*b"}                         * is any run of characters, \* and \\ are * and \
//	{"anything-but": "a"}, {"anything-but": 1}  any value but this one
//	{"anything-but": ["a", "b"]}                any value but these: all strings, or all numbers
//	{"anything-but": {"prefix": ["a", "b"]}}    any value but strings that begin so; and so with suffix,
//	                                            equals-ignore-case and wildcard; one string or a list
//	{"numeric": [">", 0, "<=", 5]}              numbers within bounds: = < <= > >=, the lower bound first
//	{"cidr": "10.0.0.0/8"}                      strings that are IP addresses of the network, IPv4 or IPv6
//	{"exists": true}                            any value, null and "" included
//	{"exists": false}                           no value
//
// A value of another type than the operator is about does not match, but passes
// anything-but. A field that is absent passes {"exists": false} only. A value is a
// leaf of the event: where an object stands, or an empty array, there is no value.
//
// {"exists": false} below an array goes by the element that the rest of the pattern
// chooses: {"items": {"sku": ["b"], "error": [{"exists": false}]}} wants an item b
// without an error. Where nothing chooses one, all elements must lack the field:
// {"items": {"error": [{"exists": false}]}} wants events in which no item has one.
//
// Case is folded rune by rune, as Unicode's simple folding says: K, k and the
// Kelvin sign are one, ß and ss are two. An IPv4 address that is written as an IPv6
// one (::ffff:10.0.0.1) is the IPv4 address; one with a zone is in no network, and
// bits behind the mask of a network do not matter.
//
// # What is refused
//
// Compile reports every mistake of a pattern at once, each with its place and the
// mend: what is not a JSON object, an empty object or list, a leaf that is no
// list, a list within a list, an unknown field of the event, fields below one of
// the event's own strings, $or with fewer than two branches or a branch that is no object,
// an operator that is unknown, in upper case or with another one in its object, and
// each operator whose operand is not as above: for several prefixes, several
// operators are listed; two stars in a row, or a backslash before anything but a
// star or a backslash; null, true or false, an empty list or strings with numbers
// in anything-but, and in it an empty prefix or suffix; a comparison without a
// number, an upper bound before a lower one, or a range that holds nothing.
//
// The limits are MaxBytes, MaxDepth, MaxValues, MaxStars and, for what the branches
// of $or multiply to, MaxFields. A rule that is stored does all that it says.
//
// # The index
//
// A set puts each combination of each pattern below the values of one of its lists,
// the one that fewest others come up with: below each exact value, prefix, suffix or
// range of the list. Where many still stand together, they are divided by another
// of their lists again. An event is walked through once for the paths that the
// patterns name, its values are looked up, and what they lead to is matched as if
// there were no index. Thus the index may lead to too much (values that stand in
// different elements of an array, numbers that float64 takes for one, keys that
// stand twice), and never to too little.
//
// Found one by one are those patterns that nothing tells apart: of {"exists":
// false} alone, and within one path of anything-but, {"exists": true} or wildcards
// with a star at both ends.
//
// # Invariants
//
//   - Compile, Match and Explain never panic, whatever bytes they are given.
//   - A Pattern and a Set do not change and are shared by goroutines freely. An
//     Event parses itself when first asked and belongs to one goroutine.
//   - A combination takes time in proportion to the event, however its arrays nest:
//     each value of the event meets one node at most, and once more for each level
//     of the pattern that waits for something absent.
//   - A set allocates nothing for the patterns in it, only for the answer.
//   - data is not parsed unless a pattern that the event's own strings satisfy, or
//     that a set does not find by them, looks inside it.
package pattern
