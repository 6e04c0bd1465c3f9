package expression_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/expression"
)

const order = `{"id":"o-1","amount":12345678901234567890,"price":0.10,"big":1e400,"list":[{"sku":"a","n":2},{"sku":"b","n":3}],"text":"a<b\u0000é","tags":["x","y"]}`

func apply(t *testing.T, source string) (string, error) {
	t.Helper()
	transform, err := expression.CompileTransform(source)
	require.NoError(t, err, source)
	out, err := transform.Apply(event(order))
	return string(out), err
}

// TestTransformsGiveWhatJqGives holds programs of the usual kind, rewritten by the
// guards, against what jq makes of them.
func TestTransformsGiveWhatJqGives(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		`.data.amount`:     `12345678901234567890`,
		`.data.price`:      `0.10`,
		`.data.big`:        `1e400`,
		`.data.text`:       `"a<b\u0000é"`,
		`.data.amount + 1`: `12345678901234567891`,
		`{type, id: .data.id, n: (.data.list | map(.n) | add)}`:                              `{"id":"o-1","n":5,"type":"order.paid"}`,
		`"Order \(.data.id): \(.data.list | length) items"`:                                  `"Order o-1: 2 items"`,
		`@html "<b>\(.data.text[0:3])</b>"`:                                                  `"<b>a&lt;b</b>"`,
		`@uri "?q=\(.data.id)&r=\("x y")"`:                                                   `"?q=o-1&r=x%20y"`,
		`.data.id | @base64`:                                                                 `"by0x"`,
		`.data | del(.text, .big) | keys`:                                                    `["amount","id","list","price","tags"]`,
		`.data."i\("d")"`:                                                                    `"o-1"`,
		`.data as {"i\("d")": $x} | $x`:                                                      `"o-1"`,
		`.data.list[1].sku`:                                                                  `"b"`,
		`.data.list[-1:]`:                                                                    `[{"n":3,"sku":"b"}]`,
		`.data.list | map({(.sku): .n}) | add`:                                               `{"a":2,"b":3}`,
		`[.data.list[] | select(.n > 2) | .sku]`:                                             `["b"]`,
		`reduce .data.list[] as {sku: $s, n: $n} ({}; .[$s] += $n)`:                          `{"a":2,"b":3}`,
		`.data | .tags += ["z"] | .tags | join("-")`:                                         `"x-y-z"`,
		`.data.tags -= ["x"] | .data.tags`:                                                   `["y"]`,
		`.data.list[0].n *= 3 | .data.list[0].n`:                                             `6`,
		`.data.list | sort_by(-.n) | .[0].sku`:                                               `"b"`,
		`.data.list | group_by(.n % 2) | map(length)`:                                        `[1,1]`,
		`.data.list | to_entries | map(.key)`:                                                `[0,1]`,
		`.data | with_entries(select(.key | startswith("i")))`:                               `{"id":"o-1"}`,
		`[.data.tags, .data.tags] | transpose`:                                               `[["x","x"],["y","y"]]`,
		`.data.id | test("^o-[0-9]+$")`:                                                      `true`,
		`.data.id | sub("o-(?<n>[0-9]+)"; "order \(.n)")`:                                    `"order 1"`,
		`"a.b.c" | gsub("[.]"; "/")`:                                                         `"a/b/c"`,
		`"a,b" | split(",")`:                                                                 `["a","b"]`,
		`[.data.tags[] as $t | {t: $t}]`:                                                     `[{"t":"x"},{"t":"y"}]`,
		`def twice(f): f | f; 3 | twice(. * .)`:                                              `81`,
		`def fac: if . < 2 then 1 else . * (. - 1 | fac) end; 30 | fac`:                      `265252859812191058636308480000000`,
		`.data.gone // "none"`:                                                               `"none"`,
		`try error("x") catch .`:                                                             `"x"`,
		`.data | walk(if type == "number" then 0 else . end) | .list[0]`:                     `{"n":0,"sku":"a"}`,
		`.data | pick(.id)`:                                                                  `{"id":"o-1"}`,
		`.data | [paths(type == "number")] | length`:                                         `5`,
		`[limit(3; range(10))]`:                                                              `[0,1,2]`,
		`.data.tags | index("y")`:                                                            `1`,
		`.data.tags | contains(["x"])`:                                                       `true`,
		`first(.data.list[] | select(.n > 1)).sku`:                                           `"a"`,
		`if has("subject") then 1 else 2 end`:                                                `2`,
		`"2026-01-02T03:04:05Z" | fromdate`:                                                  `1767323045`,
		`.data.tags | . as [$a, $b] | {$a, $b}`:                                              `{"a":"x","b":"y"}`,
		`.data | {"k-\(.id)": 1}`:                                                            `{"k-o-1":1}`,
		`.data | getpath(["list", 0, "sku"])`:                                                `"a"`,
		`.data.list | map(.n) | min, max | tostring | . + "" | select(. == "3")`:             `"3"`,
		`[.data.list[].n] | any(. > 2), (all(. > 2) | not) | select(. == true) | first(1,2)`: ``,
	} {
		got, err := apply(t, source)
		if want == "" {
			require.ErrorContains(t, err, "more than one result", source)
			continue
		}
		require.NoError(t, err, source)
		require.Equal(t, want, got, source)
	}
}

