package app

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/signalstack/signalstack/internal/events"
	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/rules"
)

// What TestRule says besides what it writes.
var (
	ErrNoMatch = errors.New("the pattern does not match the event")
	ErrNoTest  = errors.New("nothing was tested")
)

// TestRule writes what a pattern makes of an event, as "table" or "json", and gives
// ErrNoMatch when it does not match, and ErrNoTest when something is wrong with them.
// rawActions is the list of actions of a rule, or nil. The kinds of their jobs are not
// known offline: payloads are made, and not checked.
func TestRule(out io.Writer, rawPattern, rawEvent, rawActions []byte, format string) error {
	if format != "table" && format != "json" {
		return fmt.Errorf("%w: there is no output %q; it is table or json", ErrNoTest, format)
	}
	actions, mistakes := readActions(rawActions)
	var why events.Tried
	if len(mistakes) == 0 {
		why, mistakes = events.Tester{Kinds: jobs.NewRegistry(), Tenant: httpapi.DefaultTenant}.Test(rawPattern, rawEvent, actions)
	}
	if len(mistakes) > 0 {
		return fmt.Errorf("%w:%s", ErrNoTest, listed(mistakes))
	}
	write := writeFields
	if format == "json" {
		write = writeJSON
	}
	if err := write(out, why); err != nil {
		// The exit code of no match would be taken for an answer.
		return fmt.Errorf("%w: write the answer: %w", ErrNoTest, err)
	}
	if !why.Matched {
		return ErrNoMatch
	}
	return nil
}

func listed(mistakes []fault.Detail) string {
	var b strings.Builder
	for _, m := range mistakes {
		fmt.Fprintf(&b, "\n  %s %s", printable(m.Pointer), printable(m.Detail))
	}
	return b.String()
}

func writeJSON(out io.Writer, why events.Tried) error {
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	return enc.Encode(why)
}

func writeFields(out io.Writer, why events.Tried) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "PATH\tMATCHED\tAT\tVALUE\tWHY")
	for _, f := range why.Fields {
		matched := "no"
		if f.Matched {
			matched = "yes"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", printable(f.Path), matched, orDash(f.At), orDash(string(f.Value)), printable(f.Reason))
	}
	if len(why.Actions) > 0 {
		fmt.Fprintln(w, "\nACTION\tKIND\tJOB\tWHY\tPAYLOAD")
	}
	for i, a := range why.Actions {
		job, reason, payload := "no", a.ConditionError, ""
		switch {
		case a.Error != "":
			job, reason = "failed", a.Error
		case a.MakesJob:
			job = "yes"
			payload = string(a.Job.Payload)
		case a.Condition != nil:
			reason = "the condition does not hold"
		}
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\n", i, printable(a.Kind), job, orDash(reason), orDash(payload))
	}
	return w.Flush()
}

// readActions reads a list of actions as POST /rules does.
func readActions(raw []byte) ([]rules.Action, []fault.Detail) {
	if raw == nil {
		return nil, nil
	}
	given, mistakes := httpapi.ObjectDecoder[struct {
		Actions []rules.Action `json:"actions" minItems:"1" maxItems:"20"`
	}]()(slices.Concat([]byte(`{"actions":`), raw, []byte(`}`)))
	return given.Actions, mistakes
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return printable(text)
}

// printable keeps what stands in a file from moving the cursor of a terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}
