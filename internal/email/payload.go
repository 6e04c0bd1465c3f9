package email

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/template"
)

// payload is what a job of this kind works on.
type payload struct {
	to, cc, bcc, replyTo      []*field
	from, subject, text, html *field // nil when absent
	attachments               []*attachment
	data                      json.RawMessage // nil: the event's
}

// field is one text of a payload and where it stands.
type field struct {
	pointer, source string
	template        *template.Template // set by compile; nil when it is none
}

// maxRecipients bounds to, cc and bcc together. Whoever writes to more people
// makes a job for each, and learns of each what became of it.
const maxRecipients = 50

// readPayload reads what can be read and reports all that is wrong. A field that
// is null or an empty text counts as absent.
func readPayload(raw json.RawMessage) (*payload, []fault.Detail) {
	var values map[string]json.RawMessage
	if err := json.Unmarshal(raw, &values); err != nil || values == nil {
		return &payload{}, []fault.Detail{{Pointer: "", Detail: "must be an object with to, subject and one of text and html"}}
	}
	p := &payload{}
	var mistakes []fault.Detail
	lists := map[string]*[]*field{"to": &p.to, "cc": &p.cc, "bcc": &p.bcc, "reply_to": &p.replyTo}
	texts := map[string]**field{"from": &p.from, "subject": &p.subject, "text": &p.text, "html": &p.html}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		value, pointer, wrong := values[name], "/"+escapePointer(name), ""
		switch list, text := lists[name], texts[name]; {
		case string(value) == "null":
		case list != nil:
			*list, wrong = readList(pointer, value)
		case text != nil:
			*text, wrong = readText(pointer, value)
		case name == "attachments":
			var of []fault.Detail
			p.attachments, of = readAttachments(value)
			mistakes = append(mistakes, of...)
		case name == "data":
			p.data = value
		default:
			wrong = "is not a field known here; the fields are to, cc, bcc, reply_to, from, subject, text, html, attachments and data"
		}
		if wrong != "" {
			mistakes = append(mistakes, fault.Detail{Pointer: pointer, Detail: wrong})
		}
	}
	return p, append(mistakes, p.missing(mistakes)...)
}

func readText(pointer string, raw json.RawMessage) (*field, string) {
	var source string
	if json.Unmarshal(raw, &source) != nil {
		return nil, "must be a text"
	}
	if source == "" {
		return nil, ""
	}
	return &field{pointer: pointer, source: source}, ""
}

// readList reads one text or a list of texts.
func readList(pointer string, raw json.RawMessage) ([]*field, string) {
	if raw[0] == '"' {
		one, wrong := readText(pointer, raw)
		if one == nil {
			return nil, wrong
		}
		return []*field{one}, wrong
	}
	var parts []json.RawMessage
	if json.Unmarshal(raw, &parts) != nil {
		return nil, "must be an address or a list of addresses"
	}
	var list []*field
	for i, part := range parts {
		one, wrong := readText(pointer+"/"+strconv.Itoa(i), part)
		if wrong != "" || string(part) == "null" {
			return nil, "must be an address or a list of addresses"
		}
		if one != nil {
			list = append(list, one)
		}
	}
	return list, ""
}

// missing reports what is not there or too much. What was given and could not be
// read has been reported already.
func (p *payload) missing(reported []fault.Detail) []fault.Detail {
	var mistakes []fault.Detail
	known := func(pointer string) bool {
		return slices.ContainsFunc(reported, func(m fault.Detail) bool { return m.Pointer == pointer })
	}
	if len(p.to) == 0 && !known("/to") {
		mistakes = append(mistakes, fault.Detail{Pointer: "/to", Detail: "is required"})
	}
	if p.subject == nil && !known("/subject") {
		mistakes = append(mistakes, fault.Detail{Pointer: "/subject", Detail: "is required"})
	}
	if p.text == nil && p.html == nil && !known("/text") && !known("/html") {
		mistakes = append(mistakes, fault.Detail{Pointer: "/text", Detail: "is required when there is no html"})
	}
	if n := len(p.to) + len(p.cc) + len(p.bcc); n > maxRecipients {
		mistakes = append(mistakes, fault.Detail{Pointer: "/to", Detail: fmt.Sprintf("must have at most %d recipients together with cc and bcc; these are %d", maxRecipients, n)})
	}
	return mistakes
}

// compile sets the template of each field and reports those that are none. The
// templates share one budget and end with ctx.
func (p *payload) compile(ctx context.Context) []fault.Detail {
	budget := template.NewBudget(ctx)
	var mistakes []fault.Detail
	for _, f := range p.fields() {
		var err error
		switch {
		case f == p.html:
			f.template, err = budget.HTML(f.source)
		case template.Is(f.source):
			f.template, err = budget.Text(f.source, nil)
		}
		if err != nil {
			mistakes = append(mistakes, fault.Detail{Pointer: f.pointer, Detail: "is no template: " + err.Error()})
		}
	}
	return mistakes
}

// addresses lists the fields that name people, in the order of the letter.
func (p *payload) addresses() []*field {
	all := slices.Concat(p.to, p.cc, p.bcc, p.replyTo)
	if p.from != nil {
		all = append(all, p.from)
	}
	return all
}

// fields lists all that is there.
func (p *payload) fields() []*field {
	all := append(p.addresses(), p.subject, p.text, p.html)
	for _, a := range p.attachments {
		all = append(all, a.filename, a.content)
	}
	return slices.DeleteFunc(all, func(f *field) bool { return f == nil })
}

func escapePointer(s string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(s)
}

// WithData gives a payload with other data for its templates in place of the event's.
func WithData(raw, data json.RawMessage) (json.RawMessage, error) {
	var values map[string]json.RawMessage
	if err := json.Unmarshal(raw, &values); err != nil || values == nil {
		return nil, errors.New("the payload is no object")
	}
	values["data"] = data
	out, err := json.Marshal(values)
	if err != nil {
		return nil, fmt.Errorf("write the payload: %w", err)
	}
	return out, nil
}