func TestWhatATransformMayNotSayIsRefused(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		`{`:                               "line 1, column 2", // after the last token
		".a |\n| .b":                      "line 2, column 1",
		`input`:                           "must not call input,",
		`[inputs]`:                        "must not call inputs,",
		`env`:                             "must not call env,",
		`$ENV.PATH`:                       "must not use the variable $ENV",
		`{$ENV}`:                          "must not use the variable $ENV",
		`$__loc__`:                        "must not use the variable $__loc__",
		`debug`:                           "must not call debug,",
		`halt_error`:                      "must not call halt_error",
		`builtins`:                        "must not call builtins,",
		`modulemeta`:                      "must not call modulemeta,",
		`localtime`:                       "must not call localtime,",
		`import "a" as a; .`:              "must not import",
		`include "a"; .`:                  "must not import",
		`nosuch(1)`:                       "must not call nosuch/1",
		`__add(1; 2)`:                     "must not call __add",
		`_match("a"; null; false)`:        "must not call _match",
		`def input: 1; input`:             "must not define input,",
		`def _x: 1; _x`:                   "must not define _x,",
		`def f(map): map; f(.)`:           "", // map/0 is no function of jq
		`test(.data.re)`:                  "must call test with a regular expression",
		`test("(")`:                       "must call test with a regular expression",
		`test("(a{500}){2}b{900}")`:       "must call test with a shorter",
		`gsub("a"; "b"; .data.flags)`:     "must call gsub with flags",
		`strftime("%1000000Y")`:           "must call strftime with a format",
		`strftime(.data.f)`:               "must call strftime with a format",
		`@base32d`:                        "must not use @base32d",
		`$x`:                              "is no transform: variable not defined: $x",
		`.a as $__right | 1`:              "must not use the variable $__right",
		strings.Repeat(" ", 9000) + ".":   "at most 8192 bytes",
		`.data as {"\(input)": $x} | $x`:  "must not call input,",
		`{"\(env)": 1}`:                   "must not call env,",
		`.["\(env)"]`:                     "must not call env,",
		`."a\(env)"`:                      "must not call env,",
		`@html "\(env)"`:                  "must not call env,",
		`reduce env as $x (1; 2)`:         "must not call env,",
		`foreach 1 as $x (1; 2; env)`:     "must not call env,",
		`if 1 then 2 elif env then 3 end`: "must not call env,",
		`try 1 catch env`:                 "must not call env,",
		`-env`:                            "must not call env,",
		`.[env:]`:                         "must not call env,",
		`def f: env; f`:                   "must not call env,",
		`label $out | env`:                "must not call env,",
	} {
		_, err := expression.CompileTransform(source)
		if want == "" {
			require.NoError(t, err, source)
			continue
		}
		require.ErrorContains(t, err, want, source)
	}
}

func TestATransformMustGiveOneResultOfModestSize(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		`empty`:              "gave no result",
		`.data.tags[]`:       "more than one result",
		`error("no amount")`: "no amount",
		`.data.id + 1`:       "cannot add",
		`"x" * 300000`:       "300002 bytes, and may have 262144",
	} {
		_, err := apply(t, source)
		require.ErrorContains(t, err, want, source)
	}
	transform, err := expression.CompileTransform(`.data + 1`)
	require.NoError(t, err)
	_, err = transform.Apply(event(strings.Repeat("9", 2000)))
	require.ErrorContains(t, err, "a number of more than 1000 digits")
}

// TestExpressionsOfOneEventShareTheirTime adds transforms that use all they may.
func TestExpressionsOfOneEventShareTheirTime(t *testing.T) {
	t.Parallel()
	endless, err := expression.CompileTransform(`last(range(1000000000))`)
	require.NoError(t, err)
	e := event(`{}`)
	for range 60 {
		if _, err = endless.Apply(e); strings.Contains(err.Error(), "together") {
			break
		}
	}
	require.ErrorContains(t, err, "took longer than 2s together")
}

func BenchmarkTransform(b *testing.B) {
	transform, err := expression.CompileTransform(`{text: "Order \(.data.id)", total: (.data.list | map(.n) | add), tags: .data.tags}`)
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := transform.Apply(event(order)); err != nil {
			b.Fatal(err)
		}
	}
}
