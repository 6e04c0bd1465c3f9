package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const scheduleFile = `# The clock of the shop.
kind: schedule
name: daily report
cron: 30 9 * * MON-FRI
timezone: Europe/Berlin
action:
  job: {kind: log, payload: {message: "report of <$.schedule.fire_time>"}}
---
kind: schedule
name: tick
every: 1h
overlap: skip
action: {event: {type: tick, data: {n: 9007199254740993}}}
`

// TestSchedulesFromTheCommandLine works with schedules as a user does.
func TestSchedulesFromTheCommandLine(t *testing.T) {
	t.Parallel()
	p := startAll(t, "--ephemeral")
	env := []string{"SIGNALSTACK_URL=" + p.url}
	file := filepath.Join(t.TempDir(), "schedules.yaml")
	write := func(text string) { require.NoError(t, os.WriteFile(file, []byte(text), 0o600)) }
	ok := func(args ...string) string {
		t.Helper()
		code, stdout, stderr := run(t, env, args...)
		require.Zero(t, code, stderr)
		return stdout
	}
	fails := func(code int, text string, args ...string) {
		t.Helper()
		got, stdout, stderr := run(t, env, args...)
		require.Equal(t, code, got, stderr)
		require.Contains(t, stderr, text)
		require.Empty(t, stdout)
	}

	write(scheduleFile)
	require.Equal(t, "schedule \"daily report\" created (dry run)\nschedule \"tick\" created (dry run)\n", ok("apply", "-f", file, "--dry-run"))
	require.Equal(t, "schedule \"daily report\" created\nschedule \"tick\" created\n", ok("apply", "-f", file))
	require.Equal(t, "schedule \"daily report\" unchanged\nschedule \"tick\" unchanged\n", ok("apply", "-f", file))
	write(strings.Replace(scheduleFile, "every: 1h", "every: 2h", 1))
	require.Equal(t, "schedule \"daily report\" unchanged\nschedule \"tick\" changed\n", ok("apply", "-f", file))
	write(scheduleFile + "---\nkind: schedule\n---\nkind: rule\nname: x\n---\nkind: schedule\nname: tick\n")
	fails(2, `document 3: name is missing`, "apply", "-f", file)
	fails(2, `document 4: kind is "rule"`, "apply", "-f", file)
	fails(2, `name "tick" stands in `+file+`, document 2 too`, "apply", "-f", file)
	write("kind: schedule\nname: never\ncron: 0 0 30 2 *\naction: {event: {type: x}}\n")
	fails(1, "/cron field day of month", "apply", "-f", file)
	fails(2, "--file is missing", "apply")

	var listed []struct {
		ID, Name, State, Every string
		Action                 json.RawMessage
	}
	require.NoError(t, json.Unmarshal([]byte(ok("schedules", "list", "-o", "json")), &listed))
	require.Len(t, listed, 2)
	require.Equal(t, "2h", listed[1].Every)
	id := listed[1].ID
	table := ok("schedules", "list")
	require.Contains(t, table, "NEXT FIRE")
	require.Contains(t, table, "daily report")
	require.Contains(t, ok("schedules", "pause", id), "paused")
	require.Contains(t, ok("schedules", "resume", id), "active")
	require.Contains(t, ok("schedules", "run", id), "made")
	require.Contains(t, ok("schedules", "get", id, "-o", "yaml"), "every: 2h")
	require.Contains(t, ok("schedules", "create", "--every", "1m", "--job", `{"kind":"log","payload":{"message":"m"}}`), "active")
	require.Len(t, strings.Split(strings.TrimSpace(ok("schedules", "preview", "--cron", "0 9 * * *", "--count", "3")), "\n"), 4)
	require.Empty(t, ok("schedules", "delete", id))
	fails(1, "404 schedule_not_found", "schedules", "get", id)
	fails(1, `/cron field minute: "61"`, "schedules", "preview", "--cron", "61 * * * *")
	fails(2, "one of --job and --event", "schedules", "create", "--every", "1m")
	fails(2, "name one id", "schedules", "get")
	fails(2, "no output", "schedules", "list", "-o", "xml")
	require.Zero(t, p.stop(t))
	fails(3, "cannot be reached", "schedules", "list")
}
