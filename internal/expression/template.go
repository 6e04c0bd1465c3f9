package expression

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Text is a compiled text with placeholders, such as order-<$.data.id>.
type Text struct {
	literal []string // one more than there are paths
	paths   []path
}

// CompileText compiles a text about an event. The error says what is wrong with it.
func CompileText(source string) (*Text, error) { return ofEvent.CompileText(source) }

// CompileText compiles a text. The error says what is wrong with it.
func (s Scope) CompileText(source string) (*Text, error) {
	t := &Text{}
	var literal strings.Builder
	for rest := source; ; {
		at := strings.Index(rest, opening)
		if at < 0 {
			t.literal = append(t.literal, literal.String()+rest)
			return t, nil
		}
		if at > 0 && rest[at-1] == escaped[0] {
			literal.WriteString(rest[:at-1] + opening)
			rest = rest[at+len(opening):]
			continue
		}
		p, after, err := s.parsePlaceholder(rest[at:])
		if err != nil {
			return nil, err
		}
		t.literal, t.paths = append(t.literal, literal.String()+rest[:at]), append(t.paths, p)
		literal.Reset()
		rest = after
	}
}

// HasPlaceholders says whether a text must be compiled.
func HasPlaceholders(source string) bool { return strings.Contains(source, opening) }

// For gives the text for an event.
func (t *Text) For(e *Event) (string, error) {
	root, err := e.root()
	if err != nil {
		return "", err
	}
	return t.fill(root)
}

func (t *Text) fill(root map[string]any) (string, error) {
	var b strings.Builder
	for i, p := range t.paths {
		v, err := p.find(root)
		if err != nil {
			return "", err
		}
		part, err := text(v)
		if err != nil {
			return "", err
		}
		b.WriteString(t.literal[i])
		b.WriteString(part)
		if b.Len() > maxResult {
			return "", errLong
		}
	}
	b.WriteString(t.literal[len(t.paths)])
	return b.String(), nil
}

var errLong = fmt.Errorf("it would have more than %d bytes", maxResult)

// whole says that the text is one placeholder and nothing else.
func (t *Text) whole() bool {
	return len(t.paths) == 1 && t.literal[0] == "" && t.literal[1] == ""
}

// Payload is compiled JSON with placeholders in its texts; its other bytes stay as
// they are. A text that is one placeholder becomes the value itself, whatever it is.
type Payload struct {
	literal  []string // one more than there are texts
	texts    []*Text
	pointers []string // of the texts
}

// CompilePayload compiles JSON about an event, which must be valid. The pointer says
// where the error is.
func CompilePayload(source []byte) (p *Payload, pointer string, err error) {
	return ofEvent.CompilePayload(source)
}

// CompilePayload compiles JSON, which must be valid. The pointer says where the error
// is.
func (s Scope) CompilePayload(source []byte) (p *Payload, pointer string, err error) {
	in := scanner{scope: s, source: source, out: &Payload{}}
	if pointer, err = in.value(""); err != nil {
		return nil, pointer, err
	}
	in.out.literal = append(in.out.literal, string(source[in.done:]))
	return in.out, "", nil
}

// Fills says whether what stands at a pointer, or around it, comes from the event.
func (p *Payload) Fills(pointer string) bool {
	for _, at := range p.pointers {
		if pointer == at || strings.HasPrefix(pointer, at+"/") || strings.HasPrefix(at, pointer+"/") {
			return true
		}
	}
	return false
}

// For gives the payload for an event.
func (p *Payload) For(e *Event) (json.RawMessage, error) {
	root, err := e.root()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	for i, t := range p.texts {
		b.WriteString(p.literal[i])
		var v any
		if t.whole() {
			v, err = t.paths[0].find(root)
		} else {
			v, err = t.fill(root)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.pointers[i], err)
		}
		part, err := marshal(v)
		if err != nil {
			return nil, err
		}
		if b.Write(part); b.Len() > maxResult {
			return nil, errLong
		}
	}
	b.WriteString(p.literal[len(p.texts)])
	return b.Bytes(), nil
}

// marshal writes a value without the escapes that only HTML needs.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("write a value of the event: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// scanner finds the texts of valid JSON that have placeholders.
type scanner struct {
	scope    Scope
	source   []byte
	at, done int // done is the end of what stands in out
	out      *Payload
}

var errNoJSON = errors.New("is not JSON")

func (s *scanner) space() {
	for s.at < len(s.source) && strings.IndexByte(" \t\r\n", s.source[s.at]) >= 0 {
		s.at++
	}
}

func (s *scanner) next(c byte) bool {
	s.space()
	if s.at < len(s.source) && s.source[s.at] == c {
		s.at++
		return true
	}
	return false
}

// value passes over a value and gives where an error is.
func (s *scanner) value(pointer string) (string, error) {
	s.space()
	if s.at >= len(s.source) {
		return pointer, errNoJSON
	}
	switch s.source[s.at] {
	case '{':
		return s.members(pointer)
	case '[':
		s.at++
		for i := 0; !s.next(']'); i++ {
			if where, err := s.value(pointer + "/" + strconv.Itoa(i)); err != nil {
				return where, err
			}
			s.next(',')
		}
		return "", nil
	case '"':
		return pointer, s.text(pointer)
	}
	for s.at < len(s.source) && strings.IndexByte(" \t\r\n,]}", s.source[s.at]) < 0 {
		s.at++
	}
	return "", nil
}

func (s *scanner) members(pointer string) (string, error) {
	s.at++
	for !s.next('}') {
		name, err := s.quoted()
		if err != nil || !s.next(':') {
			return pointer, errNoJSON
		}
		where, err := s.value(pointer + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name))
		if err != nil {
			return where, err
		}
		s.next(',')
	}
	return "", nil
}

// quoted reads a text.
func (s *scanner) quoted() (string, error) {
	begin := s.at
	if !s.next('"') {
		return "", errNoJSON
	}
	for s.at < len(s.source) && s.source[s.at] != '"' {
		if s.source[s.at] == '\\' {
			s.at++
		}
		s.at++
	}
	s.at++
	var out string
	if s.at > len(s.source) || json.Unmarshal(s.source[begin:s.at], &out) != nil {
		return "", errNoJSON
	}
	return out, nil
}

func (s *scanner) text(pointer string) error {
	begin := s.at
	source, err := s.quoted()
	if err != nil || !HasPlaceholders(source) {
		return err
	}
	t, err := s.scope.CompileText(source)
	if err != nil {
		return err
	}
	s.out.literal = append(s.out.literal, string(s.source[s.done:begin]))
	s.out.texts, s.out.pointers = append(s.out.texts, t), append(s.out.pointers, pointer)
	s.done = s.at
	return nil
}
