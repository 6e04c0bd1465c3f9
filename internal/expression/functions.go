package expression

import (
	"fmt"
	"regexp/syntax"
	"strings"
	"sync"

	"github.com/itchyny/gojq"
)

// plain are functions that need no more than to be counted: they choose and repeat,
// or what they make is hardly larger than what they get.
const plain = `all/0 all/1 all/2 any/0 any/1 any/2 arrays/0 objects/0 iterables/0 booleans/0 numbers/0 finites/0 normals/0 strings/0 nulls/0
	values/0 scalars/0 abs/0 not/0 select/1 empty/0 error/0 error/1 first/0 first/1 last/0 last/1 limit/2 skip/2 nth/1 nth/2 until/2 while/2
	repeat/1 range/1 range/2 range/3 recurse/0 recurse/1 recurse/2 in/1 isempty/1 has/1 length/0 utf8bytelength/0 type/0 toboolean/0
	startswith/1 endswith/1 path/1 paths/0 paths/1 now/0 infinite/0 nan/0 isnan/0 isinfinite/0 isfinite/0 isnormal/0 IN/1 IN/2 mktime/0
	floor/0 round/0 ceil/0 trunc/0 fabs/0 sqrt/0 cbrt/0 pow/2 exp/0 exp2/0 exp10/0 log/0 log2/0 log10/0 fmin/2 fmax/2 fmod/2 min/0 max/0 bsearch/1`

// making are functions whose results are measured.
const making = `map/1 map_values/1 add/0 to_entries/0 from_entries/0 with_entries/1 walk/1 keys/0 reverse/0 ltrimstr/1 rtrimstr/1 trimstr/1
	ltrim/0 rtrim/0 trim/0 explode/0 implode/0 split/1 ascii_downcase/0 ascii_upcase/0 tojson/0 fromjson/0 tostring/0 flatten/0 flatten/1
	sort/0 unique/0 combinations/0 combinations/1 del/1 delpaths/1 pick/1 gmtime/0 todate/0 fromdate/0 fromdateiso8601/0 todateiso8601/0 INDEX/1 INDEX/2`

// special are functions that are called in another way than they are written, see
// function.
const special = `tonumber/0 add/1 join/1 transpose/0 contains/1 inside/1 indices/1 index/1 rindex/1 setpath/2 getpath/1
	sort_by/1 group_by/1 unique_by/1 min_by/1 max_by/1 strftime/1 strptime/1
	test/1 test/2 match/1 match/2 capture/1 capture/2 scan/1 scan/2 split/2 splits/1 splits/2 sub/2 sub/3 gsub/2 gsub/3`

func setOf(lists ...string) map[string]bool {
	set := map[string]bool{}
	for _, name := range strings.Fields(strings.Join(lists, " ")) {
		set[name] = true
	}
	return set
}

var (
	known  = setOf(plain, making, special)
	makers = setOf(making)
)

func allowed(name string) bool { return known[name] }

// builtins are the functions of jq, as name/arity.
var builtins = sync.OnceValue(func() map[string]bool {
	set := map[string]bool{"env/0": true, "path/1": true}
	query, err := gojq.Parse("builtins[]")
	if err != nil {
		panic("expression: " + err.Error())
	}
	for names := query.Run(nil); ; {
		name, ok := names.Next()
		if !ok {
			return set
		}
		set[fmt.Sprint(name)] = true
	}
})

// function walks a call and gives what stands in its place, or nil.
func (g *guarding) function(f *gojq.Func) *gojq.Query {
	if strings.HasPrefix(f.Name, "$") {
		g.variable(f.Name)
		return nil
	}
	name := fmt.Sprintf("%s/%d", f.Name, len(f.Args))
	literal := make([]string, len(f.Args)) // the arguments that are plain texts
	for i, arg := range f.Args {
		if t := arg.Term; t != nil && t.Type == gojq.TermTypeString && len(t.Str.Queries) == 0 && len(t.SuffixList) == 0 {
			literal[i] = t.Str.Str
		}
		g.query(arg)
	}
	g.called = append(g.called, name)
	if strings.HasPrefix(f.Name, "_") {
		g.refuse("must not call %s, which is not a function known here", f.Name)
	}
	if g.defined[name] {
		return nil
	}
	itself := call(f.Name, f.Args...)
	if makers[name] {
		return measured(itself)
	}
	switch f.Name {
	case "tonumber":
		return pipe(call("__short", number(maxNumber)), itself)
	case "add": // of a stream
		return measured(pipe(measured(ofTerm(gojq.Term{Type: gojq.TermTypeArray, Array: &gojq.Array{Query: f.Args[0]}})), call("add")))
	case "index":
		if known[name] {
			return measured(call("__index_of", f.Args...))
		}
	case "join", "transpose", "contains", "inside", "indices", "rindex":
		if known[name] {
			return measured(call("__"+f.Name, f.Args...))
		}
	case "setpath":
		return measured(call("setpath", pipe(f.Args[0], call("__path")), f.Args[1]))
	case "getpath":
		return call("getpath", pipe(f.Args[0], call("__path")))
	case "sort_by", "group_by", "unique_by", "min_by", "max_by":
		return measured(pipe(call("__sortable"), call(f.Name, pipe(f.Args[0], call("__key")))))
	case "strftime", "strptime":
		g.timeFormat(f.Name, literal[0])
		return itself
	case "test", "match", "capture", "scan", "split", "splits", "sub", "gsub":
		if known[name] {
			return g.regex(f, literal)
		}
	}
	return nil
}

// timeFormat refuses formats that could write without end, by a width.
func (g *guarding) timeFormat(name, format string) {
	const longest = 100
	if format == "" || len(format) > longest || strings.ContainsAny(format, "0123456789") {
		g.refuse("must call %s with a format that is a plain text without digits", name)
	}
}

// Most work of a regular expression, in bytes of the text times instructions: of one
// search, and of all searches together that go on from match to match, each of which
// may look at the whole text.
const (
	maxSearch  = 5_000_000
	maxRegex   = 1000 // instructions
	leastRegex = 4
)

// regex has a regular expression looked at before it runs. It must be there to look
// at, also because the interpreter keeps every one that it has ever compiled.
func (g *guarding) regex(f *gojq.Func, literal []string) *gojq.Query {
	flags := ""
	if at := len(literal) - 1; f.Name != "sub" && f.Name != "gsub" && at == 1 || at == 2 {
		if flags = literal[at]; flags == "" {
			g.refuse("must call %s with flags that are a plain text", f.Name)
		}
	}
	parsed, err := syntax.Parse(literal[0], syntax.Perl)
	if err != nil || literal[0] == "" {
		g.refuse("must call %s with a regular expression of RE2 that is a plain text", f.Name)
		return nil
	}
	compiled, err := syntax.Compile(parsed.Simplify())
	if err != nil || len(compiled.Inst) > maxRegex {
		g.refuse("must call %s with a shorter regular expression", f.Name)
		return nil
	}
	longest := maxSearch / max(len(compiled.Inst), leastRegex)
	if f.Name != "test" && (strings.Contains(flags, "g") || f.Name != "match" && f.Name != "capture" && f.Name != "sub") {
		for longest = 1; longest*longest*len(compiled.Inst) < maxSearch*20; { // its root, to the next power of two
			longest *= 2
		}
		longest /= 2
	}
	return measured(pipe(call("__short", number(longest)), call(f.Name, f.Args...)))
}
