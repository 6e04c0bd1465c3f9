package httpcall_test

import (
	"encoding/json"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/forbidden"
	"github.com/signalstack/signalstack/internal/httpcall"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/outbound"
)

// TestSpecialAddressesAreRefusedWhenMadeAndWhenRun goes through all special addresses, as
// they stand in a payload and as a template makes them.
func TestSpecialAddressesAreRefusedWhenMadeAndWhenRun(t *testing.T) {
	t.Parallel()
	const setting = "SIGNALSTACK_ALLOW_NETWORKS"
	guard, err := outbound.NewGuard(nil, false)
	require.NoError(t, err)
	k := httpcall.Kind(guard, outbound.NewClient(guard, "test"))
	for i, host := range forbidden.Hosts() {
		plain, err := json.Marshal(map[string]any{"url": "http://" + host + ":9/"})
		require.NoError(t, err)
		made, err := json.Marshal(map[string]any{"url": "http://{{.data.host}}:9/", "data": map[string]string{"host": host}})
		require.NoError(t, err)
		payloads := [][]byte{plain}
		if i%5 == 0 { // to compile a template takes long
			payloads = append(payloads, made)
		}
		for _, payload := range payloads {
			mistakes := k.Check(payload, jobs.Later{})
			require.Len(t, mistakes, 1, "%s", payload)
			require.Equal(t, "/url", mistakes[0].Pointer, "%s", payload)
			result, err := k.Run(t.Context(), jobs.Job{ID: uuid.New(), Payload: payload})
			require.True(t, jobs.IsPermanent(err), "%s: %v", payload, err)
			require.Nil(t, result.Exchange, "nothing was sent")
			if string(payload) == string(plain) {
				require.Contains(t, mistakes[0].Detail, setting, "%s", payload)
				require.ErrorContains(t, err, setting, "%s", payload)
			}
		}
	}
}
