package sources

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/signalstack/signalstack/internal/events"
)

// shopifyClaim reads a signature of Shopify (shopify.dev, "Verify the origin of a
// webhook"): base64, over the body alone.
func shopifyClaim(h http.Header, body []byte) (claim, *rejection) {
	const name = "X-Shopify-Hmac-Sha256"
	text, err := one(h, name)
	if err != nil {
		return claim{}, err
	}
	mac, bad := base64.StdEncoding.DecodeString(text)
	if bad != nil {
		return claim{}, unproved("the header " + name + " is not base64")
	}
	return claim{hash: sha256.New, signed: [][]byte{body}, macs: [][]byte{mac}}, nil
}

// shopifyEvent names a delivery by X-Shopify-Webhook-Id, which is the same whenever
// it is tried again. X-Shopify-Event-Id is no name for it: an act of a merchant that
// several topics tell of has one.
func shopifyEvent(d delivery) (events.NewEvent, *rejection) {
	topic, id := d.header.Get("X-Shopify-Topic"), d.header.Get("X-Shopify-Webhook-Id")
	if topic == "" || id == "" {
		return events.NewEvent{}, unreadable("the headers X-Shopify-Topic and X-Shopify-Webhook-Id are missing")
	}
	e := events.NewEvent{
		ID: &id, Type: "com.shopify." + strings.ReplaceAll(topic, "/", "."), Source: "https://shopify.com", Data: d.body,
		Subject: d.doc.text("/id"), Time: moment(d.header.Get("X-Shopify-Triggered-At")),
	}
	if shop := d.header.Get("X-Shopify-Shop-Domain"); shop != "" {
		e.Source = "https://" + shop
	}
	return e, nil
}
