package logline_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/logline"
)

func TestLineNamesTheJobAndTheEvent(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	kind := logline.Kind(slog.New(slog.NewJSONHandler(&out, nil)))
	payload := json.RawMessage(`{"message":"a payment","level":"warn"}`)
	require.Empty(t, kind.Check(payload, jobs.Later{Event: true}))
	job := jobs.Job{ID: uuid.New(), Kind: "log", Attempt: 2, Payload: payload, Event: &jobs.Event{ID: uuid.New(), Type: "payment", Data: json.RawMessage(`"private"`)}}
	_, err := kind.Run(t.Context(), job)
	require.NoError(t, err)
	var line map[string]any
	require.NoError(t, json.Unmarshal(out.Bytes(), &line))
	delete(line, "time")
	require.Equal(t, map[string]any{
		"level": "WARN", "msg": "log job", "message": "a payment", "job_id": job.ID.String(), "attempt": float64(2), "kind": "log",
		"event_id": job.Event.ID.String(), "type": "payment",
	}, line)
}

func TestBadPayloads(t *testing.T) {
	t.Parallel()
	kind := logline.Kind(slog.New(slog.DiscardHandler))
	for payload, pointer := range map[string]string{
		``: "/message", `{"message":""}`: "/message", `{"message":"a","level":"loud"}`: "/level", `{"message":"a","more":1}`: "/more", `7`: "",
		`{"message":"a\nb"}`: "/message",
	} {
		mistakes := kind.Check(json.RawMessage(payload), jobs.Later{})
		require.Len(t, mistakes, 1, payload)
		require.Equal(t, pointer, mistakes[0].Pointer, payload)
	}
	require.Empty(t, kind.Check(json.RawMessage(`{"message":"a","level":"error"}`), jobs.Later{}))
}
