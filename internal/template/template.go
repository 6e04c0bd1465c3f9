package template

import (
	"context"
	"errors"
	"fmt"
	htmltemplate "html/template"
	"io"
	"maps"
	"strings"
	texttemplate "text/template"
	"text/template/parse"
)

// Bounds of what the templates of one job may do together. Go's templates have
// none of their own: {{range 1000000000}} is legal, and so is a variable that
// doubles in a loop.
const (
	maxOutput = 1 << 20  // bytes printed
	maxBuilt  = 16 << 20 // bytes of texts that functions build
	maxLooped = 8 << 20  // bytes of template run within loops, so many per turn
	maxNested = 8        // loops within loops: html/template takes twice the time for each
)

var (
	errOutput = fmt.Errorf("the result is larger than %d bytes", maxOutput)
	errBuilt  = errors.New("the templates build texts that are too large")
	errLooped = errors.New("the templates loop too often")
)

// Budget is what is left of the bounds for the templates of one job. It is for one
// goroutine.
type Budget struct {
	ctx                   context.Context
	output, built, looped int
}

// NewBudget gives the whole budget to templates that end with ctx.
func NewBudget(ctx context.Context) *Budget {
	return &Budget{ctx: ctx, output: maxOutput, built: maxBuilt, looped: maxLooped}
}

// Is says whether a text does anything as a template.
func Is(source string) bool { return strings.Contains(source, "{{") }

// Template is a parsed template.
type Template struct {
	executor
	budget *Budget
	out    *printed // of the execution that goes on
	value  bool
}

// executor is a template of text/template or html/template.
type executor interface {
	Execute(w io.Writer, scope any) error
}

// Escape makes a value fit for its place: what the template printed before it.
type Escape func(before, value string) (string, error)

// templateName stands in the errors of Go's packages, where explain finds it.
const templateName = "signalstack"

// escapeName is the function that escapes.
const escapeName = "_escape"

// Text parses a template of text, whose values are escaped by escape; nil leaves them
// as they are. Its error says where the mistake is.
func (b *Budget) Text(source string, escape Escape) (*Template, error) {
	t := &Template{budget: b}
	funcs := b.funcs()
	if escape != nil {
		funcs = maps.Clone(funcs)
		funcs[escapeName] = func(v any) (string, error) { return escape(t.out.String(), textOf(v)) }
	}
	parsed, err := texttemplate.New(templateName).Option("missingkey=error").Funcs(funcs).Parse(source)
	if err != nil {
		return nil, explained(err)
	}
	t.value = parsed.Tree != nil && isValue(parsed.Root)
	t.executor = parsed
	return t, guard(parsed.Tree, len(parsed.Templates()), escape != nil)
}

// HTML parses a template of HTML, whose values are escaped by their context.
func (b *Budget) HTML(source string) (*Template, error) {
	t, err := htmltemplate.New(templateName).Option("missingkey=error").Funcs(b.funcs()).Parse(source)
	if err != nil {
		return nil, explained(err)
	}
	if err := guard(t.Tree, len(t.Templates()), false); err != nil {
		return nil, err
	}
	// Only an execution shows whether html/template can tell what to escape for, so
	// there is one without data. That it fails for want of them means nothing.
	before := *b
	err = t.Execute(io.Discard, nil)
	*b = before
	if bad, ok := errors.AsType[*htmltemplate.Error](err); ok {
		return nil, explained(bad)
	}
	return &Template{executor: t, budget: b}, nil
}

// IsValue says that the template is one {{json ...}} and nothing else, so that it
// prints a JSON value.
func (t *Template) IsValue() bool { return t.value }

func isValue(root *parse.ListNode) bool {
	if len(root.Nodes) != 1 {
		return false
	}
	action, ok := root.Nodes[0].(*parse.ActionNode)
	if !ok || len(action.Pipe.Decl) > 0 {
		return false
	}
	last, ok := action.Pipe.Cmds[len(action.Pipe.Cmds)-1].Args[0].(*parse.IdentifierNode)
	return ok && last.Ident == "json"
}

// Render executes the template over a scope. Its error says where it failed.
func (t *Template) Render(scope map[string]any) (string, error) {
	t.out = &printed{budget: t.budget}
	if err := t.Execute(t.out, scope); err != nil {
		return "", explained(err)
	}
	return t.out.String(), nil
}

// printed takes what a template prints.
type printed struct {
	strings.Builder
	budget *Budget
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

// explained gives an error of Go's templates as "line L:C: what is wrong". The place
// stands at its start and the cause at its end, so both are kept.
func explained(err error) error {
	text := err.Error()
	if _, after, ok := strings.Cut(text, templateName+":"); ok {
		text = "line " + after
	}
	text = strings.Replace(text, `executing "`+templateName+`" `, "", 1)
	if n := len(text); n > maxExplained {
		text = strings.ToValidUTF8(text[:maxExplained/2]+" ... "+text[n-maxExplained/2:], "")
	}
	return errors.New(text)
}
