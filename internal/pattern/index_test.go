package pattern

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestIndexLeadsToFewEntries counts what the index leaves to be checked one by one,
// which unlike time is the same on every machine.
func TestIndexLeadsToFewEntries(t *testing.T) {
	t.Parallel()
	const rules = 10_000
	for _, c := range []struct{ name, format string }{
		{"types", `{"type":["t%d"],"data":{"a":[1]}}`},
		{"prefixes of the type", `{"type":[{"prefix":"t%d."},"t%[1]d"],"data":{"a":[1]}}`},
		{"strings", `{"type":["t77"],"data":{"s":["s%d"]}}`},
		{"numbers", `{"type":["t77"],"data":{"n":[%d]}}`},
		{"prefixes", `{"type":["t77"],"data":{"s":[{"prefix":"s%d"}]}}`},
		{"suffixes", `{"type":["t77"],"data":{"email":[{"suffix":"@%d.example"}]}}`},
		{"regardless of case", `{"data":{"upper":[{"equals-ignore-case":"s%d"}]}}`},
		{"prefixes regardless of case", `{"data":{"upper":[{"prefix":{"equals-ignore-case":"s%d"}}]}}`},
		{"suffixes regardless of case", `{"data":{"email":[{"suffix":{"equals-ignore-case":"@%d.EXAMPLE"}}]}}`},
		{"wildcards", `{"data":{"email":[{"wildcard":"%d*a*le"}]}}`},
		{"wildcards from the end", `{"data":{"email":[{"wildcard":"*@*@%d.example"}]}}`},
		{"ranges", `{"type":["t77"],"data":{"n":[{"numeric":[">=",%d,"<",%[1]d.5]}]}}`},
		{"networks", `{"type":["t77"],"data":{"ip":[{"cidr":"10.0.0.%d/32"}]}}`},
		{"fields", `{"type":["t77"],"data":{"f%d":[{"exists":true}]}}`},
		{"branches", `{"$or":[{"type":["x%d"]},{"source":["y%[1]d"]},{"data":{"n":[%[1]d]}}]}`},
		{"absent beside", `{"data":{"x":[{"exists":false}],"n":[%d],"upper":[{"anything-but":"a"}]}}`},
	} {
		patterns := make([]*Pattern, rules)
		for i := range patterns {
			number := i
			if c.name == "networks" {
				number %= 256
			}
			patterns[i] = mustCompile(t, fmt.Sprintf(c.format, number))
		}
		require.LessOrEqual(t, entriesChecked(patterns), 50, c.name)
	}
}

// TestIndexDividesByEveryField has rules of which every single field is common.
func TestIndexDividesByEveryField(t *testing.T) {
	t.Parallel()
	var patterns []*Pattern
	for i := range 10_000 {
		patterns = append(patterns, mustCompile(t, fmt.Sprintf(
			`{"type":["t%d"],"data":{"s":["s%d"],"n":[%d],"ip":["10.0.0.%d"]}}`, 70+i%10, 70+i/10%10, 70+i/100%10, 70+i/1000%10)))
	}
	require.LessOrEqual(t, entriesChecked(patterns), 4)
}

func mustCompile(t *testing.T, raw string) *Pattern {
	t.Helper()
	p, err := Compile([]byte(raw))
	require.NoError(t, err, raw)
	return p
}

func entriesChecked(patterns []*Pattern) int {
	s := NewSet(patterns)
	w := s.newWalk()
	w.begin(NewEvent(Envelope{Type: "t77", Source: "y77"}, []byte(`{"a":1,"s":"s77","n":77,"email":"77@77.example","upper":"S77","ip":"10.0.0.77","f77":0}`)))
	w.follow(s.root)
	checked := 0
	for _, number := range w.checked {
		if number == w.number {
			checked++
		}
	}
	return checked
}
