package httpapi

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strconv"

	"github.com/signalstack/signalstack/internal/fault"
)

// Page is a part of a list. NextCursor is empty on the last page.
type Page[T any] struct {
	Data       []T    `json:"data" nullable:"false"`
	NextCursor string `json:"next_cursor,omitempty" doc:"Give it as cursor to get the next page"`
}

// PageOut is the answer of a list operation with its Link header (RFC 8288).
type PageOut[T any] struct {
	Link string `header:"Link"`
	Body Page[T]
}

// NewPage cuts rows to limit, one row more than limit having been asked for, and
// makes the cursor and the link of the next page from the last row's key.
func NewPage[T any](rows []T, limit int, list List, key func(T) string) *PageOut[T] {
	if len(rows) <= limit {
		return NewPart(rows, limit, list, "")
	}
	return NewPart(rows[:limit], limit, list, key(rows[limit-1]))
}

// NewPart is a page of a list that looks at a bounded number of rows, so that it may
// end before it has limit of them: next is the key to go on after, "" at the end.
func NewPart[T any](rows []T, limit int, list List, next string) *PageOut[T] {
	out := &PageOut[T]{Body: Page[T]{Data: rows}}
	if rows == nil {
		out.Body.Data = []T{}
	}
	if next == "" {
		return out
	}
	out.Body.NextCursor = list.cursor(next)
	q := url.Values{}
	for name, value := range list.Filters {
		if value != "" {
			q.Set(name, value)
		}
	}
	q.Set("limit", strconv.Itoa(limit))
	q.Set("cursor", out.Body.NextCursor)
	out.Link = "<" + list.Path + "?" + q.Encode() + `>; rel="next"`
	return out
}

// List names one list: its path and the filters it was asked with. A cursor fits
// only the list it came from.
type List struct {
	Path    string
	Filters map[string]string
}

// cursor packs a key with a checksum over the list. The checksum finds accidents
// and tampering; it is no secret, as a cursor gives no right that the filters do
// not give.
func (l List) cursor(key string) string {
	body := []byte(key)
	return base64.RawURLEncoding.EncodeToString(append(l.sum(body), body...))
}

const cursorSum = 8

func (l List) sum(body []byte) []byte {
	scope, _ := json.Marshal(l) // map keys are sorted, so the text is stable
	h := sha256.New()
	h.Write([]byte("signalstack cursor 2\n"))
	h.Write(scope)
	h.Write(body)
	return h.Sum(nil)[:cursorSum]
}

// Key gives the key that a cursor of this list was made from; "" when there is no
// cursor.
func (l List) Key(cursor string) (string, error) {
	if cursor == "" {
		return "", nil
	}
	bad := &fault.Error{
		Kind: fault.Malformed, Code: "invalid_cursor", Message: "The cursor is not one that this list gave; start again without it.",
		Details: []fault.Detail{{Pointer: "/query/cursor", Detail: "must be a next_cursor of this list, asked with the same filters"}},
	}
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || len(b) <= cursorSum || string(l.sum(b[cursorSum:])) != string(b[:cursorSum]) {
		return "", bad
	}
	return string(b[cursorSum:]), nil
}
