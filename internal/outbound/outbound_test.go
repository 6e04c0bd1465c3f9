package outbound_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/fault"
	"github.com/signalstack/signalstack/internal/jobs"
	"github.com/signalstack/signalstack/internal/outbound"
)

func guard(t *testing.T, loopback bool, allow ...string) *outbound.Guard {
	t.Helper()
	g, err := outbound.NewGuard(allow, loopback)
	require.NoError(t, err)
	return g
}

// get sends one GET with a client that may reach this machine.
func get(t *testing.T, url string) (outbound.Response, *jobs.Exchange, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return outbound.NewClient(guard(t, true), "test").Do(ctx, outbound.Request{Method: http.MethodGet, URL: url})
}

func receiver(t *testing.T, handle http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handle)
	t.Cleanup(server.Close)
	return server.URL
}

func TestSpecialAddressesAreRefusedWhenStoredAndWhenDialed(t *testing.T) {
	t.Parallel()
	g := guard(t, false)
	client := outbound.NewClient(g, "test")
	for _, host := range []string{
		"127.0.0.1", "127.1.2.3", "10.0.0.1", "100.64.0.1", "169.254.169.254", "172.16.0.1", "192.168.1.1", "192.0.0.1", "192.0.2.1",
		"198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "0.0.0.0",
		"[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:10.0.0.1]", "[fc00::1]", "[fd00:ec2::254]", "[fe80::1]", "[ff02::1]", "[2001:db8::1]",
		"[64:ff9b::7f00:1]", "[2002:7f00:1::]", "localhost", "a.localhost", "LOCALHOST",
	} {
		url := "http://" + host + ":9/"
		mistakes := g.Check("/url", url)
		require.Len(t, mistakes, 1, host)
		require.Equal(t, "/url", mistakes[0].Pointer)
		require.Contains(t, mistakes[0].Detail, "SIGNALSTACK_ALLOW_NETWORKS", host)
		if strings.HasSuffix(host, ".localhost") {
			continue // not every resolver knows it
		}
		_, exchange, err := client.Do(t.Context(), outbound.Request{Method: http.MethodGet, URL: url})
		require.True(t, jobs.IsPermanent(err), "%s: %v", host, err)
		require.ErrorContains(t, err, "SIGNALSTACK_ALLOW_NETWORKS", host)
		require.Zero(t, exchange.Status)
	}
	for _, url := range []string{"https://example.com/hooks?a=1", "http://8.8.8.8/", "https://[2606:4700::1111]:8443/x"} {
		require.Empty(t, g.Check("/url", url), url)
	}
}

// TestNamesAreCheckedAfterTheyResolve uses a name that leads to this machine: it
// looks harmless until it is dialed.
func TestNamesAreCheckedAfterTheyResolve(t *testing.T) {
	t.Parallel()
	url := receiver(t, func(http.ResponseWriter, *http.Request) {})
	_, port, err := net.SplitHostPort(strings.TrimPrefix(url, "http://"))
	require.NoError(t, err)
	request := outbound.Request{Method: http.MethodGet, URL: "http://localhost:" + port}
	_, _, err = outbound.NewClient(guard(t, false), "test").Do(t.Context(), request)
	require.True(t, jobs.IsPermanent(err), "%v", err)
	for _, allow := range []string{"127.0.0.0/8", "127.0.0.1", "localhost", "LocalHost"} {
		response, _, err := outbound.NewClient(guard(t, false, allow, "::1"), "test").Do(t.Context(), request)
		require.NoError(t, err, allow)
		require.Equal(t, 200, response.Status)
	}
}

