package expression_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/expression"
)

func TestPlaceholdersInTexts(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		`plain`:                                  `plain`,
		``:                                       ``,
		`<$.data.id>`:                            `o-1`,
		`order-<$.data.id>/<$.data.list[1].sku>`: `order-o-1/b`,
		`<$.data["id"]> <$.data['id']>`:          `o-1 o-1`,
		`<$.data.amount>`:                        `12345678901234567890`,
		`<$.data.tags>`:                          `["x","y"]`,
		`a<$.data.gone?>b`:                       `ab`,
		`<$.subject?>`:                           ``,
		`\<$.data.id>`:                           `<$.data.id>`,
		`a < $.b <$ x> \n {{ .data }} $.data.id`: `a < $.b <$ x> \n {{ .data }} $.data.id`,
	} {
		text, err := expression.CompileText(source)
		require.NoError(t, err, source)
		got, err := text.For(event(order))
		require.NoError(t, err, source)
		require.Equal(t, want, got, source)
	}
}

// TestPayloadKeepsTheBytesThatAreNotOfTheEvent has placeholders where they may stand,
// and where they may not.
func TestPayloadKeepsTheBytesThatAreNotOfTheEvent(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		`{"n": 9007199254740993, "a":[ 1,"x" ] }`: `{"n": 9007199254740993, "a":[ 1,"x" ] }`,
		`"<$.data.list>"`:                         `[{"n":2,"sku":"a"},{"n":3,"sku":"b"}]`,
		`{"b": "<$.data.amount>", "a" : "no. <$.data.amount>", "b":"\u003c$.type>"}`: `{"b": 12345678901234567890, "a" : "no. 12345678901234567890", "b":"order.paid"}`,
		`{"<$.data.id>": ["<$.data.text>", "<$.data.gone?>", "\\<$.data.id>"]}`:      `{"<$.data.id>": ["a<b\u0000é", null, "<$.data.id>"]}`,
		`{"x": "\"<$.data.text>\"", "price": "<$.data.price>"}`:                      `{"x": "\"a<b\u0000é\"", "price": 0.10}`,
		`[{}, [], "", true, null, -1e5 , {"a":{"b":"<$.id>"}}]`:                      `[{}, [], "", true, null, -1e5 , {"a":{"b":"1"}}]`,
	} {
		payload, _, err := expression.CompilePayload([]byte(source))
		require.NoError(t, err, source)
		got, err := payload.For(event(order))
		require.NoError(t, err, source)
		require.Equal(t, want, string(got), source)
	}
}

func TestPlaceholdersThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		`<$.data.id`:       "must end with >",
		`<$.>`:             "a name must follow",
		`<$.data..id>`:     "a name must follow",
		`<$.data[x]>`:      "a number from 0, or a name in quotes",
		`<$.data["x>`:      "must be closed",
		`<$.detail.id>`:    "an event has no detail",
		`x <$.data.a b> y`: `\<$. for the text itself`,
		`<$.data[-1]>`:     "a number from 0",
	} {
		_, err := expression.CompileText(source)
		require.ErrorContains(t, err, want, source)
	}
	_, pointer, err := expression.CompilePayload([]byte(`{"a/b":[1,{"c":"<$.nosuch>"}]}`))
	require.ErrorContains(t, err, "an event has no nosuch")
	require.Equal(t, "/a~1b/1/c", pointer)
}

func TestAValueThatIsMissingIsAnError(t *testing.T) {
	t.Parallel()
	for _, source := range []string{`<$.data.gone>`, `<$.subject>`, `<$.data.list[2]>`, `<$.data.id.x>`, `<$.data.tags.x>`, `<$.data[0]>`} {
		text, err := expression.CompileText(source)
		require.NoError(t, err, source)
		_, err = text.For(event(order))
		require.ErrorContains(t, err, "the event has no such value; write ", source)
	}
	payload, _, err := expression.CompilePayload([]byte(`{"a":["<$.data.gone>"]}`))
	require.NoError(t, err)
	_, err = payload.For(event(order))
	require.ErrorContains(t, err, "/a/0: <$.data.gone>: the event has no such value")
}
