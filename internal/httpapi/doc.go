// Package httpapi is the edge: echo and huma are built here once, and every
// failure leaves the process here as problem+json (RFC 9457).
//
// It knows no domain. A domain's http.go registers operations with Register (no
// body) or RegisterBody (a JSON body of a Go type); the same type makes the
// OpenAPI schema, checks the body and decodes it, so the document cannot drift
// from the code. RegisterRaw is for requests that are signed: its handler gets the
// bytes of the body, of any media type, and the header, and must trust neither
// before it has verified the signature.
//
// A body is decoded strictly: UTF-8, one JSON value, no duplicate or unknown
// field, names in their exact case, bounded nesting. All mistakes of a body are
// reported in one answer, those of the schema and those of the type's own
// Validate together; a handler with OneLoose adds those that only it can see. No
// field may be null: absence says the same. A field of type JSON keeps the bytes it came as: numbers
// beyond float64, duplicate keys and \u0000 inside it pass unchanged.
//
// What a request asks for is never dropped in silence: a parameter that the
// operation does not document, that stands twice or cannot be read, and an empty
// header that it documents are refused for all operations in one place
// (checkRequest). An empty value of a query counts as not given.
//
// The bodies of all requests in flight have a bound together (Config.MaxBodies), and
// are counted as they are read. Beyond it a request is answered 503 with Retry-After.
//
// Who may run an operation is decided by Config.Access, first and in one place. What it
// grants to the credentials of one tenant is held here, for operations present and to
// come: their queries and bodies name that tenant or are refused (Grant).
//
// Without Access whoever reaches the port may use the API, and that
// includes every page in the browser of somebody who does. Two rules keep such pages
// from changing anything. A body must say application/json, which a page of another
// site can do only after a preflight request that is never granted; without the rule
// a plain form could post JSON as text/plain, or without a type. An operation may take further forms (RegisterForms), each of which
// needs a type or a header that a page cannot send unasked either. And a request with
// an unsafe method is refused (403) when the browser itself says that it comes of
// another site: by Sec-Fetch-Site or, in older ones and without TLS, by an Origin
// that is not the Host. A proxy in front must therefore pass the Host on. Clients
// that are no browsers send neither header.
//
// An answer is made whole before its status is written, so that one that cannot be
// marshaled becomes a 500 and never a broken 200.
//
// Huma's own body decoding is not used: it parses into float64 maps first, which
// refuses 1e400 and loses duplicates.
package httpapi
