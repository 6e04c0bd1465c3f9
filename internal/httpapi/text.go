package httpapi

import (
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

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
	if err != nil || t.Year() < 1 || t.Year() > 9999 {
		return time.Time{}, []fault.Detail{{Pointer: pointer, Detail: "must be an RFC 3339 time such as 2026-01-31T09:30:00Z"}}
	}
	return t, nil
}

// ParseID reads the id of a path.
func ParseID(text string) (uuid.UUID, error) {
	id, err := uuid.Parse(text)
	if err != nil || len(text) != 36 {
		return uuid.UUID{}, fault.InvalidField("/path/id", "must be a UUID such as 0192f3a1-7c1e-7d3a-9b56-3f1f0c2d4e5f")
	}
	return id, nil
}
