package sources_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/contract"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/pgtest"
	"github.com/signalstack/signalstack/internal/sources"
)

func TestMistakesOfSourcesAreNamedTogether(t *testing.T) {
	t.Parallel()
	b := start(t, pgtest.New(t))
	for body, want := range map[string][]string{
		`{}`: {"/name", "/kind"},
		`{"name":" ","kind":"gitlab","tenant":"-","enabled":"yes"}`:                                                                         {"/kind", "/enabled", "/name", "/tenant"},
		`{"name":"n","kind":"github","secrets":[{"secret":""},{"secret":"x\n"},{"secret":"y"}]}`:                                            {"/secrets", "/secrets/0/secret", "/secrets/1/secret"},
		`{"name":"n","kind":"github","secrets":["x"]}`:                                                                                      {"/secrets/0"},
		`{"name":"n","kind":"github","secrets":[{"secret":"x","expires_at":"soon"}]}`:                                                       {"/secrets/0/expires_at"},
		`{"name":"n","kind":"standard-webhooks","secrets":[{"secret":"whsec_c2hvcnQ="}]}`:                                                   {"/secrets/0/secret"},
		`{"name":"n","kind":"github","hmac":{"header":"X-A","type":"t"}}`:                                                                   {"/hmac"},
		`{"name":"n","kind":"hmac"}`:                                                                                                        {"/hmac"},
		`{"name":"n","kind":"hmac","hmac":{}}`:                                                                                              {"/hmac/header", "/hmac/type"},
		`{"name":"n","kind":"hmac","hmac":{"header":"X A","algorithm":"md5","type":"t","x":1}}`:                                             {"/hmac/header", "/hmac/algorithm", "/hmac/x"},
		`{"name":"n","kind":"hmac","hmac":{"header":"X","type":"t","type_header":"Y"}}`:                                                     {"/hmac/type"},
		`{"name":"n","kind":"hmac","hmac":{"header":"X","type":"t","id_header":"Y","id_pointer":"/"}}`:                                      {"/hmac/id_pointer"},
		`{"name":"n","kind":"hmac","hmac":{"header":"X","type_pointer":"a/b","id_pointer":"/~2"}}`:                                          {"/hmac/id_pointer", "/hmac/type_pointer"},
		`{"name":"n","kind":"hmac","hmac":{"header":"X","type":"t","signed":"{timestamp}.{body}"}}`:                                         {"/hmac/timestamp_header"},
		`{"name":"n","kind":"hmac","hmac":{"header":"X","type":"t","signed":"{id}{body}"}}`:                                                 {"/hmac/id_header"},
		`{"name":"n","kind":"hmac","hmac":{"header":"X","type":"t","signed":"{url}{body}"}}`:                                                {"/hmac/signed"},
		`{"name":"n","kind":"hmac","hmac":{"header":"X","type":"t","signed":"constant"}}`:                                                   {"/hmac/signed"},
		`{"name":"n","kind":"hmac","hmac":{"header":"X","type":"t","signed":"{body}{body}"}}`:                                               {"/hmac/signed"},
		`{"name":"n","kind":"hmac","hmac":{"header":"X","type":"t","timestamp_header":"T"}}`:                                                {"/hmac/timestamp_header"},
		`{"name":"n","kind":"hmac","hmac":{"header":"X","type":"t","tolerance":"5m"}}`:                                                      {"/hmac/tolerance"},
		`{"name":"n","kind":"hmac","hmac":{"header":"X","type":"t","signed":"{timestamp}{body}","timestamp_header":"T","tolerance":"25h"}}`: {"/hmac/tolerance"},
	} {
		p := contract.Decode[httpapi.Problem](t, b.send(http.MethodPost, "/sources", body), 422)
		var got []string
		for _, e := range p.Errors {
			got = append(got, e.Pointer)
			require.NotEmpty(t, e.Detail)
		}
		require.ElementsMatch(t, want, got, body)
	}
	require.Empty(t, contract.Decode[httpapi.Page[sources.Source]](t, b.send(http.MethodGet, "/sources", ""), 200).Data)
}

func TestMistakesOfPatchesLeaveTheSourceAsItIs(t *testing.T) {
	t.Parallel()
	b := start(t, pgtest.New(t))
	s := b.make(t, "standard-webhooks")
	id, nobody := s.Secrets[0].ID.String(), "5f0c7a52-3d5e-4f0e-9d7b-8a3b4c1d2e6f"
	for body, want := range map[string]string{
		`{"name":""}`:                 "/name",
		`{"kind":"github"}`:           "/kind",
		`{"name":"m","secrets":[{}]}`: "/secrets/0",
		`{"name":"m","secrets":[{"id":"` + id + `","secret":"x"}]}`:        "/secrets/0",
		`{"name":"m","secrets":[{"id":"` + nobody + `"}]}`:                 "/secrets/0/id",
		`{"name":"m","secrets":[{"id":"` + id + `"},{"id":"` + id + `"}]}`: "/secrets/1/id",
		`{"name":"m","secrets":[{"secret":"whsec_"}]}`:                     "/secrets/0/secret",
		`{"name":"m","hmac":{"header":"X","type":"t"}}`:                    "/hmac",
		`{"name":null}`: "/name",
	} {
		p := contract.Decode[httpapi.Problem](t, b.send(http.MethodPatch, s.Path, body), 422)
		require.Len(t, p.Errors, 1, body)
		require.Equal(t, want, p.Errors[0].Pointer, body)
	}
	require.Equal(t, s, b.source(t, 200, http.MethodGet, s.Path, ""))
}

func TestGenericSourceIsShownChangedAndUsed(t *testing.T) {
	t.Parallel()
	b := start(t, pgtest.New(t))
	s := b.make(t, "hmac", `,"hmac":{"header":"X-Sig","type":"order.paid","id_pointer":"/id"}`)
	require.Equal(t, &sources.HMAC{Header: "X-Sig", Type: "order.paid", IDPointer: "/id"}, s.HMAC)
	body := `{"id":7}`
	send := func(header string) int {
		return b.send(http.MethodPost, s.Path, body, header, hexOf("secret", body)).Code
	}
	require.Equal(t, []int{200, 401, 200}, []int{send("X-Sig"), send("X-Other"), send("X-Sig")})
	b.source(t, 200, http.MethodPatch, s.Path, `{"hmac":{"header":"X-Other","type_header":"X-Other"}}`)
	require.Equal(t, []int{401, 200, 200}, []int{send("X-Sig"), send("X-Other"), send("X-Other")})
	require.Equal(t, 3, b.events(t), "without an id each delivery is another")
	c := b.source(t, 200, http.MethodGet, s.Path, "").Counts
	require.Equal(t, []int64{3, 1, 2}, []int64{c.Accepted, c.Duplicates, c.Rejected})
}

func TestListOfSourcesIsPaged(t *testing.T) {
	t.Parallel()
	b := start(t, pgtest.New(t))
	var made []string
	for range 5 {
		made = append(made, b.make(t, "github").ID.String())
	}
	b.make(t, "slack", `,"tenant":"acme"`)
	var got []string
	for path := "/sources?limit=2&tenant=default"; path != ""; {
		page := contract.Decode[httpapi.Page[sources.Source]](t, b.send(http.MethodGet, path, ""), 200)
		for _, s := range page.Data {
			got = append(got, s.ID.String())
		}
		path = ""
		if page.NextCursor != "" {
			path = "/sources?limit=2&tenant=default&cursor=" + page.NextCursor
		}
	}
	require.Equal(t, made, got)
	require.Equal(t, 400, b.send(http.MethodGet, "/sources?cursor=AAAA", "").Code)
}
