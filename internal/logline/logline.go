package logline

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/httpapi"
	"github.com/signalstack/signalstack/internal/jobs"
)

// Kind writes to a log.
func Kind(log *slog.Logger) jobs.Kind {
	decode := httpapi.ObjectDecoder[payload]()
	return jobs.Kind{
		Name: "log", Timeout: 5 * time.Second, MaxAttempts: 3, Retry: jobs.DefaultPolicy(),
		Check: func(raw json.RawMessage, _ jobs.Later) []fault.Detail {
			_, mistakes := decode(raw)
			return mistakes
		},
		Run: func(ctx context.Context, job jobs.Job) (jobs.Result, error) {
			return jobs.Result{}, write(ctx, log, job)
		},
	}
}

// payload is what a job says of its line.
type payload struct {
	Message string `json:"message" minLength:"1" doc:"The text of the line"`
	Level   string `json:"level,omitempty" enum:"debug,info,warn,error" doc:"Default info"`
}

// maxMessage bounds a line, in characters.
const maxMessage = 1000

// Validate gives the mistakes that the schema does not know.
func (p payload) Validate() []fault.Detail {
	return httpapi.CheckText("/message", p.Message, maxMessage)
}

func write(ctx context.Context, log *slog.Logger, job jobs.Job) error {
	var p payload
	if err := json.Unmarshal(job.Payload, &p); err != nil {
		return jobs.Permanent(fmt.Errorf("read the payload: %w", err))
	}
	level := slog.LevelInfo
	if p.Level != "" {
		if err := level.UnmarshalText([]byte(p.Level)); err != nil {
			return jobs.Permanent(fmt.Errorf("read the level: %w", err))
		}
	}
	args := []any{"message", p.Message, "job_id", job.ID, "attempt", job.Attempt, "kind", job.Kind}
	if job.Event != nil {
		args = append(args, "event_id", job.Event.ID, "type", job.Event.Type)
	}
	log.Log(ctx, level, "log job", args...)
	return nil
}
