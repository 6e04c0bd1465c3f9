package sources

import (
	"cmp"
	"crypto/sha1" //nolint:gosec // an HMAC of SHA-1 is not broken, and some vendors have no other
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/signalstack/signalstack/internal/events"
	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
)

// HMAC says how a vendor without a kind of its own signs, and where its deliveries
// say what they are.
type HMAC struct {
	Algorithm       string `json:"algorithm,omitempty" enum:"sha1,sha256,sha512" doc:"Default sha256"`
	Header          string `json:"header" minLength:"1" doc:"The header with the signature" example:"X-Signature"`
	Encoding        string `json:"encoding,omitempty" enum:"hex,base64" doc:"Of the signature; default hex"`
	Prefix          string `json:"prefix,omitempty" doc:"What stands before the signature" example:"sha256="`
	Signed          string `json:"signed,omitempty" doc:"What is signed: {body}, {timestamp} and {id} are replaced, all else is as it is; default {body}" example:"{timestamp}.{body}"`
	TimestampHeader string `json:"timestamp_header,omitempty" doc:"The header with the time of {timestamp}, in Unix seconds"`
	Tolerance       string `json:"tolerance,omitempty" doc:"How far the time of {timestamp} may be from now, from 1s to 24h; default 5m"`
	IDHeader        string `json:"id_header,omitempty" doc:"The header with the id of a delivery, by which repetitions are known"`
	IDPointer       string `json:"id_pointer,omitempty" doc:"In place of id_header: a JSON pointer into the body" example:"/id"`
	Type            string `json:"type,omitempty" doc:"The type of every event"`
	TypeHeader      string `json:"type_header,omitempty" doc:"In place of type: the header with the type"`
	TypePointer     string `json:"type_pointer,omitempty" doc:"In place of type: a JSON pointer into the body" example:"/event/type"`
}

var (
	headerName  = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$") // RFC 9110, a token
	jsonPointer = regexp.MustCompile(`^(/([^~/]|~[01])*)+$`)                // RFC 6901
	placeholder = regexp.MustCompile(`\{[^{}]*\}`)
)

// The placeholders of what is signed.
const (
	bodyMark, timeMark, idMark = "{body}", "{timestamp}", "{id}"
)

const maxTolerance = 24 * time.Hour

func (c *HMAC) signedForm() string { return cmp.Or(c.Signed, bodyMark) }

func (c *HMAC) tolerance() time.Duration {
	if d, err := time.ParseDuration(c.Tolerance); err == nil {
		return d
	}
	return fiveMinutes
}

// check gives the mistakes that the schema does not know.
func (c *HMAC) check() []fault.Detail {
	var mistakes []fault.Detail
	add := func(is bool, field, detail string) {
		if is {
			mistakes = append(mistakes, fault.Detail{Pointer: "/hmac/" + field, Detail: detail})
		}
	}
	for _, h := range [][2]string{
		{"header", c.Header}, {"timestamp_header", c.TimestampHeader}, {"id_header", c.IDHeader}, {"type_header", c.TypeHeader},
	} {
		add(h[1] != "" && !headerName.MatchString(h[1]), h[0], "must be the name of a header, such as X-Signature")
	}
	for _, p := range [][2]string{{"id_pointer", c.IDPointer}, {"type_pointer", c.TypePointer}} {
		add(p[1] != "" && (len(p[1]) > 200 || !jsonPointer.MatchString(p[1])), p[0], "must be a JSON pointer, such as /event/type")
	}
	mistakes = append(mistakes, httpapi.CheckText("/hmac/prefix", c.Prefix, 100)...)
	mistakes = append(mistakes, httpapi.CheckText("/hmac/type", c.Type, 255)...)
	mistakes = append(mistakes, c.checkSigned()...)
	add(c.IDHeader != "" && c.IDPointer != "", "id_pointer", "stands beside id_header; give one of them")
	types := 0
	for _, t := range []string{c.Type, c.TypeHeader, c.TypePointer} {
		if t != "" {
			types++
		}
	}
	add(types == 0, "type", "is required, or type_header or type_pointer in its place")
	add(types > 1, "type", "must be given in one way: type, type_header or type_pointer")
	add(c.Type != "" && strings.TrimSpace(c.Type) == "", "type", "must not be blank")
	return mistakes
}

