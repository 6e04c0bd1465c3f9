package pattern

import (
	"errors"
	"slices"
	"strings"
	"unicode/utf8"
)

// The limits of a pattern. EventBridge allows 2,048 characters; these leave room
// for lists made by programs and bound the work that one rule can cause.
const (
	MaxBytes  = 64 << 10 // of the JSON text
	MaxDepth  = 32       // levels of fields, dotted ones included
	MaxValues = 2000     // values in all lists together
)

const (
	opPrefix     = "prefix"
	opIgnoreCase = "equals-ignore-case"
	opOr         = "$or"
)

// opsToCome are the operators of the language that are refused for now.
var opsToCome = []string{"suffix", opIgnoreCase, "wildcard", "anything-but", "numeric", "cidr", "exists", opOr}

// sameAs gives our names of what users of EventBridge may write.
var sameAs = map[string]string{"detail-type": "type", "detail": dataName, "account": "tenant"}

// Compile reads a pattern. The error is Problems: all mistakes at once, with
// pointers from the root of the pattern.
func Compile(raw []byte) (*Pattern, error) {
	c, root := &compiler{}, &node{}
	if c.read(raw) {
		c.object(root, 0, 0)
	}
	if err := c.err(); err != nil {
		return nil, err
	}
	return newPattern(root), nil
}

// newPattern sorts what is asked of the event's own strings from what is asked of
// its data.
func newPattern(root *node) *Pattern {
	p := &Pattern{}
	for _, m := range root.members {
		if f, ok := fieldNamed(m.name); ok {
			p.envelope = append(p.envelope, envelopeTest{field: f, list: m.node.list})
		} else {
			p.data = m.node
		}
	}
	return p
}

// compiler walks the document of a pattern. It goes on after a mistake, so that
// the report is whole; what it has built is then thrown away.
type compiler struct {
	*document
	report
	count int // values so far
}

// read parses a pattern; what it refuses there is no use in walking.
func (c *compiler) read(raw []byte) bool {
	if len(raw) > MaxBytes {
		c.add("is larger than %d bytes; split it into several rules", MaxBytes)
		return false
	}
	if !utf8.Valid(raw) {
		c.add("is not valid UTF-8")
		return false
	}
	doc, err := parse(raw)
	switch {
	case errors.Is(err, errTooDeep):
		c.add("nests deeper than %d levels; match fields nearer to the top", MaxDepth)
	case err != nil:
		c.add("is not JSON: it %v", err)
	case doc.values[0].kind != kindObject:
		c.add(`must be a JSON object, such as {"type": ["order.paid"]}`)
	default:
		c.document = doc
		return true
	}
	return false
}

// object compiles the fields of an object into the node. depth is the level of
// the object.
func (c *compiler) object(into *node, at, depth int) {
	if c.values[at].lo == 0 {
		if depth == 0 {
			c.add(`is empty; to match every event, write {"type": [{"prefix": ""}]}`)
		} else {
			c.add("is empty; name a field in it, or remove it")
		}
		return
	}
	for i, end := at+1, c.next(at); i < end; i = c.next(i) {
		back := c.enter(c.key(i))
		c.field(into, i, depth)
		c.leave(back)
	}
}

// field compiles one field of an object of the given level. Its key may name
// several levels.
func (c *compiler) field(into *node, at, depth int) {
	steps := strings.Split(c.key(at), ".")
	if slices.Contains(steps, opOr) {
		c.add("%s is not supported yet; write a rule for each branch", opOr)
		return
	}
	if depth == 0 && !c.checkTop(at, steps) {
		return
	}
	depth += len(steps)
	if depth > MaxDepth {
		c.add("stands deeper than %d levels; match a field nearer to the top", MaxDepth)
		return
	}
	for _, step := range steps {
		into = into.child(step)
	}
	switch c.values[at].kind {
	case kindObject:
		c.object(into, at, depth)
	case kindArray:
		into.list = c.list(at)
	default:
		c.notList(steps[len(steps)-1])
	}
}

// checkTop checks that events have such a field at their top. It tells whether
// what stands below makes sense to check: nothing does below a string.
func (c *compiler) checkTop(at int, steps []string) bool {
	name := steps[0]
	if name == dataName {
		return true
	}
	if _, ok := fieldNamed(name); ok {
		if len(steps) > 1 || c.values[at].kind == kindObject {
			c.add(`is a string in every event; give it a list, such as ["a", {"prefix": "b"}]`)
			return false
		}
		return true
	}
	if ours, ok := sameAs[name]; ok {
		c.add("is not a field of an event; the name here is %s", ours)
	} else {
		c.add("is not a field of an event; use %s, or data for fields of your own", strings.Join(fieldNames[:], ", "))
	}
	return true
}

// notList reports a leaf that is no list.
func (c *compiler) notList(name string) {
	if name == opPrefix || slices.Contains(opsToCome, name) {
		c.add(`must stand inside a list if it is meant as an operator, such as [{"prefix": "a"}], or be a list if it is a field`)
		return
	}
	c.add("must be a list of the values to match, even of a single one, or an object of fields")
}

// list compiles a leaf.
func (c *compiler) list(at int) *list {
	l := &list{exact: make(map[scalar]struct{}, c.values[at].lo)}
	size := int(c.values[at].lo)
	if size == 0 {
		c.add("is empty and would match nothing; give it a value, or remove it")
	}
	if c.count <= MaxValues && c.count+size > MaxValues {
		c.add("brings the pattern above %d values; split it into several rules", MaxValues)
	}
	c.count += size
	for i, n := at+1, 0; n < size; i, n = c.next(i), n+1 {
		back := c.enterIndex(n)
		switch c.values[i].kind {
		case kindArray:
			c.add("must not be a list; put its values into the list around it")
		case kindObject:
			c.operator(l, i)
		default:
			l.exact[c.scalar(i)] = struct{}{}
		}
		c.leave(back)
	}
	return l
}

// operator compiles an object inside a list.
func (c *compiler) operator(l *list, at int) {
	switch c.values[at].lo {
	case 0:
		c.add(`is empty; write {"prefix": "a"} or a value`)
	case 1:
	default:
		c.add("must have one operator; give each an object of its own in the list")
	}
	for i, end := at+1, c.next(at); i < end; i = c.next(i) {
		name := c.key(i)
		back := c.enter(name)
		switch lower := strings.ToLower(name); {
		case name == opPrefix:
			c.prefix(l, i)
		case slices.Contains(opsToCome, lower):
			c.add("operator %s is not supported yet; use exact values and prefix", lower)
		case lower == opPrefix:
			c.add("is not an operator; write prefix in lower case")
		default:
			c.add("is not an operator; use exact values and prefix")
		}
		c.leave(back)
	}
}

// prefix compiles the operand of a prefix.
func (c *compiler) prefix(l *list, at int) {
	if c.values[at].kind == kindString {
		l.prefixes = append(l.prefixes, c.scalar(at).text)
		return
	}
	if c.values[at].kind == kindObject && c.values[at].lo == 1 && c.key(at+1) == opIgnoreCase {
		back := c.enter(opIgnoreCase)
		c.add("prefix with %s is not supported yet; list the spellings as prefixes of their own", opIgnoreCase)
		c.leave(back)
		return
	}
	c.add(`must be a string; for several prefixes, put several {"prefix": "a"} into the list`)
}
