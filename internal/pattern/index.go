package pattern

import (
	"cmp"
	"encoding/binary"
	"math"
	"net/netip"
	"slices"
	"strings"
)

// branch is a place in the index of a set: entries to check, and look-ups of the
// event's values that lead to further branches.
type branch struct {
	number  int
	entries []int
	fields  []pathValues // the event's own strings
	data    []pathValues // in the order of the paths
}

// pathValues are the values that entries ask for at a path.
type pathValues struct {
	path   int
	values *values
}

func comparePath(p pathValues, path int) int { return cmp.Compare(p.path, path) }

// values lead from a value to the branches whose entries may want it.
type values struct {
	exact       map[scalar]*branch
	foldedExact map[string]*branch
	any         *branch // whatever the value is
	text        *branch // whatever the string is

	prefixes, foldedPrefixes *prefixes
	suffixes, foldedSuffixes *prefixes // reversed
	numbers                  *spans
	networks4, networks6     *spans
}

// prefixes are texts in order.
type prefixes struct{ list []prefix }

type prefix struct {
	text    string
	shorter int // the place of the longest other one that this one begins with, or none
	branch  *branch
}

func (p *prefixes) add(text string, b *branch) *prefixes {
	if p == nil {
		p = &prefixes{}
	}
	p.list = append(p.list, prefix{text: text, branch: b})
	return p
}

func (p *prefixes) seal() {
	if p == nil {
		return
	}
	slices.SortFunc(p.list, func(a, b prefix) int { return strings.Compare(a.text, b.text) })
	for i := range p.list {
		shorter := i - 1
		for shorter >= 0 && !strings.HasPrefix(p.list[i].text, p.list[shorter].text) {
			shorter = p.list[shorter].shorter
		}
		p.list[i].shorter = shorter
	}
}

// spans are closed intervals in the order of their lower ends, and at once a
// balanced tree: the middle of any stretch that a search divides is its root.
//
// Bounds are float64, whatever the exact numbers are. Rounding keeps the order, so
// that a number within exact bounds is within the rounded ones; those that rounding
// lets in besides are ruled out when the entry is matched.
type spans struct{ list []rounded }

type rounded struct {
	low, high float64
	furthest  float64 // the greatest high below this root
	branch    *branch
}

func (s *spans) add(low, high float64, b *branch) *spans {
	if s == nil {
		s = &spans{}
	}
	s.list = append(s.list, rounded{low: low, high: high, branch: b})
	return s
}

func (s *spans) seal() {
	if s == nil {
		return
	}
	slices.SortFunc(s.list, func(a, b rounded) int { return cmp.Compare(a.low, b.low) })
	s.reach(0, len(s.list))
}

func (s *spans) reach(from, to int) float64 {
	if from >= to {
		return math.Inf(-1)
	}
	middle := (from + to) / 2
	m := &s.list[middle]
	m.furthest = max(m.high, s.reach(from, middle), s.reach(middle+1, to))
	return m.furthest
}

// add leads from what a probe stands for to a branch.
func (v *values) add(p probe, b *branch) {
	switch p.kind {
	case probeExact:
		if v.exact == nil {
			v.exact = map[scalar]*branch{}
		}
		v.exact[p.scalar] = b
	case probeFolded:
		if v.foldedExact == nil {
			v.foldedExact = map[string]*branch{}
		}
		v.foldedExact[p.scalar.text] = b
	case probePrefix:
		v.prefixes = v.prefixes.add(p.scalar.text, b)
	case probeSuffix:
		v.suffixes = v.suffixes.add(p.scalar.text, b)
	case probeFoldedPrefix:
		v.foldedPrefixes = v.foldedPrefixes.add(p.scalar.text, b)
	case probeFoldedSuffix:
		v.foldedSuffixes = v.foldedSuffixes.add(p.scalar.text, b)
	case probeNumbers:
		v.numbers = v.numbers.add(p.low, p.high, b)
	case probeNetwork4:
		v.networks4 = v.networks4.add(p.low, p.high, b)
	case probeNetwork6:
		v.networks6 = v.networks6.add(p.low, p.high, b)
	case probeText:
		v.text = b
	case probeAny:
		v.any = b
	}
}

