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
	MaxDepth  = 32       // levels of fields and $or, dotted ones included
	MaxValues = 2000     // values in all lists together, those of anything-but included
	MaxStars  = 256      // stars in all wildcards together
)

// orName is the field whose value is a list of branches.
const orName = "$or"

// sameAs gives our names of what users of EventBridge may write.
var sameAs = map[string]string{"detail-type": "type", "detail": dataName, "account": "tenant"}

// Compile reads a pattern. The error is Problems: all mistakes at once, with
// pointers from the root of the pattern.
func Compile(raw []byte) (*Pattern, error) {
	c, root := &compiler{}, &tree{top: true}
	if c.read(raw) {
		c.object(root, 0, 0)
		if combinations, lists := root.size(); lists > MaxFields {
			c.add("asks for too much: the branches of its %s make %d combinations or more, which may have %d fields together; "+
				"split it into several rules", orName, min(combinations, MaxFields), MaxFields)
		}
	}
	if err := c.err(); err != nil {
		return nil, err
	}
	return newPattern(root), nil
}

// compiler walks the document of a pattern. It goes on after a mistake, so that
// the report is whole; what it has built is then thrown away.
type compiler struct {
	*document
	report
	lists int // lists so far
	count int // values so far
	stars int // stars so far
	ors   int // $or around the walk
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

// object compiles the fields of an object into the tree. depth is the level of
// the object.
func (c *compiler) object(into *tree, at, depth int) {
	if c.values[at].lo == 0 {
		if at == 0 {
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
func (c *compiler) field(into *tree, at, depth int) {
	steps := strings.Split(c.key(at), ".")
	depth += len(steps)
	or := steps[len(steps)-1] == orName && c.isOr(at)
	if or {
		steps = steps[:len(steps)-1]
	}
	if into.top && len(steps) > 0 && !c.checkTop(at, steps, or) {
		return
	}
	if c.ors > 0 && c.checkNames(steps) {
		return
	}
	if depth > MaxDepth {
		c.add("stands deeper than %d levels; match a field nearer to the top", MaxDepth)
		return
	}
	for _, step := range steps {
		into = into.child(step)
	}
	switch {
	case or:
		c.or(into, at, depth)
	case c.values[at].kind == kindObject:
		c.object(into, at, depth)
	case c.values[at].kind == kindArray:
		into.list = c.list(at)
	default:
		c.notList(steps[len(steps)-1])
	}
}

// isOr tells whether the value of $or is meant as branches. It is a plain field
// when it is an object, or a list with an operator in it.
func (c *compiler) isOr(at int) bool {
	if c.values[at].kind != kindArray {
		return false
	}
	for i, end := at+1, c.next(at); i < end; i = c.next(i) {
		if c.values[i].kind != kindObject {
			continue
		}
		for j, last := i+1, c.next(i); j < last; j = c.next(j) {
			if _, ok := opNamed(c.key(j)); ok {
				return false
			}
		}
	}
	return true
}

// or compiles the branches of a $or, each of which is a scope of its own: no list
// in it takes the place of one outside.
func (c *compiler) or(into *tree, at, depth int) {
	size := int(c.values[at].lo)
	if size < 2 {
		c.add("must have two branches or more, each an object of fields")
	}
	c.ors++
	branches := make([]*tree, 0, size)
	for i, n := at+1, 0; n < size; i, n = c.next(i), n+1 {
		back := c.enterIndex(n)
		branch := &tree{top: into.top}
		if c.values[i].kind == kindObject {
			c.object(branch, i, depth)
		} else {
			c.add("must be an object of fields, as every branch of %s", orName)
		}
		branches = append(branches, branch)
		c.leave(back)
	}
	c.ors--
	into.ors = append(into.ors, branches)
}

// checkNames refuses fields below $or that are named like operators, as
// EventBridge does: there they are more likely a list that was forgotten.
func (c *compiler) checkNames(steps []string) (refused bool) {
	for _, step := range steps {
		if _, ok := opNamed(step); ok {
			c.add("is named like an operator, which no field below %s may be; write a rule for each branch", orName)
			return true
		}
	}
	return false
}

// checkTop checks that events have such a field at their top. It tells whether
// what stands below makes sense to check: nothing does below a string.
func (c *compiler) checkTop(at int, steps []string, or bool) bool {
	name := steps[0]
	if name == dataName || name == extensionsName {
		return true
	}
	if _, ok := fieldNamed(name); ok {
		if len(steps) > 1 || or || c.values[at].kind == kindObject {
			c.add(`is a string in every event; give it a list, such as ["a", {"prefix": "b"}]`)
			return false
		}
		return true
	}
	if name == orName {
		c.add("is not a field of an event; for alternatives, give it a list of two objects of fields or more")
	} else if ours, ok := sameAs[name]; ok {
		c.add("is not a field of an event; the name here is %s", ours)
	} else {
		c.add("is not a field of an event; use %s, extensions for those of CloudEvents, or data for fields of your own", strings.Join(fieldNames[:], ", "))
	}
	return true
}

// notList reports a leaf that is no list.
func (c *compiler) notList(name string) {
	_, operator := opNamed(name)
	switch {
	case operator:
		c.add(`must stand inside a list if it is meant as an operator, such as [{"prefix": "a"}], or be a list if it is a field`)
	case name == orName:
		c.add("must be a list of two objects of fields or more")
	default:
		c.add("must be a list of the values to match, even of a single one, or an object of fields")
	}
}

// list compiles a leaf.
func (c *compiler) list(at int) *list {
	size := int(c.values[at].lo)
	l := &list{pointer: string(c.pointer), order: c.lists, exact: make([]scalar, 0, size)}
	c.lists++
	if size == 0 {
		c.add("is empty and would match nothing; give it a value, or remove it")
	}
	c.countValues(size)
	for i, n := at+1, 0; n < size; i, n = c.next(i), n+1 {
		back := c.enterIndex(n)
		switch c.values[i].kind {
		case kindArray:
			c.add("must not be a list; put its values into the list around it")
		case kindObject:
			c.operator(l, i)
		default:
			l.exact = append(l.exact, c.scalar(i))
		}
		c.leave(back)
	}
	l.exact = slices.Clip(l.exact)
	l.seal()
	return l
}

// countValues counts the values of a list against the limit.
func (c *compiler) countValues(n int) {
	if c.count <= MaxValues && c.count+n > MaxValues {
		c.add("brings the pattern above %d values; split it into several rules", MaxValues)
	}
	c.count += n
}
