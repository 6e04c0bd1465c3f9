package httpapi

import "github.com/danielgtaylor/huma/v2"

// Encoded is a T as its bytes: an answer that is kept and given again.
type Encoded[T any] struct{ JSON }

// Schema documents the T.
func (Encoded[T]) Schema(r huma.Registry) *huma.Schema { return SchemaOf[T](r) }

// AlsoAnswers documents another answer of the POST operation of a path: a T with a status,
// such as "202".
func AlsoAnswers[T any](api *API, path, status, description string) {
	doc := api.OpenAPI()
	doc.Paths[path].Post.Responses[status] = &huma.Response{
		Description: description,
		Content:     map[string]*huma.MediaType{"application/json": {Schema: SchemaOf[T](doc.Components.Schemas)}},
	}
}
