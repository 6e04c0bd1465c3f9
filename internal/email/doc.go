// Package email is the kind of job that sends an e-mail over SMTP.
//
// A payload is {to, cc, bcc, reply_to, from, subject, text, html, data}. The first
// four are one address or a list of addresses, everything but data may be a Go
// template over .event and .data, and one of text and html is needed:
//
//	{"to": "{{.data.customer.name}} <{{.data.customer.email}}>", "subject": "Order {{.data.id}}",
//	 "html": "<p>Thank you, {{get .data \"customer.name\" | default \"friend\"}}.</p>"}
//
// # Templates
//
//   - .event has id, type, source, subject and time, as texts; .data is the
//     payload's data, or else the event's. html is escaped by context.
//   - A field that does not exist is an error: no customer reads "<no value>". get
//     asks for one that may be absent, by its path, and null prints as nothing.
//   - Integers that fit 64 bits are integers and can be compared; every other number
//     is printed with the digits it came with, and {{gt (number .data.price) 9.5}}
//     compares it.
//   - Functions beside Go's: upper, lower, truncate, join, default, get, number,
//     date and json (funcs.go). There are no templates within templates.
//   - A template cannot run away: what it may print, build and loop over is bounded,
//     and it ends with the attempt.
//   - An address that renders to nothing is left out of its list. A rendered address
//     must be one address of RFC 5322, and no header takes a line break.
//   - A job that no rule made is rendered when it is created, so that its mistakes
//     are told to whoever makes it. Of one that a rule makes only the syntax and the
//     literal addresses can be checked then; what fails later fails for good.
//
// A rule's transform makes the payload's data; the texts are always the rule's own.
//
// # Delivery
//
//   - Message-ID is the job's id at the sender's host, the same on every attempt. A
//     worker that dies, or loses the server's last answer, sends twice: at least once.
//   - An e-mail goes to all its recipients or to none. When the server refuses one,
//     nothing is sent, so that the next attempt sends nobody a second copy.
//   - A 5xx answer to the sender, a recipient or the message is for good. All else is
//     tried again: 4xx, connections that fail or hang, TLS. So is a refused login and
//     a missing setting: the operator mends it, and no e-mail is lost to a typo.
//   - TLS is mandatory and verified unless the URL says ?tls=none. Without TLS a
//     password is sent in clear only where that was said.
//   - An attempt ends with its context, wherever it stands, and the password never
//     stands in an error.
//
// Each e-mail has a connection of its own. go-mail makes the message and the
// connection; the transaction is ours, as go-mail reports a delivered message as
// failed when RSET or QUIT fail after it, and judges several refused recipients by
// the last one.
package email
