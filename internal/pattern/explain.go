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
	failed := make(map[*combination]int, len(p.combinations))
	for _, c := range p.combinations {
		failed[c] = c.failed(e)
	}
	closest := slices.Clone(p.combinations)
	slices.SortStableFunc(closest, func(a, b *combination) int { return failed[a] - failed[b] })

	best := map[*list]verdict{}
	for _, c := range closest {
		c.explain(e, func(v verdict) {
			if _, ok := best[v.list]; !ok {
				best[v.list] = v
			}
		})
		if len(best) == len(p.lists) {
			break
		}
	}
	x := Explanation{Matched: failed[closest[0]] == 0}
	for _, l := range p.lists {
		field := e.explain(best[l])
		if other := p.elsewhere(e, best[l]); other != "" {
			field.Reason += "; " + other + " matches, but stands in another element than what else is asked for"
		}
		x.Fields = append(x.Fields, field)
	}
	return x
}

// Weight is how many lists all combinations hold against data and extensions, together. The time
// that Match and Explain take is bounded by it times the size of data and extensions.
func (p *Pattern) Weight() int {
	weight := 0
	for _, c := range p.combinations {
		for _, n := range []*node{c.data, c.extensions} {
			if n != nil {
				weight += n.weight()
			}
		}
	}
	return weight
}

func (n *node) weight() int {
	weight := len(n.lists)
	for _, m := range n.members {
		weight += m.node.weight()
	}
	return weight
}

// elsewhere gives the pointer of a value that matches a list by itself although
// the verdict is that it does not match where the rest does.
func (p *Pattern) elsewhere(e *Event, v verdict) string {
	doc, root := e.data()
	if v.matched || !v.inData || v.inExtensions || doc == nil {
		return ""
	}
	for _, c := range p.combinations {
		if c.data == nil {
			continue
		}
		if n := c.data.only(v.list); n != nil {
			return n.foundAt(doc, root)
		}
	}
	return ""
}

// foundAt gives the pointer of the value that a node of one list finds, or nothing.
func (n *node) foundAt(doc *document, root int) (pointer string) {
	if n.closest(doc, root).found {
		n.explain(doc, root, func(v verdict) { pointer = doc.pointerTo(dataName, root, v.at) })
	}
	return pointer
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
	inData  bool  // or in extensions
	at      int   // in the document of data or extensions, or none

	inExtensions bool
}

// failed counts the lists of the combination that the event does not match.
func (c *combination) failed(e *Event) int {
	failed := 0
	for _, t := range c.envelope {
		failed += boolInt(!t.list.acceptsField(e.fields[t.field]))
	}
	count := func(n *node, doc *document, root int) {
		switch {
		case n == nil:
		case doc == nil:
			failed += n.needed
		default:
			failed += n.closest(doc, root).failed
		}
	}
	doc, root := e.attributes()
	count(c.extensions, doc, root)
	doc, root = e.data()
	count(c.data, doc, root)
	return failed
}

func (c *combination) explain(e *Event, say func(verdict)) {
	for _, t := range c.envelope {
		say(verdict{list: t.list, matched: t.list.acceptsField(e.fields[t.field]), field: t.field})
	}
	tell := func(n *node, doc *document, root int, say func(verdict)) {
		switch {
		case n == nil:
		case doc == nil:
			n.explainAbsent(say)
		default:
			n.explain(doc, root, say)
		}
	}
	doc, root := e.attributes()
	tell(c.extensions, doc, root, func(v verdict) {
		v.inExtensions = true
		say(v)
	})
	doc, root = e.data()
	tell(c.data, doc, root, say)
}

// candidate is a value, other than an array, that a node may be held against.
type candidate struct {
	at     int  // none stands for no value
	failed int  // lists that do not match
	found  bool // all match, and one by a value that is there
}

// closest gives the value at a place, or of an array the element that matches, else
// the one that comes closest. An element in which all that is asked for is absent
// proves nothing as long as it stands in another one. What finds or lacking says is
// true when nothing failed.
func (n *node) closest(d *document, at int) candidate {
	if d.values[at].kind != kindArray {
		return n.weigh(d, at)
	}
	best := candidate{at: none}
	allAbsent := n.needed == 0
	for i, end := at+1, d.next(at); i < end; i = d.next(i) {
		c := n.closest(d, i)
		if c.found {
			return c
		}
		allAbsent = allAbsent && c.failed == 0
		if c.at != none && c.failed > 0 && (best.at == none || c.failed < best.failed) {
			best = c
		}
	}
	if allAbsent || best.at == none {
		return candidate{at: none, failed: n.needed}
	}
	return best
}

// weigh holds the node against a value that is no array.
func (n *node) weigh(d *document, at int) candidate {
	c := candidate{at: at}
	isObject := d.values[at].kind == kindObject
	for _, l := range n.lists {
		ok := l.absent != ""
		if !isObject {
			ok = l.accepts(d.scalar(at))
		}
		c.failed += boolInt(!ok)
		c.found = c.found || !isObject
	}
	for _, m := range n.members {
		if i, ok := d.member(at, m.name); ok {
			below := m.node.closest(d, i)
			c.failed += below.failed
			c.found = c.found || below.found
		} else {
			c.failed += m.node.needed
		}
	}
	c.found = c.found && c.failed == 0
	return c
}

// member is field, for any value.
func (d *document) member(at int, name string) (int, bool) {
	if d.values[at].kind != kindObject {
		return 0, false
	}
	return d.field(at, name)
}

// explain says what weigh counts.
func (n *node) explain(d *document, at int, say func(verdict)) {
	if at = n.closest(d, at).at; at == none {
		n.explainAbsent(say)
		return
	}
	isObject := d.values[at].kind == kindObject
	for _, l := range n.lists {
		ok := l.absent != ""
		if !isObject {
			ok = l.accepts(d.scalar(at))
		}
		say(verdict{list: l, matched: ok, inData: true, at: at})
	}
	for _, m := range n.members {
		if i, ok := d.member(at, m.name); ok {
			m.node.explain(d, i, say)
		} else {
			m.node.explainAbsent(say)
		}
	}
}

// explainAbsent is explain where there is nothing.
func (n *node) explainAbsent(say func(verdict)) {
	for _, l := range n.lists {
		say(verdict{list: l, matched: l.absent != "", inData: true, at: none})
	}
	for _, m := range n.members {
		m.node.explainAbsent(say)
	}
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
		doc, root, name := e.doc, e.root, dataName
		if v.inExtensions {
			doc, root, name = e.extensions, e.extensionRoot, extensionsName
		}
		x.At = doc.pointerTo(name, root, v.at)
		if doc.values[v.at].kind == kindObject {
			x.Reason = v.list.reasonAbsent("it is an object, and a list matches plain values")
		} else {
			x.Value, x.Reason = doc.source(v.at), v.list.reason(doc.scalar(v.at))
		}
	}
	return x
}

// pointerTo gives the JSON pointer of a value within the named field of the event,
// which stands at root.
func (d *document) pointerTo(name string, root, at int) string {
	r := report{}
	r.enter(name)
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