func TestURLsThatAreNoneAreRefused(t *testing.T) {
	t.Parallel()
	g := guard(t, true)
	for _, url := range []string{
		"", "x", "ftp://example.com/", "javascript:alert(1)", "file:///etc/passwd", "http://", "http:///x", "//example.com", "http://user:pass@example.com/",
		"http://exa mple.com/", "http://example.com/#top", "http://example.com/\r\nX: y", "https://example.com/" + strings.Repeat("x", 2100), "http://[::1",
		"http://example.com:0/", "http://example.com:65536/", "http://a..b/", "http://.example.com/", "http://./", "http://example.com../",
	} {
		require.NotEmpty(t, g.Check("/url", url), "%q", url)
	}
	require.Empty(t, g.Check("/url", "http://127.0.0.1:8080/"))
	require.Empty(t, g.Check("/url", "http://localhost:8080/"))
	require.Empty(t, g.Check("/url", "http://example.com.:65535/"))
	require.Empty(t, g.Check("/url", "http://[::1]:80/"))
	_, err := outbound.NewGuard([]string{"10.0.0.0/99"}, false)
	require.Error(t, err)
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	followed := false
	url := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		if followed = followed || r.URL.Path == "/next"; !followed {
			http.Redirect(w, r, "/next", http.StatusTemporaryRedirect)
		}
	})
	response, exchange, err := get(t, url)
	require.NoError(t, err)
	require.False(t, followed)
	require.Equal(t, 307, response.Status)
	require.Equal(t, "/next", exchange.Headers["Location"])
	require.ErrorContains(t, outbound.Judge(response, func(int) bool { return false }), "redirects are not followed")
}

func TestAnswersAreCapped(t *testing.T) {
	t.Parallel()
	url := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/long":
			for range 1000 {
				if _, err := w.Write([]byte(strings.Repeat("ü", 1<<10))); err != nil {
					return
				}
			}
		case "/odd":
			_, _ = w.Write([]byte("\xff\x00ok"))
		case "/headers":
			w.Header().Set("Big", strings.Repeat("x", 100<<10))
		}
	})
	_, exchange, err := get(t, url+"/long")
	require.NoError(t, err)
	require.True(t, exchange.Truncated)
	require.LessOrEqual(t, len(exchange.Body), 16<<10)
	require.NotContains(t, exchange.Body, "\uFFFD", "no character is cut in two")
	_, exchange, err = get(t, url+"/odd")
	require.NoError(t, err)
	require.Equal(t, "\uFFFD\x00ok", exchange.Body)
	_, _, err = get(t, url+"/headers")
	require.Error(t, err)
	require.False(t, jobs.IsPermanent(err))
}

func TestSilentReceiverCostsNoMoreThanTheAttemptsTime(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	url := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/drip" {
			w.WriteHeader(http.StatusOK)
			w.(http.Flusher).Flush()
		}
		<-release
	})
	t.Cleanup(func() { close(release) })
	client := outbound.NewClient(guard(t, true), "test")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, _, err := client.Do(ctx, outbound.Request{Method: http.MethodGet, URL: url})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	ctx, cancel = context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	response, exchange, err := client.Do(ctx, outbound.Request{Method: http.MethodGet, URL: url + "/drip"})
	require.NoError(t, err, "the status came, and it counts")
	require.Equal(t, 200, response.Status)
	require.True(t, exchange.Truncated)
}

func TestRefusedConnectionMayBeTriedAgain(t *testing.T) {
	t.Parallel()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	url := "http://" + l.Addr().String()
	require.NoError(t, l.Close())
	_, _, err = get(t, url)
	require.Error(t, err)
	require.False(t, jobs.IsPermanent(err))
}

func TestProxyOfTheEnvironmentIsIgnored(t *testing.T) {
	asked := false
	proxy := receiver(t, func(http.ResponseWriter, *http.Request) { asked = true })
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "ALL_PROXY"} {
		t.Setenv(name, proxy)
	}
	_, _, err := outbound.NewClient(guard(t, false), "test").Do(t.Context(), outbound.Request{Method: http.MethodGet, URL: "http://10.1.2.3/"})
	require.True(t, jobs.IsPermanent(err), "%v", err)
	require.False(t, asked)
}

