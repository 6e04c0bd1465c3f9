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
	set    *Set
	cuts   [][]cut // of each entry
	probes []probe // all that differ
	ids    map[probe]int
	work   int // how many more probes may be looked at to divide entries again
}

// cut is a list of an entry as a means of dividing entries: the entry is looked at
// only when one of the probes finds something.
type cut struct {
	path   int
	probes []int // their places among those of the builder, each once
}

// index divides the entries of the set. An entry is put below the probes of one of
// its lists; where many entries are, they are divided by another of their lists
// again. An entry all of whose lists accept that there is nothing stands at the
// root and is checked for every event.
func (s *Set) index() {
	b := &builder{set: s, cuts: make([][]cut, len(s.entries)), ids: map[probe]int{}}
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
	// Rules with many fields of one value each are divided by up to eight of them;
	// those with many alternatives come to an end before they fill the memory.
	b.work = maxLevels / 2 * b.effort(all, nil)
	s.root = b.branch(all, nil)
}

func (b *builder) cut(entry, path int, l *list) {
	if l.absent != "" {
		return
	}
	c := cut{path: path}
	for _, p := range l.probes(path) {
		id, ok := b.ids[p]
		if !ok {
			id = len(b.probes)
			b.ids[p] = id
			b.probes = append(b.probes, p)
		}
		c.probes = append(c.probes, id)
	}
	slices.Sort(c.probes)
	c.probes = slices.Compact(c.probes)
	b.cuts[entry] = append(b.cuts[entry], c)
}

// effort counts the probes of entries that stand below the used paths.
func (b *builder) effort(entries, used []int) int {
	n := 0
	for _, i := range entries {
		for _, c := range b.cuts[i] {
			if !slices.Contains(used, c.path) {
				n += len(c.probes)
			}
		}
	}
	return n
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
	if len(used) > 0 {
		if b.work -= b.effort(entries, used); b.work < 0 {
			made.entries = entries
			return made
		}
	}
	order, groups, rest := b.divide(entries, used)
	made.entries = rest
	paths := map[int]*values{}
	for _, id := range order {
		p := b.probes[id]
		v := paths[p.path]
		if v == nil {
			v = &values{}
			paths[p.path] = v
		}
		v.add(p, b.branch(groups[id], append(slices.Clone(used), p.path)))
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
func (b *builder) divide(entries, used []int) (order []int, groups map[int][]int, rest []int) {
	c := b.census(entries, used)
	groups = map[int][]int{}
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
		for _, id := range b.cuts[i][best].probes {
			if groups[id] == nil {
				order = append(order, id)
			}
			groups[id] = append(groups[id], i)
		}
	}
	return order, groups, rest
}

// census counts what entries ask for, to tell how telling a list is.
type census struct {
	entries int
	probes  []probe
	counts  map[int]int        // of exact values
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
		entries: len(entries), probes: b.probes, counts: map[int]int{},
		texts: map[spot][]string{}, lows: map[spot][]float64{}, highs: map[spot][]float64{},
	}
	for _, i := range entries {
		for _, cut := range b.cuts[i] {
			if slices.Contains(used, cut.path) {
				continue
			}
			for _, id := range cut.probes {
				c.count(id)
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

func (c *census) count(id int) {
	p := c.probes[id]
	at := spot{p.path, p.kind}
	switch p.kind {
	case probePrefix, probeSuffix, probeFoldedPrefix, probeFoldedSuffix:
		c.texts[at] = append(c.texts[at], p.scalar.text)
	case probeNumbers, probeNetwork4, probeNetwork6:
		c.lows[at] = append(c.lows[at], p.low)
		c.highs[at] = append(c.highs[at], p.high)
	case probeExact, probeFolded:
		c.counts[id]++
	case probeText, probeAny:
	}
}

// cost estimates how many entries come up together with one that stands below a
// cut: those with the same values, those whose prefixes begin with its own, those
// whose spans meet its own.
func (c *census) cost(cut cut) int {
	total := 0
	for _, id := range cut.probes {
		total += c.company(id)
	}
	return total
}

func (c *census) company(id int) int {
	p := c.probes[id]
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
		return c.counts[id]
	default:
		return c.entries
	}
}
