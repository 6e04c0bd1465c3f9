package outbound

import (
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// hiddenValue stands for a secret.
const hiddenValue = "****"

// What names a secret, in whatever case: header, parameter of a URL or form, and
// member of a JSON object alike. The words may stand anywhere in the name, with or
// without - and _ between; the names must be all of it, as they are short.
var (
	secretWords = []string{
		"authorization", "cookie", "token", "secret", "password", "passwd", "passphrase", "apikey", "accesskey", "privatekey",
		"credential", "signature", "session", "onetimecode",
	}
	secretNames = []string{"auth", "code", "hmac", "jwt", "key", "pass", "pin", "pwd", "sas", "sid", "sig"}
)

// joints are what words in a name are joined by.
var joints = strings.NewReplacer("-", "", "_", "", ".", "", " ", "")

func namesSecret(name string) bool {
	name = joints.Replace(strings.ToLower(name))
	return slices.Contains(secretNames, name) || namesSecretByWord(name)
}

// namesSecretByWord leaves out the short names, which in a body mean much else: "code"
// is the reason of an error there, and "key" any key.
func namesSecretByWord(name string) bool {
	name = joints.Replace(strings.ToLower(name))
	return slices.ContainsFunc(secretWords, func(word string) bool { return strings.Contains(name, word) })
}

// holdURLs are headers whose value is a URL.
var holdURLs = []string{"Content-Location", "Location", "Referer"}

// shown flattens headers for the record. Those of which the caller knows that they are
// secret, and those whose name says so, are hidden.
func shown(header http.Header, hidden []string) map[string]string {
	flat := make(map[string]string, len(header))
	for name, values := range header {
		if len(flat) == maxShown {
			break
		}
		flat[name] = strings.ToValidUTF8(strings.Join(values, ", "), "\uFFFD")
		switch {
		case flat[name] != "" && namesSecret(name):
			flat[name] = hiddenValue
		case slices.Contains(holdURLs, http.CanonicalHeaderKey(name)):
			flat[name] = hideInURL(flat[name])
		}
	}
	for _, name := range hidden {
		if name = http.CanonicalHeaderKey(name); flat[name] != "" {
			flat[name] = hiddenValue
		}
	}
	return flat
}

// hideInURL hides a password, and the values of parameters whose names say that they
// are secret. The rest stays byte for byte, so that an operator finds what was sent.
// A secret in the path looks like any other part of it and stays.
func hideInURL(text string) string {
	if u, err := url.Parse(text); err == nil && u.User != nil {
		u.User = url.User(hiddenValue)
		text = u.String()
	}
	before, fragment, cut := strings.Cut(text, "#")
	if address, query, ok := strings.Cut(before, "?"); ok {
		before = address + "?" + hideInQuery(query)
	}
	if cut {
		return before + "#" + hideInQuery(fragment) // where OAuth puts tokens
	}
	return before
}

// hideInQuery hides values of a query string or a form.
func hideInQuery(query string) string {
	pairs := strings.Split(query, "&")
	for i, pair := range pairs {
		key, value, ok := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(key)
		if err != nil {
			name = key
		}
		if ok && value != "" && namesSecret(name) {
			pairs[i] = key + "=" + hiddenValue
		}
	}
	return strings.Join(pairs, "&")
}

// HideInError hides the secrets of the URL that an error of net/http tells of.
func HideInError(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		e.URL = hideInURL(e.URL)
	}
	return err
}

// stringMember is a member of a JSON object whose value is a text; the end may be cut
// off.
var stringMember = regexp.MustCompile(`"([^"\\]{1,100})"(\s*:\s*)"(?:[^"\\]|\\.)*(?:"|\\?$)`)

// hideInBody hides, in the text that is kept of a body, values of JSON members and form
// fields whose names say that they are secret, such as those of an answer that gives a
// token. It goes by the text, as a body may be cut off or no JSON at all.
func hideInBody(body string, header http.Header) string {
	if strings.HasPrefix(header.Get("Content-Type"), "application/x-www-form-urlencoded") {
		return hideInQuery(body)
	}
	if !strings.Contains(body, `":`) && !strings.Contains(body, `" :`) {
		return body
	}
	return stringMember.ReplaceAllStringFunc(body, func(member string) string {
		parts := stringMember.FindStringSubmatch(member)
		if !namesSecretByWord(parts[1]) {
			return member
		}
		return `"` + parts[1] + `"` + parts[2] + `"` + hiddenValue + `"`
	})
}
