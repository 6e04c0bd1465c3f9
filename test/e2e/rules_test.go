package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRulesAreTestedOffline(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	event := file("event", `{"type":"order.paid","data":{"n":9007199254740993,"a<\n":"\u001b[31m"}}`)
	gold := file("gold", `{"type":[{"prefix":"order."}],"data":{"n":[9007199254740993]}}`)

	code, stdout, stderr := run(t, nil, "rules", "test", "--pattern", gold, "--event", event)
	require.Equal(t, 0, code, stderr)
	require.Empty(t, stderr)
	require.Equal(t, strings.Join([]string{
		`PATH     MATCHED  AT       VALUE             WHY`,
		`/type    yes      /type    "order.paid"      matches {"prefix":"order."}`,
		`/data/n  yes      /data/n  9007199254740993  is in the list`, ``,
	}, "\n"), stdout)

	other := file("other", `{"tenant":["default"],"data":{"n":[9007199254740992],"a<\n":["x"],"gone":[1]}}`)
	code, stdout, stderr = run(t, nil, "rules", "test", "--pattern", other, "--event", event)
	require.Equal(t, 1, code)
	require.Equal(t, "signalstack: the pattern does not match the event\n", stderr)
	require.Contains(t, stdout, "/data/gone  no       -          -                 the event has no such field\n")
	require.Contains(t, stdout, "/data/a<\ufffd")

	code, stdout, _ = run(t, nil, "rules", "test", "--pattern", other, "--event", event, "-o", "json")
	require.Equal(t, 1, code)
	require.Contains(t, stdout, `{"matched":false,"fields":[{"path":"/tenant","matched":true,"at":"/tenant","value":"default","reason":"is in the list"}`)
	require.Contains(t, stdout, `"path":"/data/a<\n"`)
}

func TestActionsAreTestedOffline(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	event, pattern := file("event", `{"type":"order.paid","data":{"n":9007199254740993}}`), file("pattern", `{"type":["order.paid"]}`)
	actions := file("actions", `[{"kind":"http","condition":"event.data.n > 1","transform":"{url: \"https://example.com/\\(.data.n)\"}"},
		{"kind":"log","condition":"event.data.gone"},{"kind":"log","condition":"event.data.n < 1"},{"kind":"log","payload":{"message":"<$.data.gone>"}}]`)
	code, stdout, stderr := run(t, nil, "rules", "test", "--pattern", pattern, "--event", event, "--actions", actions)
	require.Equal(t, 0, code, stderr)
	for _, want := range []string{
		`yes  `, `{"url":"https://example.com/9007199254740993"}`, `no such key: gone`, `the condition does not hold`, `failed  `, `the event has no such value`,
	} {
		require.Contains(t, stdout, want)
	}
	wrong := file("wrong", `[{"kind":"log","transform":"input"}]`)
	code, _, stderr = run(t, nil, "rules", "test", "--pattern", pattern, "--event", event, "--actions", wrong)
	require.Equal(t, 2, code)
	require.Contains(t, stderr, "/actions/0/transform must not call input")
}

func TestWrongUseOfRulesTestEndsWithTwo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "good"), filepath.Join(dir, "bad")
	require.NoError(t, os.WriteFile(good, []byte(`{"type":["a"]}`), 0o600))
	require.NoError(t, os.WriteFile(bad, []byte("{\xff"), 0o600))
	for args, want := range map[string]string{
		"":                      "--pattern is missing",
		"--pattern " + good:     "--event is missing",
		"--pattern - --event -": "only one",
		"--pattern " + good + " --event " + dir + "/no":      "no such file",
		"--pattern " + good + " --event " + good:             "/event/type must be a text",
		"--pattern " + good + " --event " + bad:              "/event is not JSON",
		"--pattern " + bad + " --event " + good:              "/pattern is not",
		"--pattern " + good + " --event " + good + " -o xml": "there is no output",
		"--pattern " + good + " --event -":                   "/event is not JSON", // nothing comes
		"--patern x":                                         "unknown flag",
		"x":                                                  "takes no argument",
	} {
		code, stdout, stderr := run(t, nil, append([]string{"rules", "test"}, strings.Fields(args)...)...)
		require.Equal(t, 2, code, "%s: %s", args, stderr)
		require.Contains(t, stderr, want, args)
		require.Empty(t, stdout, args)
	}
	code, _, _ := run(t, nil, "rules")
	require.Equal(t, 2, code)
}
