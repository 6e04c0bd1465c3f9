package bulk

import (
	"context"

	"github.com/google/uuid"

	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/pg"
)

// Shown serves what users see of the operations of one kind, of which T is the form.
type Shown[T any] struct {
	DB   *pg.DB
	Kind string
	Noun string // what users call an operation
	Path string // of the list
	Show func(Operation) (T, error)
}

// ListIn are the filters of a list.
type ListIn struct {
	Tenant string `query:"tenant"`
	State  string `query:"state" enum:"running,done,canceled,failed"`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"50"`
	Cursor string `query:"cursor" doc:"next_cursor of the page before, with the same filters"`
}

// ByID names an operation.
type ByID struct {
	ID string `path:"id" format:"uuid" doc:"Its id"`
}

// Out answers with an operation.
type Out[T any] struct{ Body T }

// List gives a page of operations, the newest first.
func (s Shown[T]) List(ctx context.Context, in *ListIn) (*httpapi.PageOut[T], error) {
	l := httpapi.List{Path: s.Path, Filters: map[string]string{"tenant": in.Tenant, "state": in.State}}
	after, err := l.Key(in.Cursor)
	if err != nil {
		return nil, err
	}
	ops, err := List(ctx, s.DB, Filter{Kind: s.Kind, Tenant: in.Tenant, State: State(in.State), After: after, Limit: in.Limit + 1})
	if err != nil {
		return nil, err
	}
	next := ""
	if len(ops) > in.Limit {
		ops = ops[:in.Limit]
		next = ops[in.Limit-1].ID.String()
	}
	all := make([]T, len(ops))
	for i, op := range ops {
		if all[i], err = s.Show(op); err != nil {
			return nil, err
		}
	}
	return httpapi.NewPart(all, in.Limit, l, next), nil
}

// Get gives an operation.
func (s Shown[T]) Get(ctx context.Context, in *ByID) (*Out[T], error) {
	return s.of(in, func(id uuid.UUID) (Operation, error) { return Get(ctx, s.DB, s.Kind, s.Noun, id) })
}

// Cancel cancels an operation and gives it.
func (s Shown[T]) Cancel(ctx context.Context, in *ByID) (*Out[T], error) {
	return s.of(in, func(id uuid.UUID) (Operation, error) { return Cancel(ctx, s.DB, s.Kind, s.Noun, id) })
}

// of answers with the operation that an act on it gives.
func (s Shown[T]) of(in *ByID, act func(uuid.UUID) (Operation, error)) (*Out[T], error) {
	id, err := httpapi.ParseID(in.ID)
	if err != nil {
		return nil, err
	}
	op, err := act(id)
	if err != nil {
		return nil, err
	}
	shown, err := s.Show(op)
	return &Out[T]{Body: shown}, err
}
