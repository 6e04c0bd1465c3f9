package expression

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"sync"

	"github.com/itchyny/gojq"
)

// Limits of the values that a transform makes on its way.
const (
	maxSize    = 8 << 20 // bytes: 16 for each value, and those of its texts
	maxDepth   = 512
	maxIndex   = 100_000
	maxProduct = 10_000_000 // comparisons
	maxSorted  = 10_000     // values that are sorted by something
	maxKey     = 256        // size of what they are sorted by
	valueSize  = 16
	maxBits    = 3400 // of a whole number: some maxNumber digits
)

var errTooLarge = errors.New("it makes a value that is too large")

// bound gives errTooLarge for a value that stands for too large a tree. A value that
// is shared counts as often as it would be written.
func bound(v any) error { return boundTo(v, maxSize) }

func boundTo(v any, size int) error {
	if left := measure(v, size, maxDepth); left < 0 {
		return errTooLarge
	}
	return nil
}

// measure gives what is left of a size after a value, or less than 0.
func measure(v any, left, depth int) int {
	left -= valueSize
	switch v := v.(type) {
	case string:
		left -= len(v)
	case json.Number:
		left -= len(v)
	case *big.Int:
		if v.BitLen() > maxBits {
			return -1
		}
		left -= v.BitLen() / 8
	case []any:
		if depth == 0 {
			return -1
		}
		for _, x := range v {
			if left = measure(x, left, depth-1); left < 0 {
				return left
			}
		}
	case map[string]any:
		if depth == 0 {
			return -1
		}
		for k, x := range v {
			if left = measure(x, left-valueSize-len(k), depth-1); left < 0 {
				return left
			}
		}
	}
	return left
}

// guards are the functions that guarded programs call.
var guards = sync.OnceValue(func() []gojq.CompilerOption {
	one := func(name string, check func(v any, args []any) error, arity int) gojq.CompilerOption {
		return gojq.WithFunction(name, arity, arity, func(v any, args []any) any {
			if err := check(v, args); err != nil {
				return err
			}
			return v
		})
	}
	all := []gojq.CompilerOption{
		one("__measured", func(v any, _ []any) error { return bound(v) }, 0),
		one("__index", func(v any, _ []any) error { return checkIndex(v) }, 0),
		one("__path", func(v any, _ []any) error { return checkPath(v) }, 0),
		one("__key", func(v any, _ []any) error { return boundTo(v, maxKey) }, 0),
		one("__short", checkShort, 1),
		one("__sortable", checkSortable, 0),
		operator("__add", "$a + $b", nil),
		operator("__subtract", "$a - $b", func(_, a, b any) error { return checkProduct(a, b) }),
		operator("__multiply", "$a * $b", func(_, a, b any) error { return checkRepeat(a, b) }),
		function("__join", "join($a)", checkJoin),
		function("__contains", "contains($a)", checkProduct),
		function("__inside", "inside($a)", checkProduct),
		function("__indices", "indices($a)", checkProduct),
		function("__index_of", "index($a)", checkProduct),
		function("__rindex", "rindex($a)", checkProduct),
	}
	return append(all, gojq.WithFunction("__transpose", 0, 0, native("transpose", nil, func(v any, _ []any) error { return checkTranspose(v) })))
})

// operator is one of jq's operators behind a check, with a result that is measured.
func operator(name, source string, check func(v, a, b any) error) gojq.CompilerOption {
	return gojq.WithFunction(name, 2, 2, native(source, []string{"$a", "$b"}, func(v any, args []any) error {
		if check == nil {
			return nil
		}
		return check(v, args[0], args[1])
	}))
}

// function is one of jq's functions of one argument behind a check.
func function(name, source string, check func(v, a any) error) gojq.CompilerOption {
	return gojq.WithFunction(name, 1, 1, native(source, []string{"$a"}, func(v any, args []any) error { return check(v, args[0]) }))
}

// native is what jq itself makes of a program without guards, behind a check.
func native(source string, variables []string, check func(v any, args []any) error) func(any, []any) any {
	query, err := gojq.Parse(source)
	if err != nil {
		panic("expression: " + err.Error())
	}
	code, err := gojq.Compile(query, gojq.WithVariables(variables))
	if err != nil {
		panic("expression: " + err.Error())
	}
	return func(v any, args []any) any {
		if err := check(v, args); err != nil {
			return err
		}
		result, _ := code.Run(v, args...).Next()
		if _, failed := result.(error); failed {
			return result
		}
		if err := bound(result); err != nil {
			return err
		}
		return result
	}
}

func checkIndex(v any) error {
	if n, ok := gojq.ToFloat64(v); ok && n > maxIndex {
		return fmt.Errorf("it uses an index beyond %d", maxIndex)
	}
	return nil
}

func checkPath(v any) error {
	path, _ := v.([]any)
	for _, part := range path {
		if err := checkIndex(part); err != nil {
			return err
		}
	}
	return nil
}

func checkShort(v any, args []any) error {
	longest, _ := gojq.ToInt(args[0])
	if text, ok := v.(string); ok && len(text) > longest {
		return fmt.Errorf("it searches or reads a text of %d bytes; here it may have %d", len(text), longest)
	}
	return nil
}

func checkSortable(v any, _ []any) error {
	if list, ok := v.([]any); ok && len(list) > maxSorted {
		return fmt.Errorf("it sorts %d values by something; they may be %d", len(list), maxSorted)
	}
	return nil
}

// checkProduct bounds functions that hold each part of one value against each of
// another.
func checkProduct(a, b any) error {
	if isText(a) || isText(b) {
		return nil
	}
	parts := func(v any) int { return (maxSize - max(0, measure(v, maxSize, maxDepth))) / valueSize }
	if parts(a)*parts(b) > maxProduct {
		return errors.New("it compares too many values with too many others")
	}
	return nil
}

func isText(v any) bool {
	_, ok := v.(string)
	return ok
}

// checkRepeat bounds text * number before it is made.
func checkRepeat(a, b any) error {
	for _, x := range [][2]any{{a, b}, {b, a}} {
		text, isText := x[0].(string)
		times, isNumber := gojq.ToFloat64(x[1])
		if isText && isNumber && float64(len(text))*times > maxSize {
			return errTooLarge
		}
	}
	return nil
}

func checkJoin(v, separator any) error {
	list, _ := v.([]any)
	text, _ := separator.(string)
	if len(list)*len(text) > maxSize {
		return errTooLarge
	}
	return nil
}

func checkTranspose(v any) error {
	rows, _ := v.([]any)
	longest := 0
	for _, r := range rows {
		if row, ok := r.([]any); ok {
			longest = max(longest, len(row))
		}
	}
	if len(rows)*longest > maxSize/valueSize {
		return errTooLarge
	}
	return nil
}
