package client

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
)

// Apply makes the schedules of documents be as they say, and writes a line for each: it
// creates what the tenant has none of that name of, changes what differs, and leaves alone
// what does not and what no document names. Fields that a document leaves out stay as they
// are. With dry nothing is changed.
func (c *Client) Apply(ctx context.Context, out io.Writer, all []Document, dry bool) error {
	if err := check(all); err != nil {
		return err
	}
	for _, d := range all {
		did, err := c.applySchedule(ctx, d, dry)
		if err != nil {
			return fmt.Errorf("%s: schedule %q: %w", d.Where, d.text("name"), err)
		}
		if _, err := fmt.Fprintf(out, "schedule %q %s\n", d.text("name"), did); err != nil {
			return fmt.Errorf("write what was done: %w", err)
		}
	}
	return nil
}

func (c *Client) applySchedule(ctx context.Context, d Document, dry bool) (did string, err error) {
	delete(d.Fields, "kind")
	rows, err := c.named(ctx, d)
	if err != nil {
		return "", err
	}
	mark := ""
	if dry {
		mark = " (dry run)"
	}
	if len(rows) == 0 {
		if !dry {
			_, err = c.Do(ctx, http.MethodPost, "/schedules", d.Fields)
		}
		return "created" + mark, err
	}
	var present map[string]any
	if err := json.Unmarshal(rows[0], &present); err != nil {
		return "", fmt.Errorf("read the schedule: %w", err)
	}
	present["paused"] = present["state"] == "paused"
	differ, err := differences(d.Fields, present)
	if err != nil || len(differ) == 0 {
		return "unchanged", err
	}
	if !dry {
		_, err = c.Do(ctx, http.MethodPatch, fmt.Sprintf("/schedules/%v", present["id"]), differ)
	}
	return "changed" + mark, err
}

// named gives the schedule of a document's name, if there is one. A list without a tenant
// is that of all, or of the one that the API key is bound to.
func (c *Client) named(ctx context.Context, d Document) ([]json.RawMessage, error) {
	query := url.Values{"name": {d.text("name")}, "limit": {"1"}, "tenant": {cmp.Or(d.text("tenant"), "default")}}
	rows, err := c.All(ctx, "/schedules?"+query.Encode())
	if p, ok := errors.AsType[*Problem](err); ok && p.Code == "other_tenant" && d.text("tenant") == "" {
		query.Del("tenant")
		return c.All(ctx, "/schedules?"+query.Encode())
	}
	return rows, err
}

// differences gives the fields that are wanted and not as they are, compared as JSON.
func differences(wanted, present map[string]any) (map[string]any, error) {
	differ := map[string]any{}
	for field, value := range wanted {
		if field == "name" || field == "tenant" {
			continue
		}
		text, err := json.Marshal(value)
		if err != nil {
			return nil, fmt.Errorf("%s is nothing that JSON has: %w", field, err)
		}
		var plain any
		if err := json.Unmarshal(text, &plain); err != nil {
			return nil, fmt.Errorf("read %s: %w", field, err)
		}
		if !reflect.DeepEqual(plain, present[field]) {
			differ[field] = value
		}
	}
	return differ, nil
}
