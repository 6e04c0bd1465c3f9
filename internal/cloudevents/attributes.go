package cloudevents

import (
	"bytes"
	"encoding/json"
	"mime"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
)

// Names that are no extensions.
const (
	nameID, nameSource, nameType, nameVersion = "id", "source", "type", "specversion"
	nameSubject, nameTime                     = "subject", "time"
	nameContentType, nameSchema               = "datacontenttype", "dataschema"
	nameData, nameBase64                      = "data", "data_base64"
)

// required are the attributes that every CloudEvent has.
var required = []string{nameID, nameSource, nameType, nameVersion}

// Bounds of extensions. The specification asks for names of at most 20 characters.
const (
	maxName       = 64
	maxExtensions = 64
	maxText       = 64 << 10 // bytes of all extensions as JSON
)

// attributes are those of one event while it is read: the strings of the known ones
// and the JSON scalars of the others.
type attributes struct {
	pointer  func(name string) string // to an attribute
	strings  map[string]string
	others   map[string]json.RawMessage
	mistakes []fault.Detail
}

func newAttributes(pointer func(string) string) *attributes {
	return &attributes{pointer: pointer, strings: map[string]string{}, others: map[string]json.RawMessage{}}
}

func (a *attributes) wrong(name, detail string) {
	a.mistakes = append(a.mistakes, fault.Detail{Pointer: a.pointer(name), Detail: detail})
}

// known tells the attributes that the specification names.
func known(name string) bool {
	switch name {
	case nameSubject, nameTime, nameContentType, nameSchema:
		return true
	}
	return slices.Contains(required, name)
}

// checkName refuses what no attribute may be called (section "Attribute naming
// convention").
func (a *attributes) checkName(name string) bool {
	switch {
	case name == nameData || strings.IndexFunc(name, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') }) >= 0:
		a.wrong(name, "is no name of an attribute, which is lower-case letters and digits and not data")
	case name == "" || len(name) > maxName:
		a.wrong(name, "must have a name of 1 to "+strconv.Itoa(maxName)+" characters")
	default:
		return true
	}
	return false
}

// text takes a string as the value of an attribute.
func (a *attributes) text(name, value string) {
	if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r >= 0x7f && r <= 0x9f }) {
		a.wrong(name, "must not hold control characters")
		return
	}
	if known(name) {
		a.strings[name] = value
		if value == "" {
			a.wrong(name, "must not be empty; leave it out if there is none")
		}
		return
	}
	a.others[name] = quote(value)
}

// event makes the event without its data, and finds what is missing or no value of
// its attribute. A version that is not known is a fault of its own: nothing else can
// be said of such an event.
func (a *attributes) event() (Event, *fault.Error) {
	if v, ok := a.strings[nameVersion]; ok && v != SpecVersion {
		return Event{}, badVersion(a.pointer(nameVersion), v)
	}
	for _, name := range required {
		if _, ok := a.strings[name]; !ok && !slices.ContainsFunc(a.mistakes, func(d fault.Detail) bool { return d.Pointer == a.pointer(name) }) {
			a.wrong(name, "is required")
		}
	}
	e := Event{
		ID: a.strings[nameID], Source: a.strings[nameSource], Type: a.strings[nameType],
		Subject: a.strings[nameSubject], Time: a.strings[nameTime],
		Attributes: Attributes{ContentType: a.strings[nameContentType], DataSchema: a.strings[nameSchema], Extensions: a.extensions()},
	}
	if _, err := url.Parse(e.Source); err != nil {
		a.wrong(nameSource, "must be a URI or a reference to one, such as /orders")
	}
	if u, err := url.Parse(e.DataSchema); e.DataSchema != "" && (err != nil || !u.IsAbs()) {
		a.wrong(nameSchema, "must be an absolute URI, such as https://example.com/order.json")
	}
	if _, _, err := mime.ParseMediaType(e.ContentType); e.ContentType != "" && err != nil {
		a.wrong(nameContentType, "must be a media type, such as text/plain")
	}
	a.mistakes = append(a.mistakes, httpapi.CheckText(a.pointer(nameSchema), e.DataSchema, 2048)...)
	a.mistakes = append(a.mistakes, httpapi.CheckText(a.pointer(nameContentType), e.ContentType, 255)...)
	_, wrong := httpapi.ParseTime(a.pointer(nameTime), e.Time)
	a.mistakes = append(a.mistakes, wrong...)
	return e, nil
}

// extensions writes the others in the order of their names; nil when there are none.
func (a *attributes) extensions() json.RawMessage {
	if len(a.others) == 0 {
		return nil
	}
	if len(a.others) > maxExtensions {
		a.mistakes = append(a.mistakes, fault.Detail{Detail: "has more than " + strconv.Itoa(maxExtensions) + " extension attributes"})
		return nil
	}
	var b bytes.Buffer
	for _, name := range sortedNames(a.others) {
		if b.Len() == 0 {
			b.WriteByte('{')
		} else {
			b.WriteByte(',')
		}
		b.WriteString(`"` + name + `":`)
		b.Write(a.others[name])
	}
	b.WriteByte('}')
	if b.Len() > maxText {
		a.mistakes = append(a.mistakes, fault.Detail{Detail: "has more than " + strconv.Itoa(maxText) + " bytes in its extension attributes"})
		return nil
	}
	return b.Bytes()
}

func sortedNames(of map[string]json.RawMessage) []string {
	names := make([]string, 0, len(of))
	for name := range of {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
