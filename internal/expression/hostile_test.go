package expression_test

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/expression"
	"github.com/signalstack/signalstack/internal/pattern"
)

// hostile programs would take gigabytes, or for ever.
var hostile = []string{
	`def f: f; f`,
	`def f: f | f; f`,
	`def f: [f]; f`,
	`def f: f | (1 as $a | 1 as $b | 1 as $c | 1 as $d | [$a,$b,$c,$d]); f`,
	`[limit(1000000000; repeat(1))]`,
	`[range(1000000000)]`,
	`reduce range(1000000000) as $i (0; . + $i)`,
	`"x" * 1000000000`,
	`1000000000 * "x"`,
	`"x" | . *= 1000000000`,
	`reduce range(60) as $i ("x"; . + .)`,
	`reduce range(60) as $i ("x"; . += .)`,
	`reduce range(60) as $i ("x"; . * 2)`,
	`reduce range(60) as $i ("x"; [., .] | add)`,
	`reduce range(60) as $i ("x"; add(., .))`,
	`reduce range(60) as $i ("x"; [., .] | join(""))`,
	`reduce range(60) as $i ("x"; "\(.)\(.)")`,
	`reduce range(60) as $i ("x"; @json "\(.)\(.)")`,
	`reduce range(60) as $i ("x"; @base64 "\(.)\(.)")`,

	`reduce range(200) as $i ("x"; @json)`,
	`reduce range(60) as $i ([1]; . + .)`,
	`reduce range(60) as $i ([1]; [., .])`,
	`reduce range(60) as $i ([1]; [., .] | flatten(1))`,
	`reduce range(60) as $i ([1]; [., .]) | tojson`,
	`reduce range(60) as $i ({}; {a: ., b: .}) | tostring`,
	`reduce range(60) as $i ({}; .a = . | .b = .)`,
	`reduce range(60) as $i ({}; setpath(["a"]; .) | setpath(["b"]; .)) | sort`,
	`reduce range(60) as $i ({}; . * {a: ., b: .})`,
	`reduce range(40) as $i (10; . * .)`,
	`reduce range(100000) as $i (1; [.]) | tojson`,
	`reduce range(100000) as $i (1; . * 1000000007)`,
	`null | .[500000000] = 1`,
	`null | .[500000000] |= 1`,
	`null | .[500000000] += 1`,
	`null | setpath([500000000]; 1)`,
	`500000000 as $n | null | .[$n] = 1`,
	`null | getpath([500000000]) = 1`,
	`null | pick(.[500000000])`,
	`[range(1000)] | map(null | .[100000] = 1)`,
	`["x" * 10000000] | [., .] | transpose | length`,
	`[range(100000)] as $a | [$a] + [range(100000) | []] | transpose`,
	`[range(1000000)] | join("x" * 10000)`,
	`("x" * 1000000) as $s | [range(100000)] | map($s) | add`,
	`("x" * 1000000) as $s | [range(100000) | $s]`,
	`("x" * 1000000) as $s | [range(100000)] | map($s) | sort_by(.)`,
	`("x" * 1000000) as $s | [range(9000)] | sort_by($s)`,
	`[range(1000)] as $a | [range(9000)] | group_by($a)`,
	`[range(100000)] - [range(100000, 200000)]`,
	`[range(100000)] | contains([range(100000)])`,
	`[range(100000)] | inside([range(100000)])`,
	`("a" * 1000000) | test("(a*)*b")`,
	`("a" * 1000000) | [match("(a)(a*b)?"; "g")] | length`,
	`("a" * 1000000) | gsub("a"; "xxxxxxxxxxxxxxxxxxxx")`,
	`("a" * 3000) as $t | $t | gsub("a"; $t)`,
	`("1" * 10000000) | tonumber`,
	`("[" * 100000) | fromjson`,
	`[recurse(. + 1)]`,
	`[.. | ..] | [.[] as $x | .[] as $y | .[] as $z | .[] as $w | .[] as $v | .[] as $u | .[] as $t | .[] as $s | 1]`,
	`last(range(1000000000))`,
	`first(range(1000000000) | select(. < 0))`,
	`until(false; . )`,
	`[while(true; .)]`,
	`label $out | foreach range(1000000000) as $i (0; . + 1; if . < 0 then break $out else empty end)`,
	`try (def f: f | f; f) catch "caught"`,
	`reduce range(60) as $i ([1]; walk([., .]))`,
	`def f($a; $b; $c; $d; $e; $g; $h; $i; $j): f($a;$b;$c;$d;$e;$g;$h;$i;$j) | [$a,$b,$c]; f(1;2;3;4;5;6;7;8;9)`,
	strings.Repeat("[", 4000) + strings.Repeat("]", 4000),
	`def f: f | (` + strings.Repeat("1 as $x | ", 600) + `.); f`,
}

// TestHostileTransformsAreHarmless runs each where a transform would be made, and
// watches what the process takes for it. The bounds are wide, as other tests run
// beside; without the guards most of these take gigabytes or never end.
func TestHostileTransformsAreHarmless(t *testing.T) {
	for _, source := range hostile {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		begun := time.Now()
		transform, err := expression.CompileTransform(source)
		if err == nil {
			_, err = transform.Apply(event(`{"a":[1,2,3],"b":{"c":"d"}}`))
		}
		took := time.Since(begun)
		runtime.ReadMemStats(&after)
		t.Logf("%6.1f ms %5d MiB  %.60s: %.90v", float64(took.Microseconds())/1000, (after.TotalAlloc-before.TotalAlloc)>>20, source, err)
		require.Error(t, err, source)
		require.Less(t, (after.TotalAlloc-before.TotalAlloc)>>20, uint64(1024), source)
		require.Less(t, took, 20*time.Second, source)
	}
}

func event(data string) *expression.Event {
	return expression.NewEvent(pattern.Envelope{ID: "1", Type: "order.paid", Source: "shop", Tenant: "default", Time: "2026-01-02T03:04:05Z"}, []byte(data))
}
