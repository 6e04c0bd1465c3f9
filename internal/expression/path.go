package expression

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Placeholders begin with opening and end with closing; escaped is the text
// "<$." itself.
const (
	opening = "<$."
	closing = '>'
	escaped = `\<$.`
)

// path is where a value stands in an event.
type path struct {
	source   string // as it was written, such as $.data.items[0]
	steps    []any  // string: a field; int: an element
	optional bool   // a value that is not there is null, or an empty text
}

// Scope is what placeholders stand for values of.
type Scope struct {
	What  string   // such as "an event"
	Names []string // with which a placeholder may begin
}

// ofEvent is the scope of actions of rules; the last three names are of CloudEvents.
var ofEvent = Scope{"an event", []string{"id", "tenant", "type", "source", "subject", "time", "data", "datacontenttype", "dataschema", "extensions"}}

// list gives the names as they are told.
func (s Scope) list() string {
	last := len(s.Names) - 1
	if last == 0 {
		return s.Names[0]
	}
	return strings.Join(s.Names[:last], ", ") + " and " + s.Names[last]
}

// parsePlaceholder reads the placeholder that a text begins with and gives the rest.
func (s Scope) parsePlaceholder(text string) (path, string, error) {
	p := path{}
	rest := text[len("<$"):]
	for {
		switch {
		case strings.HasPrefix(rest, "."):
			name := identifier(rest[1:])
			if name == "" {
				return path{}, "", misread(text, "a name must follow each . ")
			}
			p.steps, rest = append(p.steps, name), rest[1+len(name):]
		case strings.HasPrefix(rest, "["):
			step, after, err := parseElement(rest[1:])
			if err != nil {
				return path{}, "", misread(text, err.Error())
			}
			p.steps, rest = append(p.steps, step), after
		default:
			p.source = text[1 : len(text)-len(rest)]
			if p.optional = strings.HasPrefix(rest, "?"); p.optional {
				rest = rest[1:]
			}
			if rest == "" || rest[0] != closing {
				return path{}, "", misread(text, "it must end with >, or ?> where the value may be missing; ")
			}
			if first, _ := p.steps[0].(string); !slices.Contains(s.Names, first) {
				return path{}, "", fmt.Errorf("has the placeholder <%s>, and %s has no %s; its fields are %s", p.source, s.What, first, s.list())
			}
			return p, rest[1:], nil
		}
	}
}

func misread(text, why string) error {
	const most = 40
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "..."
	}
	return fmt.Errorf(`has the placeholder %s that cannot be read: %swrite <$.data.name>, <$.data["any name"]>, <$.data.list[0]>, or \<$. for the text itself`, text, why)
}

// identifier is the plain name that a text begins with.
func identifier(text string) string {
	for i, r := range text {
		if r == '_' || r == '-' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r >= utf8.RuneSelf {
			continue
		}
		return text[:i]
	}
	return text
}

// parseElement reads 0] or "any name"].
func parseElement(text string) (step any, rest string, err error) {
	if strings.HasPrefix(text, `"`) || strings.HasPrefix(text, `'`) {
		name, rest, found := strings.Cut(text[1:], text[:1]+"]")
		if !found {
			return nil, "", errors.New("a [ and a quote must be closed; ")
		}
		return name, rest, nil
	}
	digits, rest, found := strings.Cut(text, "]")
	n, err := strconv.Atoi(digits)
	if !found || err != nil || n < 0 {
		return nil, "", errors.New("in [ ] must stand a number from 0, or a name in quotes; ")
	}
	return n, rest, nil
}

// find gives the value; one that is missing is errAbsent, or nil where that is right.
func (p path) find(root map[string]any) (any, error) {
	var at any = root
	for _, step := range p.steps {
		var ok bool
		switch step := step.(type) {
		case string:
			var object map[string]any
			if object, ok = at.(map[string]any); ok {
				at, ok = object[step]
			}
		case int:
			var list []any
			if list, ok = at.([]any); ok {
				if ok = step < len(list); ok {
					at = list[step]
				}
			}
		}
		if !ok && p.optional {
			return nil, nil
		}
		if !ok {
			return nil, fmt.Errorf("<%s>: %w; write <%s?> where it may be missing", p.source, errAbsent, p.source)
		}
	}
	return at, nil
}

// text is a value inside a text: texts as they are, nothing for null, and all else as
// JSON.
func text(v any) (string, error) {
	switch v := v.(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	case json.Number:
		return string(v), nil
	}
	b, err := marshal(v)
	return string(b), err
}
