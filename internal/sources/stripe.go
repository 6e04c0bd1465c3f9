package sources

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"

	"github.com/signalstack/signalstack/internal/events"
)

// stripeClaim reads a signature of Stripe (docs.stripe.com, "Verify webhook
// signatures manually"): t=SECONDS,v1=HEX with several v1 while a secret is rolled.
// The key is the whole secret, whsec_ included.
func stripeClaim(h http.Header, body []byte) (claim, *rejection) {
	const name = "Stripe-Signature"
	text, err := one(h, name)
	if err != nil {
		return claim{}, err
	}
	c := claim{hash: sha256.New}
	for part := range strings.SplitSeq(text, ",") {
		key, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch key {
		case "t":
			if c.at != "" {
				return claim{}, unproved("the header " + name + " has two times")
			}
			c.at = value
		case "v1":
			if mac, err := hex.DecodeString(value); err == nil {
				c.macs = append(c.macs, mac)
			}
		}
	}
	if c.at == "" || len(c.macs) == 0 {
		return claim{}, unproved("the header " + name + " is not t=SECONDS,v1=HEX")
	}
	c.signed = [][]byte{[]byte(c.at + "."), body}
	return c, nil
}

// stripeEvent takes snapshot events and the thin ones of the second API.
func stripeEvent(d delivery) (events.NewEvent, *rejection) {
	id, name := d.doc.text("/id"), d.doc.text("/type")
	if id == "" || name == "" {
		return events.NewEvent{}, unreadable("the body is no event of Stripe: id or type is missing")
	}
	source := "https://api.stripe.com"
	if account := d.doc.text("/account", "/context"); account != "" {
		source += "/v1/accounts/" + account
	}
	return events.NewEvent{
		ID: &id, Type: "com.stripe." + name, Source: source, Data: d.body,
		Subject: d.doc.text("/data/object/id", "/related_object/id"), Time: d.doc.moment("/created"),
	}, nil
}
