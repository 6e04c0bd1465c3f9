package archtest

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// tree is the source of one module.
type tree struct {
	module string // import path from go.mod
	fset   *token.FileSet
	files  []source // by path
}

// source is one Go file. Paths are slash-separated and start at the module root.
type source struct {
	path, dir string
	test      bool // the name ends in _test.go
	ast       *ast.File
	lines     int
}

// notSource are the directories of the module root that hold no source: build
// output, and data that may be unreadable for whoever runs the test.
var notSource = []string{"bin", "data"}

// load parses every Go file of the module whose root is fsys. It leaves out what
// the go command leaves out: nested modules, testdata, vendor, and directories
// that begin with a dot or an underscore.
func load(fsys fs.FS) (*tree, error) {
	module, err := modulePath(fsys)
	if err != nil {
		return nil, err
	}
	t := &tree{module: module, fset: token.NewFileSet()}
	err = fs.WalkDir(fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && skipped(fsys, name):
			return fs.SkipDir
		case entry.IsDir() || path.Ext(name) != ".go":
			return nil
		}
		return t.add(fsys, name)
	})
	if err != nil {
		return nil, fmt.Errorf("load module %s: %w", module, err)
	}
	return t, nil
}

func modulePath(fsys fs.FS) (string, error) {
	mod, err := fs.ReadFile(fsys, "go.mod")
	if err != nil {
		return "", fmt.Errorf("find module: %w", err)
	}
	for text := range strings.Lines(string(mod)) {
		if name, found := strings.CutPrefix(text, "module "); found {
			return strings.TrimSpace(name), nil
		}
	}
	return "", errors.New("find module: go.mod has no module line")
}

func skipped(fsys fs.FS, dir string) bool {
	if dir == "." {
		return false
	}
	base := path.Base(dir)
	if strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") || base == "testdata" || base == "vendor" {
		return true
	}
	_, err := fs.Stat(fsys, path.Join(dir, "go.mod"))
	return err == nil || slices.Contains(notSource, dir)
}

func (t *tree) add(fsys fs.FS, name string) error {
	text, err := fs.ReadFile(fsys, name)
	if err != nil {
		return err
	}
	parsed, err := parser.ParseFile(t.fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	t.files = append(t.files, source{
		path:  name,
		dir:   path.Dir(name),
		test:  strings.HasSuffix(name, "_test.go"),
		ast:   parsed,
		lines: strings.Count(string(text), "\n"),
	})
	return nil
}

// product yields the files that are not tests.
func (t *tree) product(yield func(source) bool) {
	for _, file := range t.files {
		if !file.test && !yield(file) {
			return
		}
	}
}

// packages returns the directories that hold product code, each with its files.
func (t *tree) packages() (dirs []string, files map[string][]source) {
	files = make(map[string][]source)
	for file := range t.product {
		if files[file.dir] == nil {
			dirs = append(dirs, file.dir)
		}
		files[file.dir] = append(files[file.dir], file)
	}
	return dirs, files
}

// at is a violation at a place in the source.
func (t *tree) at(pos token.Pos, format string, args ...any) Violation {
	place := t.fset.Position(pos)
	return Violation{Path: place.Filename, Line: place.Line, Message: fmt.Sprintf(format, args...)}
}

// span is the number of lines a piece of source takes, first to last.
func (t *tree) span(node ast.Node) int {
	return t.fset.Position(node.End()).Line - t.fset.Position(node.Pos()).Line + 1
}

// own returns the directory of an import of this module.
func (t *tree) own(spec *ast.ImportSpec) (dir string, found bool) {
	return strings.CutPrefix(importPath(spec), t.module+"/")
}

func importPath(spec *ast.ImportSpec) string {
	// The parser accepted the literal, so that it cannot fail to unquote.
	name, _ := strconv.Unquote(spec.Path.Value)
	return name
}
