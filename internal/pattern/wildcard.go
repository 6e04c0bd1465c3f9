package pattern

import "strings"

// Wildcard is a text in which each star stands for any run of characters, and nothing
// stands for a star. It is the operator wildcard where no pattern is needed.
type Wildcard struct{ parts wildcard }

// NewWildcard reads a wildcard; any text is one.
func NewWildcard(text string) Wildcard { return Wildcard{strings.Split(text, "*")} }

// Match tells whether the text is one that the wildcard stands for, in the time of one
// search through it.
func (w Wildcard) Match(text string) bool { return w.parts.matches(text) }

// wildcard is the text between the stars of a wildcard. Without a star there is
// one part, and a value must be equal to it.
type wildcard []string

// matches finds the parts in their order: the first at the beginning, the last at
// the end and each other one as early as possible, which leaves the most room for
// those behind it. So there is nothing to try again, and the time is that of
// searching through the value once.
func (w wildcard) matches(text string) bool {
	if len(w) == 1 {
		return text == w[0]
	}
	first, last := w[0], w[len(w)-1]
	if len(text) < len(first)+len(last) || !strings.HasPrefix(text, first) || !strings.HasSuffix(text, last) {
		return false
	}
	text = text[len(first) : len(text)-len(last)]
	for _, part := range w[1 : len(w)-1] {
		i := strings.Index(text, part)
		if i < 0 {
			return false
		}
		text = text[i+len(part):]
	}
	return true
}

// parseWildcard reads a wildcard. What is wrong with it is empty when nothing is.
func parseWildcard(text string) (w wildcard, wrong string) {
	var part []byte
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '*':
			if strings.HasPrefix(text[i+1:], "*") {
				return nil, `has two stars in a row; one matches any run of characters, and "\\*" in JSON is a star itself`
			}
			w, part = append(w, string(part)), part[:0]
		case '\\':
			i++
			if i == len(text) || text[i] != '*' && text[i] != '\\' {
				return nil, `has a backslash before something other than a star or a backslash; write "\\\\" in JSON for a backslash itself`
			}
			part = append(part, text[i])
		default:
			part = append(part, text[i])
		}
	}
	return append(w, string(part)), ""
}
