package pattern

import (
	"slices"
	"sync"
)

// Set is many patterns, indexed: to match an event against them costs about as
// much as matching the few that the index does not rule out. It does not change and
// may be shared.
type Set struct {
	rules    int
	entries  []entry
	root     *branch
	data     *step // the paths within data
	paths    int   // how many there are, those of the event's own strings included
	branches int   // of the index

	walks sync.Pool // of *walk
}

// entry is one combination of one of the patterns.
type entry struct {
	rule        int
	combination *combination
}

// step is a place in data that some pattern names.
type step struct {
	path     int // the number of a place with a list, or none
	children map[string]*step
}

const none = -1

func (s *step) child(name string) *step {
	c := s.children[name]
	if c == nil {
		c = &step{path: none}
		if s.children == nil {
			s.children = map[string]*step{}
		}
		s.children[name] = c
	}
	return c
}

// NewSet indexes patterns. The set answers with their places in the slice.
func NewSet(patterns []*Pattern) *Set {
	s := &Set{rules: len(patterns), data: &step{path: none}, paths: int(numFields)}
	for rule, p := range patterns {
		for _, c := range p.combinations {
			s.entries = append(s.entries, entry{rule: rule, combination: c})
		}
	}
	s.index()
	s.walks.New = func() any { return s.newWalk() }
	return s
}

// Len gives the number of patterns.
func (s *Set) Len() int { return s.rules }

// Match gives the patterns that want the event, in their order.
func (s *Set) Match(e *Event) []int {
	w := s.walks.Get().(*walk)
	w.begin(e)
	w.follow(s.root)
	slices.Sort(w.hits)
	var hits []int
	if len(w.hits) > 0 {
		hits = slices.Clone(w.hits)
	}
	w.end()
	s.walks.Put(w)
	return hits
}

// walk is one event's way through the index. It is used again for other events,
// so that matching allocates nothing for each pattern. What was visited is marked
// with the number of the event, which spares to clear the marks.
type walk struct {
	set    *Set
	event  *Event
	number uint32

	visited []uint32 // by branch
	waiting []*branch
	checked []uint32 // by entry
	matched []uint32 // by rule
	hits    []int

	read    bool      // found is that of this event
	found   []finding // values at the paths of the set
	latest  []int     // by path, the place in found of its latest value, plus one
	touched []int     // paths with a value

	folded, reversed []byte
}

// finding is a value of data at one of the set's paths.
type finding struct {
	at     int // in the document
	before int // the place in found of the path's value before it, plus one
}

func (s *Set) newWalk() *walk {
	return &walk{
		set: s, visited: make([]uint32, s.branches), checked: make([]uint32, len(s.entries)),
		matched: make([]uint32, s.rules), latest: make([]int, s.paths),
	}
}

func (w *walk) begin(e *Event) {
	w.event, w.read = e, false
	w.number++
	if w.number == 0 { // it went round: marks of long ago would count
		clear(w.visited)
		clear(w.checked)
		clear(w.matched)
		w.number = 1
	}
}

func (w *walk) end() {
	for _, path := range w.touched {
		w.latest[path] = 0
	}
	w.event, w.hits, w.found, w.touched = nil, w.hits[:0], w.found[:0], w.touched[:0]
}

// visit notes that the event's values lead to a branch. Branches wait for their
// turn, so that one look-up is over before the next uses the same memory.
func (w *walk) visit(b *branch) {
	if b != nil && w.visited[b.number] != w.number {
		w.visited[b.number] = w.number
		w.waiting = append(w.waiting, b)
	}
}

// follow visits a branch and all that it leads to.
func (w *walk) follow(b *branch) {
	for w.visit(b); len(w.waiting) > 0; {
		last := len(w.waiting) - 1
		b, w.waiting = w.waiting[last], w.waiting[:last]
		w.look(b)
	}
}

// look checks the entries of a branch and visits those below it that the event's
// values lead to. Values are looked at only where they are asked for, so that data
// is not parsed for events that their own strings rule out.
func (w *walk) look(b *branch) {
	for _, i := range b.entries {
		w.check(i)
	}
	for _, f := range b.fields {
		if text := w.event.fields[f.path]; text != "" {
			w.lookUp(f.values, scalar{kind: kindString, text: text})
		}
	}
	if len(b.data) == 0 {
		return
	}
	w.readData()
	if len(b.data) <= len(w.touched) {
		for _, p := range b.data {
			w.lookUpAll(p)
		}
		return
	}
	for _, path := range w.touched {
		if i, ok := slices.BinarySearchFunc(b.data, path, comparePath); ok {
			w.lookUpAll(b.data[i])
		}
	}
}

