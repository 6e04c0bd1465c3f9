package sources

import (
	"crypto/hmac"
	"encoding/hex"
	"hash"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/signalstack/signalstack/internal/fault"
)

// rejection is why a delivery is not taken. It is shown to the sender and to the
// operator, and has nothing in it of what was sent: that is nobody's word.
type rejection struct {
	kind   fault.Kind
	code   string
	reason string
}

func (r *rejection) Error() string { return r.reason }

// unproved rejects a delivery that is not known to be the vendor's.
func unproved(reason string) *rejection {
	return &rejection{kind: fault.Unauthorized, code: "invalid_signature", reason: reason}
}

// unreadable rejects a delivery that is the vendor's and makes no event.
func unreadable(reason string) *rejection {
	return &rejection{kind: fault.Malformed, code: "invalid_delivery", reason: reason}
}

// claim is how a request says that it is the vendor's: one of the MACs must be that
// of the signed bytes under a secret that is shared with the vendor.
type claim struct {
	hash   func() hash.Hash
	signed [][]byte // one after the other
	macs   [][]byte
	// at is when it was signed, in Unix seconds, and part of what is signed; "" where
	// the vendor signs no time.
	at string
}

// prove says why the claim is not right, or nil. All keys and MACs are compared
// whether one fits or not, so that the time tells nothing of which.
func (c claim) prove(keys [][]byte, now time.Time, tolerance time.Duration) *rejection {
	if len(keys) == 0 {
		return unproved("the source has no secret that is valid now; give it the vendor's with PATCH")
	}
	fits := false
	for _, key := range keys {
		mac := hmac.New(c.hash, key)
		for _, part := range c.signed {
			mac.Write(part)
		}
		sum := mac.Sum(nil)
		for _, m := range c.macs {
			fits = hmac.Equal(m, sum) || fits
		}
	}
	if !fits {
		return unproved("no signature fits the body and a secret of the source")
	}
	return c.checkTime(now, tolerance)
}

// checkTime refuses what was recorded and is sent again, and clocks that are wrong.
func (c claim) checkTime(now time.Time, tolerance time.Duration) *rejection {
	if c.at == "" {
		return nil
	}
	at, err := strconv.ParseInt(c.at, 10, 64)
	switch {
	case err != nil:
		return unproved("the time of the signature is no whole number of Unix seconds")
	case at < now.Add(-tolerance).Unix():
		return unproved("the signature is older than " + tolerance.String())
	case at > now.Add(tolerance).Unix():
		return unproved("the signature is of a time more than " + tolerance.String() + " ahead")
	}
	return nil
}

// one gives the only value of a header that a claim is made by.
func one(h http.Header, name string) (string, *rejection) {
	switch values := h.Values(name); {
	case len(values) == 0 || values[0] == "":
		return "", unproved("the header " + name + " is missing")
	case len(values) > 1:
		return "", unproved("the header " + name + " stands twice")
	default:
		return values[0], nil
	}
}

// hexMAC reads a MAC of the form PREFIX HEX.
func hexMAC(h http.Header, name, prefix string) ([][]byte, *rejection) {
	text, err := one(h, name)
	if err != nil {
		return nil, err
	}
	digits, ok := strings.CutPrefix(text, prefix)
	mac, bad := hex.DecodeString(digits)
	if !ok || bad != nil || len(mac) == 0 {
		return nil, unproved("the header " + name + " is not " + prefix + " and hexadecimal digits")
	}
	return [][]byte{mac}, nil
}
