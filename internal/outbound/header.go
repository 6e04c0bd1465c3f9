package outbound

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/signalstack/signalstack/internal/fault"
)

// Limits of the headers that a user may add.
const (
	maxHeaderCount = 50
	maxHeaderValue = 4096
)

// reserved are headers that are the connection's business or would let a request
// say it is another one.
var reserved = []string{
	"Connection", "Content-Encoding", "Content-Length", "Expect", "Forwarded", "Host", "Http2-Settings", "Keep-Alive", "Proxy-Authenticate",
	"Proxy-Authorization", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Via",
}

// CheckHeaders gives the mistakes of headers that a user wants sent. own names
// further headers that the kind sets itself, a trailing * standing for the rest.
func CheckHeaders(pointer string, headers map[string]string, own ...string) []fault.Detail {
	var mistakes []fault.Detail
	if len(headers) > maxHeaderCount {
		mistakes = append(mistakes, fault.Detail{Pointer: pointer, Detail: fmt.Sprintf("must have at most %d headers", maxHeaderCount)})
	}
	seen := map[string]bool{}
	for _, name := range sortedNames(headers) {
		canonical := http.CanonicalHeaderKey(name)
		wrong := ""
		switch {
		case !httpguts.ValidHeaderFieldName(name):
			wrong = "is not a header name: letters, digits and -"
		case seen[canonical]:
			wrong = "stands twice, in different case"
		case slices.Contains(reserved, canonical) || isOwn(canonical, own):
			wrong = "is set by SignalStack and may not be given"
		case !httpguts.ValidHeaderFieldValue(headers[name]) || len(headers[name]) > maxHeaderValue:
			wrong = fmt.Sprintf("must be one line of at most %d bytes", maxHeaderValue)
		}
		seen[canonical] = true
		if wrong != "" {
			mistakes = append(mistakes, fault.Detail{Pointer: pointer + "/" + escape(name), Detail: wrong})
		}
	}
	return mistakes
}

func sortedNames(headers map[string]string) []string {
	names := make([]string, 0, len(headers))
	for name := range headers {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func isOwn(canonical string, own []string) bool {
	for _, name := range own {
		if start, ok := strings.CutSuffix(name, "*"); ok && strings.HasPrefix(canonical, start) || name == canonical {
			return true
		}
	}
	return false
}

func escape(name string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
}
