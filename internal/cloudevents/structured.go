package cloudevents

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
)

// The media types of events in JSON.
const (
	MediaStructured = "application/cloudevents+json"
	MediaBatch      = "application/cloudevents-batch+json"
)

// mediaPrefix begins the media types of all formats, those of batches too.
const mediaPrefix = "application/cloudevents"

// IsStructured tells whether a body is one event as a whole, or a batch of them. The
// error refuses formats that are not known.
func IsStructured(h http.Header) (one, batch bool, err error) {
	contentType := h.Get("Content-Type")
	media := httpapi.MediaType(contentType)
	if !strings.HasPrefix(media, mediaPrefix) {
		return false, false, nil
	}
	if media != MediaStructured && media != MediaBatch {
		return false, false, fault.New(fault.Unsupported, "unsupported_media_type",
			"The CloudEvents format %q is not known here; send %s, %s, or binary mode, which is ce- headers and any Content-Type for the data.",
			media, MediaStructured, MediaBatch)
	}
	if charset := charsetOf(contentType); charset != "" && charset != "utf-8" && charset != "us-ascii" {
		return false, false, fault.New(fault.Unsupported, "unsupported_media_type", "The body is said to be %s; send JSON in UTF-8.", charset)
	}
	return media == MediaStructured, media == MediaBatch, nil
}

func charsetOf(contentType string) string {
	for part := range strings.SplitSeq(contentType, ";") {
		if name, value, ok := strings.Cut(part, "="); ok && strings.EqualFold(strings.TrimSpace(name), "charset") {
			return strings.ToLower(strings.Trim(strings.TrimSpace(value), `"`))
		}
	}
	return ""
}

func jsonPointer(name string) string {
	return "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
}

// ReadStructured reads an event from a JSON text, which CheckJSON has passed. The
// mistakes are those of the sender; the fault is of an event that cannot be read.
func ReadStructured(raw []byte) (Event, []fault.Detail, *fault.Error) {
	fields, twice := httpapi.SplitObject(raw)
	if fields == nil {
		return Event{}, twice, nil
	}
	a := newAttributes(jsonPointer)
	a.mistakes = twice
	for _, name := range sortedNames(fields) {
		if value := fields[name]; name != nameData && name != nameBase64 && !isNull(value) && a.checkName(name) {
			a.json(name, value)
		}
	}
	e, f := a.event()
	if f != nil {
		return Event{}, nil, f
	}
	a.data(&e, fields)
	return e, a.mistakes, nil
}

func isNull(raw []byte) bool { return string(raw) == "null" }

// json takes a JSON value as that of an attribute.
func (a *attributes) json(name string, raw json.RawMessage) {
	switch c := raw[0]; {
	case c == '"':
		var text string
		if err := json.Unmarshal(raw, &text); err != nil {
			a.wrong(name, err.Error())
			return
		}
		a.text(name, text)
	case known(name):
		a.wrong(name, "must be a text")
	case c == 't' || c == 'f':
		a.others[name] = raw
	case c == '{' || c == '[':
		a.wrong(name, "must be a text, a whole number, true or false; what is larger belongs into data")
	default:
		if n, err := strconv.ParseInt(string(raw), 10, 32); err != nil || strings.HasPrefix(string(raw), "-0") {
			a.wrong(name, "must be a whole number from -2147483648 to 2147483647, without a fraction or exponent")
		} else {
			a.others[name] = strconv.AppendInt(nil, n, 10)
		}
	}
}

// data takes data or data_base64.
func (a *attributes) data(e *Event, fields map[string]json.RawMessage) {
	data, plain := fields[nameData]
	coded, inBase64 := fields[nameBase64]
	inBase64 = inBase64 && !isNull(coded)
	switch {
	case plain && inBase64:
		a.wrong(nameBase64, "must not stand beside data; send one of them")
	case inBase64:
		var text string
		if json.Unmarshal(coded, &text) != nil {
			a.wrong(nameBase64, "must be a text in base64")
			return
		}
		bytes, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			a.wrong(nameBase64, "must be base64 (RFC 4648), with padding")
			return
		}
		e.Data = bytes
		// JSON that is declared is JSON here too, as gateways write it from binary mode.
		e.Opaque = e.ContentType == "" || !IsJSON(e.ContentType) || httpapi.CheckJSON(bytes) != nil
	case plain && IsJSON(e.ContentType):
		e.Data = data
	case plain && !isNull(data):
		var text string
		if data[0] != '"' || json.Unmarshal(data, &text) != nil {
			a.wrong(nameData, "must be a text under this datacontenttype; send other bytes as data_base64")
			return
		}
		e.Data, e.Opaque = []byte(text), true
	}
}

// Structured gives the event as JSON.
func (e Event) Structured() []byte {
	var b bytes.Buffer
	member := func(name string, value []byte) {
		b.WriteString(`,"` + name + `":`)
		b.Write(value)
	}
	text := func(name, value string) {
		if value != "" {
			member(name, quote(value))
		}
	}
	b.WriteString(`{"specversion":"` + SpecVersion + `"`)
	text(nameID, e.ID)
	text(nameSource, reference(e.Source))
	text(nameType, e.Type)
	text(nameSubject, e.Subject)
	text(nameTime, e.Time)
	if len(e.Data) > 0 && (e.ContentType != "" || !e.Opaque) {
		text(nameContentType, e.mediaType())
	}
	text(nameSchema, e.DataSchema)
	var others map[string]json.RawMessage
	if len(e.Extensions) > 0 && json.Unmarshal(e.Extensions, &others) == nil {
		for _, name := range sortedNames(others) {
			member(name, others[name])
		}
	}
	switch {
	case len(e.Data) == 0:
	case !e.Opaque:
		member(nameData, e.Data)
	case utf8.Valid(e.Data) && !IsJSON(e.ContentType):
		member(nameData, quote(string(e.Data)))
	default:
		member(nameBase64, quote(base64.StdEncoding.EncodeToString(e.Data)))
	}
	b.WriteByte('}')
	return b.Bytes()
}

// mediaType says what the data are where the sender did not.
func (e Event) mediaType() string {
	switch {
	case e.ContentType != "":
		return e.ContentType
	case e.Opaque:
		return "application/octet-stream"
	default:
		return "application/json"
	}
}

// extensionTexts gives the extensions by their canonical strings.
func (e Event) extensionTexts() map[string]string {
	var others map[string]json.RawMessage
	if len(e.Extensions) == 0 || json.Unmarshal(e.Extensions, &others) != nil {
		return nil
	}
	texts := make(map[string]string, len(others))
	for name, raw := range others {
		text := string(raw)
		if raw[0] == '"' && json.Unmarshal(raw, &text) != nil {
			continue
		}
		texts[name] = text
	}
	return texts
}

// legal are the characters of a URI reference (RFC 3986).
const legal = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:/?#[]@!$&'()*+,;=%"

// reference makes a URI reference of a source that need not be one.
func reference(source string) string {
	if _, err := url.Parse(source); err == nil &&
		!slices.ContainsFunc([]byte(source), func(c byte) bool { return strings.IndexByte(legal, c) < 0 }) {
		return source
	}
	return (&url.URL{Path: source}).String()
}
