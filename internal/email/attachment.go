package email

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"mime"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	gomail "github.com/wneessen/go-mail"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/template"
)

// Bounds of the attachments of one e-mail. Most servers take messages of 10 to 25 MB,
// in which base64 stands, a third longer.
const (
	maxAttachments = 20
	maxAttached    = 7 << 20 // bytes of all, decoded
	maxFilename    = 250     // bytes: percent-encoded they still fit a line of 998
	maxMediaType   = 200     // bytes
)

// attachment is a file of a payload.
type attachment struct {
	pointer                string
	filename, content      *field // templates; content renders to base64
	contentType, contentID string // contentID: the file stands within the HTML, as cid:contentID
}

// file is an attachment whose templates have been executed.
type file struct {
	name, contentType, contentID string
	bytes                        []byte
}

// readAttachments reads the list of a payload and reports all that is wrong.
func readAttachments(raw json.RawMessage) ([]*attachment, []fault.Detail) {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil || len(list) > maxAttachments {
		return nil, []fault.Detail{{Pointer: "/attachments", Detail: fmt.Sprintf("must be a list of at most %d objects of filename and content", maxAttachments)}}
	}
	var all []*attachment
	var mistakes []fault.Detail
	for i, one := range list {
		a, wrong := readAttachment("/attachments/"+strconv.Itoa(i), one)
		all, mistakes = append(all, a), append(mistakes, wrong...)
	}
	return all, mistakes
}

func readAttachment(pointer string, raw json.RawMessage) (*attachment, []fault.Detail) {
	a := &attachment{pointer: pointer}
	var values map[string]json.RawMessage
	if json.Unmarshal(raw, &values) != nil || values == nil {
		return a, []fault.Detail{{Pointer: pointer, Detail: "must be an object of filename and content"}}
	}
	var mistakes []fault.Detail
	texts := map[string]*field{}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		at, wrong := pointer+"/"+escapePointer(name), ""
		switch name {
		case "filename", "content", "content_type", "content_id":
			texts[name], wrong = readText(at, values[name])
		default:
			wrong = "is not a field known here; the fields are filename, content, content_type and content_id"
		}
		if wrong != "" {
			mistakes = append(mistakes, fault.Detail{Pointer: at, Detail: wrong})
		}
	}
	a.filename, a.content = texts["filename"], texts["content"]
	for name, f := range map[string]*field{"filename": a.filename, "content": a.content} {
		missing := fault.Detail{Pointer: pointer + "/" + name, Detail: "is required"}
		if f == nil && !slices.ContainsFunc(mistakes, func(m fault.Detail) bool { return m.Pointer == missing.Pointer }) {
			mistakes = append(mistakes, missing)
		}
	}
	slices.SortFunc(mistakes, func(a, b fault.Detail) int { return strings.Compare(a.Pointer, b.Pointer) })
	return a, append(mistakes, a.readHeaders(texts["content_type"], texts["content_id"])...)
}

// contentID is what may stand in a Content-ID and a cid: URL as it is.
var contentID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,127}$`)

// readHeaders reads the fields that become headers as they are.
func (a *attachment) readHeaders(kind, id *field) []fault.Detail {
	var mistakes []fault.Detail
	if kind != nil {
		media, params, err := mime.ParseMediaType(kind.source)
		top, _, _ := strings.Cut(media, "/")
		if a.contentType = mime.FormatMediaType(media, params); err != nil || a.contentType == "" || len(a.contentType) > maxMediaType || top == "multipart" || top == "message" || !strings.Contains(media, "/") {
			mistakes = append(mistakes, fault.Detail{Pointer: kind.pointer, Detail: "must be a media type such as application/pdf, and not multipart or message"})
		}
	}
	if id != nil {
		if a.contentID = id.source; !contentID.MatchString(id.source) {
			mistakes = append(mistakes, fault.Detail{Pointer: id.pointer, Detail: "must be 1 to 128 letters, digits or . _ @ -, as in <img src=\"cid:logo\">"})
		}
	}
	return mistakes
}

// files renders the attachments.
func (r *renderer) files(attachments []*attachment) []file {
	var files []file
	left := maxAttached
	for _, a := range attachments {
		f := file{name: r.filename(a.filename), contentType: a.contentType, contentID: a.contentID, bytes: r.content(a.content)}
		if f.contentType == "" {
			f.contentType = mime.TypeByExtension(path.Ext(f.name))
		}
		if f.contentType == "" {
			f.contentType = "application/octet-stream"
		}
		if left -= len(f.bytes); left < 0 {
			r.wrong(a.content, "makes the attachments larger than %d bytes together", maxAttached)
			break
		}
		files = append(files, f)
	}
	return files
}

// filename refuses what a receiver's file system could take for more than a name.
func (r *renderer) filename(f *field) string {
	before := len(r.mistakes)
	name := strings.TrimSpace(r.text(f))
	switch wrong := httpapi.CheckText(f.pointer, name, maxFilename); {
	case len(r.mistakes) > before:
	case len(wrong) > 0:
		r.mistakes = append(r.mistakes, wrong...)
	case len(name) > maxFilename:
		r.wrong(f, "must have at most %d bytes", maxFilename)
	case name == "" || name == "." || name == ".." || strings.ContainsAny(name, `/\"<>:|?*`):
		r.wrong(f, `must be the name of a file such as invoice.pdf, without / \ " < > : | ? *`)
	}
	return name
}

// content reads base64, with or without line breaks and padding, of either alphabet.
func (r *renderer) content(f *field) []byte {
	before := len(r.mistakes)
	text := strings.Map(func(c rune) rune {
		switch c {
		case '\r', '\n', ' ', '=':
			return -1
		case '-':
			return '+'
		case '_':
			return '/'
		}
		return c
	}, r.text(f))
	if len(r.mistakes) > before {
		return nil
	}
	b, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil || len(b) == 0 {
		r.wrong(f, "must be the bytes of a file in base64")
	}
	return b
}

// checkAttachments reports the attachments without templates that are none.
func (p *payload) checkAttachments() []fault.Detail {
	r := &renderer{}
	for _, a := range p.attachments {
		if a.filename == nil || a.content == nil {
			continue // reported
		}
		if !template.Is(a.filename.source) {
			r.filename(a.filename)
		}
		if !template.Is(a.content.source) {
			r.content(a.content)
		}
	}
	return r.mistakes
}

// attach adds the files to a message. go-mail's own headers would take a name for an
// encoded word where RFC 2231 has a parameter.
func attach(m *gomail.Msg, files []file) {
	for _, f := range files {
		disposition, add := "attachment", m.AttachReader
		if f.contentID != "" {
			disposition, add = "inline", m.EmbedReader
		}
		// It fails only when the reader does, and this one does not.
		_ = add(f.name, bytes.NewReader(f.bytes), func(to *gomail.File) {
			to.Header.Set("Content-Type", f.contentType)
			to.Header.Set("Content-Disposition", mime.FormatMediaType(disposition, map[string]string{"filename": f.name}))
			if f.contentID != "" {
				to.Header.Set("Content-ID", "<"+f.contentID+">")
			}
		})
	}
}
