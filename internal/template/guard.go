package template

import (
	"errors"
	"fmt"
	"slices"
	"text/template/parse"
)

// guard refuses what cannot be bounded and makes every turn of a loop pay.
// With escape each value that is printed passes through the function escapeName.
func guard(tree *parse.Tree, templates int, escape bool) error {
	if templates > 1 {
		return errors.New("define and block are not known here")
	}
	if tree == nil || tree.Root == nil {
		return nil
	}
	g := &guardian{escape: escape}
	g.list(tree.Root)
	return g.err
}

// guardian walks a template.
type guardian struct {
	escape bool
	loops  int // around what it looks at
	err    error
}

func (g *guardian) list(l *parse.ListNode) {
	if l == nil || g.err != nil {
		return
	}
	for _, n := range l.Nodes {
		switch n := n.(type) {
		case *parse.ActionNode:
			g.action(n)
		case *parse.IfNode:
			g.list(n.List)
			g.list(n.ElseList)
		case *parse.WithNode:
			g.list(n.List)
			g.list(n.ElseList)
		case *parse.RangeNode:
			g.loop(n.List)
			g.list(n.ElseList)
		case *parse.TemplateNode:
			g.err = errors.New("template is not known here")
		}
	}
}

// loop puts {{if tick N}}{{end}} first into the body of a loop, N bytes long. A
// condition prints nothing, so it is right wherever a loop may stand in HTML.
func (g *guardian) loop(body *parse.ListNode) {
	if g.loops++; g.loops > maxNested {
		g.err = fmt.Errorf("more than %d loops stand within each other", maxNested)
		return
	}
	tick := g.parse(fmt.Sprintf("{{if tick %d}}{{end}}", len(body.String())))
	g.list(body)
	g.loops--
	body.Nodes = slices.Concat(tick, body.Nodes)
}

// action puts the escaping last into a pipeline that prints.
func (g *guardian) action(n *parse.ActionNode) {
	if !g.escape || len(n.Pipe.Decl) > 0 {
		return
	}
	for _, node := range g.parse(`{{"" | ` + escapeName + `}}`) {
		commands := node.(*parse.ActionNode).Pipe.Cmds
		n.Pipe.Cmds = append(n.Pipe.Cmds, commands[len(commands)-1])
	}
}

func (g *guardian) parse(source string) []parse.Node {
	trees, err := parse.Parse(templateName, source, "", "", map[string]any{"tick": true, escapeName: true})
	if err != nil {
		g.err = err
		return nil
	}
	return trees[templateName].Root.Nodes
}

// tick pays for one turn of a loop. It is never true.
func (b *Budget) tick(bytes int) (bool, error) {
	// A turn costs something even when its body is empty.
	if b.looped -= bytes + len("{{range}}{{end}}"); b.looped < 0 {
		return false, errLooped
	}
	return false, b.ctx.Err()
}
