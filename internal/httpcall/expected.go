package httpcall

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"github.com/signalstack/signalstack/internal/fault"
)

// span is a range of HTTP statuses, both ends within.
type span struct{ from, to int }

// maxExpected bounds the list of expected statuses.
const maxExpected = 20

var (
	statusClass = regexp.MustCompile(`^[1-5]xx$`)
	statusRange = regexp.MustCompile(`^([1-5]\d\d)(?:-([1-5]\d\d))?$`)
)

// readExpected reads the list of statuses that are success, 2xx when there is none.
func readExpected(raw []byte) ([]span, []fault.Detail) {
	if raw == nil {
		return []span{{200, 299}}, nil
	}
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil || len(list) == 0 || len(list) > maxExpected {
		return nil, []fault.Detail{{Pointer: "/expected_status", Detail: fmt.Sprintf(`must be a list of 1 to %d statuses such as [200, "3xx", "400-404"]`, maxExpected)}}
	}
	var spans []span
	var mistakes []fault.Detail
	for i, one := range list {
		s, ok := readSpan(one)
		if !ok {
			mistakes = append(mistakes, fault.Detail{Pointer: "/expected_status/" + strconv.Itoa(i), Detail: `must be a status such as 200, a class such as "2xx" or a range such as "200-204"`})
		}
		spans = append(spans, s)
	}
	return spans, mistakes
}

func readSpan(raw json.RawMessage) (span, bool) {
	text := string(raw)
	if raw[0] == '"' && json.Unmarshal(raw, &text) != nil {
		return span{}, false
	}
	if statusClass.MatchString(text) {
		class := int(text[0]-'0') * 100
		return span{class, class + 99}, true
	}
	ends := statusRange.FindStringSubmatch(text)
	if ends == nil {
		return span{}, false
	}
	from, _ := strconv.Atoi(ends[1])
	to, err := strconv.Atoi(ends[2])
	if err != nil {
		to = from
	}
	return span{from, to}, from <= to
}

func isExpected(spans []span, status int) bool {
	return slices.ContainsFunc(spans, func(s span) bool { return s.from <= status && status <= s.to })
}
