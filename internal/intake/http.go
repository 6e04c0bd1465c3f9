package intake

import (
	"context"
	"maps"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/idempotency"
)

// CreateIn is the input of an operation that makes things under an idempotency
// key.
type CreateIn struct {
	httpapi.JSONBody
	IdempotencyKey string `header:"Idempotency-Key" doc:"Makes the request safe to send again, in quotes (RFC 8941) or bare: the same key and body get the first answer for 24 h (configurable), byte for byte; 409 while the first request is in flight, 422 for another body. It covers an array as a whole"`
	Atomic         bool   `query:"atomic" doc:"Of an array: store all of it or nothing"`
}

// CreateOut is the answer of such an operation: one T, or a list of them when the
// request was an array.
type CreateOut[T any] struct {
	Status   int
	Replayed string `header:"Idempotency-Replayed" doc:"true when this answer was given before"`
	Body     Created[T]
}

// Created is one T, or {"data": [T...]} for an array.
type Created[T any] struct{ httpapi.JSON }

// Schema documents both forms.
func (Created[T]) Schema(r huma.Registry) *huma.Schema {
	return &huma.Schema{OneOf: []*huma.Schema{httpapi.SchemaOf[T](r), listSchema[T](r)}}
}

// listSchema documents the answer to an array.
func listSchema[T any](r huma.Registry) *huma.Schema {
	of := r.SchemaFromRef(httpapi.SchemaOf[T](r).Ref)
	made := &huma.Schema{
		Type: huma.TypeObject, AdditionalProperties: false, Required: append([]string{"index", "status"}, of.Required...),
		Properties: map[string]*huma.Schema{
			"index":    {Type: huma.TypeInteger, Description: "The place of the item in the array, from 0"},
			"status":   {Type: huma.TypeInteger, Description: "The HTTP status of the item by itself"},
			"replayed": {Type: huma.TypeBoolean, Description: "The item was accepted before, under the same key or id"},
		},
	}
	maps.Copy(made.Properties, of.Properties)
	not := &huma.Schema{
		Type: huma.TypeObject, AdditionalProperties: false, Required: []string{"index", "status", "error"},
		Properties: map[string]*huma.Schema{
			"index": made.Properties["index"], "status": made.Properties["status"], "error": httpapi.SchemaOf[httpapi.Problem](r),
		},
	}
	list := &huma.Schema{
		Type: huma.TypeObject, Required: []string{"data"}, AdditionalProperties: false,
		Properties: map[string]*huma.Schema{"data": {Type: huma.TypeArray, Items: &huma.Schema{OneOf: []*huma.Schema{made, not}}}},
	}
	for _, s := range []*huma.Schema{made, not, list} {
		s.PrecomputeMessages()
	}
	return list
}

// None is the answer to an array without items.
func None[T any]() *CreateOut[T] {
	return &CreateOut[T]{Status: http.StatusCreated, Body: Created[T]{httpapi.JSON(`{"data":[]}`)}}
}

// Documented adds to the document of an operation of CreateOut[T] that an array may
// be accepted in part.
func Documented[T any](api *httpapi.API, path string) {
	doc := api.OpenAPI()
	doc.Paths[path].Post.Responses["207"] = &huma.Response{
		Description: "Some items of the array were refused; the others are stored",
		Content:     map[string]*huma.MediaType{"application/json": {Schema: listSchema[T](doc.Components.Schemas)}},
		Headers:     doc.Paths[path].Post.Responses["201"].Headers,
	}
}

// KeyOf settles the idempotency key of a single value: its own, or the header's. In
// an array an item has its own only; the header's is that of the array.
func KeyOf(header string, own *string, array bool) (string, []fault.Detail) {
	if header == "" || array {
		if own == nil {
			return "", nil
		}
		return *own, nil
	}
	key, wrong := headerKey(header)
	if wrong == nil && own != nil && *own != key {
		wrong = []fault.Detail{{Pointer: "/idempotency_key", Detail: "differs from the Idempotency-Key header; send one of them"}}
	}
	return key, wrong
}

func headerKey(header string) (string, []fault.Detail) {
	key := idempotency.FromHeader(header)
	if wrong := idempotency.Check(key); wrong != "" {
		return "", []fault.Detail{{Pointer: "/header/Idempotency-Key", Detail: wrong}}
	}
	return key, nil
}

// Accept runs what came through an intake and gives the answer. scope keeps the keys
// of the operation apart.
func Accept[N, T, A any](
	ctx context.Context, in *Intake[T], given *CreateIn, scope string, body httpapi.Batch[N], items []*Item[T],
) (*CreateOut[A], error) {
	r := &Request[T]{Items: items, Array: body.Array, Atomic: given.Atomic}
	if body.Array && given.IdempotencyKey != "" {
		key, wrong := headerKey(given.IdempotencyKey)
		if wrong != nil {
			return nil, fault.InvalidParameters(wrong)
		}
		r.Key = &idempotency.Reservation{
			Key:         idempotency.Key{Tenant: httpapi.Tenant(ctx), Scope: scope, Key: key},
			Fingerprint: idempotency.Fingerprint(body.Raw),
		}
	}
	r.refuseTwice()
	reply, err := in.Do(ctx, r)
	if err != nil {
		return nil, err
	}
	out := &CreateOut[A]{Status: reply.Status, Body: Created[A]{reply.Body}}
	if reply.Replayed {
		out.Replayed = "true"
	}
	return out, nil
}

// refuseTwice refuses the items of an array that can be neither made nor replayed
// beside another one of it.
func (r *Request[T]) refuseTwice() {
	seen := map[idempotency.Key]bool{}
	for _, item := range r.Items {
		for _, k := range item.Keys {
			if r.Key != nil && k.Key == r.Key.Key {
				item.Refusal = fault.InvalidField("/idempotency_key", "is the key of the whole array as well; leave it out, or use another one")
			}
		}
		if item.Alone == (idempotency.Key{}) {
			continue
		}
		if seen[item.Alone] {
			item.Refusal = fault.InvalidField("", "uses a unique key that stands in this array before")
		}
		seen[item.Alone] = true
	}
}
