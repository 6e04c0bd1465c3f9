// Package cloudevents reads and writes CloudEvents 1.0 as HTTP carries them: the
// binary mode, the structured mode and batches in JSON (HTTP Protocol Binding 1.0.2,
// JSON Event Format 1.0.2).
//
// Promises:
//   - Data keep their bytes: the body in binary mode, the text of data in JSON, what
//     data_base64 holds. Data that are declared as JSON are checked to be JSON, those in
//     base64 excepted: there they are JSON if they turn out to be.
//   - Extension attributes are kept with their JSON types, in the order of their names.
//     Headers have no types: what came in binary mode is strings.
//   - A header value is unquoted once and percent-decoded once; what is no UTF-8 after
//     that is refused. In JSON an attribute that is null is absent, one that stands twice
//     is refused, and ce- headers beside a structured body are not looked at.
//   - Nothing is dropped in silence: headers that are some of the required attributes and
//     not all of them, names that no attribute may have and values of types that an
//     attribute cannot be are refused, all in one answer.
//   - Formats other than JSON are refused with 415 and the list of what is known.
//
// The CloudEvents SDK is not used but by the tests, as sender and receiver: it rewrites
// data, takes what this package refuses, and cannot say where a mistake stands.
package cloudevents
