package pattern

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// kind is what sort of JSON value something is.
type kind uint8

const (
	kindNull kind = iota
	kindFalse
	kindTrue
	kindNumber
	kindString
	kindArray
	kindObject
)

// document is a JSON text, parsed once. encoding/json would lose what patterns
// compare: lone surrogates become U+FFFD and a value of type any costs an
// allocation for each field.
type document struct {
	raw     string
	decoded string  // strings that had escapes, numbers that were not canonical
	values  []value // in the order of the text: a container stands before what is in it

	// wide indexes the fields of large objects by name, from the first look into
	// each; without it a pattern with many fields would scan them once for each.
	wide map[int]map[string]int
}

// value is one value of a document. A place is an offset into raw, or, from
// len(raw) on, into decoded.
type value struct {
	kind       kind
	key0, key1 uint32 // places of the field's name; both 0 outside objects
	lo, hi     uint32 // places of a scalar's text; lo counts what a container holds
	next       uint32 // index of the first value after this one and all in it
	start      uint32 // offset of the value in raw
}

const (
	// maxNesting is the limit of encoding/json, which every accepted event passed.
	maxNesting = 10_000
	// maxText keeps places within 32 bits: raw, and what is decoded from it, which
	// is longer by maxPlain/4 at worst (1e19 becomes 20 digits).
	maxText = 256 << 20
	// wideObject is the number of fields from which an index beats a scan.
	wideObject = 32
)

var (
	errTooDeep  = errors.New("nests too deeply")
	errTooLarge = errors.New("is larger than 256 MiB")
)

// text gives the bytes between two places.
func (d *document) text(lo, hi uint32) string {
	if n := len(d.raw); int(lo) >= n {
		return d.decoded[int(lo)-n : int(hi)-n]
	}
	return d.raw[lo:hi]
}

// scalar gives a value that is neither an array nor an object.
func (d *document) scalar(at int) scalar {
	v := &d.values[at]
	return scalar{kind: v.kind, text: d.text(v.lo, v.hi)}
}

// key gives the name of a field.
func (d *document) key(at int) string {
	v := &d.values[at]
	return d.text(v.key0, v.key1)
}

// source gives the text of a value as it stands in the document.
func (d *document) source(at int) string {
	from := d.raw[d.values[at].start:]
	depth, quoted := 0, false
	for i := 0; i < len(from); i++ {
		switch c := from[i]; {
		case c == '\\' && quoted:
			i++
			continue
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			depth--
		}
		if depth == 0 && !quoted && i+1 < len(from) && strings.IndexByte(",}] \t\r\n", from[i+1]) >= 0 {
			return from[:i+1]
		}
	}
	return from
}

// next gives the index behind a value and all in it; what a container holds
// starts right behind the container.
func (d *document) next(at int) int { return int(d.values[at].next) }

// field finds a field of an object; of several with the name, the last.
func (d *document) field(object int, name string) (at int, ok bool) {
	if d.values[object].lo >= wideObject {
		at, ok = d.index(object)[name]
		return at, ok
	}
	for i, end := object+1, d.next(object); i < end; i = d.next(i) {
		if d.key(i) == name {
			at, ok = i, true
		}
	}
	return at, ok
}

func (d *document) index(object int) map[string]int {
	if fields, ok := d.wide[object]; ok {
		return fields
	}
	fields := make(map[string]int, d.values[object].lo)
	for i, end := object+1, d.next(object); i < end; i = d.next(i) {
		fields[d.key(i)] = i
	}
	if d.wide == nil {
		d.wide = make(map[int]map[string]int)
	}
	d.wide[object] = fields
	return fields
}

// parse reads a JSON text. It accepts what encoding/json does, bytes that are no
// UTF-8 inside strings included.
func parse(raw []byte) (*document, error) {
	if len(raw) > maxText {
		return nil, errTooLarge
	}
	// About one value in 16 bytes: the events of GitHub have one in 20 to 40.
	p := parser{raw: string(raw), values: make([]value, 0, len(raw)/16+4), decoded: make([]byte, 0, 64)}
	p.space()
	if err := p.value(value{}, 0); err != nil {
		return nil, err
	}
	p.space()
	if p.at < len(p.raw) {
		return nil, p.fail("the end")
	}
	return &document{raw: p.raw, decoded: string(p.decoded), values: p.values}, nil
}

