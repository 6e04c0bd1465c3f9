package httpcall

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/theory/jsonpath"
	"github.com/theory/jsonpath/spec"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/outbound"
)

// extraction says what of a response becomes the job's result: what one path finds,
// or an object of what several find.
type extraction struct {
	whole  *jsonpath.Path
	fields map[string]*jsonpath.Path
}

const (
	maxFields = 50  // of a result
	maxPath   = 500 // bytes of a path
	// maxExtracted is how large a response may be of which a result is made, in bytes.
	maxExtracted = 1 << 20
)

// readExtraction reads the payload's result; nil is none.
func readExtraction(raw []byte) (*extraction, []fault.Detail) {
	if raw == nil {
		return nil, nil
	}
	var one string
	if json.Unmarshal(raw, &one) == nil && raw[0] == '"' {
		path, err := readPath(one)
		if err != nil {
			return nil, []fault.Detail{{Pointer: "/result", Detail: err.Error()}}
		}
		return &extraction{whole: path}, nil
	}
	var many map[string]json.RawMessage
	if json.Unmarshal(raw, &many) != nil || len(many) == 0 || len(many) > maxFields {
		return nil, []fault.Detail{{Pointer: "/result", Detail: fmt.Sprintf(`must be a JSONPath such as "$.body.id", or an object of 1 to %d of them such as {"id": "$.body.id"}`, maxFields)}}
	}
	e := &extraction{fields: make(map[string]*jsonpath.Path, len(many))}
	var mistakes []fault.Detail
	for _, name := range sortedNames(many) {
		err := errors.New(`must be a text that is a JSONPath such as "$.body.id"`)
		if json.Unmarshal(many[name], &one) == nil && many[name][0] == '"' {
			e.fields[name], err = readPath(one)
		}
		if err != nil {
			mistakes = append(mistakes, fault.Detail{Pointer: "/result/" + escapePointer(name), Detail: err.Error()})
		}
	}
	return e, mistakes
}

// readPath reads a JSONPath of RFC 9535 without what could take more time than the
// document is long: filters, several selectors in one bracket, and .. more than once.
func readPath(text string) (*jsonpath.Path, error) {
	if len(text) > maxPath {
		return nil, fmt.Errorf("must have at most %d bytes", maxPath)
	}
	path, err := jsonpath.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("is no JSONPath such as $.body.id: %s", strings.TrimPrefix(err.Error(), "jsonpath: "))
	}
	descents := 0
	for _, segment := range path.Query().Segments() {
		if segment.IsDescendant() {
			descents++
		}
		if len(segment.Selectors()) > 1 {
			return nil, errors.New("must have one selector in each pair of brackets; name a field of the result for each")
		}
		for _, selector := range segment.Selectors() {
			if _, ok := selector.(*spec.FilterSelector); ok {
				return nil, errors.New("must have no filter (?)")
			}
		}
	}
	if descents > 1 {
		return nil, errors.New("must have .. at most once")
	}
	return path, nil
}

// extract makes the result of a response. What a path of one value does not find is
// null; a path that may find several values gives the list of them.
func (e *extraction) extract(r outbound.Response) (json.RawMessage, error) {
	seen := map[string]any{"status": r.Status, "headers": headersOf(r.Header), "body": bodyValue(r.Body)}
	w := &resultWriter{}
	if e.whole != nil {
		w.found(e.whole, seen)
		return w.Bytes(), w.err
	}
	w.WriteByte('{')
	for i, name := range sortedNames(e.fields) {
		if i > 0 {
			w.WriteByte(',')
		}
		w.value(name)
		w.WriteByte(':')
		w.found(e.fields[name], seen)
	}
	w.WriteByte('}')
	return w.Bytes(), w.err
}

// resultWriter writes a result and stops when it gets too large: with .. a path may
// find a value, all that is in it, and so on, which together are far larger than the
// response.
type resultWriter struct {
	bytes.Buffer
	err error
}

func (w *resultWriter) found(path *jsonpath.Path, in any) {
	all := path.Select(in)
	if path.Query().Singular() != nil {
		if len(all) == 0 {
			all = append(all, nil)
		}
		w.value(all[0])
		return
	}
	w.WriteByte('[')
	for i, v := range all {
		if i > 0 {
			w.WriteByte(',')
		}
		if w.value(v); w.err != nil {
			return
		}
	}
	w.WriteByte(']')
}

func (w *resultWriter) value(v any) {
	if w.err != nil {
		return
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	if w.err = enc.Encode(v); w.err != nil {
		return
	}
	w.Truncate(w.Len() - 1) // the line break
	if w.Len() > jobs.MaxResult {
		w.err = jobs.Permanentf("the call is done, but its result is larger than %d bytes: ask for less of the response", jobs.MaxResult)
	}
}

// headersOf names the headers in lower case, as HTTP/2 sends them.
func headersOf(header http.Header) map[string]any {
	all := make(map[string]any, len(header))
	for name, values := range header {
		all[strings.ToLower(name)] = strings.ToValidUTF8(strings.Join(values, ", "), "\uFFFD")
	}
	return all
}

// bodyValue is the value of a body that is JSON, with numbers as they came, else its
// text, and null when it is empty or no text.
func bodyValue(body []byte) any {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err == nil {
		if _, err := dec.Token(); errors.Is(err, io.EOF) {
			return v
		}
	}
	if len(body) == 0 || !utf8.Valid(body) {
		return nil
	}
	return string(body)
}
