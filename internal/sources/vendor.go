package sources

import (
	"net/http"
	"time"

	"github.com/signalstack/signalstack/internal/events"
)

// The kinds of sources.
const (
	kindGitHub   = "github"
	kindStripe   = "stripe"
	kindSlack    = "slack"
	kindShopify  = "shopify"
	kindStandard = "standard-webhooks"
	kindHMAC     = "hmac"
)

// vendor is what is to know of a kind of source.
type vendor struct {
	// claim reads the signature of a request.
	claim func(http.Header, []byte) (claim, *rejection)
	// event makes the event of a proved delivery; its ID is what the delivery is known
	// by, or nil when it has none.
	event func(delivery) (events.NewEvent, *rejection)
	// answer is what the vendor wants to hear in place of an event; nil: never.
	answer func(delivery) (challenge string, ok bool)
	// key gives the key of a secret; nil: its own bytes.
	key       func(secret string) ([]byte, error)
	tolerance time.Duration // of the time that is signed
	patience  time.Duration // a little less than how long the vendor waits for an answer
	form      bool          // a body may be a form whose field payload is the JSON
}

// delivery is a request that is proved to be the vendor's.
type delivery struct {
	source string // the path of the source, for events that say no better where they are from
	header http.Header
	body   []byte // JSON
	doc    document
}

// fiveMinutes is the tolerance of all vendors that sign a time.
const fiveMinutes = 5 * time.Minute

// vendorOf gives what is to know of a source's kind, unless a newer version of the
// product made the source and this one does not know it.
func vendorOf(s Source) (v vendor, known bool) {
	switch s.Kind {
	case kindGitHub:
		return vendor{claim: githubClaim, event: githubEvent, patience: 9 * time.Second, form: true}, true
	case kindStripe:
		return vendor{claim: stripeClaim, event: stripeEvent, patience: 9 * time.Second, tolerance: fiveMinutes}, true
	case kindSlack:
		return vendor{claim: slackClaim, event: slackEvent, answer: slackChallenge, patience: 2500 * time.Millisecond, tolerance: fiveMinutes}, true
	case kindShopify:
		return vendor{claim: shopifyClaim, event: shopifyEvent, patience: 4 * time.Second}, true
	case kindStandard:
		return vendor{claim: standardClaim, event: standardEvent, key: standardKey, patience: 9 * time.Second, tolerance: fiveMinutes}, true
	case kindHMAC:
		return vendor{claim: s.HMAC.claim, event: s.HMAC.event, patience: 9 * time.Second, tolerance: s.HMAC.tolerance()}, true
	default:
		return vendor{}, false
	}
}

// keys gives those of the secrets that are valid, as keys.
func (v vendor) keys(secrets []secret, now time.Time) ([][]byte, error) {
	var keys [][]byte
	for _, s := range secrets {
		if s.ExpiresAt != nil && !s.ExpiresAt.After(now) {
			continue
		}
		key := []byte(s.Value)
		if v.key != nil {
			var err error
			if key, err = v.key(s.Value); err != nil {
				return nil, err
			}
		}
		keys = append(keys, key)
	}
	return keys, nil
}
