package expression_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/expression"
	"github.com/signalstack/signalstack/internal/pattern"
)

func TestConditionsHoldOrDoNot(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]bool{
		`true`:                                               true,
		`event.type == "order.paid"`:                         true,
		`event.type.startsWith("refund.")`:                   false,
		`event.data.price > 0.05`:                            true,
		`event.data.list.size() == 2`:                        true,
		`event.data.list[1].n == 3`:                          true,
		`event.data.list[1].n == 3.0`:                        true,
		`event.data.list[1].n + 1 > 3`:                       true,
		`event.data.list.exists(x, x.sku == "b" && x.n > 2)`: true,
		`event.data.list.all(x, x.n > 2)`:                    false,
		`has(event.data.gone) && event.data.gone > 1`:        false,
		`has(event.subject)`:                                 false,
		`"x" in event.data.tags`:                             true,
		`event.data.id.matches("^o-[0-9]+$")`:                true,
		`event.data.amount > 9223372036854775807`:            true,
		`timestamp(event.time).getFullYear() == 2026`:        true,
		`!has(event.data.gone) || event.data.gone`:           true,
	} {
		c, err := expression.CompileCondition(source)
		require.NoError(t, err, source)
		got, err := c.Holds(event(order))
		require.NoError(t, err, source)
		require.Equal(t, want, got, source)
	}
}

func TestAConditionThatFailsSaysWhy(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		`event.data.gone > 1`:                   "no such key: gone; ask has(...gone) first",
		`event.data.id > 1`:                     "no such overload",
		`event.data.id`:                         "it came to string instead of true or false",
		`event.data.big > 1`:                    "too large for a double",
		`event.data.list[7].n == 1`:             "index out of bounds",
		`1 / (event.data.list.size() - 2) == 1`: "division by zero",
		`event.data.list.all(a, event.data.list.all(b, event.data.list.all(c, [1,2,3,4,5,6,7,8,9,10].all(d, [1,2,3,4,5,6,7,8,9,10].all(e, [1,2,3,4,5,6,7,8,9,10].all(f, [1,2,3,4,5,6,7,8,9,10].all(g, true)))))))`: "costs more than 250000",
	} {
		c, err := expression.CompileCondition(source)
		require.NoError(t, err, source)
		got, err := c.Holds(event(order))
		require.ErrorContains(t, err, want, source)
		require.False(t, got, source)
	}
}

func TestWhatIsNoConditionIsRefused(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		`event.type ==`:                    "line 1, column 14",
		"event.type == 'a'\n && nosuch":    "line 2, column 5: undeclared reference to 'nosuch'",
		`event.data.n + 1`:                 "must be true or false, and is",
		`"a" == 1`:                         "line 1, column 5",
		`event.type.matches("(")`:          "invalid matches",
		strings.Repeat(" ", 5000) + "true": "at most 4096 bytes",
		strings.Repeat("(", 1000) + "true" + strings.Repeat(")", 1000): "recursion",
	} {
		_, err := expression.CompileCondition(source)
		require.ErrorContains(t, err, want, source)
	}
}

func BenchmarkCondition(b *testing.B) {
	c, err := expression.CompileCondition(`event.data.price > 0.05 && event.data.list.exists(x, x.sku == "b")`)
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if holds, err := c.Holds(event(order)); err != nil || !holds {
			b.Fatal(holds, err)
		}
	}
}

func TestAttributesOfACloudEventAreSeen(t *testing.T) {
	t.Parallel()
	e := func() *expression.Event {
		return expression.NewEvent(pattern.Envelope{
			ID: "1", Type: "a", DataSchema: "https://example.com/s", ContentType: "application/json", Extensions: []byte(`{"traceparent":"00-1","n":7}`),
		}, nil)
	}
	c, err := expression.CompileCondition(`event.extensions.traceparent == "00-1" && event.extensions.n == 7 && event.dataschema.startsWith("https:") && event.datacontenttype.endsWith("json")`)
	require.NoError(t, err)
	holds, err := c.Holds(e())
	require.NoError(t, err)
	require.True(t, holds)
	tr, err := expression.CompileTransform(`.extensions.n`)
	require.NoError(t, err)
	got, err := tr.Apply(e())
	require.NoError(t, err)
	require.Equal(t, "7", string(got))
}