// check matches one entry, unless its rule has matched already.
func (w *walk) check(i int) {
	if w.checked[i] == w.number {
		return
	}
	w.checked[i] = w.number
	e := &w.set.entries[i]
	if w.matched[e.rule] != w.number && e.combination.matches(w.event) {
		w.matched[e.rule] = w.number
		w.hits = append(w.hits, e.rule)
	}
}

// readData notes the values of data that stand at paths of the set.
func (w *walk) readData() {
	if w.read {
		return
	}
	w.read = true
	if doc, root := w.event.data(); doc != nil {
		w.note(doc, root, w.set.data)
	}
}

// note goes through arrays and notes every field that stands twice: what is noted
// only leads to entries, which are then matched.
func (w *walk) note(d *document, at int, s *step) {
	switch d.values[at].kind {
	case kindArray:
		for i, end := at+1, d.next(at); i < end; i = d.next(i) {
			w.note(d, i, s)
		}
	case kindObject:
		if s.children == nil {
			return
		}
		for i, end := at+1, d.next(at); i < end; i = d.next(i) {
			if child := s.children[d.key(i)]; child != nil {
				w.note(d, i, child)
			}
		}
	default:
		if s.path == none {
			return
		}
		if w.latest[s.path] == 0 {
			w.touched = append(w.touched, s.path)
		}
		w.found = append(w.found, finding{at: at, before: w.latest[s.path]})
		w.latest[s.path] = len(w.found)
	}
}

// lookUpAll looks up all values of a path within data.
func (w *walk) lookUpAll(p pathValues) {
	for i := w.latest[p.path]; i != 0; i = w.found[i-1].before {
		w.lookUp(p.values, w.event.doc.scalar(w.found[i-1].at))
	}
}

// lookUp visits the branches of a path that a value leads to.
func (w *walk) lookUp(v *values, s scalar) {
	w.visit(v.exact[s])
	w.visit(v.any)
	switch s.kind {
	case kindNumber:
		if v.numbers != nil {
			w.visitSpans(v.numbers, 0, len(v.numbers.list), approximate(s.text))
		}
	case kindString:
		w.lookUpText(v, s.text)
	default:
	}
}

func (w *walk) lookUpText(v *values, text string) {
	w.visit(v.text)
	if v.prefixes != nil {
		visitPrefixes(w, v.prefixes, text)
	}
	if v.suffixes != nil {
		w.reversed = appendReversed(w.reversed[:0], text)
		visitPrefixes(w, v.suffixes, w.reversed)
	}
	if v.foldedExact != nil || v.foldedPrefixes != nil || v.foldedSuffixes != nil {
		w.lookUpFolded(v, text)
	}
	if v.networks4 != nil || v.networks6 != nil {
		w.lookUpAddress(v, text)
	}
}

func (w *walk) lookUpFolded(v *values, text string) {
	w.folded = appendFolded(w.folded[:0], text)
	w.visit(v.foldedExact[string(w.folded)])
	if v.foldedPrefixes != nil {
		visitPrefixes(w, v.foldedPrefixes, w.folded)
	}
	if v.foldedSuffixes != nil {
		w.reversed = appendReversed(w.reversed[:0], w.folded)
		visitPrefixes(w, v.foldedSuffixes, w.reversed)
	}
}

func (w *walk) lookUpAddress(v *values, text string) {
	addr, ok := parseAddr(text)
	if !ok {
		return
	}
	networks := v.networks6
	if addr.Is4() {
		networks = v.networks4
	}
	if networks != nil {
		w.visitSpans(networks, 0, len(networks.list), addressKey(addr))
	}
}

// visitPrefixes visits the branches of the prefixes that a text has. The greatest
// that is not above the text has all of them among its own.
func visitPrefixes[T string | []byte](w *walk, p *prefixes, text T) {
	from, to := 0, len(p.list)
	for from < to {
		if middle := (from + to) / 2; above(p.list[middle].text, text) {
			to = middle
		} else {
			from = middle + 1
		}
	}
	if from == 0 {
		return
	}
	common := commonLength(p.list[from-1].text, text)
	for i := from - 1; i != none; i = p.list[i].shorter {
		if len(p.list[i].text) <= common {
			w.visit(p.list[i].branch)
		}
	}
}

// above tells whether a stands behind b in order.
func above[T string | []byte](a string, b T) bool {
	n := commonLength(a, b)
	return n < len(a) && (n == len(b) || a[n] > b[n])
}

func commonLength[T string | []byte](a string, b T) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// visitSpans visits the branches of the spans between two places that hold x.
func (w *walk) visitSpans(s *spans, from, to int, x float64) {
	for from < to {
		middle := (from + to) / 2
		m := &s.list[middle]
		if m.furthest < x {
			return
		}
		w.visitSpans(s, from, middle, x)
		if m.low > x {
			return
		}
		if x <= m.high {
			w.visit(m.branch)
		}
		from = middle + 1
	}
}
