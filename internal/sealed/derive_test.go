package sealed_test

import (
	"encoding/base64"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/sealed"
)

func TestDerivedKeysDiffer(t *testing.T) {
	t.Parallel()
	a, b := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("a", 32))), base64.StdEncoding.EncodeToString([]byte(strings.Repeat("b", 32)))
	both, err := sealed.Derive(a+", "+b, "one")
	require.NoError(t, err)
	again, err := sealed.Derive(b, "one")
	require.NoError(t, err)
	other, err := sealed.Derive(b, "two")
	require.NoError(t, err)
	require.Len(t, both, 2)
	require.Len(t, both[0], 32)
	require.Equal(t, again[0], both[1])
	require.NotEqual(t, both[0], both[1])
	require.NotEqual(t, again[0], other[0])
	_, err = sealed.Derive("short", "one")
	require.Error(t, err)
}