func TestSecretsStayOutOfTheRecord(t *testing.T) {
	t.Parallel()
	var sent http.Header
	url := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		sent = r.Header
		w.Header().Set("Set-Cookie", "session=hunter2")
	})
	_, exchange, err := outbound.NewClient(guard(t, true), "1.2").Do(t.Context(), outbound.Request{
		Method: http.MethodPost, URL: url, Body: []byte("{}"), Hidden: []string{"authorization"},
		Header: http.Header{"Authorization": {"Bearer hunter2"}, "X-Plain": {"a"}},
	})
	require.NoError(t, err)
	require.Equal(t, "Bearer hunter2", sent.Get("Authorization"))
	require.Equal(t, "SignalStack/1.2", sent.Get("User-Agent"))
	require.Empty(t, sent.Get("Accept-Encoding"), "nothing is decompressed")
	require.Equal(t, map[string]string{"Authorization": "****", "X-Plain": "a"}, exchange.RequestHeaders)
	require.NotContains(t, fmt.Sprint(exchange), "hunter2")
}

func TestRetryAfterIsReadInBothForms(t *testing.T) {
	t.Parallel()
	in := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }
	for value, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, " 7 ": 7 * time.Second, "0": 0, "-3": 0, "soon": 0, "1.5": 0,
		"999999999999": 24 * time.Hour, "99999999999999999999999": 0,
		in(time.Minute): time.Minute, in(-time.Minute): 0, in(1000 * time.Hour): 24 * time.Hour,
	} {
		url := receiver(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", value)
			w.WriteHeader(http.StatusServiceUnavailable)
		})
		response, _, err := get(t, url)
		require.NoError(t, err)
		require.InDelta(t, want.Seconds(), response.RetryAfter.Seconds(), 2, "%q", value)
	}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	gone := func(status int) bool { return status == 410 }
	for _, status := range []int{200, 201, 204, 299} {
		require.NoError(t, outbound.Judge(outbound.Response{Status: status}, gone))
	}
	for _, status := range []int{199, 300, 302, 400, 404, 429, 500, 503, 999} {
		err := outbound.Judge(outbound.Response{Status: status}, gone)
		require.ErrorContains(t, err, fmt.Sprint(status))
		require.False(t, jobs.IsPermanent(err))
	}
	require.True(t, jobs.IsPermanent(outbound.Judge(outbound.Response{Status: 410, RetryAfter: time.Hour}, gone)))
	require.Equal(t, time.Hour, jobs.AskedDelay(outbound.Judge(outbound.Response{Status: 429, RetryAfter: time.Hour}, gone)))
	require.Zero(t, jobs.AskedDelay(errors.New("other")))
}

func TestHeadersThatMayNotBeSet(t *testing.T) {
	t.Parallel()
	require.Empty(t, outbound.CheckHeaders("/headers", map[string]string{"X-Team": "a", "Authorization": "Bearer x"}, "Webhook-*"))
	bad := map[string]string{
		"Host": "a", "content-length": "1", "Transfer-Encoding": "chunked", "Connection": "x", "webhook-id": "1", "WEBHOOK-SIGNATURE": "x",
		"a b": "x", "": "x", "X-Break": "a\r\nHost: b", "X-Nul": "a\x00", "X-Long": strings.Repeat("x", 5000), "a/b~": "x",
	}
	require.Len(t, outbound.CheckHeaders("/headers", bad, "Webhook-*"), len(bad))
	require.Len(t, outbound.CheckHeaders("/headers", map[string]string{"X-A": "1", "x-a": "2"}), 1)
	many := map[string]string{}
	for i := range 60 {
		many[fmt.Sprintf("X-%d", i)] = "1"
	}
	require.Equal(t, []fault.Detail{{Pointer: "/headers", Detail: "must have at most 50 headers"}}, outbound.CheckHeaders("/headers", many))
}
