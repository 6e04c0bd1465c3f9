package pattern_test

import (
	"encoding/json"
	"fmt"
	"math/big"
	"net"
	"regexp"
	"slices"
	"strings"

	"github.com/stretchr/testify/require"
)

// The naive evaluator is written from the rules over the trees of encoding/json
// and shares nothing with the package. "Any element, and for everything below an
// array the same one" is taken literally: choose one element in each array of the
// event; the pattern matches when some choice satisfies every path of it. What has
// to be absent must be so in the chosen elements of those arrays that other paths
// look into, and in all elements of the others.
type naivePattern [][]naiveLeaf // for each combination of the branches of $or

type naiveLeaf struct {
	path []string
	list []any
}

// naiveScope is the fields of an object of the pattern and of those below it, up to
// the branches of $or, which are scopes of their own. Of two lists the last counts.
type naiveScope struct {
	lists map[string][]any // by path, its steps joined by '\x00'
	ors   [][]*naiveScope
}

func readNaive(t require.TestingT, raw string) naivePattern {
	s := &naiveScope{lists: map[string][]any{}}
	s.object(t, []byte(raw), "")
	return s.combinations()
}

// object reads tokens, since a map would lose the keys that stand twice.
func (s *naiveScope) object(t require.TestingT, raw []byte, path string) {
	dec := json.NewDecoder(strings.NewReader(string(raw)))
	dec.UseNumber()
	_, err := dec.Token()
	require.NoError(t, err)
	for dec.More() {
		key, err := dec.Token()
		require.NoError(t, err)
		var value json.RawMessage
		require.NoError(t, dec.Decode(&value))
		below := path + "\x00" + strings.ReplaceAll(key.(string), ".", "\x00")
		around, last := strings.CutSuffix(below, "\x00$or")
		switch {
		case last && areBranches(value):
			var values []json.RawMessage
			require.NoError(t, json.Unmarshal(value, &values))
			var branches []*naiveScope
			for _, v := range values {
				b := &naiveScope{lists: map[string][]any{}}
				b.object(t, v, around)
				branches = append(branches, b)
			}
			s.ors = append(s.ors, branches)
		case value[0] == '{':
			s.object(t, value, below)
		default:
			var list any
			require.NoError(t, decodeNumbers(value, &list))
			s.lists[below] = list.([]any)
		}
	}
}

// areBranches tells whether the value of $or is a list of objects of which none is
// an operator.
func areBranches(value json.RawMessage) bool {
	var objects []map[string]json.RawMessage
	if json.Unmarshal(value, &objects) != nil {
		return false
	}
	return !slices.ContainsFunc(objects, func(object map[string]json.RawMessage) bool {
		for name := range object {
			if slices.Contains([]string{"prefix", "suffix", "equals-ignore-case", "wildcard", "anything-but", "numeric", "cidr", "exists"}, name) {
				return true
			}
		}
		return false
	})
}

func (s *naiveScope) combinations() naivePattern {
	var own []naiveLeaf
	for path, list := range s.lists {
		own = append(own, naiveLeaf{path: strings.Split(path[1:], "\x00"), list: list})
	}
	all := naivePattern{own}
	for _, branches := range s.ors {
		var next naivePattern
		for _, have := range all {
			for _, b := range branches {
				for _, more := range b.combinations() {
					next = append(next, slices.Concat(have, more))
				}
			}
		}
		all = next
	}
	return all
}

func (p naivePattern) matches(event any) bool {
	all := choices(event)
	return slices.ContainsFunc(p, func(leaves []naiveLeaf) bool {
		return slices.ContainsFunc(all, func(choice any) bool { return satisfies(leaves, choice, event) })
	})
}

// satisfies tries for each leaf that a chosen value is in its list, and that it is
// absent. Which elements are chosen matters only where a value is looked at.
func satisfies(leaves []naiveLeaf, choice, event any) bool {
	var mayBeAbsent []int
	for i, l := range leaves {
		if slices.ContainsFunc(l.list, func(want any) bool { return isOperator(want, "exists", false) }) {
			mayBeAbsent = append(mayBeAbsent, i)
		}
	}
	for picked := range 1 << len(mayBeAbsent) {
		fixed, ok := map[string]int{}, true
		var gone []naiveLeaf
		for i, l := range leaves {
			if at := slices.Index(mayBeAbsent, i); at >= 0 && picked>>at&1 == 1 {
				gone = append(gone, l)
				continue
			}
			v, found := lookUp(choice, l.path, "", fixed)
			ok = ok && found && slices.ContainsFunc(l.list, func(want any) bool { return accepts(want, v) })
		}
		if ok && !slices.ContainsFunc(gone, func(l naiveLeaf) bool { return isThere(event, l.path, "", fixed) }) {
			return true
		}
	}
	return false
}

// chosen is an array of which one element was chosen; none of an empty one.
type chosen struct {
	index   int
	element any
}

