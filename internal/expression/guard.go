package expression

import (
	"fmt"
	"strings"

	"github.com/itchyny/gojq"
)

// guard checks a program against the functions that are known here, and rewrites it
// so that no value it makes is too large (see doc.go).
func guard(program *gojq.Query) error {
	g := &guarding{defined: map[string]bool{}}
	g.query(program)
	for _, name := range g.called {
		if !g.defined[name] && !allowed(name) {
			g.refuse("must not call %s, which is not a function known here", strings.TrimSuffix(name, "/0"))
		}
	}
	return g.err
}

// guarding is a walk over a program.
type guarding struct {
	defined map[string]bool // name/arity of functions and of their parameters
	called  []string        // name/arity
	err     error           // the first mistake
}

func (g *guarding) refuse(format string, args ...any) {
	if g.err == nil {
		g.err = fmt.Errorf(format, args...)
	}
}

func call(name string, args ...*gojq.Query) *gojq.Query {
	return &gojq.Query{Term: &gojq.Term{Type: gojq.TermTypeFunc, Func: &gojq.Func{Name: name, Args: args}}}
}

func pipe(left, right *gojq.Query) *gojq.Query {
	return &gojq.Query{Left: left, Op: gojq.OpPipe, Right: right}
}

func ofTerm(t gojq.Term) *gojq.Query { return &gojq.Query{Term: &t} }

func number(n int) *gojq.Query {
	return ofTerm(gojq.Term{Type: gojq.TermTypeNumber, Number: fmt.Sprint(n)})
}

// measured is a query whose values are measured.
func measured(q *gojq.Query) *gojq.Query { return pipe(q, call("__measured")) }

// query walks a query. Parts that are absent are nil.
func (g *guarding) query(q *gojq.Query) {
	if q == nil {
		return
	}
	if q.Meta != nil || len(q.Imports) > 0 {
		g.refuse("must not import modules")
	}
	for _, def := range q.FuncDefs {
		g.definition(def)
	}
	if q.Term != nil {
		g.term(q.Term)
		return
	}
	g.query(q.Left)
	g.query(q.Right)
	g.patterns(q.Patterns)
	defs := q.FuncDefs
	switch q.Op {
	case gojq.OpAdd:
		*q = *call("__add", q.Left, q.Right)
	case gojq.OpSub:
		*q = *call("__subtract", q.Left, q.Right)
	case gojq.OpMul:
		*q = *call("__multiply", q.Left, q.Right)
	case gojq.OpUpdateAdd:
		*q = *update("__add", q.Left, q.Right)
	case gojq.OpUpdateSub:
		*q = *update("__subtract", q.Left, q.Right)
	case gojq.OpUpdateMul:
		*q = *update("__multiply", q.Left, q.Right)
	case gojq.OpAssign, gojq.OpModify, gojq.OpUpdateDiv, gojq.OpUpdateMod, gojq.OpUpdateAlt:
		*q = *measured(&gojq.Query{Left: q.Left, Op: q.Op, Right: q.Right})
	default:
		return
	}
	q.FuncDefs = defs
}

// update is left op= right: right as $x | left |= op(.; $x).
func update(op string, left, right *gojq.Query) *gojq.Query {
	const name = "$__right"
	modify := &gojq.Query{Left: left, Op: gojq.OpModify, Right: call(op, ofTerm(gojq.Term{Type: gojq.TermTypeIdentity}), call(name))}
	bind := pipe(right, measured(modify))
	bind.Patterns = []*gojq.Pattern{{Name: name}}
	return bind
}

func (g *guarding) definition(def *gojq.FuncDef) {
	g.define(fmt.Sprintf("%s/%d", def.Name, len(def.Args)))
	for _, arg := range def.Args {
		if strings.HasPrefix(arg, "$") {
			g.variable(arg)
		}
		g.define(strings.TrimPrefix(arg, "$") + "/0")
	}
	g.query(def.Body)
}

// define takes up a name. One that means something to jq already would mean that
// still outside its scope.
func (g *guarding) define(name string) {
	if strings.HasPrefix(name, "_") || builtins()[name] {
		g.refuse("must not define %s, which jq has already; give it another name", strings.TrimSuffix(name, "/0"))
	}
	g.defined[name] = true
}

func (g *guarding) variable(name string) {
	if strings.HasPrefix(name, "$_") || name == "$ENV" {
		g.refuse("must not use the variable %s", name)
	}
}

func (g *guarding) patterns(all []*gojq.Pattern) {
	for _, p := range all {
		if p.Name != "" {
			g.variable(p.Name)
		}
		g.patterns(p.Array)
		for _, field := range p.Object {
			if strings.HasPrefix(field.Key, "$") {
				g.variable(field.Key)
			}
			if field.KeyString != nil && len(field.KeyString.Queries) > 0 {
				field.KeyQuery, field.KeyString = g.text(field.KeyString, ""), nil
			} else {
				g.query(field.KeyQuery)
			}
			if field.Val != nil {
				g.patterns([]*gojq.Pattern{field.Val})
			}
		}
	}
}

