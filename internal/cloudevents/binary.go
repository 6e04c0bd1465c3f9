package cloudevents

import (
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
)

// headerPrefix begins the header of each attribute, in canonical form.
const headerPrefix = "Ce-"

func headerPointer(name string) string {
	if name == nameContentType {
		return "/header/Content-Type"
	}
	return "/header/ce-" + name
}

// IsBinary tells whether headers say that they are those of a CloudEvent in binary
// mode: one of the attributes that all have is among them.
func IsBinary(h http.Header) bool {
	return slices.ContainsFunc(required, func(name string) bool { return len(h[textproto.CanonicalMIMEHeaderKey(headerPrefix+name)]) > 0 })
}

// ReadBinary reads an event whose attributes are headers and whose data are the body.
// The mistakes are those of the sender; the error is of what cannot be read at all.
func ReadBinary(h http.Header, body []byte) (Event, []fault.Detail, error) {
	a := newAttributes(headerPointer)
	for header, values := range h {
		attribute, is := strings.CutPrefix(header, headerPrefix)
		if !is {
			continue
		}
		name := strings.ToLower(attribute)
		switch {
		case name == nameContentType:
			a.mistakes = append(a.mistakes, fault.Detail{Pointer: "/header/ce-" + name, Detail: "must not be sent; in binary mode Content-Type says it"})
		case !a.checkName(name):
		case len(values) > 1:
			a.wrong(name, "stands twice; send it once")
		default:
			value, wrong := decodeHeader(values[0])
			if wrong != "" {
				a.wrong(name, wrong)
			} else {
				a.text(name, value)
			}
		}
	}
	if contentType := h.Get("Content-Type"); contentType != "" {
		a.text(nameContentType, contentType)
	}
	e, f := a.event()
	if f != nil {
		return Event{}, nil, f
	}
	if len(body) > 0 {
		e.Data = body
		if err := httpapi.CheckJSON(body); err != nil {
			// Without a media type the bytes may be anything.
			if e.ContentType != "" && IsJSON(e.ContentType) {
				return Event{}, nil, err
			}
			e.Opaque = true
		} else {
			e.Opaque = !IsJSON(e.ContentType)
		}
	}
	slices.SortFunc(a.mistakes, func(x, y fault.Detail) int { return strings.Compare(x.Pointer, y.Pointer) })
	return e, a.mistakes, nil
}

// decodeHeader reads a header value: quoted strings in it lose their quotes and
// backslashes, then what is percent-encoded is decoded, once (HTTP Protocol Binding,
// section 3.1.3.2).
func decodeHeader(value string) (text, wrong string) {
	value, ok := unquote(strings.TrimSpace(value))
	if !ok {
		return "", "has a quote that does not end"
	}
	if text = percentDecode(value); !utf8.ValidString(text) {
		return "", "is not UTF-8 once it is percent-decoded"
	}
	return text, ""
}

// percentDecode decodes once. A percent sign that begins no %XX stands for itself:
// some senders, the Go SDK among them, encode nothing.
func percentDecode(value string) string {
	if !strings.Contains(value, "%") {
		return value
	}
	var b strings.Builder
	for i := 0; i < len(value); i++ {
		if value[i] == '%' && i+2 < len(value) {
			if n, err := strconv.ParseUint(value[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(n))
				i += 2
				continue
			}
		}
		b.WriteByte(value[i])
	}
	return b.String()
}

func unquote(value string) (string, bool) {
	if !strings.Contains(value, `"`) {
		return value, true
	}
	var b strings.Builder
	quoted := false
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\' && quoted && i+1 < len(value):
			i++
			b.WriteByte(value[i])
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), !quoted
}

// encodeHeader writes a header value: space, quotes, percent signs and what is not
// printable ASCII are percent-encoded.
func encodeHeader(text string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(text) {
		if c := text[i]; c > ' ' && c <= '~' && c != '"' && c != '%' {
			b.WriteByte(c)
		} else {
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
	return b.String()
}

// WriteBinary puts the attributes into headers and gives the body.
func (e Event) WriteBinary(h http.Header) []byte {
	set := func(name, value string) {
		if value != "" {
			h.Set(headerPrefix+name, encodeHeader(value))
		}
	}
	set(nameVersion, SpecVersion)
	set(nameID, e.ID)
	set(nameSource, reference(e.Source))
	set(nameType, e.Type)
	set(nameSubject, e.Subject)
	set(nameTime, e.Time)
	set(nameSchema, e.DataSchema)
	for name, value := range e.extensionTexts() {
		set(name, value)
	}
	if len(e.Data) == 0 {
		h.Del("Content-Type")
		return nil
	}
	h.Set("Content-Type", e.mediaType())
	return e.Data
}
