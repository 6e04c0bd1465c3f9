package pattern

import "slices"

// Pattern is a compiled pattern. It does not change and may be shared.
type Pattern struct {
	combinations []*combination
	lists        []*list // all that count, in the order of the pattern
}

// combination is a pattern without $or: a pattern matches when one of its
// combinations does.
type combination struct {
	envelope   []envelopeTest
	data       *node // nil when the combination does not look at data
	extensions *node // nor at extensions
}

// envelopeTest is what a pattern asks of one of the event's own strings.
type envelopeTest struct {
	field field
	list  *list
}

// node is what a combination asks at one place of data: that the value be in all
// of the lists, and that it be an object with the members. It does not change, and
// combinations share it.
type node struct {
	lists   []*list
	members []member

	// needed counts the lists of the node and below it that a value must be there
	// for: all but those with {"exists": false}.
	needed int
}

// member is what a combination asks of one field of an object.
type member struct {
	name string
	node *node
}

func newNode(lists []*list, members []member) *node {
	n := &node{lists: lists, members: members}
	for _, l := range lists {
		n.needed += boolInt(l.absent == "")
	}
	n.needed += n.neededBelow()
	return n
}

func (n *node) neededBelow() int {
	needed := 0
	for _, m := range n.members {
		needed += m.node.needed
	}
	return needed
}

// Match tells whether the event is one that the pattern wants. To match an event
// against many patterns, put them into a Set.
func (p *Pattern) Match(e *Event) bool {
	return slices.ContainsFunc(p.combinations, func(c *combination) bool { return c.matches(e) })
}

func (c *combination) matches(e *Event) bool {
	// The event's own strings first: they need no parsing and settle most cases.
	for i := range c.envelope {
		if t := &c.envelope[i]; !t.list.acceptsField(e.fields[t.field]) {
			return false
		}
	}
	return c.extensions.matches(e.attributes) && c.data.matches(e.data)
}

// matches tells whether a document, which is only asked for when the node looks at
// it and is nil when the event has none, is what the node asks for.
func (n *node) matches(of func() (*document, int)) bool {
	if n == nil {
		return true
	}
	doc, at := of()
	if doc == nil {
		return n.needed == 0
	}
	return n.finds(doc, at) || n.needed == 0 && n.lacking(doc, at)
}

// acceptsField is accepts for one of the event's own strings, of which an empty
// one is absent.
func (l *list) acceptsField(text string) bool {
	if text == "" {
		return l.absent != ""
	}
	return l.accepts(scalar{kind: kindString, text: text})
}

// finds tells whether the value at a place of the document is what the node asks
// for, by at least one value that is there. Of an array one element must be so by
// itself, which keeps everything asked below an array in the same element; what
// has to be absent is looked for in that element only.
func (n *node) finds(d *document, at int) bool {
	switch d.values[at].kind {
	case kindArray:
		for i, end := at+1, d.next(at); i < end; i = d.next(i) {
			if n.finds(d, i) {
				return true
			}
		}
		return false
	case kindObject:
		return (len(n.lists) == 0 || n.needed == n.neededBelow()) && n.findsMembers(d, at)
	default:
		if len(n.lists) == 0 || n.neededBelow() > 0 {
			return false
		}
		s := d.scalar(at)
		for _, l := range n.lists {
			if !l.accepts(s) {
				return false
			}
		}
		return true
	}
}

func (n *node) findsMembers(d *document, object int) bool {
	found := false
	for _, m := range n.members {
		at, ok := d.field(object, m.name)
		switch {
		case ok && m.node.finds(d, at):
			found = true
		case m.node.needed > 0 || ok && !m.node.lacking(d, at):
			return false
		}
	}
	return found
}

// lacking tells whether no list of the node and below it has a value to look at:
// in an array, in none of its elements.
func (n *node) lacking(d *document, at int) bool {
	switch d.values[at].kind {
	case kindArray:
		for i, end := at+1, d.next(at); i < end; i = d.next(i) {
			if !n.lacking(d, i) {
				return false
			}
		}
		return true
	case kindObject:
		for _, m := range n.members {
			if i, ok := d.field(at, m.name); ok && !m.node.lacking(d, i) {
				return false
			}
		}
		return true
	default:
		return len(n.lists) == 0
	}
}
