package pattern

import (
	"cmp"
	"slices"
	"sort"
	"strings"
)

const (
	// fewEntries are checked one by one rather than divided further.
	fewEntries = 4
	// maxLevels bounds how often entries are divided.
	maxLevels = 8
)

// builder makes the index of a set.
type builder struct {
	set  *Set
	cuts [][]cut // of each entry
	room int     // how many more times entries may be put below a branch
}

// cut is a list of an entry as a means of dividing entries: the entry is looked at
// only when one of the probes finds something.
type cut struct {
	path   int
	probes []probe
}

// index divides the entries of the set. An entry is put below the probes of one of
// its lists; where many entries are, they are divided by another of their lists
// again. An entry all of whose lists accept that there is nothing stands at the
// root and is checked for every event.
func (s *Set) index() {
	b := &builder{set: s, cuts: make([][]cut, len(s.entries)), room: 1000 + 16*len(s.entries)}
	all := make([]int, len(s.entries))
	for i, e := range s.entries {
		all[i] = i
		for _, t := range e.combination.envelope {
			b.cut(i, int(t.field), t.list)
		}
		if e.combination.data != nil {
			b.cutNode(i, e.combination.data, s.data)
		}
	}
	s.root = b.branch(all, nil)
}

func (b *builder) cut(entry, path int, l *list) {
	if l.absent == "" {
		b.cuts[entry] = append(b.cuts[entry], cut{path: path, probes: l.probes(path)})
	}
}

func (b *builder) cutNode(entry int, n *node, at *step) {
	if len(n.lists) > 0 && at.path == none {
		at.path = b.set.paths
		b.set.paths++
	}
	for _, l := range n.lists {
		b.cut(entry, at.path, l)
	}
	for _, m := range n.members {
		b.cutNode(entry, m.node, at.child(m.name))
	}
}

// branch makes a branch of entries that stand below the used paths.
func (b *builder) branch(entries, used []int) *branch {
	made := &branch{number: b.set.branches}
	b.set.branches++
	if len(entries) <= fewEntries || len(used) == maxLevels {
		made.entries = entries
		return made
	}
	order, groups, rest := b.divide(entries, used)
	size := 0
	for _, group := range groups {
		size += len(group)
	}
	if len(used) > 0 && size > b.room {
		made.entries = entries
		return made
	}
	b.room -= size
	made.entries = rest
	paths := map[int]*values{}
	for _, p := range order {
		v := paths[p.path]
		if v == nil {
			v = &values{}
			paths[p.path] = v
		}
		v.add(p, b.branch(groups[p], append(slices.Clone(used), p.path)))
	}
	for path, v := range paths {
		v.seal()
		if path < int(numFields) {
			made.fields = append(made.fields, pathValues{path, v})
		} else {
			made.data = append(made.data, pathValues{path, v})
		}
	}
	slices.SortFunc(made.data, func(a, b pathValues) int { return cmp.Compare(a.path, b.path) })
	return made
}

// divide puts each entry below the probes of its most telling list, in the order
// in which the probes come up. The rest has no list to divide by.
func (b *builder) divide(entries, used []int) (order []probe, groups map[probe][]int, rest []int) {
	c := b.census(entries, used)
	groups = map[probe][]int{}
	for _, i := range entries {
		best, least := -1, 0
		for j, cut := range b.cuts[i] {
			if slices.Contains(used, cut.path) {
				continue
			}
			// Of equals the first, which is one of the event's own strings if any is.
			if cost := c.cost(cut); best < 0 || cost < least {
				best, least = j, cost
			}
		}
		if best < 0 {
			rest = append(rest, i)
			continue
		}
		for _, p := range b.cuts[i][best].probes {
			group := groups[p]
			if group == nil {
				order = append(order, p)
			}
			if len(group) == 0 || group[len(group)-1] != i { // a list may have a value twice
				groups[p] = append(group, i)
			}
		}
	}
	return order, groups, rest
}

// census counts what entries ask for, to tell how telling a list is.
type census struct {
	entries int
	probes  map[probe]int
	texts   map[spot][]string  // prefixes in order, as often as they are asked for
	lows    map[spot][]float64 // lower bounds in order
	highs   map[spot][]float64 // upper bounds in order
}

// spot is a path and a way to look at it.
type spot struct {
	path int
	kind probeKind
}

func (b *builder) census(entries, used []int) *census {
	c := &census{
		entries: len(entries), probes: map[probe]int{},
		texts: map[spot][]string{}, lows: map[spot][]float64{}, highs: map[spot][]float64{},
	}
	for _, i := range entries {
		for _, cut := range b.cuts[i] {
			if slices.Contains(used, cut.path) {
				continue
			}
			for _, p := range cut.probes {
				c.count(p)
			}
		}
	}
	for at := range c.texts {
		slices.Sort(c.texts[at])
	}
	for at := range c.lows {
		slices.Sort(c.lows[at])
		slices.Sort(c.highs[at])
	}
	return c
}

func (c *census) count(p probe) {
	at := spot{p.path, p.kind}
	switch p.kind {
	case probePrefix, probeSuffix, probeFoldedPrefix, probeFoldedSuffix:
		c.texts[at] = append(c.texts[at], p.scalar.text)
	case probeNumbers, probeNetwork4, probeNetwork6:
		c.lows[at] = append(c.lows[at], p.low)
		c.highs[at] = append(c.highs[at], p.high)
	case probeExact, probeFolded:
		c.probes[p]++
	case probeText, probeAny:
	}
}

// cost estimates how many entries come up together with one that stands below a
// cut: those with the same values, those whose prefixes begin with its own, those
// whose spans meet its own.
func (c *census) cost(cut cut) int {
	total := 0
	for _, p := range cut.probes {
		total += c.company(p)
	}
	return total
}

func (c *census) company(p probe) int {
	at := spot{p.path, p.kind}
	switch p.kind {
	case probePrefix, probeSuffix, probeFoldedPrefix, probeFoldedSuffix:
		texts := c.texts[at]
		from := sort.SearchStrings(texts, p.scalar.text)
		return sort.Search(len(texts)-from, func(i int) bool { return !strings.HasPrefix(texts[from+i], p.scalar.text) })
	case probeNumbers, probeNetwork4, probeNetwork6:
		begun := sort.Search(len(c.lows[at]), func(i int) bool { return c.lows[at][i] > p.high })
		return begun - sort.SearchFloat64s(c.highs[at], p.low)
	case probeExact, probeFolded:
		return c.probes[p]
	default:
		return c.entries
	}
}
