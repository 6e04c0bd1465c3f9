package cloudevents

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
)

// SpecVersion is the version of the specification, in specversion.
const SpecVersion = "1.0"

// Event is a CloudEvent. Empty fields are absent attributes.
type Event struct {
	ID      string
	Source  string
	Type    string
	Subject string
	Time    string // RFC 3339, as it came
	Data    []byte // nil: absent
	Attributes
}

// Attributes are what a CloudEvent says beyond the fields of every event.
type Attributes struct {
	ContentType string          // datacontenttype: the media type of data
	DataSchema  string          // dataschema: a URI
	Extensions  json.RawMessage // a JSON object of strings, booleans and 32-bit integers; nil: none
	Opaque      bool            // data are not JSON
}

// Extension gives the JSON value of an extension attribute; nil when there is none.
func (a Attributes) Extension(name string) json.RawMessage {
	if len(a.Extensions) == 0 {
		return nil
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(a.Extensions, &all); err != nil {
		return nil
	}
	return all[name]
}

// View gives data as JSON: their own bytes where they are JSON, a string where they
// are other text, nothing where they are other bytes.
func (a Attributes) View(data []byte) []byte {
	switch {
	case !a.Opaque:
		return data
	case len(data) == 0 || !utf8.Valid(data):
		return nil
	default:
		return quote(string(data))
	}
}

// IsJSON tells media types whose data are JSON: application/json and the like, and
// all that end in +json (JSON Event Format, section 3.1). No media type is JSON too.
func IsJSON(contentType string) bool {
	media := httpapi.MediaType(contentType)
	_, subtype, _ := strings.Cut(media, "/")
	return media == "" || subtype == "json" || strings.HasSuffix(subtype, "+json")
}

// quote gives a string as JSON.
func quote(text string) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(text); err != nil {
		panic("cloudevents: a string does not marshal: " + err.Error())
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// badVersion refuses a specversion that is not known.
func badVersion(pointer, version string) *fault.Error {
	f := fault.New(fault.Malformed, "unsupported_specversion", "The CloudEvent has the specversion %q; send version %s.", version, SpecVersion)
	f.Details = []fault.Detail{{Pointer: pointer, Detail: "must be " + SpecVersion}}
	return f
}
