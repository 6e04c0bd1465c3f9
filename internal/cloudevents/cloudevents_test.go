package cloudevents_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/cloudevents"
)

// TestHeadersAreWrittenAsTheBindingSays has the example of the HTTP Protocol Binding
// (section 3.1.3.2) and what a header cannot hold.
func TestHeadersAreWrittenAsTheBindingSays(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"Euro € 😀":              "Euro%20%E2%82%AC%20%F0%9F%98%80",
		`100% "sure"`:           "100%25%20%22sure%22",
		"!#$&'()*+,-./:;<=>?@~": "!#$&'()*+,-./:;<=>?@~",
	} {
		h := http.Header{}
		e := cloudevents.Event{ID: text, Source: "/s", Type: "t"}
		require.Nil(t, e.WriteBinary(h))
		require.Equal(t, want, h.Get("ce-id"))
		back, mistakes, err := cloudevents.ReadBinary(h, nil)
		require.NoError(t, err)
		require.Empty(t, mistakes)
		require.Equal(t, e, back)
	}
}

func TestHeadersAreReadAsTheBindingSays(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"Euro%20%e2%82%AC":      "Euro €",
		"%41%25%32%35":          "A%25", // unnecessary escapes; decoded once
		`"quoted \"a\" \\ %20"`: `quoted "a" \  `,
		"Euro €":                "Euro €", // from senders that encode nothing
		"100%":                  "100%",
		"50%zz":                 "50%zz",
	} {
		h := http.Header{"Ce-Id": {"1"}, "Ce-Source": {"/s"}, "Ce-Type": {"t"}, "Ce-Specversion": {"1.0"}, "Ce-Subject": {value}}
		e, mistakes, err := cloudevents.ReadBinary(h, nil)
		require.NoError(t, err)
		require.Empty(t, mistakes, value)
		require.Equal(t, want, e.Subject)
	}
	for _, bad := range []string{"%C0%A0", "%ff", `"open`, "%00", "\xff", ""} {
		h := http.Header{"Ce-Id": {"1"}, "Ce-Source": {"/s"}, "Ce-Type": {"t"}, "Ce-Specversion": {"1.0"}, "Ce-Subject": {bad}}
		_, mistakes, err := cloudevents.ReadBinary(h, nil)
		require.NoError(t, err)
		require.Len(t, mistakes, 1, "%q", bad)
		require.Equal(t, "/header/ce-subject", mistakes[0].Pointer)
	}
}

// TestStructuredComesBack writes events and reads them again, and shows the forms
// that data take.
func TestStructuredComesBack(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		data        string
		contentType string
		opaque      bool
		want        string
	}{
		{``, "", false, `"type":"t"}`},
		{`{"a": 1e400}`, "application/json", false, `"datacontenttype":"application/json","data":{"a": 1e400}}`},
		{"<a/>\n", "text/xml", true, `"datacontenttype":"text/xml","data":"<a/>\n"}`},
		{"\xff", "text/plain", true, `"datacontenttype":"text/plain","data_base64":"/w=="}`},
		{"no JSON", "application/json", true, `"datacontenttype":"application/json","data_base64":"bm8gSlNPTg=="}`},
		{"12", "", true, `"type":"t","data_base64":"MTI="}`},
	} {
		e := cloudevents.Event{ID: "1", Source: "/s", Type: "t", Attributes: cloudevents.Attributes{ContentType: c.contentType, Opaque: c.opaque}}
		if c.data != "" {
			e.Data = []byte(c.data)
		}
		text := e.Structured()
		require.Contains(t, string(text), c.want)
		back, mistakes, f := cloudevents.ReadStructured(text)
		require.Nil(t, f)
		require.Empty(t, mistakes)
		require.Equal(t, e, back)
	}
}

func TestSourcesBecomeReferences(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		"https://example.com/a?b=c#d": "https://example.com/a?b=c#d",
		"urn:uuid:6e8bc430":           "urn:uuid:6e8bc430",
		"shop":                        "shop",
		"my shop":                     "my%20shop",
		"a b:c":                       "./a%20b:c",
		"'; DROP é":                   "%27;%20DROP%20%C3%A9",
	} {
		h := http.Header{}
		cloudevents.Event{ID: "1", Source: source, Type: "t"}.WriteBinary(h)
		back, mistakes, err := cloudevents.ReadBinary(h, nil)
		require.NoError(t, err)
		require.Empty(t, mistakes)
		require.Equal(t, want, back.Source)
	}
}

func TestFormsAreKnownByTheirHeaders(t *testing.T) {
	t.Parallel()
	for contentType, want := range map[string][3]bool{
		"application/cloudevents+json":                       {true, false, false},
		"Application/CloudEvents+JSON; charset=utf-8":        {true, false, false},
		`application/cloudevents-batch+json;charset="UTF-8"`: {false, true, false},
		"application/cloudevents+avro":                       {false, false, true},
		"application/cloudevents-batch+avro":                 {false, false, true},
		"application/cloudeventsx":                           {false, false, true},
		"application/cloudevents+json; charset=iso-8859-1":   {false, false, true},
		"application/json":                                   {false, false, false},
		"text/plain; x=application/cloudevents+json":         {false, false, false},
	} {
		one, batch, err := cloudevents.IsStructured(http.Header{"Content-Type": {contentType}})
		require.Equal(t, want, [3]bool{one, batch, err != nil}, contentType)
	}
	require.True(t, cloudevents.IsBinary(http.Header{"Ce-Type": {"t"}}))
	require.False(t, cloudevents.IsBinary(http.Header{"Ce-Subject": {"t"}, "X-Ce-Type": {"t"}}))
}
