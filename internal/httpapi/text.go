package httpapi

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/fault"
)

// CheckText gives the mistake of a one-line text: too long (in characters) or
// with control characters. PostgreSQL stores no NUL, and a line break has no
// business in a name. An empty text is left to the caller.
func CheckText(pointer, text string, most int) []fault.Detail {
	switch {
	case utf8.RuneCountInString(text) > most:
		return []fault.Detail{{Pointer: pointer, Detail: fmt.Sprintf("must have at most %d characters", most)}}
	case strings.IndexFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) >= 0:
		return []fault.Detail{{Pointer: pointer, Detail: "must not hold control characters"}}
	}
	return nil
}

var name = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.:-]{0,62}$`)

// CheckName gives the mistake of a name such as a queue's or a tenant's; an empty
// one means the default and is right.
func CheckName(pointer, text string) []fault.Detail {
	if text == "" || name.MatchString(text) {
		return nil
	}
	return []fault.Detail{{Pointer: pointer, Detail: "must be 1 to 63 letters, digits or _ . : - and begin with a letter or digit"}}
}

// ParseTime reads an RFC 3339 time; an empty text is the zero time.
func ParseTime(pointer, text string) (time.Time, []fault.Detail) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if year := t.UTC().Year(); err != nil || year < 1 || year > 9999 {
		return time.Time{}, []fault.Detail{{Pointer: pointer, Detail: "must be " + timeForm}}
	}
	return t, nil
}

// Time is a parameter that is an RFC 3339 time. Given says that it was sent: any
// time may be asked for, the zero time too.
type Time struct {
	time.Time
	Given bool
}

// UnmarshalText reads what was sent; huma calls it.
func (t *Time) UnmarshalText(text []byte) error {
	at, mistakes := ParseTime("", string(text))
	if len(mistakes) > 0 {
		return errors.New(mistakes[0].Detail + "; in a URL write + as %2B")
	}
	t.Time, t.Given = at, true
	return nil
}

// Schema documents the text.
func (Time) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Format: "date-time"}
}

// Text is the time as it was given, or "".
func (t Time) Text() string {
	if !t.Given {
		return ""
	}
	return t.Format(time.RFC3339Nano)
}

// uuidLength is that of the one form that is taken; the library reads others too.
const uuidLength = 36

// ParseID reads the id of a path.
func ParseID(text string) (uuid.UUID, error) {
	id, err := uuid.Parse(text)
	if err != nil || len(text) != uuidLength {
		return uuid.UUID{}, fault.InvalidParameter("/path/id", "must be %s", uuidForm)
	}
	return id, nil
}
