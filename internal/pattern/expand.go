package pattern

import "slices"

// tree is what a pattern asks at one place as it is written: the last list for
// the place, fields, and the branches of each $or beside them.
type tree struct {
	top     bool // it names the event's own fields
	list    *list
	members []treeMember
	ors     [][]*tree
}

type treeMember struct {
	name string
	tree *tree
}

// child gives the tree of a field and makes it when the pattern names the field
// for the first time.
func (t *tree) child(name string) *tree {
	for _, m := range t.members {
		if m.name == name {
			return m.tree
		}
	}
	made := &tree{}
	t.members = append(t.members, treeMember{name: name, tree: made})
	return made
}

// MaxFields are the fields of all combinations that the $or of a pattern make,
// together: two $or of 20 branches are 400 combinations. Each is matched by itself,
// so this bounds what a pattern can cost the acceptance of an event.
const MaxFields = 1000

// size gives how many combinations the tree makes and how many lists they have
// together, both no greater than just above MaxFields.
func (t *tree) size() (combinations, lists int) {
	combinations = 1
	if t.list != nil {
		lists = 1
	}
	and := func(c, l int) {
		lists = min(lists*c+l*combinations, MaxFields+1)
		combinations = min(combinations*c, MaxFields+1)
	}
	for _, m := range t.members {
		and(m.tree.size())
	}
	for _, branches := range t.ors {
		c, l := 0, 0
		for _, b := range branches {
			moreC, moreL := b.size()
			c, l = min(c+moreC, MaxFields+1), min(l+moreL, MaxFields+1)
		}
		and(c, l)
	}
	return combinations, lists
}

// expand gives the combinations of the tree. A list or a field that stands in a
// branch of $or and beside it is asked for twice, of the same value.
func (t *tree) expand() []*node {
	var lists []*list
	if t.list != nil {
		lists = []*list{t.list}
	}
	plain := make([]member, 0, len(t.members))
	var several [][]*node
	for _, m := range t.members {
		nodes := m.tree.expand()
		if len(nodes) == 1 {
			plain = append(plain, member{name: m.name, node: nodes[0]})
			continue
		}
		for i, n := range nodes {
			nodes[i] = newNode(nil, []member{{name: m.name, node: n}})
		}
		several = append(several, nodes)
	}
	for _, branches := range t.ors {
		var nodes []*node
		for _, b := range branches {
			nodes = append(nodes, b.expand()...)
		}
		several = append(several, nodes)
	}
	all := []*node{newNode(lists, plain)}
	for _, nodes := range several {
		next := make([]*node, 0, len(all)*len(nodes))
		for _, a := range all {
			for _, b := range nodes {
				next = append(next, merge(a, b))
			}
		}
		all = next
	}
	return all
}

// merge gives the node that asks for all that a and b ask.
func merge(a, b *node) *node {
	members := slices.Clone(a.members)
	for _, m := range b.members {
		i := slices.IndexFunc(a.members, func(have member) bool { return have.name == m.name })
		if i < 0 {
			members = append(members, m)
		} else {
			members[i].node = merge(members[i].node, m.node)
		}
	}
	return newNode(slices.Concat(a.lists, b.lists), members)
}

// appendLists appends the lists of the tree that count.
func (t *tree) appendLists(to []*list) []*list {
	if t.list != nil {
		to = append(to, t.list)
	}
	for _, m := range t.members {
		to = m.tree.appendLists(to)
	}
	for _, branches := range t.ors {
		for _, b := range branches {
			to = b.appendLists(to)
		}
	}
	return to
}

// newPattern makes the pattern of a tree.
func newPattern(root *tree) *Pattern {
	p := &Pattern{lists: root.appendLists(nil)}
	slices.SortFunc(p.lists, func(a, b *list) int { return a.order - b.order })
	for _, n := range root.expand() {
		p.combinations = append(p.combinations, newCombination(n))
	}
	return p
}

// newCombination sorts what is asked of the event's own strings from what is asked
// of its data and extensions.
func newCombination(root *node) *combination {
	c := &combination{}
	for _, m := range root.members {
		f, ok := fieldNamed(m.name)
		if !ok {
			if m.name == extensionsName {
				c.extensions = m.node
			} else {
				c.data = m.node
			}
			continue
		}
		for _, l := range m.node.lists {
			c.envelope = append(c.envelope, envelopeTest{field: f, list: l})
		}
	}
	return c
}
