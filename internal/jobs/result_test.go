package jobs_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/queue"
)

// The second attempt of each job comes to something; what the first one said is of a
// failure and is not kept.
func TestResultOfAJobIsKeptOnceItSucceeds(t *testing.T) {
	t.Parallel()
	const value = `{"id": 9007199254740993, "z":1.50,"a":"\u0000"}`
	for name, change := range map[string]func(*queue.NewJob){
		"alone":    func(*queue.NewJob) {},
		"in order": func(j *queue.NewJob) { j.OrderingKey = "k" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, func(_ context.Context, job jobs.Job) (jobs.Result, error) {
				if job.Attempt == 1 {
					return jobs.Result{Value: json.RawMessage(`"half"`)}, errors.New("not yet")
				}
				return jobs.Result{Value: json.RawMessage(value)}, nil
			})
			job := b.await(t, b.add(t, change), queue.Succeeded)
			require.True(t, bytes.Equal([]byte(value), job.Result), "%s", job.Result)
			require.Len(t, job.Attempts, 2)
			require.Empty(t, job.Attempts[0].Result)
		})
	}
}

func TestJobWithoutAResultHasNone(t *testing.T) {
	t.Parallel()
	b := start(t, func(context.Context, jobs.Job) (jobs.Result, error) { return jobs.Result{}, nil })
	job := b.await(t, b.add(t), queue.Succeeded)
	text, err := json.Marshal(job)
	require.NoError(t, err)
	require.NotContains(t, string(text), `"result"`)
}

func TestResultThatCannotBeKeptFailsTheJobForGood(t *testing.T) {
	t.Parallel()
	for names, value := range map[string]string{
		"has 65537 bytes": `"` + strings.Repeat("x", jobs.MaxResult-1) + `"`,
		"is not JSON":     `{"a":`,
	} {
		b := start(t, func(context.Context, jobs.Job) (jobs.Result, error) {
			return jobs.Result{Value: json.RawMessage(value)}, nil
		})
		job := b.await(t, b.add(t), queue.Failed)
		require.Contains(t, *job.LastError, names)
		require.Len(t, job.Attempts, 1)
		require.Empty(t, job.Result)
	}
	// As large as it may be.
	largest := `"` + strings.Repeat("x", jobs.MaxResult-2) + `"`
	b := start(t, func(context.Context, jobs.Job) (jobs.Result, error) {
		return jobs.Result{Value: json.RawMessage(largest)}, nil
	})
	require.Equal(t, largest, string(b.await(t, b.add(t), queue.Succeeded).Result))
}