type parser struct {
	raw     string
	at      int
	decoded []byte
	values  []value
}

func (p *parser) fail(expected string) error {
	if p.at >= len(p.raw) {
		return fmt.Errorf("ends where %s should stand", expected)
	}
	return fmt.Errorf("needs %s at byte %d, not %q", expected, p.at+1, p.raw[p.at])
}

func (p *parser) space() {
	for p.at < len(p.raw) && (p.raw[p.at] == ' ' || p.raw[p.at] == '\n' || p.raw[p.at] == '\t' || p.raw[p.at] == '\r') {
		p.at++
	}
}

// peek gives the byte the parser stands on; 0, which no JSON has between tokens,
// at the end.
func (p *parser) peek() byte {
	if p.at < len(p.raw) {
		return p.raw[p.at]
	}
	return 0
}

// value reads one value into v, which has its key, and appends it.
func (p *parser) value(v value, depth int) (err error) {
	v.start = place(p.at)
	switch c := p.peek(); {
	case c == '{' || c == '[':
		return p.container(v, depth+1)
	case c == '"':
		v.kind = kindString
		v.lo, v.hi, err = p.str()
	case c == '-' || isDigit(c):
		v.kind = kindNumber
		v.lo, v.hi, err = p.number()
	case c == 'n':
		v.kind, err = kindNull, p.literal("null")
	case c == 't':
		v.kind, err = kindTrue, p.literal("true")
	case c == 'f':
		v.kind, err = kindFalse, p.literal("false")
	default:
		err = p.fail("a value")
	}
	v.next = place(len(p.values) + 1)
	p.values = append(p.values, v)
	return err
}

// container reads an object or an array.
func (p *parser) container(v value, depth int) error {
	if depth > maxNesting {
		return errTooDeep
	}
	v.kind, v.lo, v.hi = kindArray, 0, 0
	closing := byte(']')
	if p.raw[p.at] == '{' {
		v.kind, closing = kindObject, '}'
	}
	self := len(p.values)
	p.values = append(p.values, v)
	p.at++
	p.space()
	count := uint32(0)
	for more := p.peek() != closing; more; count++ {
		if err := p.member(v.kind, depth); err != nil {
			return err
		}
		p.space()
		switch p.peek() {
		case closing:
			more = false
		case ',':
			p.at++
			p.space()
		default:
			return p.fail("',' or '" + string(closing) + "'")
		}
	}
	p.at++
	p.values[self].lo, p.values[self].next = count, place(len(p.values))
	return nil
}

// member reads one element of an array, or one field of an object.
func (p *parser) member(in kind, depth int) (err error) {
	var v value
	if in == kindObject {
		if p.peek() != '"' {
			return p.fail("a string in quotes")
		}
		if v.key0, v.key1, err = p.str(); err != nil {
			return err
		}
		p.space()
		if p.peek() != ':' {
			return p.fail("':'")
		}
		p.at++
		p.space()
	}
	return p.value(v, depth)
}

func (p *parser) literal(word string) error {
	if !strings.HasPrefix(p.raw[p.at:], word) {
		return p.fail(word)
	}
	p.at += len(word)
	return nil
}

// str reads a string and gives the places of its text, which is that of raw
// unless it has escapes.
func (p *parser) str() (lo, hi uint32, err error) {
	p.at++
	start := p.at
	for p.at < len(p.raw) {
		switch c := p.raw[p.at]; {
		case c == '"':
			p.at++
			return place(start), place(p.at - 1), nil
		case c == '\\':
			return p.escaped(start)
		case c < ' ':
			return 0, 0, p.fail("an escape like \\u0000")
		}
		p.at++
	}
	return 0, 0, p.fail("'\"'")
}

