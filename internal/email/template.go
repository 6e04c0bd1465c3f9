package email

import (
	"context"
	"errors"
	"fmt"
	htmltemplate "html/template"
	"io"
	"slices"
	"strings"
	texttemplate "text/template"
	"text/template/parse"

	"github.com/signalstack/signalstack/internal/fault"
)

// template is a Go template, of text or of HTML.
type template interface {
	Execute(w io.Writer, scope any) error
}

// Bounds of what the templates of one e-mail may do together. Go's templates have
// none of their own: {{range 1000000000}} is legal, and so is a variable that
// doubles in a loop.
const (
	maxOutput = 1 << 20  // bytes printed
	maxBuilt  = 16 << 20 // bytes of texts that functions build
	maxLooped = 8 << 20  // bytes of template run within loops, so many per turn
	maxNested = 8        // loops within loops: html/template takes twice the time for each
)

var (
	errOutput = fmt.Errorf("the e-mail is larger than %d bytes", maxOutput)
	errBuilt  = errors.New("the templates build texts that are too large")
	errLooped = errors.New("the templates loop too often")
)

// budget is what is left of the bounds.
type budget struct {
	ctx                   context.Context
	output, built, looped int
}

// compile sets the template of each field and reports those that are none. The
// templates share one budget and end with ctx.
func (p *payload) compile(ctx context.Context) []fault.Detail {
	p.budget = &budget{ctx: ctx, output: maxOutput, built: maxBuilt, looped: maxLooped}
	var mistakes []fault.Detail
	for _, f := range p.fields() {
		parse := p.budget.parseText
		if f == p.html {
			parse = p.budget.parseHTML
		}
		var err error
		if f.template, err = parse(f.source); err != nil {
			mistakes = append(mistakes, fault.Detail{Pointer: f.pointer, Detail: "is no template: " + explain(err)})
		}
	}
	return mistakes
}

// templateName stands in the errors of Go's packages, where explain finds it.
const templateName = "e-mail"

func (b *budget) parseText(source string) (template, error) {
	t, err := texttemplate.New(templateName).Option("missingkey=error").Funcs(b.funcs()).Parse(source)
	if err != nil {
		return nil, err
	}
	return t, guard(t.Tree, len(t.Templates()))
}

func (b *budget) parseHTML(source string) (template, error) {
	t, err := htmltemplate.New(templateName).Option("missingkey=error").Funcs(b.funcs()).Parse(source)
	if err != nil {
		return nil, err
	}
	if err := guard(t.Tree, len(t.Templates())); err != nil {
		return nil, err
	}
	// Only an execution shows whether html/template can tell what to escape for, so
	// there is one without data. That it fails for want of them means nothing.
	before := *b
	err = t.Execute(io.Discard, nil)
	*b = before
	if bad, ok := errors.AsType[*htmltemplate.Error](err); ok {
		return nil, bad
	}
	return t, nil
}

// guard refuses what cannot be bounded and makes every turn of a loop pay.
func guard(tree *parse.Tree, templates int) error {
	if templates > 1 {
		return errors.New("define and block are not known here")
	}
	if tree == nil || tree.Root == nil {
		return nil
	}
	g := &guardian{}
	g.list(tree.Root)
	return g.err
}

// guardian walks a template.
type guardian struct {
	loops int // around what it looks at
	err   error
}

func (g *guardian) list(l *parse.ListNode) {
	if l == nil || g.err != nil {
		return
	}
	for _, n := range l.Nodes {
		switch n := n.(type) {
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
	tick := fmt.Sprintf("{{if tick %d}}{{end}}", len(body.String()))
	g.list(body)
	g.loops--
	trees, err := parse.Parse(templateName, tick, "", "", map[string]any{"tick": true})
	if err != nil {
		g.err = err
		return
	}
	body.Nodes = slices.Concat(trees[templateName].Root.Nodes, body.Nodes)
}

// tick pays for one turn of a loop. It is never true.
func (b *budget) tick(bytes int) (bool, error) {
	// A turn costs something even when its body is empty.
	if b.looped -= bytes + len("{{range}}{{end}}"); b.looped < 0 {
		return false, errLooped
	}
	return false, b.ctx.Err()
}

// printed takes what a template prints.
type printed struct {
	strings.Builder
	budget *budget
}

// Write keeps p within the budget.
func (w *printed) Write(p []byte) (int, error) {
	if w.budget.output -= len(p); w.budget.output < 0 {
		return 0, errOutput
	}
	return w.Builder.Write(p)
}

// maxExplained bounds an explanation, which may quote the template, in bytes.
const maxExplained = 400

// explain gives an error of Go's templates as "line L:C: what is wrong". The place
// stands at its start and the cause at its end, so both are kept.
func explain(err error) string {
	text := err.Error()
	if _, after, ok := strings.Cut(text, templateName+":"); ok {
		text = "line " + after
	}
	text = strings.Replace(text, `executing "`+templateName+`" `, "", 1)
	if n := len(text); n > maxExplained {
		text = strings.ToValidUTF8(text[:maxExplained/2]+" ... "+text[n-maxExplained/2:], "")
	}
	return text
}
