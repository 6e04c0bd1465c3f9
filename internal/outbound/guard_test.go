package outbound_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/signalstack/signalstack/internal/forbidden"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/outbound"
)

// refused checks that a URL is refused when it is stored and when it is dialed, with
// the setting that could allow it.
func refused(t *testing.T, g *outbound.Guard, url string) {
	t.Helper()
	mistakes := g.Check("/url", url)
	require.Len(t, mistakes, 1, url)
	require.Contains(t, mistakes[0].Detail, "SIGNALSTACK_ALLOW_NETWORKS", url)
	_, exchange, err := outbound.NewClient(g, "test").Do(t.Context(), outbound.Request{Method: http.MethodGet, URL: url})
	require.True(t, jobs.IsPermanent(err), "%s: %v", url, err)
	require.ErrorContains(t, err, "SIGNALSTACK_ALLOW_NETWORKS", url)
	require.Equal(t, outbound.ClassBlocked, exchange.ErrorClass)
}

func TestSpecialAddressesAreRefusedInEverySpelling(t *testing.T) {
	t.Parallel()
	g := guard(t, false)
	for _, host := range forbidden.Hosts() {
		mistakes := g.Check("/url", "http://"+host+":9/")
		require.Len(t, mistakes, 1, host)
		require.Contains(t, mistakes[0].Detail, "SIGNALSTACK_ALLOW_NETWORKS", host)
		_, exchange, err := outbound.NewClient(g, "test").Do(t.Context(), outbound.Request{Method: http.MethodGet, URL: "http://" + host + ":9/"})
		require.Error(t, err, host)
		require.Zero(t, exchange.Status, host)
		require.Equal(t, outbound.ClassBlocked, exchange.ErrorClass, "%s: %v", host, err)
	}
	for _, host := range []string{"127.1", "127.0.1", "10.1", "00000177.0.0.1", "134744072"} { // the last is public
		require.NotEmpty(t, g.Check("/url", "http://"+host+":9/"), host)
	}
	for _, url := range []string{"http://xn--bcher-kva.example/", "http://b\u00fccher.example/", "http://1.example/", "http://0x7f.example/", "http://8.8.8.8/", "http://a-1/"} {
		require.Empty(t, g.Check("/url", url), url)
	}
	require.NotEmpty(t, g.Check("/url", "http://a\u2028b.example/"), "no name")
}

// TestEndsOfEverySpecialNetworkAreRefused dials addresses as they are.
func TestEndsOfEverySpecialNetworkAreRefused(t *testing.T) {
	t.Parallel()
	g := guard(t, false)
	for _, addr := range forbidden.Ends() {
		refused(t, g, "http://"+netip.AddrPortFrom(addr, 9).String()+"/")
	}
}

// names is a DNS server on this machine whose one name has other addresses each time it
// is asked for them.
type names struct {
	resolver *net.Resolver
	asked    atomic.Int64 // questions for IPv4 addresses
}

func serveNames(t *testing.T, answers ...[]string) *names {
	t.Helper()
	var lc net.ListenConfig
	conn, err := lc.ListenPacket(t.Context(), "udp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	n := &names{resolver: &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", conn.LocalAddr().String())
	}}}
	go func() {
		question := make([]byte, 1500)
		for {
			size, from, err := conn.ReadFrom(question)
			if err != nil {
				return // closed
			}
			if answer, ok := n.answer(question[:size], answers); ok {
				_, _ = conn.WriteTo(answer, from)
			}
		}
	}()
	return n
}

// answer answers one question: with the next of the answers where it is for IPv4, the
// last of which repeats, and with that of the same turn where it is for IPv6.
func (n *names) answer(question []byte, answers [][]string) ([]byte, bool) {
	var m dnsmessage.Message
	if err := m.Unpack(question); err != nil || len(m.Questions) != 1 {
		return nil, false
	}
	m.Response, m.Authoritative, m.Additionals = true, true, nil
	q := m.Questions[0]
	at := int(n.asked.Load())
	if q.Type == dnsmessage.TypeA {
		at = int(n.asked.Add(1))
	}
	for _, text := range answers[min(max(at, 1), len(answers))-1] {
		addr, header := netip.MustParseAddr(text), dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class}
		switch {
		case addr.Is4() && q.Type == dnsmessage.TypeA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: addr.As4()}})
		case addr.Is6() && q.Type == dnsmessage.TypeAAAA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AAAAResource{AAAA: addr.As16()}})
		}
	}
	packed, err := m.Pack()
	return packed, err == nil
}

