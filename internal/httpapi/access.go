package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humaecho"

	"github.com/signalstack/signalstack/internal/fault"
)

// Access decides whether a request may run its operation, before anything else is
// looked at. A fault of the kind Unauthorized asks for credentials.
type Access func(ctx context.Context, ask Ask) (Grant, error)

// Ask is a request that wants to run an operation.
type Ask struct {
	Operation string // its id
	// Token is what stands behind Bearer in the header Authorization. It is "" when there
	// is no such header, and Unread when there is one that says something else.
	Token string
	// Param gives a parameter of the path.
	Param func(name string) string
}

// Unread is the token of credentials that are no single bearer token.
const Unread = " "

// Grant says what a request may touch. The zero Grant is of no bounds.
type Grant struct {
	// Tenant is whose things alone the request may see and change; "": those of all.
	// What names no tenant is taken to name this one, in queries and in bodies, at any
	// depth and in each item of an array, and what names another one is refused.
	Tenant string
	// Query has parameters that are treated in the same way, where an operation has them.
	Query map[string]string
	// Withheld are fields of bodies that the request may not have.
	Withheld []string
}

// authorize lets Access decide, for all operations in one place.
func (a *API) authorize(ctx huma.Context, next func(huma.Context)) {
	if a.access == nil {
		next(ctx)
		return
	}
	c, op := humaecho.Unwrap(ctx), ctx.Operation()
	token := bearer(c.Request().Header)
	grant, err := a.access(ctx.Context(), Ask{Operation: op.OperationID, Token: token, Param: c.Param})
	if err == nil && grant.Tenant != "" {
		var query string
		query, err = grant.bindQuery(op, c.Request().URL.RawQuery)
		bound, u := c.Request().WithContext(ctx.Context()), *c.Request().URL // copies
		u.RawQuery, bound.URL = query, &u
		c.SetRequest(bound)
	}
	switch {
	case err != nil:
		if f := fault.As(err); f != nil && f.Kind == fault.Unauthorized {
			challenge := `Bearer realm="SignalStack"`
			if token != "" {
				challenge += `, error="invalid_token"`
			}
			c.Response().Header().Set("WWW-Authenticate", challenge)
		}
		a.onEchoError(err, c)
	case grant.Tenant == "":
		next(ctx)
	default:
		next(huma.WithValue(ctx, grantKey, &grant))
	}
}

// bearer reads the token of a request.
func bearer(h http.Header) string {
	values := h.Values("Authorization")
	if len(values) == 0 {
		return ""
	}
	scheme, token, _ := strings.Cut(strings.TrimSpace(values[0]), " ")
	if token = strings.TrimSpace(token); len(values) > 1 || !strings.EqualFold(scheme, "Bearer") || token == "" {
		return Unread
	}
	return token
}

// granted gives the bounds of the request in ctx; nil: it has none.
func granted(ctx context.Context) *Grant {
	g, _ := ctx.Value(grantKey).(*Grant)
	return g
}

// OtherTenant is the fault of a request that names a tenant that is not its own.
func OtherTenant(pointer, own string) *fault.Error {
	return &fault.Error{
		Kind: fault.Forbidden, Code: "other_tenant", Message: "These credentials act for tenant " + own + " only.",
		Details: []fault.Detail{{Pointer: pointer, Detail: "must be " + own + "; it may be left out where the operation has a default"}},
	}
}

