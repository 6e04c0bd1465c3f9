package httpapi

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
)

// Forms are the bodies of an operation that takes more than plain JSON.
type Forms[B any] struct {
	// JSON reads and documents application/json.
	JSON Parser[B]
	// Pick chooses how to read a body by the headers that came with it: nil reads plain
	// JSON, an error refuses the request before its body is read. A page of another site
	// must not be able to send what it picks (see the package's documentation).
	Pick func(http.Header) (Reader[B], error)
	// Others documents the bodies that Pick knows, by their media types.
	Others map[string]func(huma.Registry) *huma.Schema
}

// Reader makes the value of a body, which may be empty, and of the headers that came
// with it.
type Reader[B any] func(h http.Header, raw []byte) (B, error)

// formsKey is where an operation keeps whether a body is one of its forms.
const formsKey = "forms"

// RegisterForms adds an operation whose body comes in several forms. It is as
// RegisterBody otherwise.
func RegisterForms[I, O, B any](
	a *API, op Operation, forms Forms[B], handle func(context.Context, *I, B) (*O, error),
) {
	op.Metadata = map[string]any{formsKey: func(h http.Header) (bool, error) {
		read, err := forms.Pick(h)
		return read != nil, err
	}}
	schemas := a.huma.OpenAPI().Components.Schemas
	register(a, op, func(ctx context.Context, raw []byte) (B, error) {
		h, _ := ctx.Value(headerKey).(http.Header)
		read, err := forms.Pick(h)
		switch {
		case err != nil:
			var none B
			return none, err
		case read != nil:
			return read(h, raw)
		}
		return forms.JSON.decode(schemas, raw)
	}, handle)
	body := a.requestBody(op)
	body.Required = false // a form may say all that it says in headers; plain JSON misses its body itself
	body.Content["application/json"].Schema = forms.JSON.schema(schemas)
	for media, schema := range forms.Others {
		body.Content[media] = &huma.MediaType{Schema: schema(schemas)}
	}
}
