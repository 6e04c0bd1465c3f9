package pattern

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Explanation says whether a pattern matches an event, and why.
type Explanation struct {
	Matched bool
	Fields  []FieldExplanation // in the order of the pattern, lists that count only
}

// FieldExplanation says what became of one list of a pattern. When the pattern
// matches, so do the lists of one combination of its branches; when it does not,
// the explanation is that of the combination, and of the elements of arrays, that
// come closest.
type FieldExplanation struct {
	Path    string // of the list, as a JSON pointer from the root of the pattern
	Matched bool
	At      string // of the value looked at, as a JSON pointer from the event; empty when there is none
	Value   string // its JSON text, unless it is an object
	Reason  string // what in the list it matches, or why it matches nothing
}

// Explain says for each list of the pattern whether the event matches it, on which
// value, and why or why not.
func (p *Pattern) Explain(e *Event) Explanation {
	outcomes := make([]outcome, len(p.combinations))
	for i, c := range p.combinations {
		outcomes[i] = c.explain(e)
	}
	slices.SortStableFunc(outcomes, func(a, b outcome) int { return a.failed - b.failed })

	best := map[*list]verdict{}
	for _, o := range outcomes {
		for _, v := range o.verdicts {
			if _, ok := best[v.list]; !ok {
				best[v.list] = v
			}
		}
	}
	x := Explanation{Matched: outcomes[0].failed == 0}
	for _, l := range p.lists {
		field := e.explain(best[l])
		if other := p.elsewhere(e, best[l]); other != "" {
			field.Reason += "; " + other + " matches, but stands in another element than what else is asked for"
		}
		x.Fields = append(x.Fields, field)
	}
	return x
}

// elsewhere gives the pointer of a value that matches a list by itself although
// the verdict is that it does not match where the rest does.
func (p *Pattern) elsewhere(e *Event, v verdict) string {
	doc, root := e.data()
	if v.matched || !v.inData || doc == nil {
		return ""
	}
	for _, c := range p.combinations {
		if c.data == nil {
			continue
		}
		if n := c.data.only(v.list); n != nil {
			if o := n.explain(doc, root); o.found {
				return doc.pointerTo(root, o.verdicts[0].at)
			}
			return ""
		}
	}
	return ""
}

// only gives a node that asks for one of the lists, or nil when it is not there.
func (n *node) only(l *list) *node {
	if slices.Contains(n.lists, l) {
		return newNode([]*list{l}, nil)
	}
	for _, m := range n.members {
		if o := m.node.only(l); o != nil {
			return newNode(nil, []member{{name: m.name, node: o}})
		}
	}
	return nil
}

// verdict is what became of a list at a place of the event.
type verdict struct {
	list    *list
	matched bool
	field   field // one of the event's own strings, when it is not inData
	inData  bool
	at      int // in the document of data, or none
}

// outcome is the verdicts on the lists of a combination or a node.
type outcome struct {
	verdicts []verdict
	failed   int  // how many did not match
	found    bool // one matched by a value that is there
}

func (o *outcome) add(v verdict) {
	o.verdicts = append(o.verdicts, v)
	if !v.matched {
		o.failed++
	}
}

func (o *outcome) join(other outcome) {
	o.verdicts = append(o.verdicts, other.verdicts...)
	o.failed += other.failed
	o.found = o.found || other.found
}

func (c *combination) explain(e *Event) outcome {
	var o outcome
	for _, t := range c.envelope {
		o.add(verdict{list: t.list, matched: t.list.acceptsField(e.fields[t.field]), field: t.field})
	}
	if c.data == nil {
		return o
	}
	if doc, root := e.data(); doc == nil {
		o.join(c.data.explainAbsent())
	} else {
		o.join(c.data.explain(doc, root))
	}
	return o
}

// explain says what finds and lacking say, with the verdicts: nothing failed when
// either holds.
func (n *node) explain(d *document, at int) outcome {
	switch d.values[at].kind {
	case kindArray:
		return n.explainArray(d, at)
	case kindObject:
		var o outcome
		for _, l := range n.lists {
			o.add(verdict{list: l, matched: l.absent != "", inData: true, at: at})
		}
		for _, m := range n.members {
			if i, ok := d.field(at, m.name); ok {
				o.join(m.node.explain(d, i))
			} else {
				o.join(m.node.explainAbsent())
			}
		}
		o.found = o.found && o.failed == 0
		return o
	default:
		var o outcome
		s := d.scalar(at)
		for _, l := range n.lists {
			o.add(verdict{list: l, matched: l.accepts(s), inData: true, at: at})
		}
		o.found = len(n.lists) > 0
		for _, m := range n.members {
			o.join(m.node.explainAbsent())
		}
		o.found = o.found && o.failed == 0
		return o
	}
}

