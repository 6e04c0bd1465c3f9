package pattern

import "slices"

// comparisons are those of numeric.
var comparisons = []string{"=", "<", "<=", ">", ">="}

// numeric compiles the operand of numeric: one comparison, or a lower bound and
// then an upper one.
func (c *compiler) numeric(s *span, at int) bool {
	if c.values[at].kind != kindArray || c.values[at].lo == 0 {
		c.add(`must be a list of a comparison and a number, such as [">", 0], or of two, such as [">=", 0, "<", 5]`)
		return false
	}
	var names []string
	for i, n, end := at+1, 0, c.next(at); i < end; n += 2 {
		name, ok := c.bound(s, i, n, end)
		if !ok {
			return false
		}
		names = append(names, name)
		i = c.next(c.next(i))
	}
	return c.checkBounds(s, names)
}

// checkBounds checks that two comparisons are a range.
func (c *compiler) checkBounds(s *span, names []string) bool {
	switch {
	case len(names) == 1:
		return true
	case len(names) > 2:
		c.add("has %d comparisons; a range has two, a lower bound and then an upper one", len(names))
	case names[0][0] != '>' || names[1][0] != '<':
		c.add("has %s and then %s; a range is a lower bound (> or >=) and then an upper one (< or <=)", names[0], names[1])
	case compareNumbers(s.low, s.high) >= 0:
		c.add(`has a lower bound that is not less than the upper one; for a single number, write ["=", 5]`)
	default:
		return true
	}
	return false
}

// bound compiles the comparison that stands at a place and index of a list, and
// the number behind it, and gives the comparison. The list ends at end.
func (c *compiler) bound(s *span, at, index, end int) (name string, ok bool) {
	back := c.enterIndex(index)
	defer func() { c.leave(back) }()
	if c.values[at].kind == kindString {
		name = c.scalar(at).text
	}
	if !slices.Contains(comparisons, name) {
		c.add(`must be a comparison: "=", "<", "<=", ">" or ">="`)
		return "", false
	}
	number := c.next(at)
	if number == end {
		c.add("is %s without a number behind it", name)
		return "", false
	}
	if c.values[number].kind != kindNumber {
		c.leave(back)
		c.enterIndex(index + 1)
		c.add("must be a number, for %s to compare with", name)
		return "", false
	}
	text := c.scalar(number).text
	switch name {
	case "=":
		s.low, s.high = text, text
	case ">", ">=":
		s.low, s.openLow = text, name == ">"
	default:
		s.high, s.openHigh = text, name == "<"
	}
	return name, true
}
