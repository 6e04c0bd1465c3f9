package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humaecho"

	"github.com/signalstack/signalstack/internal/fault"
)

// checkRequest finds, for all operations alike, what huma would pass: parameters
// that the operation does not have or cannot read, and bodies that are no JSON.
// Mistakes of parameters are left to be answered together with those that huma finds.
func (a *API) checkRequest(ctx huma.Context, next func(huma.Context)) {
	c, op := humaecho.Unwrap(ctx), ctx.Operation()
	// Without a body the operation says what it misses.
	r := c.Request()
	if op.RequestBody != nil && r.ContentLength != 0 {
		if err := checkBody(op, r.Header); err != nil {
			a.onEchoError(err, c)
			return
		}
	}
	if op.Metadata[formsKey] != nil {
		ctx = huma.WithValue(ctx, headerKey, r.Header)
	}
	mistakes := append(queryMistakes(op, c.Request().URL.RawQuery), headerMistakes(op, c.Request().Header)...)
	next(huma.WithValue(ctx, mistakesKey, mistakes))
}

// parameterMistakes gives what checkRequest found.
func parameterMistakes(ctx context.Context) []fault.Detail {
	mistakes, _ := ctx.Value(mistakesKey).([]fault.Detail)
	return mistakes
}

// refuseParameters is the fault of what checkRequest found, when huma found nothing.
func refuseParameters(ctx context.Context) error {
	if mistakes := parameterMistakes(ctx); len(mistakes) > 0 {
		return fault.InvalidParameters(mistakes)
	}
	return nil
}

// checkBody refuses a body by its headers.
func checkBody(op *huma.Operation, h http.Header) error {
	if err := checkCoding(h); err != nil || op.Metadata[isRaw] != nil {
		return err
	}
	if known, ok := op.Metadata[formsKey].(func(http.Header) (bool, error)); ok {
		if is, err := known(h); is || err != nil {
			return err
		}
	}
	return checkMedia(h)
}

// MediaType gives the media type of a Content-Type in lower case, without its
// parameters.
func MediaType(contentType string) string {
	media, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.TrimSpace(media))
}

// checkMedia refuses a body that is not said to be plain JSON. A form in a page of
// another site can send a body without a type, or with one of three, without asking
// anybody; it cannot say application/json.
func checkMedia(h http.Header) error {
	media := MediaType(h.Get("Content-Type"))
	switch media {
	case "application/json":
		return nil
	case "":
		return fault.New(fault.Unsupported, "unsupported_media_type", "The body has no Content-Type; send JSON with Content-Type: application/json.")
	default:
		return fault.New(fault.Unsupported, "unsupported_media_type", "The body is %q; send JSON with Content-Type: application/json.", media)
	}
}

// checkCoding refuses a body in a content coding.
func checkCoding(h http.Header) error {
	if coding := strings.TrimSpace(h.Get("Content-Encoding")); coding != "" && !strings.EqualFold(coding, "identity") {
		return fault.New(fault.Unsupported, "unsupported_content_encoding", "The body is encoded as %q; send it plain, without Content-Encoding.", coding)
	}
	return nil
}

// queryMistakes reads the query string itself: the library drops the pairs that it
// cannot read, and a dropped filter gives more than was asked for.
func queryMistakes(op *huma.Operation, query string) []fault.Detail {
	var mistakes []fault.Detail
	seen := map[string]bool{}
	for pair := range strings.SplitSeq(query, "&") {
		if pair == "" {
			continue
		}
		key, value, _ := strings.Cut(pair, "=")
		name, badName := url.QueryUnescape(key)
		text, badText := url.QueryUnescape(value)
		if badName != nil {
			name = key
		}
		detail := ""
		switch {
		case strings.Contains(pair, ";"):
			detail = "holds a semicolon; write it as %3B, and & between parameters"
		case badName != nil || badText != nil:
			detail = "has a % that begins no %XX; write it as %25"
		case seen[name]:
			detail = "stands twice; send it once"
		default:
			detail = parameterMistake(op, name, text)
		}
		seen[name] = true
		if detail != "" {
			mistakes = append(mistakes, fault.Detail{Pointer: "/query/" + escapePointer(strings.ToValidUTF8(name, "\ufffd")), Detail: detail})
		}
	}
	return mistakes
}

// maxParameter is longer than any name that is asked for, in characters.
const maxParameter = 1000

// parameterMistake says what is wrong with one parameter of a query, or "".
func parameterMistake(op *huma.Operation, name, text string) string {
	var names []string
	for _, p := range op.Parameters {
		if p.In != "query" {
			continue
		}
		names = append(names, p.Name)
		switch {
		case p.Name != name:
			continue
		case !utf8.ValidString(text):
			return "must be UTF-8"
		case p.Schema.Format == "uuid" && text != "" && len(text) != uuidLength:
			return "must be " + uuidForm // huma takes forms that PostgreSQL does not
		}
		for _, wrong := range CheckText("", text, maxParameter) {
			return wrong.Detail
		}
		return ""
	}
	if len(names) == 0 {
		return "is not a parameter known here; this operation has none"
	}
	return fmt.Sprintf("is not a parameter known here; the parameters are %s", strings.Join(names, ", "))
}

// headerMistakes looks at the headers that the operation documents. An empty one is
// a mistake of the sender, who meant to say something.
func headerMistakes(op *huma.Operation, h http.Header) []fault.Detail {
	var mistakes []fault.Detail
	for _, p := range op.Parameters {
		values := h.Values(p.Name)
		if p.In != "header" || len(values) == 0 {
			continue
		}
		detail := ""
		switch {
		case len(values) > 1:
			detail = "stands twice; send it once"
		case strings.TrimSpace(values[0]) == "":
			detail = "must not be empty; leave it out to go without"
		}
		if detail != "" {
			mistakes = append(mistakes, fault.Detail{Pointer: "/header/" + p.Name, Detail: detail})
		}
	}
	return mistakes
}
