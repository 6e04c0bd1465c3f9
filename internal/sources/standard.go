package sources

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/signalstack/signalstack/internal/events"
)

// standardHeaders gives the names of the headers of Standard Webhooks, or those of
// Svix, from which they come.
func standardHeaders(h http.Header) (id, at, signature string) {
	if h.Get("Webhook-Id") == "" && h.Get("Svix-Id") != "" {
		return "Svix-Id", "Svix-Timestamp", "Svix-Signature"
	}
	return "Webhook-Id", "Webhook-Timestamp", "Webhook-Signature"
}

// standardClaim reads a signature of Standard Webhooks 1.0.0: over ID.SECONDS.BODY,
// one or several v1,BASE64 with spaces between. The asymmetric v1a is passed over.
func standardClaim(h http.Header, body []byte) (claim, *rejection) {
	idName, atName, macName := standardHeaders(h)
	id, err := one(h, idName)
	if err != nil {
		return claim{}, err
	}
	at, err := one(h, atName)
	if err != nil {
		return claim{}, err
	}
	text, err := one(h, macName)
	if err != nil {
		return claim{}, err
	}
	// A dot would let a part of one pass for a part of the other.
	if strings.Contains(id, ".") || strings.Contains(at, ".") {
		return claim{}, unproved("the id and the time of the signature must have no dot")
	}
	c := claim{hash: sha256.New, signed: [][]byte{[]byte(id + "." + at + "."), body}, at: at}
	for token := range strings.FieldsSeq(text) {
		version, value, _ := strings.Cut(token, ",")
		if mac, err := base64.StdEncoding.DecodeString(value); err == nil && version == "v1" {
			c.macs = append(c.macs, mac)
		}
	}
	if len(c.macs) == 0 {
		return claim{}, unproved("the header " + macName + " has no v1,BASE64")
	}
	return c, nil
}

// standardEvent takes type and timestamp from where the specification recommends
// them.
func standardEvent(d delivery) (events.NewEvent, *rejection) {
	name, _, _ := standardHeaders(d.header)
	id := d.header.Get(name)
	return events.NewEvent{
		ID: &id, Type: cmp.Or(d.doc.text("/type"), "webhook"), Source: d.source, Data: d.body, Time: d.doc.moment("/timestamp"),
	}, nil
}
