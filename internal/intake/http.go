package intake

import (
	"bytes"
	"context"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/idempotency"
)

// CreateIn is the input of an operation that makes things under an idempotency
// key.
type CreateIn struct {
	httpapi.JSONBody
	IdempotencyKey string `header:"Idempotency-Key" doc:"Makes the request safe to send again: the same key and body get the first answer for 24 h (configurable), another body is refused"`
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
	one := httpapi.SchemaOf[T](r)
	many := &huma.Schema{
		Type: huma.TypeObject, Required: []string{"data"}, AdditionalProperties: false,
		Properties: map[string]*huma.Schema{"data": {Type: huma.TypeArray, Items: one}},
	}
	many.PrecomputeMessages()
	return &huma.Schema{OneOf: []*huma.Schema{one, many}}
}

// newCreated puts answers together: bodies of single items, in order, and whether
// all of them were given before.
func newCreated[T any](bodies [][]byte, array, replayed bool) *CreateOut[T] {
	out := &CreateOut[T]{Status: http.StatusCreated}
	if replayed {
		out.Replayed = "true"
	}
	if !array {
		out.Body.JSON = bodies[0]
		return out
	}
	var b bytes.Buffer
	b.WriteString(`{"data":[`)
	b.Write(bytes.Join(bodies, []byte(",")))
	b.WriteString(`]}`)
	out.Body.JSON = b.Bytes()
	return out
}

// KeyOf settles the idempotency key of item i of a request: its own, or the
// header's. In an array the header's key gets the item's index.
func KeyOf(header string, own *string, array bool, i int) (string, []fault.Detail) {
	if header == "" {
		if own == nil {
			return "", nil
		}
		return *own, nil
	}
	key := idempotency.FromHeader(header)
	if wrong := idempotency.Check(key); wrong != "" {
		return "", []fault.Detail{{Pointer: "/header/Idempotency-Key", Detail: wrong}}
	}
	switch {
	case own != nil && !array && *own != key:
		return "", []fault.Detail{{Pointer: "/idempotency_key", Detail: "differs from the Idempotency-Key header; send one of them"}}
	case own != nil:
		return *own, nil
	case array:
		return key + "#" + strconv.Itoa(i), nil
	}
	return key, nil
}

// Accept runs a batch through an intake and puts the answers together.
func Accept[N, T, A any](ctx context.Context, in *Intake[T], body httpapi.Batch[N], items []*Item[T]) (*CreateOut[A], error) {
	if err := refuseTwice(items); err != nil {
		return nil, err
	}
	answers, err := in.Do(ctx, &Request[T]{Items: items, Array: body.Array})
	if err != nil {
		return nil, err
	}
	bodies, replayed := make([][]byte, len(answers)), true
	for i, a := range answers {
		bodies[i] = a.Body
		replayed = replayed && a.Replayed
	}
	return newCreated[A](bodies, body.Array, replayed), nil
}

// refuseTwice refuses an array that uses a key for two of its items: the second
// could be neither made nor replayed.
func refuseTwice[T any](items []*Item[T]) error {
	seen := map[idempotency.Key]bool{}
	for i, item := range items {
		for _, k := range item.Keys {
			if seen[k.Key] {
				return fault.InvalidField("/"+strconv.Itoa(i), "uses an idempotency key or id that stands in this array before")
			}
			seen[k.Key] = true
		}
		if item.Alone == (idempotency.Key{}) {
			continue
		}
		if seen[item.Alone] {
			return fault.InvalidField("/"+strconv.Itoa(i), "uses a unique key that stands in this array before")
		}
		seen[item.Alone] = true
	}
	return nil
}
