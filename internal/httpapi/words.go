package httpapi

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/validation"

	"github.com/signalstack/signalstack/internal/fault"
)

// What some texts must look like, said in one place.
const (
	timeForm = "an RFC 3339 time such as 2026-01-31T09:30:00Z or 2026-01-31T11:30:00+02:00"
	uuidForm = "a UUID such as 0192f3a1-7c1e-7d3a-9b56-3f1f0c2d4e5f"
)

// required begins the message about a missing property, which ends with its name.
const required = "is required: "

// setWords puts what huma says of a value that breaks its schema into the words of
// this API: what the value must be. These are all that our schemas can lead to.
func setWords() {
	huma.ErrorFormatter = say
	validation.MsgUnexpectedProperty = "is not a field known here; remove it"
	validation.MsgExpectedRequiredProperty = required + "%s"
	validation.MsgExpectedRFC3339DateTime = "must be " + timeForm
	validation.MsgExpectedRFC4122UUID = "must be " + uuidForm
	validation.MsgExpectedBoolean = "must be true or false"
	validation.MsgExpectedNumber = "must be a number"
	validation.MsgExpectedInteger = "must be a whole number, without a fraction or exponent"
	validation.MsgExpectedString = "must be a text"
	validation.MsgExpectedArray = "must be an array"
	validation.MsgExpectedObject = "must be an object"
	validation.MsgExpectedOneOf = "must be one of %s"
	validation.MsgExpectedMinimumNumber = "must be at least %v"
	validation.MsgExpectedMaximumNumber = "must be at most %v"
	validation.MsgExpectedMinLength = "must have at least %d characters"
	validation.MsgExpectedMaxLength = "must have at most %d characters"
	validation.MsgExpectedMinItems = "must have at least %d items"
	validation.MsgExpectedMaxItems = "must have at most %d items"
}

var single = regexp.MustCompile(`\b1 (character|item)s\b`)

// say formats a message; one that has no use for its arguments stays as it is.
func say(format string, args ...any) string {
	if !strings.Contains(format, "%") {
		return format
	}
	return single.ReplaceAllString(fmt.Sprintf(format, args...), "1 $1")
}

// parameterWords are those that huma has in no variable.
var parameterWords = map[string]string{
	"invalid integer": "must be a whole number",
	"invalid float":   "must be a number",
	"invalid boolean": "must be true or false",

	"required path parameter is missing":   "is required",
	"required query parameter is missing":  "is required",
	"required header parameter is missing": "is required",
}

// detailOf gives what huma found. A missing property's pointer is put on the
// property itself, where huma points at its parent. The value is left out: it may
// be a secret.
func detailOf(d *huma.ErrorDetail) fault.Detail {
	pointer := pointerOf(d.Location)
	if name, ok := strings.CutPrefix(d.Message, required); ok {
		return fault.Detail{Pointer: pointer + "/" + escapePointer(name), Detail: "is required"}
	}
	if words, ok := parameterWords[d.Message]; ok {
		return fault.Detail{Pointer: pointer, Detail: words}
	}
	if _, ok := d.Value.(null); ok {
		return fault.Detail{Pointer: pointer, Detail: d.Message + ", not null"}
	}
	// What a parameter's own UnmarshalText said.
	return fault.Detail{Pointer: pointer, Detail: strings.TrimPrefix(d.Message, "invalid value: ")}
}

func escapePointer(s string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(s)
}
