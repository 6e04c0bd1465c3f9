package client

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// ErrDocuments says that documents are not what can be applied.
var ErrDocuments = errors.New("nothing was applied")

// Document is one of a file.
type Document struct {
	Where  string // for people
	Fields map[string]any
}

// text gives a field that is a text, or "".
func (d *Document) text(field string) string {
	s, _ := d.Fields[field].(string)
	return s
}

// ReadDocuments reads the documents of a file, YAML or JSON.
func ReadDocuments(file string, raw []byte) ([]Document, error) {
	var all []Document
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	for n := 1; ; n++ {
		where := fmt.Sprintf("%s, document %d", file, n)
		var fields map[string]any
		switch err := dec.Decode(&fields); {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			return nil, fmt.Errorf("%w: %s: %s", ErrDocuments, where, strings.TrimPrefix(err.Error(), "yaml: "))
		case fields != nil: // an empty one is none
			all = append(all, Document{where, fields})
		}
	}
}

// check gives every mistake that shows without a server.
func check(all []Document) error {
	var mistakes []string
	seen := map[string]string{}
	for _, d := range all {
		wrong := func(text string) { mistakes = append(mistakes, d.Where+": "+text) }
		if kind := d.text("kind"); kind != "schedule" {
			wrong(fmt.Sprintf("kind is %q, and can be schedule only", kind))
			continue
		}
		name := d.text("name")
		if name == "" {
			wrong("name is missing; a schedule is known again by it")
			continue
		}
		key := d.text("tenant") + "\n" + name
		if before, twice := seen[key]; twice {
			wrong(fmt.Sprintf("name %q stands in %s too", name, before))
		}
		seen[key] = d.Where
	}
	if len(all) == 0 {
		mistakes = []string{"there are no documents"}
	}
	if len(mistakes) > 0 {
		return fmt.Errorf("%w: %s", ErrDocuments, strings.Join(mistakes, "\n  "))
	}
	return nil
}