// bindQuery gives the query with the parameters that the grant settles. What cannot be
// read is left for checkRequest to refuse.
func (g *Grant) bindQuery(op *huma.Operation, query string) (string, error) {
	var err error
	settle := func(name, value string, refused *fault.Error) {
		if err != nil || !slices.ContainsFunc(op.Parameters, func(p *huma.Param) bool { return p.In == "query" && p.Name == name }) {
			return
		}
		rest, said := []string{}, false
		for pair := range strings.SplitSeq(query, "&") {
			key, text, _ := strings.Cut(pair, "=")
			key, badKey := url.QueryUnescape(key)
			text, badText := url.QueryUnescape(text)
			switch mine := badKey == nil && key == name; {
			case pair == "" || mine && text == "" && badText == nil:
				continue
			case mine && badText == nil && text != value:
				err = refused
			case mine:
				said = true
			}
			rest = append(rest, pair)
		}
		if !said {
			rest = append(rest, url.QueryEscape(name)+"="+url.QueryEscape(value))
		}
		query = strings.Join(rest, "&")
	}
	settle("tenant", g.Tenant, OtherTenant("/query/tenant", g.Tenant))
	for name, value := range g.Query {
		f := fault.New(fault.Forbidden, "not_granted", "These credentials see only what has %s %s.", name, value)
		f.Details = []fault.Detail{{Pointer: "/query/" + name, Detail: "must be " + value + ", or be left out"}}
		settle(name, value, f)
	}
	return query, err
}

// bindBody makes what was read of a body the tenant's, or refuses it.
func (g *Grant) bindBody(value any, raw []byte) error {
	var fields map[string]json.RawMessage
	if len(g.Withheld) > 0 && json.Unmarshal(raw, &fields) == nil {
		var withheld []fault.Detail
		for _, name := range g.Withheld {
			if _, is := fields[name]; is {
				withheld = append(withheld, fault.Detail{Pointer: "/" + name, Detail: "is for the operator to set; leave it out"})
			}
		}
		if len(withheld) > 0 {
			return &fault.Error{Kind: fault.Forbidden, Code: "operator_field", Message: "Some fields are for the operator only; errors lists them.", Details: withheld}
		}
	}
	if b, ok := value.(interface{ bindTenant(string) error }); ok {
		return b.bindTenant(g.Tenant)
	}
	return asError(bindTenants(reflect.ValueOf(value).Elem(), "", g.Tenant))
}

// asError keeps a nil fault from becoming an error.
func asError(f *fault.Error) error {
	if f == nil {
		return nil
	}
	return f
}

func (i *Item[T]) bindTenant(own string) error {
	return asError(bindTenants(reflect.ValueOf(&i.Value).Elem(), "", own))
}

// bindTenant refuses an item of an array by itself, as its other mistakes are.
func (b *Batch[T]) bindTenant(own string) error {
	for i := range b.Items {
		err := b.Items[i].bindTenant(own)
		if err != nil && !b.Array {
			return err
		}
		if f, ok := errors.AsType[*fault.Error](err); ok {
			b.Items[i].Fault = f
		}
	}
	return nil
}

// bindTenants sets each field called tenant that is empty, and refuses one that names
// another tenant, in a value and in all that it is made of. JSON that is kept as its
// bytes is not looked into: it is data.
func bindTenants(v reflect.Value, at, own string) *fault.Error {
	switch v.Kind() {
	default:
	case reflect.Pointer:
		if !v.IsNil() {
			return bindTenants(v.Elem(), at, own)
		}
	case reflect.Slice, reflect.Array:
		for i := 0; v.Type().Elem().Kind() != reflect.Uint8 && i < v.Len(); i++ {
			if f := bindTenants(v.Index(i), at, own); f != nil {
				return f
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			field := v.Type().Field(i)
			if !field.IsExported() && !field.Anonymous {
				continue
			}
			if f := bindField(v.Field(i), at, jsonName(field), own); f != nil {
				return f
			}
		}
	}
	return nil
}

func bindField(v reflect.Value, at, name, own string) *fault.Error {
	if name != "" {
		at += "/" + name
	}
	if name != "tenant" || !v.CanSet() {
		return bindTenants(v, at, own)
	}
	if v.Kind() == reflect.Pointer && v.Type().Elem().Kind() == reflect.String {
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		v = v.Elem()
	}
	switch {
	case v.Kind() != reflect.String:
		return bindTenants(v, at, own)
	case v.String() == "":
		v.SetString(own)
	case v.String() != own:
		return OtherTenant(at, own)
	}
	return nil
}
