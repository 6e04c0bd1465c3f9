package webhooks

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// SignedHeader gives the header of a signed request.
func SignedHeader(t *testing.T, secret, id string, at time.Time, body []byte) http.Header {
	t.Helper()
	request, err := sign(target{secret: secret}, id, at, http.Header{}, body)
	require.NoError(t, err)
	return request.Header
}
