// Package email is the kind of job that sends an e-mail over SMTP.
//
// A payload is {to, cc, bcc, reply_to, from, subject, text, html, attachments, data}.
// The first four are one address or a list of addresses, everything but data and the
// types of attachments may be a template (package template) over .event and .data, and
// one of text and html is needed:
//
//		{"to": "{{.data.customer.name}} <{{.data.customer.email}}>", "subject": "Order {{.data.id}}",
//		 "html": "<p>Thank you, {{get .data \"customer.name\" | default \"friend\"}}.</p>"}
//
//	  - html is escaped by context.
//	  - An address that renders to nothing is left out of its list. A rendered address
//	    must be one address of RFC 5322, and no header takes a line break. A domain
//	    beyond ASCII is sent as IDNA; a mailbox beyond it needs a server with SMTPUTF8.
//	  - An attachment is {filename, content, content_type, content_id}, its content
//	    base64. One with a content_id stands within the HTML: <img src="cid:logo">.
//	  - A job that no rule made is rendered when it is created, so that its mistakes
//	    are told to whoever makes it. Of one that a rule makes only the syntax and the
//	    literals can be checked then; what fails later fails for good.
//
// A rule's transform makes the payload's data; the texts are always the rule's own.
//
// # Delivery
//
//   - Message-ID is the job's id at the sender's host, the same on every attempt. A
//     worker that dies, or loses the server's last answer, sends twice: at least once.
//
//   - An e-mail goes to all its recipients or to none. When the server refuses one,
//     nothing is sent, so that the next attempt sends nobody a second copy.
//
//   - A 5xx answer to the sender, a recipient or the message is for good. All else is
//     tried again: 4xx, connections that fail or hang, TLS. So is a refused login and
//     a missing setting: the operator mends it, and no e-mail is lost to a typo.
//
//   - TLS is mandatory and verified unless the URL says ?tls=none. Without TLS a
//     password is sent in clear only where that was said.
//
//   - An attempt ends with its context, wherever it stands, and the password never
//     stands in an error.
//
//   - What the server answered, and the Message-ID, are the job's result.
//
// # Connections
//
// At most 10 connections (?connections=N in the URL) are open at once; a message has
// one for itself, and others wait for a place. One is kept for 15 seconds after a
// message, and for 100 messages. When a kept one turns out to have ended before a
// message was in full on its way, the message is sent over a new one in the same
// attempt. Later than that nobody knows whether the server took it.
//
// go-mail makes the message and the connection; the pool and the transaction are
// ours, as go-mail reports a delivered message as failed when RSET or QUIT fail after
// it, and judges several refused recipients by the last one.
package email
