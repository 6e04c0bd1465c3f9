package httpapi

import (
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humaecho"
)

// Patient lets an operation take so long, whatever time the server gives the others to
// read a request and to answer it. The read is that which notices a caller who goes away.
func Patient(most time.Duration) huma.Middlewares {
	return huma.Middlewares{func(ctx huma.Context, next func(huma.Context)) {
		control := http.NewResponseController(humaecho.Unwrap(ctx).Response())
		until := time.Now().Add(most)
		// A writer without deadlines needs none moved.
		_, _ = control.SetReadDeadline(until), control.SetWriteDeadline(until)
		next(ctx)
	}}
}