// term walks a term and measures what it makes.
func (g *guarding) term(t *gojq.Term) {
	for _, s := range t.SuffixList {
		g.index(s.Index)
	}
	var instead *gojq.Query
	bare := *t
	bare.SuffixList = nil
	switch t.Type {
	case gojq.TermTypeIndex:
		g.index(t.Index)
	case gojq.TermTypeFunc:
		instead = g.function(t.Func)
	case gojq.TermTypeObject:
		g.object(t.Object)
		if len(t.Object.KeyVals) > 0 {
			instead = measured(ofTerm(bare))
		}
	case gojq.TermTypeArray:
		g.query(t.Array.Query)
		if t.Array.Query != nil {
			instead = measured(ofTerm(bare))
		}
	case gojq.TermTypeUnary:
		g.term(t.Unary.Term)
	case gojq.TermTypeFormat:
		instead = g.format(t)
	case gojq.TermTypeString:
		if len(t.Str.Queries) > 0 {
			instead = g.text(t.Str, "")
		}
	default:
		g.control(t)
	}
	if instead != nil {
		*t = gojq.Term{Type: gojq.TermTypeQuery, Query: instead, SuffixList: t.SuffixList}
	}
}

// control walks the terms that only choose and repeat.
func (g *guarding) control(t *gojq.Term) {
	switch {
	case t.If != nil:
		g.query(t.If.Cond)
		g.query(t.If.Then)
		for _, e := range t.If.Elif {
			g.query(e.Cond)
			g.query(e.Then)
		}
		g.query(t.If.Else)
	case t.Try != nil:
		g.query(t.Try.Body)
		g.query(t.Try.Catch)
	case t.Reduce != nil:
		g.query(t.Reduce.Query)
		g.patterns(t.Reduce.Patterns)
		g.query(t.Reduce.Start)
		g.query(t.Reduce.Update)
	case t.Foreach != nil:
		g.query(t.Foreach.Query)
		g.patterns(t.Foreach.Patterns)
		g.query(t.Foreach.Start)
		g.query(t.Foreach.Update)
		g.query(t.Foreach.Extract)
	case t.Label != nil:
		g.variable(t.Label.Ident)
		g.query(t.Label.Body)
	case t.Query != nil:
		g.query(t.Query)
	}
}

func (g *guarding) object(o *gojq.Object) {
	for _, kv := range o.KeyVals {
		if strings.HasPrefix(kv.Key, "$") {
			g.variable(kv.Key)
		}
		if kv.KeyString != nil && len(kv.KeyString.Queries) > 0 {
			if kv.Val == nil {
				g.refuse("must give a value to a key that is put together")
				return
			}
			g.query(kv.Val)
			kv.KeyQuery, kv.KeyString = g.text(kv.KeyString, ""), nil
			continue
		}
		g.query(kv.KeyQuery)
		g.query(kv.Val)
	}
}

// index bounds what stands in [ ], which lengthens an array when it is assigned to.
func (g *guarding) index(i *gojq.Index) {
	if i == nil {
		return
	}
	if i.Str != nil && len(i.Str.Queries) > 0 {
		i.Start, i.Str = g.text(i.Str, ""), nil
		return
	}
	for _, part := range []**gojq.Query{&i.Start, &i.End} {
		if q := *part; q != nil && !isShortConstant(q) {
			g.query(q)
			*part = pipe(q, call("__index"))
		}
	}
}

// isShortConstant says whether a query is a text, or a number of few digits.
func isShortConstant(q *gojq.Query) bool {
	const digits = 5
	t := q.Term
	if t == nil || len(q.FuncDefs) > 0 || len(t.SuffixList) > 0 {
		return false
	}
	return t.Type == gojq.TermTypeString && len(t.Str.Queries) == 0 ||
		t.Type == gojq.TermTypeNumber && len(t.Number) <= digits && strings.Trim(t.Number, "0123456789") == ""
}

// text is what "a\(b)c" stands for, put together measured. format is the function
// that a text after @name is written by, or "".
func (g *guarding) text(s *gojq.String, format string) *gojq.Query {
	write := call("tostring")
	if format != "" {
		write = ofTerm(gojq.Term{Type: gojq.TermTypeFormat, Format: format})
	}
	whole := ofTerm(gojq.Term{Type: gojq.TermTypeString, Str: &gojq.String{}})
	for _, part := range s.Queries {
		if part.Term == nil || part.Term.Str == nil { // a text of its own is one that stands there
			g.query(part)
			part = measured(pipe(part, write))
		}
		whole = call("__add", whole, part)
	}
	return whole
}

var formats = map[string]bool{
	"@text": true, "@json": true, "@html": true, "@uri": true, "@urid": true, "@csv": true, "@tsv": true, "@sh": true, "@base64": true, "@base64d": true,
}

func (g *guarding) format(t *gojq.Term) *gojq.Query {
	if !formats[t.Format] {
		g.refuse("must not use %s, which is not a format known here", t.Format)
	}
	if t.Str == nil {
		return measured(ofTerm(gojq.Term{Type: gojq.TermTypeFormat, Format: t.Format}))
	}
	if len(t.Str.Queries) == 0 {
		return ofTerm(gojq.Term{Type: gojq.TermTypeString, Str: t.Str})
	}
	return g.text(t.Str, t.Format)
}
