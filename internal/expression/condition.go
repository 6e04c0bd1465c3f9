package expression

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// Limits of a condition. A unit of cost takes some 50 ns; the clock is only for what
// the cost does not tell.
const (
	maxCondition     = 4096 // bytes
	maxConditionCost = 250_000
	maxConditionTime = time.Second
	interruptEvery   = 100 // rounds of a comprehension
)

// Condition is a compiled CEL expression over the variable event. It may be used by
// many goroutines.
type Condition struct{ program cel.Program }

// conditions is the environment that all conditions share. It is made when the first
// is compiled, and does not change.
var conditions = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(
		cel.Variable("event", cel.MapType(cel.StringType, cel.DynType)),
		cel.CustomTypeAdapter(adapter{types.DefaultTypeAdapter}),
		cel.CrossTypeNumericComparisons(true),
		cel.ASTValidators(cel.ValidateRegexLiterals(), cel.ValidateTimestampLiterals(), cel.ValidateDurationLiterals()),
	)
})

// adapter makes values of CEL of decoded JSON: a number is an int where it is written
// as one that 64 bits hold, and else a double. Comparisons do not tell them apart.
type adapter struct{ types.Adapter }

// NativeToValue gives the value of CEL.
func (a adapter) NativeToValue(value any) ref.Val {
	switch v := value.(type) {
	case json.Number:
		if n, err := strconv.ParseInt(string(v), 10, 64); err == nil {
			return types.Int(n)
		}
		f, err := strconv.ParseFloat(string(v), 64)
		if err != nil {
			return types.NewErr("the number %.40s is too large for a double", v)
		}
		return types.Double(f)
	case map[string]any:
		return types.NewStringInterfaceMap(a, v)
	case []any:
		return types.NewDynamicList(a, v)
	}
	return a.Adapter.NativeToValue(value)
}

// CompileCondition compiles a condition. The error says what is wrong and where.
func CompileCondition(source string) (*Condition, error) {
	if len(source) > maxCondition {
		return nil, fmt.Errorf("must have at most %d bytes", maxCondition)
	}
	env, err := conditions()
	if err != nil {
		return nil, fmt.Errorf("make the environment of conditions: %w", err)
	}
	ast, issues := env.Compile(source)
	if issues.Err() != nil {
		return nil, errors.New("is no condition: " + issueText(issues))
	}
	if out := ast.OutputType(); !out.IsExactType(cel.BoolType) && !out.IsExactType(cel.DynType) {
		return nil, fmt.Errorf("must be true or false, and is %s", out)
	}
	if least, err := env.EstimateCost(ast, sizes{}); err == nil && least.Min > maxConditionCost {
		return nil, fmt.Errorf("costs at least %d, which is more than %d; make it simpler", least.Min, maxConditionCost)
	}
	program, err := env.Program(ast, cel.EvalOptions(cel.OptOptimize), cel.CostLimit(maxConditionCost), cel.InterruptCheckFrequency(interruptEvery))
	if err != nil {
		return nil, fmt.Errorf("is no condition: %w", err)
	}
	return &Condition{program}, nil
}

// sizes leaves it to the library to estimate what nobody knows before the event comes.
type sizes struct{}

// EstimateSize knows no size.
func (sizes) EstimateSize(cost.AstNode) *cost.SizeEstimate { return nil }

// EstimateCallCost knows no cost.
func (sizes) EstimateCallCost(string, string, *cost.AstNode, []cost.AstNode) *cost.CallEstimate {
	return nil
}

// issueText tells the first mistakes, each with its place.
func issueText(issues *cel.Issues) string {
	const most = 3
	var all []string
	for i, e := range issues.Errors() {
		if i == most {
			break
		}
		all = append(all, fmt.Sprintf("line %d, column %d: %s", e.Location.Line(), e.Location.Column()+1, strings.TrimSpace(e.Message)))
	}
	return strings.Join(all, "; ")
}

// Holds says whether the condition holds for an event. The error says why nobody can
// tell, as when a field is missing that was not asked for by has().
func (c *Condition) Holds(e *Event) (bool, error) {
	holds := false
	err := e.timed(func(root map[string]any) error {
		ctx, cancel := context.WithTimeout(context.Background(), maxConditionTime)
		defer cancel()
		out, _, err := c.program.ContextEval(ctx, map[string]any{"event": root})
		if err != nil {
			return explainCondition(err)
		}
		value, ok := out.Value().(bool)
		if !ok {
			return fmt.Errorf("it came to %s instead of true or false", typeName(out))
		}
		holds = value
		return nil
	})
	return holds, err
}

func explainCondition(err error) error {
	text := err.Error()
	switch {
	case strings.HasPrefix(text, "no such key: "):
		name := strings.TrimPrefix(text, "no such key: ")
		return fmt.Errorf("%s; ask has(...%s) first where it may be missing", cut(text), cut(name))
	case strings.Contains(text, "cost limit exceeded"):
		return fmt.Errorf("it costs more than %d on this event", maxConditionCost)
	}
	return errors.New(cut(text))
}

func typeName(v ref.Val) string {
	if t, ok := v.Type().(*types.Type); ok {
		return t.String()
	}
	return reflect.TypeOf(v.Value()).String()
}

// maxText is how much of what a program says is passed on, in bytes.
const maxText = 300

// cut shortens a text that an event has a part in.
func cut(text string) string {
	if len(text) > maxText {
		return strings.ToValidUTF8(text[:maxText], "") + "..."
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}
