package pattern

import "strings"

// Pattern is a compiled pattern. It does not change and may be shared.
type Pattern struct {
	envelope []envelopeTest // in the order of the pattern
	data     *node          // nil when the pattern does not look at data
}

// envelopeTest is what a pattern asks of one of the event's own strings.
type envelopeTest struct {
	field field
	list  *list
}

// node is what a pattern asks at one place of data: that the value be in the
// list, that it be an object with the members, or, where a pattern says both of
// one path, both, which no value is.
type node struct {
	list    *list
	members []member // in the order of the pattern
}

// member is what a pattern asks of one field of an object.
type member struct {
	name string
	node *node
}

// child gives the node of a field and makes it when the pattern names the field
// for the first time.
func (n *node) child(name string) *node {
	for _, m := range n.members {
		if m.name == name {
			return m.node
		}
	}
	made := &node{}
	n.members = append(n.members, member{name: name, node: made})
	return made
}

// list is a leaf of a pattern. A value matches when it is one of the exact ones
// or passes one of the tests.
type list struct {
	exact    map[scalar]struct{}
	prefixes []string
}

// scalar is a value that is neither an array nor an object. Two are equal as Go
// values when they are equal to a pattern: numbers have their canonical text.
type scalar struct {
	kind kind
	text string
}

func (l *list) matches(s scalar) bool {
	if _, ok := l.exact[s]; ok {
		return true
	}
	if s.kind == kindString {
		for _, prefix := range l.prefixes {
			if strings.HasPrefix(s.text, prefix) {
				return true
			}
		}
	}
	return false
}

// Match tells whether the event is one that the pattern wants.
func (p *Pattern) Match(e *Event) bool {
	// The event's own strings first: they need no parsing and settle most cases.
	for _, t := range p.envelope {
		text := e.fields[t.field]
		if text == "" || !t.list.matches(scalar{kind: kindString, text: text}) {
			return false
		}
	}
	if p.data == nil {
		return true
	}
	doc, at := e.data()
	return doc != nil && p.data.matches(doc, at)
}

// matches tells whether the value at a place of the document is what the node
// asks for. An array is when one element is by itself, which keeps everything
// asked below an array in the same element.
func (n *node) matches(d *document, at int) bool {
	switch d.values[at].kind {
	case kindArray:
		for i, end := at+1, d.next(at); i < end; i = d.next(i) {
			if n.matches(d, i) {
				return true
			}
		}
		return false
	case kindObject:
		if n.list != nil {
			return false
		}
		for _, m := range n.members {
			if i, ok := d.field(at, m.name); !ok || !m.node.matches(d, i) {
				return false
			}
		}
		return true
	default:
		return len(n.members) == 0 && n.list.matches(d.scalar(at))
	}
}
