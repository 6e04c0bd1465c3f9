package e2e

import (
	"bytes"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// replayed is what the tests read of a replay.
type replayed struct {
	ID     string
	State  string
	Total  int
	Done   int
	Failed int
	Jobs   int
}

// TestKillLeavesEachEventReplayedOnce kills the process, and with it its PostgreSQL, in
// the middle of a replay, starts it again and counts the jobs of each event.
func TestKillLeavesEachEventReplayedOnce(t *testing.T) {
	t.Parallel()
	const events = 2000
	dir := dataDir(t)
	p := startAll(t, "--data-dir", dir)
	for range events / 1000 {
		batch := append([]byte(`[{"type":"a"}`), bytes.Repeat([]byte(`,{"type":"a"}`), 999)...)
		call[map[string]any](t, http.MethodPost, p.url+"/events", append(batch, ']'), 201)
	}
	call[map[string]any](t, http.MethodPost, p.url+"/rules",
		[]byte(`{"name":"later","pattern":{"type":["a"]},"actions":[{"kind":"log","delay":"24h","payload":{"message":"a"}}]}`), 201)
	r := call[replayed](t, http.MethodPost, p.url+"/replays", []byte(`{"filter":{"type":"a"},"rate":400}`), 202)
	show := func() replayed { return call[replayed](t, http.MethodGet, p.url+"/replays/"+r.ID, nil, 200) }
	var seenLast replayed
	require.Eventually(t, func() bool { seenLast = show(); return seenLast.Done > 0 }, 60*time.Second, 10*time.Millisecond)
	p.kill()
	<-p.exited
	require.Less(t, seenLast.Done, events, "the kill came too late")

	p = startAll(t, "--data-dir", dir)
	require.Eventually(t, func() bool { return show().State != "running" }, 60*time.Second, 100*time.Millisecond)
	require.Equal(t, replayed{ID: r.ID, State: "done", Total: events, Done: events, Jobs: events}, show())
	seen := map[string]int{}
	for cursor := ""; ; {
		pg := call[struct {
			Data []struct {
				EventID  string `json:"event_id"`
				ReplayID string `json:"replay_id"`
			}
			NextCursor string `json:"next_cursor"`
		}](t, http.MethodGet, p.url+"/jobs?limit=1000&replay_id="+r.ID+"&cursor="+cursor, nil, 200)
		for _, j := range pg.Data {
			require.Equal(t, r.ID, j.ReplayID)
			seen[j.EventID]++
		}
		if cursor = pg.NextCursor; cursor == "" {
			break
		}
	}
	require.Len(t, seen, events)
	for event, n := range seen {
		require.Equal(t, 1, n, event)
	}
	require.Zero(t, p.stop(t))
}
