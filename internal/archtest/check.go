package archtest

import (
	"fmt"
	"go/ast"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Violation is one broken rule at one place. Line is 0 where a whole file or
// directory is meant.
type Violation struct {
	Rule    string
	Path    string
	Line    int
	Message string
}

// String is the violation in the form editors jump to: path:line: message.
func (v Violation) String() string {
	if v.Line == 0 {
		return fmt.Sprintf("%s: %s [%s]", v.Path, v.Message, v.Rule)
	}
	return fmt.Sprintf("%s:%d: %s [%s]", v.Path, v.Line, v.Message, v.Rule)
}

// Check returns what in the module rooted at fsys breaks the house rules. It
// fails on a module that it cannot read or parse whole.
func Check(fsys fs.FS) ([]Violation, error) {
	t, err := load(fsys)
	if err != nil {
		return nil, err
	}
	var all []Violation
	for _, rule := range rules {
		for _, violation := range rule.check(t) {
			violation.Rule = rule.name
			all = append(all, violation)
		}
	}
	return all, nil
}

// stepOf returns where on the line a package stands, -1 for nowhere.
func stepOf(dir string) int {
	return slices.IndexFunc(line, func(step []string) bool { return slices.Contains(step, dir) })
}

func checkListed(t *tree) (broken []Violation) {
	dirs, _ := t.packages()
	for _, dir := range dirs {
		if stepOf(dir) < 0 {
			broken = append(broken, Violation{Path: dir, Message: "the package is not on the import line: " +
				"add it in internal/archtest/rules.go, to the leftmost step of `line` that is right of all it imports"})
		}
	}
	return broken
}

func checkLine(t *tree) (broken []Violation) {
	for file := range t.product {
		from := stepOf(file.dir)
		for _, spec := range file.ast.Imports {
			dir, own := t.own(spec)
			to := stepOf(dir)
			if !own || from < 0 || to < 0 || to < from {
				continue // A package that is not on the line is the business of checkListed.
			}
			switch {
			case to > from:
				broken = append(broken, t.at(spec.Pos(), "%s imports %s, which stands to its right on the import line", file.dir, dir))
			case dir != file.dir && !slices.Contains(neighbours[file.dir], dir):
				broken = append(broken, t.at(spec.Pos(), "%s imports %s, its neighbour on the same step of the import line", file.dir, dir))
			}
		}
	}
	return broken
}

func checkTestOnly(t *tree) (broken []Violation) {
	for file := range t.product {
		for _, spec := range file.ast.Imports {
			dir, own := t.own(spec)
			if own && slices.Contains(testOnly, dir) && !slices.Contains(testOnly, file.dir) {
				broken = append(broken, t.at(spec.Pos(), "%s is for tests and is imported by the product", dir))
			}
		}
	}
	return broken
}

func checkImporters(t *tree) (broken []Violation) {
	for file := range t.product {
		for _, spec := range file.ast.Imports {
			dir, _ := t.own(spec)
			if may, limited := importersOf[dir]; limited && !slices.Contains(may, file.dir) {
				broken = append(broken, t.at(spec.Pos(), "%s may be imported only by %s", dir, strings.Join(may, ", ")))
			}
		}
	}
	return broken
}

func checkConfined(t *tree) (broken []Violation) {
	for file := range t.product {
		for _, spec := range file.ast.Imports {
			for library, globs := range confined {
				if within(importPath(spec), library) && !matchesAny(globs, file.path) {
					broken = append(broken, t.at(spec.Pos(), "%s may be imported only in %s", library, strings.Join(globs, ", ")))
				}
			}
		}
	}
	return broken
}

// within reports whether an import is the library or one of its packages, of
// any major version.
func within(imported, library string) bool {
	return imported == library || strings.HasPrefix(imported, library+"/")
}

func matchesAny(globs []string, name string) bool {
	return slices.ContainsFunc(globs, func(glob string) bool {
		matched, _ := path.Match(glob, name) // The globs are constants, tested to be well formed.
		return matched
	})
}

func checkFileSize(t *tree) (broken []Violation) {
	for file := range t.product {
		if file.lines > maxFileLines {
			broken = append(broken, Violation{Path: file.path, Message: fmt.Sprintf(
				"the file has %d lines, more than %d: give one of its stories a file of its own", file.lines, maxFileLines)})
		}
	}
	return broken
}

func checkFuncSize(t *tree) (broken []Violation) {
	for file := range t.product {
		for _, decl := range file.ast.Decls {
			name := "a function literal"
			if function, ok := decl.(*ast.FuncDecl); ok {
				name = function.Name.Name
			}
			ast.Inspect(decl, func(node ast.Node) bool {
				if !isFunction(node) {
					return true
				}
				if lines := t.span(node); lines > maxFunctionLines {
					broken = append(broken, t.at(node.Pos(),
						"%s has %d lines, more than %d: split it by step and name the steps", name, lines, maxFunctionLines))
				}
				return false // What it holds is shorter than itself.
			})
		}
	}
	return broken
}

func isFunction(node ast.Node) bool {
	switch node.(type) {
	case *ast.FuncDecl, *ast.FuncLit:
		return true
	}
	return false
}

func checkNoInit(t *tree) (broken []Violation) {
	for _, file := range t.files {
		for _, decl := range file.ast.Decls {
			if function, ok := decl.(*ast.FuncDecl); ok && function.Recv == nil && function.Name.Name == "init" {
				broken = append(broken, t.at(function.Pos(), "init runs unasked and takes no arguments: construct in internal/app"))
			}
		}
	}
	return broken
}

func checkNoSleep(t *tree) (broken []Violation) {
	for file := range t.product {
		clock := localName(file.ast, "time")
		ast.Inspect(file.ast, func(node ast.Node) bool {
			selector, ok := node.(*ast.SelectorExpr)
			if !ok || selector.Sel.Name != "Sleep" {
				return true
			}
			if pkg, ok := selector.X.(*ast.Ident); ok && pkg.Name == clock {
				broken = append(broken, t.at(selector.Pos(), "%s.Sleep cannot be interrupted: select on a timer and the context", clock))
			}
			return true
		})
	}
	return broken
}

// localName is what a file calls an imported package, "" if it does not import
// it. Dot imports, which hide the name, are left to the linter.
func localName(file *ast.File, imported string) string {
	for _, spec := range file.Imports {
		switch {
		case importPath(spec) != imported:
		case spec.Name != nil:
			return spec.Name.Name
		default:
			return path.Base(imported)
		}
	}
	return ""
}

func checkName(t *tree) (broken []Violation) {
	dirs, files := t.packages()
	for _, dir := range dirs {
		for _, name := range []string{path.Base(dir), files[dir][0].ast.Name.Name} {
			if slices.Contains(emptyNames, name) {
				broken = append(broken, Violation{Path: dir, Message: fmt.Sprintf("%q does not say what the package does", name)})
				break
			}
		}
	}
	return broken
}

func checkDoc(t *tree) (broken []Violation) {
	dirs, files := t.packages()
	for _, dir := range dirs {
		name := files[dir][0].ast.Name.Name
		if !strings.HasPrefix(dir, "internal/") || name == "main" {
			continue // A command is described by its help.
		}
		doc := slices.IndexFunc(files[dir], func(file source) bool { return path.Base(file.path) == "doc.go" })
		if doc < 0 || !describes(files[dir][doc].ast, name) {
			broken = append(broken, Violation{Path: path.Join(dir, "doc.go"), Message: fmt.Sprintf(
				"the file must exist and begin with \"// Package %s \" and what it promises", name)})
		}
	}
	return broken
}

// describes reports whether a file begins with the comment go doc shows.
func describes(file *ast.File, name string) bool {
	return file.Doc != nil && file.Doc == file.Comments[0] && strings.HasPrefix(file.Doc.List[0].Text, "// Package "+name+" ")
}
