package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/signalstack/signalstack/internal/client"
)

var (
	scheduleColumns = []client.Column{
		{Title: "ID", Field: "id"},
		{Title: "NAME", Field: "name"},
		{Title: "STATE", Field: "state"},
		{Title: "CRON", Field: "cron"},
		{Title: "EVERY", Field: "every"},
		{Title: "AT", Field: "at"},
		{Title: "ZONE", Field: "timezone"},
		{Title: "NEXT FIRE", Field: "next_fire_at"},
		{Title: "LAST FIRE", Field: "last_fire_at"},
		{Title: "FIRES", Field: "fires"},
		{Title: "MISSED", Field: "missed"},
	}
	runColumns     = []client.Column{{Title: "STATE", Field: "state"}, {Title: "JOB", Field: "job_id"}, {Title: "EVENT", Field: "event_id"}}
	previewColumns = []client.Column{{Title: "AT", Field: "at"}, {Title: "LOCAL", Field: "local"}}
)

func newSchedulesCmd() *cobra.Command {
	r := &remote{}
	cmd := &cobra.Command{Use: "schedules", Short: "List and change the schedules of a server", Args: knownCommand, RunE: nameACommand}
	r.addFlags(cmd, true)
	one := func(use, short, method, after string, columns []client.Column) *cobra.Command {
		return &cobra.Command{Use: use + " ID", Short: short, Args: anID, RunE: func(cmd *cobra.Command, args []string) error {
			return r.ask(cmd, method, "/schedules/"+url.PathEscape(args[0])+after, nil, "", columns)
		}}
	}
	cmd.AddCommand(newSchedulesListCmd(r), newSchedulesCreateCmd(r), newSchedulesPreviewCmd(r),
		one("get", "Show one schedule; -o json has its next fires and its history", http.MethodGet, "", scheduleColumns),
		one("pause", "Let a schedule fire no more until it is resumed", http.MethodPost, "/pause", scheduleColumns),
		one("resume", "Let a paused schedule fire again", http.MethodPost, "/resume", scheduleColumns),
		one("run", "Fire a schedule now", http.MethodPost, "/run", runColumns),
		one("delete", "Delete a schedule", http.MethodDelete, "", nil))
	return cmd
}

// anID wants one argument.
func anID(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usageError{fmt.Errorf("name one id: %s", cmd.UseLine())}
	}
	return nil
}

func newSchedulesListCmd(r *remote) *cobra.Command {
	var tenant, name string
	cmd := &cobra.Command{Use: "list", Short: "List schedules, oldest first", Args: noArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		c, err := r.client()
		if err != nil {
			return err
		}
		query := url.Values{"limit": {"1000"}, "tenant": {tenant}, "name": {name}}
		rows, err := c.All(cmd.Context(), "/schedules?"+query.Encode())
		if err != nil {
			return err
		}
		if rows == nil {
			rows = []json.RawMessage{}
		}
		answer, err := json.Marshal(rows)
		if err != nil {
			return fmt.Errorf("put the pages together: %w", err)
		}
		return client.Show(cmd.OutOrStdout(), r.format, answer, scheduleColumns)
	}}
	cmd.Flags().StringVar(&tenant, "tenant", "", "those of one tenant only")
	cmd.Flags().StringVar(&name, "name", "", "the one of this name only")
	return cmd
}

// timing are the flags that say when.
type timing struct{ cron, every, at, zone string }

func (t *timing) addFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&t.cron, "cron", "", `five fields, or six with seconds first, or @hourly and the like`)
	cmd.Flags().StringVar(&t.every, "every", "", "an interval, such as 90s")
	cmd.Flags().StringVar(&t.at, "at", "", "one time, such as 2027-01-31T09:30:00Z")
	cmd.Flags().StringVar(&t.zone, "timezone", "", "IANA time zone of a cron expression; UTC when it is not given")
}

// fields gives what the flags say, as the API has it.
func (t *timing) fields() map[string]any {
	fields := map[string]any{}
	for name, text := range map[string]string{"cron": t.cron, "every": t.every, "at": t.at, "timezone": t.zone} {
		if text != "" {
			fields[name] = text
		}
	}
	return fields
}

func newSchedulesCreateCmd(r *remote) *cobra.Command {
	var when timing
	var name, tenant, job, event string
	cmd := &cobra.Command{
		Use: "create", Short: "Create a schedule; signalstack apply takes all that one can say from a file", Args: noArgs,
		Example: `  signalstack schedules create --name tick --every 1m --job '{"kind": "log", "payload": {"message": "tick"}}'
  signalstack schedules create --cron '0 9 * * MON-FRI' --timezone Europe/Berlin --event '{"type": "day.begins"}'`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			fields := when.fields()
			for field, text := range map[string]string{"name": name, "tenant": tenant} {
				if text != "" {
					fields[field] = text
				}
			}
			action := map[string]json.RawMessage{}
			for field, text := range map[string]string{"job": job, "event": event} {
				if text != "" && !json.Valid([]byte(text)) {
					return usageError{fmt.Errorf("--%s is not JSON", field)}
				}
				if text != "" {
					action[field] = json.RawMessage(text)
				}
			}
			if len(action) != 1 {
				return usageError{errors.New("say what a fire makes: one of --job and --event")}
			}
			fields["action"] = action
			return r.ask(cmd, http.MethodPost, "/schedules", fields, "", scheduleColumns)
		},
	}
	when.addFlags(cmd)
	cmd.Flags().StringVar(&name, "name", "", "for people, and for signalstack apply")
	cmd.Flags().StringVar(&tenant, "tenant", "", "whose it is; default: default, or that of the API key")
	cmd.Flags().StringVar(&job, "job", "", "JSON of the job that each fire makes, as for POST /jobs")
	cmd.Flags().StringVar(&event, "event", "", "JSON of the event that each fire emits, as for POST /events")
	return cmd
}

func newSchedulesPreviewCmd(r *remote) *cobra.Command {
	var when timing
	var from string
	var count int
	cmd := &cobra.Command{Use: "preview", Short: "Show when a schedule would fire", Args: noArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		fields := when.fields()
		if from != "" {
			fields["from"] = from
		}
		if cmd.Flags().Changed("count") {
			fields["count"] = count
		}
		return r.ask(cmd, http.MethodPost, "/schedules/preview", fields, "next_fires", previewColumns)
	}}
	when.addFlags(cmd)
	cmd.Flags().StringVar(&from, "from", "", "after this time; default: now")
	cmd.Flags().IntVar(&count, "count", 10, "how many fires")
	return cmd
}
