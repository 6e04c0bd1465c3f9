package eventtypes

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/pg"
)

// Example gives data that events of a type may have: the example of the version that
// they are checked by, else of the newest that has one; nil when there is none.
func Example(ctx context.Context, q pg.Querier, tenant, eventType string) (httpapi.JSON, error) {
	var text string
	err := q.GetContext(ctx, &text, `
		SELECT v.example FROM signalstack.event_types AS t JOIN signalstack.event_type_versions AS v ON (v.tenant, v.type) = (t.tenant, t.type)
		WHERE t.tenant = $1 AND t.type = $2 AND v.example IS NOT NULL
		ORDER BY v.version = t.enforced DESC, v.version DESC LIMIT 1`, tenant, eventType)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get example of event type: %w", err)
	}
	return httpapi.JSON(text), nil
}