// explainArray takes the element that matches, else the one that comes closest. An
// element in which all that is asked for is absent proves nothing as long as it
// stands in another one.
func (n *node) explainArray(d *document, at int) outcome {
	if n.maybeAbsent && n.lacking(d, at) {
		return n.explainAbsent()
	}
	var best *outcome
	for i, end := at+1, d.next(at); i < end; i = d.next(i) {
		o := n.explain(d, i)
		if o.found {
			return o
		}
		if o.failed > 0 && (best == nil || o.failed < best.failed) {
			best = &o
		}
	}
	if best == nil {
		return n.explainAbsent()
	}
	return *best
}

// explainAbsent is the outcome where there is nothing.
func (n *node) explainAbsent() outcome {
	var o outcome
	for _, l := range n.lists {
		o.add(verdict{list: l, matched: l.absent != "", inData: true, at: none})
	}
	for _, m := range n.members {
		o.join(m.node.explainAbsent())
	}
	return o
}

// explain puts a verdict into words.
func (e *Event) explain(v verdict) FieldExplanation {
	x := FieldExplanation{Path: v.list.pointer, Matched: v.matched}
	switch {
	case !v.inData && e.fields[v.field] != "":
		s := scalar{kind: kindString, text: e.fields[v.field]}
		x.At, x.Value, x.Reason = "/"+fieldNames[v.field], quote(s.text), v.list.reason(s)
	case !v.inData || v.at == none:
		x.Reason = v.list.reasonAbsent("the event has no such field")
	default:
		x.At = e.doc.pointerTo(e.root, v.at)
		if e.doc.values[v.at].kind == kindObject {
			x.Reason = v.list.reasonAbsent("it is an object, and a list matches plain values")
		} else {
			x.Value, x.Reason = e.doc.source(v.at), v.list.reason(e.doc.scalar(v.at))
		}
	}
	return x
}

// pointerTo gives the JSON pointer of a value within data, which stands at root.
func (d *document) pointerTo(root, at int) string {
	r := report{}
	r.enter(dataName)
	for place := root; place != at; {
		i := place + 1
		n := 0
		for d.next(i) <= at {
			i = d.next(i)
			n++
		}
		if d.values[place].kind == kindObject {
			r.enter(d.key(i))
		} else {
			r.enterIndex(n)
		}
		place = i
	}
	return string(r.pointer)
}

// quote gives a string as JSON.
func quote(text string) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(text); err != nil {
		return ""
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func (l *list) reasonAbsent(why string) string {
	if l.absent != "" {
		return "matches " + l.absent
	}
	return why
}

// fewReasons are given one by one.
const fewReasons = 3

// reason says what in the list a value matches, or why it matches nothing.
func (l *list) reason(s scalar) string {
	if l.has(s) {
		return "is in the list"
	}
	for i := range l.tests {
		if l.tests[i].accepts(s) {
			return "matches " + l.tests[i].source
		}
	}
	var reasons []string
	for _, want := range l.exact {
		reasons = append(reasons, want.reason(s))
	}
	for i := range l.tests {
		reasons = append(reasons, l.tests[i].reason(s))
	}
	if l.absent != "" {
		reasons = append(reasons, "is there, against "+l.absent)
	}
	if len(reasons) > fewReasons {
		return fmt.Sprintf("matches none of the %d values of the list", len(reasons))
	}
	return strings.Join(reasons, "; ")
}

// describe names a kind of value.
func (k kind) describe() string {
	return [...]string{"null", "false", "true", "a number", "a string", "an array", "an object"}[k]
}

// literal gives a scalar as JSON, a number by its canonical text.
func (s scalar) literal() string {
	switch s.kind {
	case kindString:
		return quote(s.text)
	case kindNumber:
		return s.text
	default:
		return s.kind.describe()
	}
}

// reason says why another value is not this one.
func (s scalar) reason(have scalar) string {
	if s.kind != have.kind && (s.kind == kindString || s.kind == kindNumber) {
		return fmt.Sprintf("is %s, not the %s %s", have.kind.describe(), strings.TrimPrefix(s.kind.describe(), "a "), s.literal())
	}
	return "is not " + s.literal()
}

// reason says why a value does not pass the test.
func (t *test) reason(s scalar) string {
	want := kindString
	switch t.op {
	case opAnythingBut:
		return "is excluded by " + t.source
	case opNumeric:
		want = kindNumber
	default:
	}
	if s.kind != want {
		return fmt.Sprintf("is %s, and %s matches %ss only", s.kind.describe(), t.source, strings.TrimPrefix(want.describe(), "a "))
	}
	if _, ok := parseAddr(s.text); t.op == opCIDR && !ok {
		return "is no IP address for " + t.source
	}
	return "does not match " + t.source
}
