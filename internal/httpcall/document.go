package httpcall

import (
	"bytes"
	"encoding/json"
	"strconv"

	"github.com/signalstack/signalstack/internal/template"
)

// document is a JSON body whose texts may be templates. All else of it is sent byte
// for byte.
type document struct {
	raw   []byte
	texts []text
}

// text is a JSON string that is a template, from its first quote to its last.
type text struct {
	from, to int
	pointer  string
	template *template.Template
}

// level is an object or a list that the reading is within.
type level struct {
	object, isKey bool // isKey: a name comes next
	at            string
	index         int
}

// readDocument finds the templates among the values of raw, which is valid JSON. The
// names of fields are none.
func readDocument(raw []byte, parse func(pointer, source string) *template.Template) *document {
	d := &document{raw: raw}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	levels := []level{{}}
	pointer := func() string {
		var p string
		for _, l := range levels[1:] {
			if l.object {
				p += "/" + escapePointer(l.at)
			} else {
				p += "/" + strconv.Itoa(l.index)
			}
		}
		return p
	}
	for before := 0; ; before = int(dec.InputOffset()) {
		token, err := dec.Token()
		if err != nil {
			return d
		}
		top := &levels[len(levels)-1]
		switch token := token.(type) {
		case json.Delim:
			if token == '{' || token == '[' {
				levels = append(levels, level{object: token == '{', isKey: token == '{'})
				continue
			}
			levels = levels[:len(levels)-1]
			top = &levels[len(levels)-1]
		case string:
			if top.isKey {
				top.at, top.isKey = token, false
				continue
			}
			if to := int(dec.InputOffset()); template.Is(token) {
				p := pointer()
				d.texts = append(d.texts, text{from: before + bytes.IndexByte(raw[before:to], '"'), to: to, pointer: p, template: parse(p, token)})
			}
		}
		top.isKey = top.object
		top.index++
	}
}

// render gives the body with the texts that execute gives for its templates. One that
// is a {{json ...}} alone becomes that value, any other a JSON string.
func (d *document) render(execute func(pointer string, t *template.Template) string) []byte {
	var b bytes.Buffer
	done := 0
	for _, t := range d.texts {
		b.Write(d.raw[done:t.from])
		done = t.to
		printed := execute(t.pointer, t.template)
		if t.template.IsValue() {
			b.WriteString(printed)
			continue
		}
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		_ = enc.Encode(printed) // a text always can be
		b.Truncate(b.Len() - 1) // the line break
	}
	b.Write(d.raw[done:])
	return b.Bytes()
}
