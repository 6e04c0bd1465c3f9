package outbound

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"

	"code.dny.dev/ssrf"
	"golang.org/x/net/idna"

	"github.com/signalstack/signalstack/internal/fault"
)

// Guard decides which addresses jobs may reach.
type Guard struct {
	addresses *ssrf.Guardian
	hosts     map[string]bool // allowed by name, whatever they resolve to
	resolver  *net.Resolver   // nil: that of this machine
}

// loopback are the networks of this machine itself.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// NewGuard allows public addresses, the CIDRs, addresses and hosts of the list and,
// when asked, this machine itself.
func NewGuard(allow []string, allowLoopback bool) (*Guard, error) {
	g := &Guard{hosts: map[string]bool{}}
	var v4, v6 []netip.Prefix
	add := func(p netip.Prefix) {
		if p.Addr().Is4() {
			v4 = append(v4, p)
		} else {
			v6 = append(v6, p)
		}
	}
	for _, entry := range allow {
		prefix, err := netip.ParsePrefix(entry)
		switch addr, notAddr := netip.ParseAddr(entry); {
		case err == nil:
			add(prefix.Masked())
		case notAddr == nil:
			add(netip.PrefixFrom(addr, addr.BitLen()))
		case strings.Contains(entry, "/"):
			return nil, fmt.Errorf("allowed network %q: %w", entry, err)
		default:
			g.hosts[plainHost(entry)] = true
		}
	}
	if allowLoopback {
		for _, p := range loopback {
			add(p)
		}
		g.hosts["localhost"] = true
	}
	g.addresses = ssrf.New(ssrf.WithAnyPort(), ssrf.WithAllowedV4Prefixes(v4...), ssrf.WithAllowedV6Prefixes(v6...))
	return g, nil
}

// howToAllow ends every refusal: the reader runs the server and may mend it.
const howToAllow = "add its network to SIGNALSTACK_ALLOW_NETWORKS if jobs may reach it"

// maxURL bounds a URL, in bytes.
const maxURL = 2048

// Check gives the mistake of a URL that jobs are to call, as far as it can be told
// without resolving its host.
func (g *Guard) Check(pointer, raw string) []fault.Detail {
	mistake := func(format string, args ...any) []fault.Detail {
		return []fault.Detail{{Pointer: pointer, Detail: fmt.Sprintf(format, args...)}}
	}
	u, err := url.Parse(raw)
	switch {
	case len(raw) > maxURL:
		return mistake("must have at most %d bytes", maxURL)
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || strings.ContainsAny(raw, " \t\r\n"):
		return mistake("must be an http or https URL such as https://example.com/hooks")
	case hasEmptyLabel(u.Hostname()):
		return mistake("must have a host without empty parts, such as example.com")
	case plainHost(u.Hostname()) == "":
		return mistake("must have a host that is a name, such as example.com")
	case oddAddress(plainHost(u.Hostname())):
		return mistake("must have a host name, or an address in its usual form, such as 192.0.2.1; %s", howToAllow)
	case !isPort(u.Port()):
		return mistake("must have a port from 1 to 65535, or none")
	case u.User != nil:
		return mistake("must not hold a user or password; put credentials into a header")
	case u.Fragment != "":
		return mistake("must not have a fragment (#...)")
	}
	host := plainHost(u.Hostname())
	if addr, err := netip.ParseAddr(host); err == nil && !g.allows(addr) {
		return mistake("names the private or special address %s; %s", addr, howToAllow)
	}
	if (host == "localhost" || strings.HasSuffix(host, ".localhost")) && !g.hosts[host] && !g.allows(loopback[0].Addr()) {
		return mistake("names this machine; %s", howToAllow)
	}
	return nil
}

// allows says whether an address may be dialed. One that stands in another, or for an
// interface, is judged as what it reaches.
func (g *Guard) allows(addr netip.Addr) bool {
	return g.addresses.SafeAddr(addr.Unmap().WithZone("")) == nil
}

// plainHost is a host as it is looked up: net/http maps other scripts to ASCII, with
// which full-width digits and dots become an address. The dot at the end, which changes
// nothing, is left out. It is "" when the host is no name.
func plainHost(host string) string {
	if !isASCII(host) {
		ascii, err := idna.Lookup.ToASCII(host)
		if err != nil {
			return ""
		}
		host = ascii
	}
	return strings.TrimSuffix(strings.ToLower(host), ".")
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > unicode.MaxASCII })
}

// oddAddress knows IPv4 addresses in the spellings of inet_aton, such as 127.1,
// 2130706433, 0177.0.0.1 and 0x7f.1: a host whose last part is a number is one (WHATWG
// URL, "ends in a number"). Which resolver takes them for what differs, so nobody
// means well with them.
func oddAddress(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return false
	}
	last := host[strings.LastIndexByte(host, '.')+1:]
	if digits, hex := strings.CutPrefix(last, "0x"); hex {
		return strings.Trim(digits, "0123456789abcdef") == ""
	}
	return last != "" && strings.Trim(last, "0123456789") == ""
}

// hasEmptyLabel finds hosts that no resolver takes, such as a..b and .b; one dot at
// the end is right.
func hasEmptyLabel(host string) bool {
	return slices.Contains(strings.Split(strings.TrimSuffix(host, "."), "."), "")
}

func isPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return port == "" || err == nil && n > 0
}

// errBlocked says that the guard refused an address.
var errBlocked = errors.New("blocked destination")

// dialTimeout bounds one connection attempt, so that an address that does not
// answer leaves time for the next.
const dialTimeout = 5 * time.Second

// dial connects to an address that the guard allows.
func (g *Guard) dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second, Resolver: g.resolver}
	host, port, err := net.SplitHostPort(address)
	plain := plainHost(host)
	if err != nil || !g.hosts[plain] {
		d.ControlContext = g.control
	}
	if oddAddress(plain) {
		return nil, fmt.Errorf("%w: %s is an address in an unusual form; %s", errBlocked, host, howToAllow)
	}
	if _, err := netip.ParseAddr(plain); err == nil || plain == "localhost" { // which some resolvers do not know with a dot behind it
		address = net.JoinHostPort(plain, port)
	}
	return d.DialContext(ctx, network, address)
}

// control sees each concrete address before the connection is made.
func (g *Guard) control(_ context.Context, network, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %s %s", errBlocked, network, address)
	}
	if !g.allows(at.Addr()) {
		return fmt.Errorf("%w: %s is private or special; %s", errBlocked, at.Addr(), howToAllow)
	}
	return nil
}
