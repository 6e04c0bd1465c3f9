// Package httpapi is the edge: echo and huma are built here once, and every
// failure leaves the process here as problem+json (RFC 9457).
//
// It knows no domain. A domain's http.go registers operations with Register (no
// body) or RegisterBody (a JSON body of a Go type); the same type makes the
// OpenAPI schema, checks the body and decodes it, so the document cannot drift
// from the code.
//
// A body is decoded strictly: UTF-8, one JSON value, no duplicate or unknown
// field, names in their exact case, bounded nesting. All mistakes of a body are
// reported in one answer, those of the schema and those of the type's own
// Validate together. A field of type JSON keeps the bytes it came as: numbers
// beyond float64, duplicate keys and \u0000 inside it pass unchanged.
//
// Huma's own body decoding is not used: it parses into float64 maps first, which
// refuses 1e400 and loses duplicates.
package httpapi