func TestNamesThatLeadToSpecialAddressesAreRefused(t *testing.T) {
	t.Parallel()
	for _, addr := range forbidden.Ends() {
		g := guard(t, false)
		g.Resolve(serveNames(t, []string{addr.String()}).resolver)
		require.Empty(t, g.Check("/url", "http://hooks.example:9/"), "nobody can tell before it is looked up")
		_, exchange, err := outbound.NewClient(g, "test").Do(t.Context(), outbound.Request{Method: http.MethodGet, URL: "http://hooks.example:9/"})
		require.True(t, jobs.IsPermanent(err), "%s: %v", addr, err)
		require.ErrorContains(t, err, "SIGNALSTACK_ALLOW_NETWORKS")
		require.Equal(t, outbound.ClassBlocked, exchange.ErrorClass)
	}
}

// TestNameThatChangesItsMindIsCheckedWhereItLeads has a name that is public for whoever
// looks it up first and this machine for who looks next: the first answer is never what
// lets the second through.
func TestNameThatChangesItsMindIsCheckedWhereItLeads(t *testing.T) {
	t.Parallel()
	reached := false
	_, port, err := net.SplitHostPort(strings.TrimPrefix(receiver(t, func(http.ResponseWriter, *http.Request) { reached = true }), "http://"))
	require.NoError(t, err)
	n := serveNames(t, []string{"93.184.215.14"}, []string{"127.0.0.1"})
	g := guard(t, false)
	g.Resolve(n.resolver)
	url := "http://rebinding.example:" + port + "/"
	require.Empty(t, g.Check("/url", url))
	addrs, err := n.resolver.LookupHost(t.Context(), "rebinding.example")
	require.NoError(t, err)
	require.Equal(t, []string{"93.184.215.14"}, addrs)
	_, exchange, err := outbound.NewClient(g, "test").Do(t.Context(), outbound.Request{Method: http.MethodGet, URL: url})
	require.True(t, jobs.IsPermanent(err), "%v", err)
	require.Equal(t, outbound.ClassBlocked, exchange.ErrorClass)
	require.False(t, reached)
	require.Equal(t, int64(2), n.asked.Load(), "one look-up for the check of the test, and one that was dialed")
}

// TestOnlyAllowedAddressesOfAnAnswerAreDialed has a name with an address that is
// allowed, where nobody listens or somebody does, and one that is not.
func TestOnlyAllowedAddressesOfAnAnswerAreDialed(t *testing.T) {
	t.Parallel()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	reached := false
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	require.NoError(t, server.Listener.Close())
	server.Listener = l
	server.Start()
	t.Cleanup(server.Close)
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)

	names := serveNames(t, []string{"127.0.0.1", "127.0.0.2"}).resolver
	request := outbound.Request{Method: http.MethodGet, URL: "http://both.example:" + port + "/"}
	g := guard(t, false, "127.0.0.2/32") // where nobody listens
	g.Resolve(names)
	_, _, err = outbound.NewClient(g, "test").Do(t.Context(), request)
	require.Error(t, err)
	require.False(t, reached)
	g = guard(t, false, "127.0.0.1/32")
	g.Resolve(names)
	response, exchange, err := outbound.NewClient(g, "test").Do(t.Context(), request)
	require.NoError(t, err)
	require.Equal(t, 200, response.Status)
	require.Equal(t, l.Addr().String(), exchange.RemoteAddress)
	require.True(t, reached)
}

func TestRedirectsToSpecialAddressesAreNotFollowed(t *testing.T) {
	t.Parallel()
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, target := range []string{"http://169.254.169.254/latest/meta-data/", "http://127.1/", "//[::1]/", "file:///etc/passwd"} {
			url := receiver(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", target)
				w.WriteHeader(status)
			})
			response, exchange, err := get(t, url)
			require.NoError(t, err)
			require.Equal(t, status, response.Status)
			require.Equal(t, target, exchange.Headers["Location"])
			require.Error(t, outbound.Judge(response, func(int) bool { return false }))
		}
	}
}
