package httpcall

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	texttemplate "text/template"

	"github.com/signalstack/signalstack/internal/template"
)

// hostChars may stand in the host and the port of a URL. No value adds a user, a path
// or a query there.
var hostChars = regexp.MustCompile(`^[A-Za-z0-9._:\[\]-]*$`)

// escapeURL escapes a value for its place in a URL (RFC 3986): for the path as one
// segment, for the query as one value. What stands first is a URL or the start of
// one, and is left as it is; the guard looks at the whole in the end.
func escapeURL(before, value string) (string, error) {
	_, rest, ok := strings.Cut(before, "://")
	switch {
	case !ok:
		return value, nil
	case strings.Contains(rest, "?"):
		return url.QueryEscape(value), nil
	case strings.Contains(rest, "/"):
		return url.PathEscape(value), nil
	case !hostChars.MatchString(value):
		return "", fmt.Errorf("%.60q cannot stand in the host of a URL", value)
	}
	return value, nil
}

// hasDotSegment finds the segments . and .., which servers take for a step to
// another path (RFC 3986, section 5.2.4), also when they are escaped.
func hasDotSegment(raw string) bool {
	u, err := url.Parse(raw)
	if err != nil {
		return false // refused as no URL
	}
	return slices.ContainsFunc(strings.Split(u.Path, "/"), func(s string) bool { return s == "." || s == ".." })
}

// escapeOf gives what escapes the values of a body that is text of this media type;
// nil leaves them as they are.
func escapeOf(media string) template.Escape {
	switch media = strings.ToLower(media); {
	case isForm(media):
		return func(_, value string) (string, error) { return url.QueryEscape(value), nil }
	case isMarkup(media):
		return func(_, value string) (string, error) { return texttemplate.HTMLEscapeString(value), nil }
	}
	return nil
}
