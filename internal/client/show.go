package client

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"go.yaml.in/yaml/v3"
)

// Column is one of a table: its title, and the field of a row that it shows.
type Column struct{ Title, Field string }

// Show writes an answer as "table", "json" or "yaml". A table has the columns; one row, or
// one for each element of an array.
func Show(out io.Writer, format string, answer json.RawMessage, columns []Column) error {
	var value any
	if err := json.Unmarshal(answer, &value); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	switch format {
	case "json":
		enc := json.NewEncoder(out)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(value)
	case "yaml":
		text, err := yaml.Marshal(value)
		if err != nil {
			return fmt.Errorf("write YAML: %w", err)
		}
		_, err = out.Write(text)
		return err
	}
	rows, many := value.([]any)
	if !many {
		rows = []any{value}
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	titles := make([]string, len(columns))
	for i, c := range columns {
		titles[i] = c.Title
	}
	fmt.Fprintln(w, strings.Join(titles, "\t"))
	for _, row := range rows {
		fields, _ := row.(map[string]any)
		cells := make([]string, len(columns))
		for i, c := range columns {
			cells[i] = cell(fields[c.Field])
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	return w.Flush()
}

// cell is a value in a table. What controls a terminal is not printed.
func cell(value any) string {
	switch v := value.(type) {
	case nil:
		return "-"
	case string:
		return strings.Map(func(r rune) rune {
			if r < ' ' || r == 0x7f {
				return '?'
			}
			return r
		}, v)
	case float64, bool:
		return fmt.Sprint(v)
	}
	text, _ := json.Marshal(value) // it came as JSON
	return string(text)
}
