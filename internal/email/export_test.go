package email

import (
	"time"

	"github.com/signalstack/signalstack/internal/jobs"
)

// KindKeeping is Kind with other bounds of a kept connection.
func KindKeeping(cfg Config, messages int, idle time.Duration) (jobs.Kind, error) {
	s, err := newSender(cfg)
	if err != nil {
		return jobs.Kind{}, err
	}
	s.pool.server.messages, s.pool.server.idle = messages, idle
	return jobs.Kind{Name: "email", Run: s.run}, nil
}
