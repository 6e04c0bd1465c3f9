// Package expression is what an action of a rule may say of an event in a language:
// a condition (CEL), a transform (jq) and placeholders in texts and payloads
// (<$.data.name>, as the input transformers of EventBridge Pipes have them). It
// knows no database and no HTTP.
//
// All three see one object: id, tenant, type, source, subject, time and data, and of
// a CloudEvent datacontenttype, dataschema and extensions, as
// patterns see it; a field that the event does not have is absent. It is decoded
// once for an event, and only when somebody looks.
//
// Rules are written by tenants, so each of the languages is bounded:
//   - CEL has no loops of its own; its cost is counted and limited.
//   - jq is a whole programming language, and the interpreter bounds neither time nor
//     memory: one instruction may allocate gigabytes ("x" * 1e9, .[5e8] = 1) or walk
//     a value that shares its parts 2^60 times. So a program is checked against a
//     list of known functions, and rewritten: wherever it makes a value, the value is
//     measured as the tree it stands for, and its run fails when that is too large.
//     Every instruction is counted; now and then the clock and the bytes that the
//     process has allocated since are read, and the run ends when it had too much of
//     either. At most GOMAXPROCS transforms run at once.
//   - Placeholders only copy.
package expression