// choices gives the value with an element chosen in every array, in every way.
func choices(v any) []any {
	switch v := v.(type) {
	case []any:
		all := []any{}
		for i, element := range v {
			for _, choice := range choices(element) {
				all = append(all, chosen{i, choice})
			}
		}
		if len(all) == 0 {
			return []any{chosen{-1, nil}}
		}
		return all
	case map[string]any:
		all := []any{map[string]any{}}
		for key, field := range v {
			var next []any
			for _, have := range all {
				for _, choice := range choices(field) {
					with := map[string]any{key: choice}
					for k, f := range have.(map[string]any) {
						with[k] = f
					}
					next = append(next, with)
				}
			}
			all = next
		}
		return all
	default:
		return []any{v}
	}
}

// lookUp finds the scalar at a path of a choice and notes which elements it went
// through. place is where it stands.
func lookUp(v any, path []string, place string, fixed map[string]int) (any, bool) {
	switch v := v.(type) {
	case chosen:
		fixed[place] = v.index
		return lookUp(v.element, path, fmt.Sprint(place, "[", v.index), fixed)
	case map[string]any:
		if len(path) == 0 {
			return nil, false
		}
		field, ok := v[path[0]]
		if !ok {
			return nil, false
		}
		return lookUp(field, path[1:], place+"\x00"+path[0], fixed)
	default:
		if emptyArray := strings.HasSuffix(place, "[-1"); emptyArray || len(path) > 0 {
			return nil, false
		}
		return v, true
	}
}

// isThere tells whether the event has a scalar at a path, in arrays that are fixed
// within that element.
func isThere(v any, path []string, place string, fixed map[string]int) bool {
	switch v := v.(type) {
	case []any:
		only, isFixed := fixed[place]
		for i, element := range v {
			if (!isFixed || i == only) && isThere(element, path, fmt.Sprint(place, "[", i), fixed) {
				return true
			}
		}
		return false
	case map[string]any:
		if len(path) == 0 {
			return false
		}
		field, ok := v[path[0]]
		return ok && isThere(field, path[1:], place+"\x00"+path[0], fixed)
	default:
		return len(path) == 0
	}
}

func isOperator(want any, name string, operand any) bool {
	object, ok := want.(map[string]any)
	return ok && object[name] == operand
}

func accepts(want, have any) bool {
	switch want := want.(type) {
	case map[string]any:
		for name, operand := range want {
			return operate(name, operand, have)
		}
		return false
	case json.Number:
		number, ok := have.(json.Number)
		return ok && rational(want).Cmp(rational(number)) == 0
	default:
		return want == have
	}
}

func operate(name string, operand, have any) bool {
	if name == "exists" {
		return operand == true
	}
	if name == "anything-but" {
		return !excludes(operand, have)
	}
	if number, ok := have.(json.Number); ok {
		return name == "numeric" && compares(operand.([]any), rational(number))
	}
	text, ok := have.(string)
	if !ok {
		return false
	}
	if object, ok := operand.(map[string]any); ok {
		start := func(i int) string { return text[:i] }
		if name == "suffix" {
			start = func(i int) string { return text[i:] }
		}
		for i := range len(text) + 1 {
			if strings.EqualFold(start(i), object["equals-ignore-case"].(string)) {
				return true
			}
		}
		return false
	}
	switch name {
	case "prefix":
		return strings.HasPrefix(text, operand.(string))
	case "suffix":
		return strings.HasSuffix(text, operand.(string))
	case "equals-ignore-case":
		return strings.EqualFold(text, operand.(string))
	case "wildcard":
		return wildcardPattern(operand.(string)).MatchString(text)
	case "cidr":
		_, network, err := net.ParseCIDR(operand.(string))
		ip := net.ParseIP(text)
		return err == nil && ip != nil && network.Contains(ip)
	default:
		return false
	}
}

func excludes(operand, have any) bool {
	switch operand := operand.(type) {
	case []any:
		return slices.ContainsFunc(operand, func(want any) bool { return accepts(want, have) })
	case map[string]any:
		for name, inner := range operand {
			list, ok := inner.([]any)
			if !ok {
				list = []any{inner}
			}
			return slices.ContainsFunc(list, func(one any) bool { return operate(name, one, have) })
		}
		return false
	default:
		return accepts(operand, have)
	}
}

func compares(operand []any, have *big.Rat) bool {
	for i := 0; i < len(operand); i += 2 {
		order := have.Cmp(rational(operand[i+1].(json.Number)))
		holds := map[string]bool{"=": order == 0, "<": order < 0, "<=": order <= 0, ">": order > 0, ">=": order >= 0}
		if !holds[operand[i].(string)] {
			return false
		}
	}
	return true
}

func wildcardPattern(text string) *regexp.Regexp {
	expression := `(?s)\A`
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '*':
			expression += `.*`
		case '\\':
			i++
			fallthrough
		default:
			expression += regexp.QuoteMeta(text[i : i+1])
		}
	}
	return regexp.MustCompile(expression + `\z`)
}

func rational(n json.Number) *big.Rat {
	r, ok := new(big.Rat).SetString(n.String())
	if !ok {
		panic(fmt.Sprintf("%s is no number", n))
	}
	return r
}