// checkSigned finds what would leave the body or the time unsigned.
func (c *HMAC) checkSigned() []fault.Detail {
	var mistakes []fault.Detail
	add := func(field, format string, args ...any) {
		mistakes = append(mistakes, fault.Detail{Pointer: "/hmac/" + field, Detail: fmt.Sprintf(format, args...)})
	}
	signed := c.signedForm()
	if len(signed) > 200 || strings.Count(signed, bodyMark) != 1 {
		add("signed", "must have %s once, and at most 200 bytes", bodyMark)
	}
	for _, mark := range placeholder.FindAllString(signed, -1) {
		if mark != bodyMark && mark != timeMark && mark != idMark {
			add("signed", "has %s, which is none of %s, %s and %s", mark, bodyMark, timeMark, idMark)
			break
		}
	}
	timed := strings.Contains(signed, timeMark)
	switch {
	case timed && c.TimestampHeader == "":
		add("timestamp_header", "is required where %s is signed", timeMark)
	case !timed && c.TimestampHeader != "":
		add("timestamp_header", "proves nothing where %s is not signed; add it to signed, or remove this", timeMark)
	}
	if !timed && c.Tolerance != "" {
		add("tolerance", "is for a %s that is signed; remove it", timeMark)
	}
	if d, err := time.ParseDuration(c.Tolerance); c.Tolerance != "" && (err != nil || d < time.Second || d > maxTolerance) {
		add("tolerance", "must be a duration such as 90s or 5m, from 1s to 24h")
	}
	if strings.Contains(signed, idMark) && c.IDHeader == "" {
		add("id_header", "is required where %s is signed", idMark)
	}
	return mistakes
}

func (c *HMAC) hash() func() hash.Hash {
	switch c.Algorithm {
	case "sha1":
		return sha1.New
	case "sha512":
		return sha512.New
	default:
		return sha256.New
	}
}

// claim reads a signature as the source says.
func (c *HMAC) claim(h http.Header, body []byte) (claim, *rejection) {
	text, err := one(h, c.Header)
	if err != nil {
		return claim{}, err
	}
	digits, ok := strings.CutPrefix(text, c.Prefix)
	decode, form := hex.DecodeString, "hexadecimal digits"
	if c.Encoding == "base64" {
		decode, form = base64.StdEncoding.DecodeString, "base64"
	}
	mac, bad := decode(digits)
	if !ok || bad != nil {
		return claim{}, unproved("the header " + c.Header + " is not " + c.Prefix + " and " + form)
	}
	made := claim{hash: c.hash(), macs: [][]byte{mac}}
	values := map[string][]byte{bodyMark: body}
	for _, in := range [][2]string{{timeMark, c.TimestampHeader}, {idMark, c.IDHeader}} {
		if !strings.Contains(c.signedForm(), in[0]) {
			continue
		}
		value, err := one(h, in[1])
		if err != nil {
			return claim{}, err
		}
		values[in[0]] = []byte(value)
	}
	made.at, made.signed = string(values[timeMark]), c.fill(values)
	return made, nil
}

// fill puts the values in the places of what is signed.
func (c *HMAC) fill(values map[string][]byte) [][]byte {
	var parts [][]byte
	form, end := c.signedForm(), 0
	for _, at := range placeholder.FindAllStringIndex(form, -1) {
		parts = append(parts, []byte(form[end:at[0]]), values[form[at[0]:at[1]]])
		end = at[1]
	}
	return append(parts, []byte(form[end:]))
}

// event takes id and type from where the source says.
func (c *HMAC) event(d delivery) (events.NewEvent, *rejection) {
	find := func(header, pointer string) string {
		if header != "" {
			return d.header.Get(header)
		}
		return d.doc.text(pointer)
	}
	e := events.NewEvent{Type: c.Type, Source: d.source, Data: d.body}
	if e.Type == "" {
		e.Type = find(c.TypeHeader, c.TypePointer)
	}
	if e.Type == "" {
		return e, unreadable("the type of the event is missing in " + cmp.Or(c.TypeHeader, c.TypePointer))
	}
	if c.IDHeader == "" && c.IDPointer == "" {
		return e, nil
	}
	id := find(c.IDHeader, c.IDPointer)
	if id == "" {
		return e, unreadable("the id of the delivery is missing in " + cmp.Or(c.IDHeader, c.IDPointer))
	}
	e.ID = &id
	return e, nil
}
