package pattern

// field is one of the event's own strings.
type field int

const (
	fieldID field = iota
	fieldType
	fieldSource
	fieldSubject
	fieldTime
	fieldTenant
	fieldContentType
	fieldSchema
	numFields
)

// fieldNames are the names of the event's own strings in events and patterns.
var fieldNames = [numFields]string{"id", "type", "source", "subject", "time", "tenant", "datacontenttype", "dataschema"}

// The names of the event's fields that are not strings.
const (
	dataName       = "data"
	extensionsName = "extensions"
)

func fieldNamed(name string) (field, bool) {
	for f, n := range fieldNames {
		if n == name {
			return field(f), true
		}
	}
	return 0, false
}

// Envelope is an event without its data. An empty string is an absent field.
type Envelope struct {
	ID      string
	Type    string
	Source  string
	Subject string
	Time    string // as the event shows it: RFC 3339, UTC
	Tenant  string

	// Of CloudEvents: the attributes datacontenttype and dataschema, and the extension
	// attributes as a JSON object, empty when there are none.
	ContentType string
	DataSchema  string
	Extensions  []byte
}

// Event is what patterns are matched against. It belongs to one goroutine.
type Event struct {
	fields [numFields]string
	bytes  []byte    // data as it was given
	raw    []byte    // data that is not parsed yet
	doc    *document // nil until parsed, and when there is no data
	root   int       // where data stands in doc

	givenExtensions []byte    // as bytes
	rawExtensions   []byte    // as raw
	extensions      *document // as doc
	extensionRoot   int
}

// NewEvent views an event without copying or parsing it. data is JSON, or empty
// when the event has none; its bytes must not change before the last Match. data
// that is no JSON counts as absent.
func NewEvent(env Envelope, data []byte) *Event {
	return &Event{
		fields: [numFields]string{
			fieldID: env.ID, fieldType: env.Type, fieldSource: env.Source,
			fieldSubject: env.Subject, fieldTime: env.Time, fieldTenant: env.Tenant,
			fieldContentType: env.ContentType, fieldSchema: env.DataSchema,
		},
		bytes: data, raw: data, givenExtensions: env.Extensions, rawExtensions: env.Extensions,
	}
}

// Envelope gives the event's own strings.
func (e *Event) Envelope() Envelope {
	return Envelope{
		ID: e.fields[fieldID], Type: e.fields[fieldType], Source: e.fields[fieldSource],
		Subject: e.fields[fieldSubject], Time: e.fields[fieldTime], Tenant: e.fields[fieldTenant],
		ContentType: e.fields[fieldContentType], DataSchema: e.fields[fieldSchema], Extensions: e.givenExtensions,
	}
}

// Data gives the bytes that NewEvent was given.
func (e *Event) Data() []byte { return e.bytes }

// ParseEvent reads an event that is one JSON object. Its fields id, type, source,
// subject, time, tenant, datacontenttype and dataschema are strings, or null for
// absent, and may be missing, as data and extensions may; others are ignored. The
// error is Problems.
func ParseEvent(raw []byte) (*Event, error) {
	r := &report{}
	doc, err := parse(raw)
	if err != nil {
		r.add("is not JSON: it %v", err)
		return nil, r.err()
	}
	if doc.values[0].kind != kindObject {
		r.add("must be a JSON object")
		return nil, r.err()
	}
	e := &Event{}
	for f, name := range fieldNames {
		at, ok := doc.field(0, name)
		if !ok || doc.values[at].kind == kindNull {
			continue
		}
		if doc.values[at].kind != kindString {
			back := r.enter(name)
			r.add("must be a string")
			r.leave(back)
			continue
		}
		e.fields[f] = doc.scalar(at).text
	}
	if at, ok := doc.field(0, dataName); ok {
		e.doc, e.root = doc, at
	}
	if at, ok := doc.field(0, extensionsName); ok {
		e.extensions, e.extensionRoot = doc, at
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	return e, nil
}

// data gives the document and the place of data in it, or nil; it parses once.
func (e *Event) data() (doc *document, root int) {
	if len(e.raw) > 0 {
		e.doc, _ = parse(e.raw) // nil when it is no JSON
		e.raw = nil
	}
	return e.doc, e.root
}

// attributes is data for the extension attributes.
func (e *Event) attributes() (doc *document, root int) {
	if len(e.rawExtensions) > 0 {
		e.extensions, _ = parse(e.rawExtensions)
		e.rawExtensions = nil
	}
	return e.extensions, e.extensionRoot
}