// escaped goes on with a string whose first escape the parser stands on.
func (p *parser) escaped(start int) (lo, hi uint32, err error) {
	begin := len(p.decoded)
	p.decoded = append(p.decoded, p.raw[start:p.at]...)
	for p.at < len(p.raw) {
		switch c := p.raw[p.at]; {
		case c == '"':
			p.at++
			lo, hi = p.kept(begin)
			return lo, hi, nil
		case c == '\\':
			if err := p.escape(); err != nil {
				return 0, 0, err
			}
			continue
		case c < ' ':
			return 0, 0, p.fail("an escape like \\u0000")
		default:
			p.decoded = append(p.decoded, c)
		}
		p.at++
	}
	return 0, 0, p.fail("'\"'")
}

// kept gives the places of what was decoded since begin.
func (p *parser) kept(begin int) (lo, hi uint32) {
	return place(len(p.raw) + begin), place(len(p.raw) + len(p.decoded))
}

// escape decodes the escape the parser stands on.
func (p *parser) escape() error {
	p.at++
	c := p.peek()
	if c == 'u' {
		return p.unicode()
	}
	const short, meant = `"\/bfnrt`, "\"\\/\b\f\n\r\t"
	i := strings.IndexByte(short, c)
	if i < 0 {
		return p.fail(`one of "\/bfnrtu`)
	}
	p.decoded = append(p.decoded, meant[i])
	p.at++
	return nil
}

// unicode decodes \uXXXX, or two of them that are one code point.
func (p *parser) unicode() error {
	r, err := p.hex()
	if err != nil {
		return err
	}
	if !utf16.IsSurrogate(r) {
		p.decoded = utf8.AppendRune(p.decoded, r)
		return nil
	}
	if strings.HasPrefix(p.raw[p.at:], `\u`) {
		back := p.at
		p.at++
		low, err := p.hex()
		if err != nil {
			return err
		}
		if pair := utf16.DecodeRune(r, low); pair != utf8.RuneError {
			p.decoded = utf8.AppendRune(p.decoded, pair)
			return nil
		}
		p.at = back // the second one starts anew: it may lead a pair itself
	}
	// A lone surrogate has no UTF-8. Three bytes in the same manner keep it apart
	// from U+FFFD and from every other one.
	p.decoded = append(p.decoded, 0xED, 0x80|byte(r>>6&0x3F), 0x80|byte(r&0x3F))
	return nil
}

// hex reads the u the parser stands on and the four digits behind it.
func (p *parser) hex() (r rune, err error) {
	p.at++
	for range 4 {
		c := p.peek()
		switch {
		case isDigit(c):
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, p.fail("a hexadecimal digit")
		}
		r = r<<4 | rune(c)
		p.at++
	}
	return r, nil
}

// number reads a number and gives the places of its canonical text.
func (p *parser) number() (lo, hi uint32, err error) {
	start := p.at
	if p.peek() == '-' {
		p.at++
	}
	switch c := p.peek(); {
	case c == '0':
		p.at++
	case isDigit(c):
		p.digits()
	default:
		return 0, 0, p.fail("a digit")
	}
	integer := p.at
	if p.peek() == '.' {
		p.at++
		if p.digits() == 0 {
			return 0, 0, p.fail("a digit")
		}
	}
	if c := p.peek(); c == 'e' || c == 'E' {
		p.at++
		if c := p.peek(); c == '+' || c == '-' {
			p.at++
		}
		if p.digits() == 0 {
			return 0, 0, p.fail("a digit")
		}
	}
	text := p.raw[start:p.at]
	if p.at == integer && isCanonicalInteger(text) {
		return place(start), place(p.at), nil
	}
	begin := len(p.decoded)
	p.decoded = appendNumber(p.decoded, text)
	lo, hi = p.kept(begin)
	return lo, hi, nil
}

// digits skips digits and counts them.
func (p *parser) digits() int {
	start := p.at
	for isDigit(p.peek()) {
		p.at++
	}
	return p.at - start
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// place narrows an offset, which maxText keeps within 32 bits.
func place(i int) uint32 {
	return uint32(i) //nolint:gosec // bounded by maxText
}
