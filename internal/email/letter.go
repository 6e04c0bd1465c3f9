package email

import (
	"errors"
	"fmt"
	"net/mail"
	"strings"
	"time"
	"unicode"

	"github.com/google/uuid"
	gomail "github.com/wneessen/go-mail"
	"golang.org/x/net/idna"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/template"
)

// letter is a payload whose templates have been executed.
type letter struct {
	to, cc, bcc, replyTo []*mail.Address
	from                 *mail.Address // nil: the operator's
	subject, text, html  string
	files                []file
}

// maxLine is how long an address and a subject may be, in characters.
const maxLine = 998

// renderer executes templates and gathers what is wrong with the results.
type renderer struct {
	scope    map[string]any
	mistakes []fault.Detail
}

// render executes the templates of a payload that was compiled without mistakes.
func (p *payload) render(scope map[string]any) (letter, []fault.Detail) {
	r := &renderer{scope: scope}
	l := letter{
		to: r.people(p.to), cc: r.people(p.cc), bcc: r.people(p.bcc), replyTo: r.people(p.replyTo),
		subject: strings.TrimSpace(r.text(p.subject)), text: r.text(p.text), html: r.text(p.html),
		files: r.files(p.attachments),
	}
	if p.from != nil {
		if from := r.people([]*field{p.from}); len(from) > 0 {
			l.from = from[0]
		}
	}
	r.mistakes = append(r.mistakes, httpapi.CheckText("/subject", l.subject, maxLine)...)
	if len(l.to) == 0 && len(r.mistakes) == 0 {
		r.mistakes = []fault.Detail{{Pointer: "/to", Detail: "renders to no address"}}
	}
	return l, r.mistakes
}

func (r *renderer) wrong(f *field, format string, args ...any) {
	r.mistakes = append(r.mistakes, fault.Detail{Pointer: f.pointer, Detail: fmt.Sprintf(format, args...)})
}

func (r *renderer) text(f *field) string {
	switch {
	case f == nil:
		return ""
	case f.template == nil:
		return f.source
	}
	text, err := f.template.Render(r.scope)
	if err != nil {
		r.wrong(f, "cannot be rendered: %s", err)
	}
	return text
}

// people leaves out what renders to nothing.
func (r *renderer) people(fields []*field) []*mail.Address {
	var all []*mail.Address
	for _, f := range fields {
		text := strings.TrimSpace(r.text(f))
		if text == "" {
			continue
		}
		address, err := parseAddress(text)
		if err != nil {
			r.wrong(f, "%s", err)
			continue
		}
		all = append(all, address)
	}
	return all
}

// checkLiterals reports the addresses and attachments without templates that are none.
func (p *payload) checkLiterals() []fault.Detail {
	r := &renderer{}
	for _, f := range p.addresses() {
		if template.Is(f.source) {
			continue
		}
		if _, err := parseAddress(f.source); err != nil {
			r.wrong(f, "%s", err)
		}
	}
	return append(r.mistakes, p.checkAttachments()...)
}

// parseAddress reads one address. A name may hold an encoded line break, so the
// result is looked at as well. A domain beyond ASCII becomes what its servers know it
// by (IDNA, RFC 5891); a mailbox stays, and needs SMTPUTF8.
func parseAddress(text string) (*mail.Address, error) {
	address, err := mail.ParseAddress(text)
	if err != nil || len(httpapi.CheckText("", text+address.Name+address.Address, 2*maxLine)) > 0 {
		return nil, errors.New("must be one address such as ada@example.com or Ada Lovelace <ada@example.com>")
	}
	at := strings.LastIndex(address.Address, "@")
	if mailbox, domain := address.Address[:at+1], address.Address[at+1:]; isUTF8(domain) {
		ascii, err := idna.Lookup.ToASCII(domain)
		if err != nil {
			return nil, errors.New("must have a domain that exists in the form of IDNA, such as bücher.example")
		}
		address.Address = mailbox + ascii
	}
	return address, nil
}

func isUTF8(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r > unicode.MaxASCII })
}

// message makes what goes over the wire. now is the time of the attempt.
func (l letter) message(id uuid.UUID, now time.Time) *gomail.Msg {
	m := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	m.FromMailAddress(l.from)
	m.ToMailAddress(l.to...)
	m.BccMailAddress(l.bcc...)
	if len(l.cc) > 0 { // none would be an empty header
		m.CcMailAddress(l.cc...)
	}
	m.ReplyToMailAddress(l.replyTo...)
	m.Subject(l.subject)
	m.SetDateWithValue(now)
	m.SetMessageIDWithValue(l.messageID(id))
	m.SetGenHeader("Auto-Submitted", "auto-generated") // keeps holiday notices away (RFC 3834)
	switch {
	case l.html == "":
		m.SetBodyString(gomail.TypeTextPlain, l.text)
	case l.text == "":
		m.SetBodyString(gomail.TypeTextHTML, l.html)
	default:
		m.SetBodyString(gomail.TypeTextPlain, l.text)
		m.AddAlternativeString(gomail.TypeTextHTML, l.html)
	}
	attach(m, l.files)
	return m
}

// messageID is the job's id at the sender's host, the same on every attempt.
func (l letter) messageID(id uuid.UUID) string {
	return id.String() + l.from.Address[strings.LastIndex(l.from.Address, "@"):]
}
