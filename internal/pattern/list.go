package pattern

import (
	"net/netip"
	"slices"
	"strings"
)

// list is a leaf of a pattern. A value matches when it is one of the exact ones
// or passes one of the tests.
type list struct {
	pointer string // from the root of the pattern
	order   int    // among the lists of the pattern
	exact   []scalar
	sorted  bool // exact is long, and sorted for it
	tests   []test
	absent  string // the source of an {"exists": false} in it, or empty
}

// scalar is a value that is neither an array nor an object. Two are equal as Go
// values when they are equal to a pattern: numbers have their canonical text.
type scalar struct {
	kind kind
	text string
}

func compareScalars(a, b scalar) int {
	if a.kind != b.kind {
		return int(a.kind) - int(b.kind)
	}
	return strings.Compare(a.text, b.text)
}

// longList is the number of exact values from which a search beats a scan.
const longList = 16

// seal makes the list ready for accepts.
func (l *list) seal() {
	if l.sorted = len(l.exact) >= longList; l.sorted {
		slices.SortFunc(l.exact, compareScalars)
	}
}

// accepts tells whether the list has the value.
func (l *list) accepts(s scalar) bool {
	if l.has(s) {
		return true
	}
	for i := range l.tests {
		if l.tests[i].accepts(s) {
			return true
		}
	}
	return false
}

func (l *list) has(s scalar) bool {
	if l.sorted {
		_, ok := slices.BinarySearchFunc(l.exact, s, compareScalars)
		return ok
	}
	return slices.Contains(l.exact, s)
}

// op is an operator of the language.
type op uint8

const (
	opPrefix op = iota
	opSuffix
	opIgnoreCase
	opWildcard
	opAnythingBut
	opNumeric
	opCIDR
	opExists
	numOps
)

// opNames are the names of the operators in patterns.
var opNames = [numOps]string{
	"prefix", "suffix", "equals-ignore-case", "wildcard", "anything-but", "numeric", "cidr", "exists",
}

func opNamed(name string) (op, bool) {
	i := slices.Index(opNames[:], name)
	return op(max(i, 0)), i >= 0 //nolint:gosec // there are numOps names
}

// test is an operator with its operand.
type test struct {
	op       op
	fold     bool     // a prefix or suffix regardless of case
	text     string   // of a prefix or suffix, or to equal regardless of case; then folded
	wildcard wildcard // of a wildcard
	span     span     // of numeric
	network  netip.Prefix
	not      *list  // of anything-but
	source   string // the operator as it stands in the pattern
}

// accepts tells whether a value passes the test.
func (t *test) accepts(s scalar) bool {
	switch t.op {
	case opExists:
		return true
	case opAnythingBut:
		return !t.not.accepts(s)
	case opNumeric:
		return s.kind == kindNumber && t.span.contains(s.text)
	default:
		return s.kind == kindString && t.acceptsText(s.text)
	}
}

func (t *test) acceptsText(text string) bool {
	switch t.op {
	case opPrefix:
		if t.fold {
			_, ok := cutFoldedPrefix(text, t.text)
			return ok
		}
		return strings.HasPrefix(text, t.text)
	case opSuffix:
		if t.fold {
			_, ok := cutFoldedSuffix(text, t.text)
			return ok
		}
		return strings.HasSuffix(text, t.text)
	case opIgnoreCase:
		rest, ok := cutFoldedPrefix(text, t.text)
		return ok && rest == ""
	case opWildcard:
		return t.wildcard.matches(text)
	case opCIDR:
		addr, ok := parseAddr(text)
		return ok && t.network.Contains(addr)
	default:
		return false
	}
}

// span is the numbers between two bounds, as canonical texts. An empty bound is
// none.
type span struct {
	low, high         string
	openLow, openHigh bool // the bound itself is outside
}

func (s *span) contains(number string) bool {
	if s.low != "" {
		if order := compareNumbers(number, s.low); order < 0 || order == 0 && s.openLow {
			return false
		}
	}
	if s.high != "" {
		if order := compareNumbers(number, s.high); order > 0 || order == 0 && s.openHigh {
			return false
		}
	}
	return true
}

// parseAddr reads an IP address. The look at its bytes comes first since most
// strings are none, and netip's errors cost an allocation each. Zones are no part
// of a network.
func parseAddr(text string) (netip.Addr, bool) {
	const longest = len("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255")
	if len(text) < len("::") || len(text) > longest {
		return netip.Addr{}, false
	}
	for i := range len(text) {
		c := text[i]
		if !isDigit(c) && c != '.' && c != ':' && (c|0x20 < 'a' || c|0x20 > 'f') {
			return netip.Addr{}, false
		}
	}
	addr, err := netip.ParseAddr(text)
	return addr.Unmap(), err == nil
}

// parseNetwork reads a network, in which bits behind the mask do not matter.
func parseNetwork(text string) (netip.Prefix, bool) {
	network, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, false
	}
	if mapped := network.Addr(); mapped.Is4In6() && network.Bits() >= 96 {
		network = netip.PrefixFrom(mapped.Unmap(), network.Bits()-96)
	}
	return network.Masked(), true
}
