package httpapi

import (
	"bytes"
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humaecho"
)

// RawRequest stands in the input of an operation that sees a request as it was sent:
// the bytes of its body, which may be of any media type, and its header.
type RawRequest struct {
	RawBody []byte `contentType:"*/*"`

	header http.Header
}

// Resolve keeps the header; huma calls it.
func (b *RawRequest) Resolve(ctx huma.Context) []error {
	b.header = humaecho.Unwrap(ctx).Request().Header
	return nil
}

func (b *RawRequest) raw() *RawRequest { return b }

// isRaw marks an operation whose body may be of any media type.
const isRaw = "raw"

// RegisterRaw adds an operation on requests as they were sent. The input embeds
// RawRequest. The header and the bytes stay valid after the handler returns; a body in
// a content coding is refused.
func RegisterRaw[I, O any](a *API, op Operation, handle func(context.Context, *I, http.Header, []byte) (*O, error)) {
	op.MaxBodyBytes = a.maxBody + 1 // huma refuses a body that reaches its limit
	op.SkipValidateBody = true
	op.Metadata = map[string]any{isRaw: true}
	path := op.Path
	huma.Register(a.huma, op, func(ctx context.Context, in *I) (*O, error) {
		if err := refuseParameters(ctx); err != nil {
			return nil, a.problem(ctx, err)
		}
		b := any(in).(interface{ raw() *RawRequest }).raw()
		out, err := handle(ctx, in, b.header, bytes.Clone(b.RawBody))
		if err != nil {
			return nil, a.problem(ctx, err)
		}
		return out, nil
	})
	// The body is whatever the sender signs; a schema would promise more.
	a.huma.OpenAPI().Paths[path].Post.RequestBody.Content = map[string]*huma.MediaType{"*/*": {}}
}
