package sources

import (
	"crypto/sha256"
	"net/http"

	"github.com/signalstack/signalstack/internal/events"
)

// slackClaim reads a signature of Slack (docs.slack.dev, "Verifying requests from
// Slack"): over v0:SECONDS:BODY.
func slackClaim(h http.Header, body []byte) (claim, *rejection) {
	macs, err := hexMAC(h, "X-Slack-Signature", "v0=")
	if err != nil {
		return claim{}, err
	}
	at, err := one(h, "X-Slack-Request-Timestamp")
	if err != nil {
		return claim{}, err
	}
	return claim{hash: sha256.New, signed: [][]byte{[]byte("v0:" + at + ":"), body}, macs: macs, at: at}, nil
}

// slackChallenge answers the handshake by which Slack asks whether the address is
// ours ("url_verification").
func slackChallenge(d delivery) (string, bool) {
	return d.doc.text("/challenge"), d.doc.text("/type") == "url_verification"
}

// slackEvent takes what the Events API sends: the callback of an event, by the type
// of that event, or a notice of the API itself, such as app_rate_limited, which has
// no id.
func slackEvent(d delivery) (events.NewEvent, *rejection) {
	name := d.doc.text("/type")
	if name == "event_callback" {
		name = d.doc.text("/event/type")
	}
	if name == "" {
		return events.NewEvent{}, unreadable("the body is nothing of Slack's Events API: type is missing")
	}
	e := events.NewEvent{
		Type: "com.slack." + name, Source: "https://slack.com", Data: d.body,
		Subject: d.doc.text("/event/channel"), Time: d.doc.moment("/event_time", "/minute_rate_limited"),
	}
	if team := d.doc.text("/team_id"); team != "" {
		e.Source = "https://app.slack.com/client/" + team
	}
	if id := d.doc.text("/event_id"); id != "" {
		e.ID = &id
	}
	return e, nil
}
