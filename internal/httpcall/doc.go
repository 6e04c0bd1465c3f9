// Package httpcall is the kind "http": one request to any HTTP service.
//
// A payload is {method, url, headers, body, data, templates, expected_status, result}.
//
// # Templates
//
// Of a job that a rule made, or whose payload has data, url, the values of headers
// and the texts of body are templates (package template), escaped for their place:
//
//   - In the URL a value is one segment of the path or one value of the query. What
//     stands first may be a whole URL. No value adds a user or a path to the host, and
//     a path does not get . or .. of one.
//   - A header takes no line break; its name is no template, nor is Content-Type.
//   - In a JSON body a text stays one text, whatever is in it. One that is a
//     {{json ...}} alone becomes that value. All else is sent byte for byte.
//   - A body that is a JSON string under another Content-Type is sent as its text;
//     values are escaped in forms and in XML and HTML.
//
// Any other job is sent as it is, since there is nothing for a template to read, and
// with "templates": false so is each.
//
// # Outcome
//
// expected_status is success (2xx when it is absent). A server's trouble (5xx), what
// asks for patience (408, 409, 425, 429) and a 2xx that was not expected are tried
// again, as are errors of the network; every other answer says that the request
// itself is wrong and gives up. Retry-After is obeyed.
//
// result makes the job's result of a success: a JSONPath (RFC 9535) into
// {status, headers, body} of the response, or an object of them, without filters and
// what else could take long. What is not there is null: the call is done, and doing it
// again would not mend that. For the same reason a result that is too large fails the
// job for good.
//
// Delivery is at least once: a request carries the job's id as Idempotency-Key,
// the same on every attempt, unless the payload sets that header itself.
package httpcall
