package sources

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/signalstack/signalstack/internal/httpapi"
)

// document is a JSON text that single values are taken from.
type document struct{ root any }

// parse reads a text that is known to be JSON. Numbers stay as they are written.
func parse(raw []byte) (document, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var d document
	err := dec.Decode(&d.root)
	return d, err
}

var unescapePointer = strings.NewReplacer("~1", "/", "~0", "~")

// at gives the value that a JSON pointer (RFC 6901) names; nil when there is none.
func (d document) at(pointer string) any {
	v := d.root
	if pointer == "" {
		return v
	}
	for name := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		switch in := v.(type) {
		case map[string]any:
			v = in[unescapePointer.Replace(name)]
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i < 0 || i >= len(in) {
				return nil
			}
			v = in[i]
		default:
			return nil
		}
	}
	return v
}

// text gives the first of the pointers' values that is a text, not empty, or a
// number, as it is written; "" when none is.
func (d document) text(pointers ...string) string {
	for _, p := range pointers {
		switch v := d.at(p).(type) {
		case string:
			if v != "" {
				return v
			}
		case json.Number:
			return v.String()
		}
	}
	return ""
}

// moment gives the first of the pointers' values that is a time, as RFC 3339: one
// that is written so, or Unix seconds. "" is the time of receipt.
func (d document) moment(pointers ...string) string {
	for _, p := range pointers {
		if t := moment(d.text(p)); t != "" {
			return t
		}
	}
	return ""
}

func moment(text string) string {
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil {
		text = time.Unix(seconds, 0).UTC().Format(time.RFC3339)
	}
	if _, wrong := httpapi.ParseTime("", text); len(wrong) > 0 {
		return ""
	}
	return text
}
