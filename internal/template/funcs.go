package template

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	texttemplate "text/template"
	"time"
	"unicode/utf8"
)

// Bounds of one call of a function that builds a text.
const (
	maxArgs  = 20
	maxVerbs = 20
)

// funcs are the functions of the templates. Those of Go that build texts are
// replaced by the same with bounds.
func (b *Budget) funcs() map[string]any {
	return map[string]any{
		"tick":     b.tick,
		"upper":    func(v any) (string, error) { return b.charge(strings.ToUpper(textOf(v))) },
		"lower":    func(v any) (string, error) { return b.charge(strings.ToLower(textOf(v))) },
		"truncate": func(most int, v any) (string, error) { return b.charge(truncate(most, textOf(v))) },
		"join":     b.join,
		"default":  orElse,
		"get":      get,
		"number":   number,
		"date":     b.date,
		"json":     b.json,
		"print":    b.bound(fmt.Sprint),
		"println":  b.bound(fmt.Sprintln),
		"printf":   b.printf,
		"html":     b.bound(texttemplate.HTMLEscaper),
		"js":       b.bound(texttemplate.JSEscaper),
		"urlquery": b.bound(texttemplate.URLQueryEscaper),
	}
}

// charge pays for a text that a function built.
func (b *Budget) charge(text string) (string, error) {
	if b.built -= len(text); b.built < 0 {
		return "", errBuilt
	}
	return text, nil
}

func (b *Budget) bound(f func(...any) string) func(...any) (string, error) {
	return func(args ...any) (string, error) {
		if len(args) > maxArgs {
			return "", fmt.Errorf("takes at most %d arguments", maxArgs)
		}
		return b.charge(f(args...))
	}
}

// wide finds a verb whose width or precision has four digits or is an argument.
var wide = regexp.MustCompile(`%[^a-zA-Z%]*(\d{4}|\*)`)

func (b *Budget) printf(format string, args ...any) (string, error) {
	if strings.Count(format, "%") > maxVerbs || wide.MatchString(format) {
		return "", fmt.Errorf("takes at most %d verbs, of at most 999 characters each", maxVerbs)
	}
	return b.bound(func(args ...any) string { return fmt.Sprintf(format, args...) })(args...)
}

// join puts a separator between the elements of a list.
func (b *Budget) join(separator string, list any) (string, error) {
	elements, ok := list.([]any)
	if !ok {
		return textOf(list), nil
	}
	var all strings.Builder
	for i, e := range elements {
		if i > 0 {
			all.WriteString(separator)
		}
		all.WriteString(textOf(e))
		if all.Len() > b.built {
			return "", errBuilt
		}
	}
	return b.charge(all.String())
}

// truncate keeps at most so many characters; an ellipsis stands for the rest.
func truncate(most int, text string) string {
	if utf8.RuneCountInString(text) <= most {
		return text
	}
	if most < 1 {
		return ""
	}
	return string([]rune(text)[:most-1]) + "…"
}

// orElse gives the value, or the fallback when it is null, absent or an empty text.
func orElse(fallback, v any) any {
	if textOf(v) == "" {
		return fallback
	}
	return v
}

// get follows a path such as "items.0.name"; what is not there is null.
func get(v any, path string) any {
	for key := range strings.SplitSeq(path, ".") {
		var next any
		switch v := v.(type) {
		case map[string]any:
			next = v[key]
		case []any:
			if i, err := strconv.Atoi(key); err == nil && i >= 0 && i < len(v) {
				next = v[i]
			}
		}
		if next == nil {
			return null(nil)
		}
		v = next
	}
	return v
}

// number makes a float of a number or a text, to be compared with 9.5.
func number(v any) (float64, error) {
	f, err := strconv.ParseFloat(textOf(v), 64)
	if err != nil || math.IsInf(f, 0) || math.IsNaN(f) {
		return 0, fmt.Errorf("%.40q is no number", textOf(v))
	}
	return f, nil
}

// date writes a time in a Go layout: date "2 January 2006" .event.time, or in a time
// zone: date "15:04" "Europe/Berlin" .event.time. A number is a Unix time in
// seconds.
func (b *Budget) date(layout string, zoneAndTime ...any) (string, error) {
	n := len(zoneAndTime)
	if n != 1 && n != 2 {
		return "", errors.New("takes a layout, a time zone if need be, and a time")
	}
	at, err := timeOf(zoneAndTime[n-1])
	if err != nil {
		return "", err
	}
	if n == 2 {
		zone, err := time.LoadLocation(textOf(zoneAndTime[0]))
		if err != nil {
			return "", err
		}
		at = at.In(zone)
	}
	return b.charge(at.Format(layout))
}

func timeOf(v any) (time.Time, error) {
	if seconds, ok := v.(int64); ok {
		return time.Unix(seconds, 0).UTC(), nil
	}
	at, err := time.Parse(time.RFC3339, textOf(v))
	if err != nil {
		return time.Time{}, fmt.Errorf("%.40q is no RFC 3339 time such as 2026-01-31T09:30:00Z", textOf(v))
	}
	return at, nil
}

// json writes a value as JSON.
func (b *Budget) json(v any) (string, error) {
	var text strings.Builder
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false) // in HTML the result is escaped like any other text
	if err := enc.Encode(v); err != nil {
		return "", err
	}
	return b.charge(strings.TrimSuffix(text.String(), "\n"))
}

func textOf(v any) string {
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}
