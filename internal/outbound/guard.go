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

	"code.dny.dev/ssrf"

	"github.com/signalstack/signalstack/internal/fault"
)

// Guard decides which addresses jobs may reach.
type Guard struct {
	addresses *ssrf.Guardian
	hosts     map[string]bool // allowed by name, whatever they resolve to
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
			g.hosts[strings.ToLower(entry)] = true
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
	case !isPort(u.Port()):
		return mistake("must have a port from 1 to 65535, or none")
	case u.User != nil:
		return mistake("must not hold a user or password; put credentials into a header")
	case u.Fragment != "":
		return mistake("must not have a fragment (#...)")
	}
	if addr, err := netip.ParseAddr(u.Hostname()); err == nil && g.addresses.SafeAddr(addr.Unmap().WithZone("")) != nil {
		return mistake("names the private or special address %s; %s", addr, howToAllow)
	}
	if host := strings.ToLower(u.Hostname()); (host == "localhost" || strings.HasSuffix(host, ".localhost")) && !g.hosts[host] && g.addresses.SafeAddr(loopback[0].Addr()) != nil {
		return mistake("names this machine; %s", howToAllow)
	}
	return nil
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
	d := net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}
	if host, _, err := net.SplitHostPort(address); err != nil || !g.hosts[strings.ToLower(host)] {
		d.ControlContext = g.control
	}
	return d.DialContext(ctx, network, address)
}

// control sees each concrete address before the connection is made.
func (g *Guard) control(_ context.Context, network, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %s %s", errBlocked, network, address)
	}
	if err := g.addresses.SafeAddr(at.Addr().Unmap().WithZone("")); err != nil {
		return fmt.Errorf("%w: %s is private or special; %s", errBlocked, at.Addr(), howToAllow)
	}
	return nil
}
