package httpapi

import (
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/signalstack/signalstack/internal/fault"
)

// bodies counts the bytes of the request bodies that were read and not answered yet.
type bodies struct {
	most int64 // 0 is no bound
	held atomic.Int64
}

// errNoRoom tells a caller that the bodies of others fill the memory that there is
// for them.
var errNoRoom = &fault.Error{
	Kind: fault.Unavailable, Code: "overloaded", RetryAfter: time.Second,
	Message: "The requests in flight take all the memory that there is for them; nothing was stored. Try again.",
}

// boundBodies keeps the memory of all bodies together within bounds, however many
// callers there are and however slowly they are answered. A body that cannot have room
// is refused before it is read. Others are counted as they come, and not by what they
// promise: who promises much and sends nothing takes nothing.
func (a *API) boundBodies(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		if a.bodies.most == 0 || r.Body == nil || r.Body == http.NoBody {
			return next(c)
		}
		if r.ContentLength > a.bodies.most-a.bodies.held.Load() && r.ContentLength <= a.maxBody {
			return errNoRoom
		}
		b := &countedBody{ReadCloser: r.Body, in: &a.bodies}
		r.Body = b
		defer func() { a.bodies.held.Add(-b.bytes) }()
		return next(c)
	}
}

// countedBody counts what is read of a body.
type countedBody struct {
	io.ReadCloser
	in    *bodies
	bytes int64
}

// Read reads while there is room.
func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.bytes += int64(n)
	if b.in.held.Add(int64(n)) > b.in.most {
		return n, fmt.Errorf("read the body: %w", errNoRoom)
	}
	return n, err
}
