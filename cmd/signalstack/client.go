package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/signalstack/signalstack/internal/app"
	"github.com/signalstack/signalstack/internal/client"
)

// remote is what the commands that talk to a server share.
type remote struct {
	url, key, format string
}

// addFlags adds the flags of the server, and of the form of answers that have one.
func (r *remote) addFlags(cmd *cobra.Command, answers bool) {
	address := os.Getenv("SIGNALSTACK_URL")
	if address == "" {
		address = app.LocalURL(os.Getenv("SIGNALSTACK_ADDR"))
	}
	cmd.PersistentFlags().StringVar(&r.url, "url", address, "where the server is [$SIGNALSTACK_URL]")
	cmd.PersistentFlags().StringVar(&r.key, "key", "", "API key, where the server asks for one [$SIGNALSTACK_KEY]")
	if answers {
		cmd.PersistentFlags().StringVarP(&r.format, "output", "o", "table", "table, json or yaml")
	}
}

// client gives a client of the server that the flags name.
func (r *remote) client() (*client.Client, error) {
	if at, err := url.Parse(r.url); err != nil || at.Host == "" || at.Scheme != "http" && at.Scheme != "https" {
		return nil, usageError{fmt.Errorf("--url %q is no http or https URL", r.url)}
	}
	if r.format != "" && !slices.Contains([]string{"table", "json", "yaml"}, r.format) {
		return nil, usageError{fmt.Errorf("there is no output %q; it is table, json or yaml", r.format)}
	}
	if r.key == "" {
		r.key = os.Getenv("SIGNALSTACK_KEY")
	}
	return client.New(r.url, r.key), nil
}

// ask sends a request and shows the answer; field names the part of it that is shown, ""
// all.
func (r *remote) ask(cmd *cobra.Command, method, path string, in any, field string, columns []client.Column) error {
	c, err := r.client()
	if err != nil {
		return err
	}
	answer, err := c.Do(cmd.Context(), method, path, in)
	if err != nil || len(answer) == 0 {
		return err
	}
	if field != "" && r.format == "table" {
		var parts map[string]json.RawMessage
		if err := json.Unmarshal(answer, &parts); err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		answer = parts[field]
	}
	return client.Show(cmd.OutOrStdout(), r.format, answer, columns)
}
