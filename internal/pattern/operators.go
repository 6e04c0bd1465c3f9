package pattern

import (
	"slices"
	"strings"
)

// operator compiles an object inside a list.
func (c *compiler) operator(l *list, at int) {
	switch c.values[at].lo {
	case 0:
		c.add(`is empty; write {"prefix": "a"} or a value`)
		return
	case 1:
	default:
		c.add("must have one operator; give each an object of its own in the list")
	}
	source := c.source(at)
	for i, end := at+1, c.next(at); i < end; i = c.next(i) {
		name := c.key(i)
		back := c.enter(name)
		if o, ok := opNamed(name); ok {
			c.operand(l, test{op: o, source: source}, i)
		} else {
			c.notOperator(name)
		}
		c.leave(back)
	}
}

// notOperator reports a name that is none of an operator.
func (c *compiler) notOperator(name string) {
	lower := strings.ToLower(name)
	if _, ok := opNamed(lower); ok {
		c.add("is not an operator; write %s in lower case", lower)
	} else if name == orName {
		c.add("is not an operator; it stands among the fields of an object, with a list of two objects or more")
	} else {
		c.add("is not an operator; use a value or one of %s", strings.Join(opNames[:], ", "))
	}
}

// operand compiles what stands behind the name of an operator and adds the test
// to the list.
func (c *compiler) operand(l *list, t test, at int) {
	ok := false
	switch t.op {
	case opPrefix, opSuffix:
		ok = c.affix(&t, at)
	case opIgnoreCase:
		t.text, ok = c.stringOperand(at, t.op)
		t.text = folded(t.text)
	case opWildcard:
		ok = c.wildcard(&t, at)
	case opAnythingBut:
		t.not, ok = &list{}, true
		c.anythingBut(t.not, at)
		t.not.seal()
	case opNumeric:
		ok = c.numeric(&t.span, at)
	case opCIDR:
		ok = c.cidr(&t, at)
	default: // opExists
		switch c.values[at].kind {
		case kindTrue:
			ok = true
		case kindFalse:
			l.absent = t.source
		default:
			c.add("must be true or false")
		}
	}
	if ok {
		l.tests = append(l.tests, t)
	}
}

// stringOperand gives an operand that must be a string.
func (c *compiler) stringOperand(at int, o op) (text string, ok bool) {
	if c.values[at].kind == kindString {
		return c.scalar(at).text, true
	}
	c.add(`must be a string; for several, put several {"%s": "a"} into the list`, opNames[o])
	return "", false
}

// affix compiles the operand of a prefix or suffix, a string or such a string
// regardless of case.
func (c *compiler) affix(t *test, at int) bool {
	if c.values[at].kind == kindObject && c.values[at].lo == 1 && c.key(at+1) == opNames[opIgnoreCase] {
		back := c.enter(c.key(at + 1))
		text, ok := c.stringOperand(at+1, opIgnoreCase)
		c.leave(back)
		t.text, t.fold = folded(text), true
		return ok
	}
	if c.values[at].kind == kindObject {
		c.add(`must be a string, or {"%s": "a"}`, opNames[opIgnoreCase])
		return false
	}
	text, ok := c.stringOperand(at, t.op)
	t.text = text
	return ok
}

// wildcard compiles the operand of a wildcard.
func (c *compiler) wildcard(t *test, at int) bool {
	text, ok := c.stringOperand(at, t.op)
	if !ok {
		return false
	}
	w, wrong := parseWildcard(text)
	if wrong != "" {
		c.add("%s", wrong)
		return false
	}
	stars := len(w) - 1
	if c.stars <= MaxStars && c.stars+stars > MaxStars {
		c.add("brings the pattern above %d stars; split it into several rules", MaxStars)
	}
	c.stars += stars
	t.wildcard = w
	return true
}

// cidr compiles the operand of cidr.
func (c *compiler) cidr(t *test, at int) bool {
	text, ok := c.stringOperand(at, t.op)
	if !ok {
		return false
	}
	if t.network, ok = parseNetwork(text); !ok {
		c.add(`must be a network, such as "10.0.0.0/24" or "2001:db8::/32"`)
	}
	return ok
}

// anythingBut compiles the operand of anything-but into the list of what does not
// match: a string or a number, a list of either, or one operator on strings.
func (c *compiler) anythingBut(not *list, at int) {
	switch v := &c.values[at]; v.kind {
	case kindArray:
		c.anythingButList(not, at)
	case kindObject:
		if v.lo != 1 {
			c.add("must have one operator; give each an anything-but of its own")
			return
		}
		back := c.enter(c.key(at + 1))
		c.anythingButOperator(not, at+1)
		c.leave(back)
	default:
		if c.checkExcluded(at) {
			not.exact = append(not.exact, c.scalar(at))
		}
	}
}

func (c *compiler) anythingButList(not *list, at int) {
	size := int(c.values[at].lo)
	if size == 0 {
		c.add(`is empty and would exclude nothing; for any value, write {"exists": true}`)
	}
	c.countValues(size)
	for i, n := at+1, 0; n < size; i, n = c.next(i), n+1 {
		back := c.enterIndex(n)
		if c.checkExcluded(i) {
			not.exact = append(not.exact, c.scalar(i))
			if not.exact[0].kind != c.values[i].kind {
				c.add("mixes strings and numbers, which one anything-but must not; give each kind a rule of its own")
			}
		}
		c.leave(back)
	}
}

// checkExcluded checks that a value is one that anything-but takes.
func (c *compiler) checkExcluded(at int) bool {
	if kind := c.values[at].kind; kind == kindString || kind == kindNumber {
		return true
	}
	c.add("must be a string or a number; anything-but takes no null, no true or false, and no list or object in its list")
	return false
}

// excluding are the operators that may stand inside anything-but.
var excluding = []op{opPrefix, opSuffix, opIgnoreCase, opWildcard}

// anythingButOperator compiles the one operator inside anything-but, whose operand
// is a string or a list of strings.
func (c *compiler) anythingButOperator(not *list, at int) {
	o, ok := opNamed(c.key(at))
	if !ok || !slices.Contains(excluding, o) {
		c.add("is not an operator inside anything-but; use prefix, suffix, equals-ignore-case or wildcard")
		return
	}
	if c.values[at].kind != kindArray {
		c.excluded(not, o, at)
		return
	}
	size := int(c.values[at].lo)
	if size == 0 {
		c.add(`is empty and would exclude nothing; for any value, write {"exists": true}`)
	}
	c.countValues(size)
	for i, n := at+1, 0; n < size; i, n = c.next(i), n+1 {
		back := c.enterIndex(n)
		c.excluded(not, o, i)
		c.leave(back)
	}
}

// excluded compiles one string of an operator inside anything-but.
func (c *compiler) excluded(not *list, o op, at int) {
	if c.values[at].kind != kindString {
		c.add("must be a string or a list of strings, without an operator in it")
		return
	}
	text := c.scalar(at).text
	if text == "" && (o == opPrefix || o == opSuffix) {
		c.add("is empty and would exclude every string; give it a character, or remove it")
		return
	}
	c.operand(not, test{op: o}, at)
}
