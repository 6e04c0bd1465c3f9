package jobs

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/intake"
)

// A small body cannot ask for much: what is named many times is noted once.
func TestNamesThatAreRepeatedAreNotedOnce(t *testing.T) {
	t.Parallel()
	const items = 1000
	f := flow{
		given: make([]httpapi.Item[NewJob], items), items: make([]*intake.Item[*creation], items),
		refs: map[string]int{"a": 7}, waits: make([][]wait, items),
	}
	for i := range f.items {
		f.items[i] = &intake.Item[*creation]{Value: &creation{}}
	}
	f.given[0].Value.After = slices.Repeat([]string{"*", "a"}, 5000)
	f.link(0, true)
	require.NoError(t, f.items[0].Refusal)
	require.Len(t, f.waits[0], items-1)
}