func (v *values) seal() {
	for _, p := range []*prefixes{v.prefixes, v.suffixes, v.foldedPrefixes, v.foldedSuffixes} {
		p.seal()
	}
	for _, s := range []*spans{v.numbers, v.networks4, v.networks6} {
		s.seal()
	}
}

// probeKind is a way to look up a value.
type probeKind uint8

const (
	probeExact probeKind = iota
	probeFolded
	probePrefix
	probeSuffix
	probeFoldedPrefix
	probeFoldedSuffix
	probeNumbers
	probeNetwork4
	probeNetwork6
	probeText
	probeAny
)

// probe is one look-up at one path. A value that a list accepts is found by one of
// the list's probes at least; one that is found may still not be accepted.
type probe struct {
	path      int
	kind      probeKind
	scalar    scalar // its text; folded or reversed where the kind says so
	low, high float64
}

// probes gives the probes of a list.
func (l *list) probes(path int) []probe {
	found := make([]probe, 0, len(l.exact)+len(l.tests))
	for _, s := range l.exact {
		found = append(found, probe{path: path, kind: probeExact, scalar: s})
	}
	for i := range l.tests {
		p := l.tests[i].probe()
		p.path = path
		if p.kind == probeAny {
			return []probe{p} // it finds all that the others do
		}
		found = append(found, p)
	}
	return found
}

func (t *test) probe() probe {
	switch t.op {
	case opPrefix:
		if t.fold {
			return textProbe(probeFoldedPrefix, t.text)
		}
		return textProbe(probePrefix, t.text)
	case opSuffix:
		reversed := string(appendReversed(nil, t.text))
		if t.fold {
			return textProbe(probeFoldedSuffix, reversed)
		}
		return textProbe(probeSuffix, reversed)
	case opIgnoreCase:
		return textProbe(probeFolded, t.text)
	case opWildcard:
		return t.wildcard.probe()
	case opNumeric:
		return t.span.probe()
	case opCIDR:
		return networkProbe(t.network)
	default: // anything-but and exists
		return probe{kind: probeAny}
	}
}

func textProbe(kind probeKind, text string) probe {
	return probe{kind: kind, scalar: scalar{kind: kindString, text: text}}
}

// probe looks for the text before the first star, or else behind the last one.
func (w wildcard) probe() probe {
	first, last := w[0], w[len(w)-1]
	switch {
	case len(w) == 1:
		return textProbe(probeExact, first)
	case first != "":
		return textProbe(probePrefix, first)
	case last != "":
		return textProbe(probeSuffix, string(appendReversed(nil, last)))
	default:
		return probe{kind: probeText}
	}
}

func (s *span) probe() probe {
	if s.low == s.high {
		return probe{kind: probeExact, scalar: scalar{kind: kindNumber, text: s.low}}
	}
	p := probe{kind: probeNumbers, low: math.Inf(-1), high: math.Inf(1)}
	if s.low != "" {
		p.low = approximate(s.low)
	}
	if s.high != "" {
		p.high = approximate(s.high)
	}
	return p
}

// networkProbe looks up the addresses of a network as numbers; of IPv6 addresses,
// by their first half.
func networkProbe(network netip.Prefix) probe {
	addr, bits := network.Addr(), network.Bits()
	if addr.Is4() {
		low := addressKey(addr)
		return probe{kind: probeNetwork4, low: low, high: low + math.Exp2(float64(32-bits)) - 1}
	}
	first := firstHalf(addr)
	last := first
	if bits < 64 {
		last |= math.MaxUint64 >> bits
	}
	return probe{kind: probeNetwork6, low: float64(first), high: float64(last)}
}

// addressKey gives the place of an address among those of its kind.
func addressKey(addr netip.Addr) float64 {
	if addr.Is4() {
		b := addr.As4()
		return float64(binary.BigEndian.Uint32(b[:]))
	}
	return float64(firstHalf(addr))
}

func firstHalf(addr netip.Addr) uint64 {
	b := addr.As16()
	return binary.BigEndian.Uint64(b[:8])
}

func appendReversed[T string | []byte](dst []byte, text T) []byte {
	for i := len(text) - 1; i >= 0; i-- {
		dst = append(dst, text[i])
	}
	return dst
}
