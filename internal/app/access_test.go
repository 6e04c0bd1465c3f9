package app

import (
	"fmt"
	"slices"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/contract"
	"github.com/signalstack/signalstack/internal/keys"
)

// TestEachOperationSaysWhoMayRunIt holds the table of access against the document, both
// ways, and against what binds an operation to a tenant.
func TestEachOperationSaysWhoMayRunIt(t *testing.T) {
	t.Parallel()
	doc := contract.Load(t, newAPI(t))
	table := accessTable()
	left := accessTable()
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			need, listed := table[op.OperationID]
			delete(left, op.OperationID)
			if !listed {
				t.Errorf("%s %s: add to accessTable in internal/app/access.go the line\n\t%q: {keys.Admin, noPortal, named()},\nwith the scope that it needs, whether a session in the portal "+
					"may run it, and how it is kept to one tenant; and to mayRun in internal/app/portal_test.go, who may", method, path, op.OperationID)
				continue
			}
			if need.of.how == anybodys {
				require.Equal(t, access{}, need, op.OperationID)
				continue
			}
			require.Contains(t, []keys.Scope{keys.Admin, keys.Ingest, keys.Work, keys.Read}, need.scope, op.OperationID)
			if wrong := unbound(need.of, op); wrong != "" {
				t.Errorf("%s %s (%s): %s", method, path, op.OperationID, wrong)
			}
		}
	}
	require.Empty(t, left, "these stand in accessTable, and are no operations any more")
}

// unbound says why a caller of one tenant would not be kept to its things.
func unbound(of whose, op *openapi3.Operation) string {
	has := func(in, name string) bool {
		return slices.ContainsFunc(op.Parameters, func(p *openapi3.ParameterRef) bool { return p.Value.In == in && p.Value.Name == name })
	}
	switch of.how {
	default:
	case given:
		if !has("query", "tenant") && !bodyHasTenant(op) {
			return "named() needs a parameter tenant in the query or a field tenant in the body; use global() when it has none"
		}
	case inPath:
		if !has("path", "tenant") {
			return "its path has no tenant"
		}
	case objects:
		for _, name := range of.params {
			if !has("path", name) {
				return fmt.Sprintf("its path has no parameter %s", name)
			}
		}
	}
	return ""
}

func bodyHasTenant(op *openapi3.Operation) bool {
	if op.RequestBody == nil {
		return false
	}
	media := op.RequestBody.Value.Content["application/json"]
	schemas := openapi3.SchemaRefs{media.Schema}
	schemas = append(schemas, media.Schema.Value.OneOf...)
	return slices.ContainsFunc(schemas, func(s *openapi3.SchemaRef) bool { return s.Value.Properties["tenant"] != nil })
}
