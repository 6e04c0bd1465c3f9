package email_test

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/email"
	"github.com/signalstack/signalstack/internal/jobs"
)

func messageIDs(t *testing.T, s *mailServer) []string {
	t.Helper()
	var ids []string
	for _, e := range s.all() {
		ids = append(ids, e.open(t).Get("Message-Id"))
	}
	return ids
}

func TestManyMessagesShareFewConnections(t *testing.T) {
	t.Parallel()
	conf, roots := certify(t)
	server := (&mailServer{tls: conf, login: true}).start(t)
	address := "smtp://" + url.UserPassword(user, password).String() + "@" + server.addr + "?connections=3"
	kind := kindOf(t, email.Config{SMTPURL: address, From: sender, RootCAs: roots})
	want := make([]string, 50)
	errs := make([]error, len(want))
	var wg sync.WaitGroup
	for i := range want {
		job := jobOf(plainPayload, `{}`)
		want[i] = "<" + job.ID.String() + "@signalstack.test>"
		wg.Go(func() { _, errs[i] = kind.Run(t.Context(), job) })
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	require.ElementsMatch(t, want, messageIDs(t, server), "each once")
	for _, e := range server.all() {
		require.Equal(t, user, e.user, "the login holds for each message")
	}
	conns, _, most := server.counted()
	require.LessOrEqual(t, conns, 3*2, "STARTTLS greets twice")
	require.LessOrEqual(t, most, 3*2)
}

func TestConnectionIsUsedAgainAfterARefusal(t *testing.T) {
	t.Parallel()
	server := (&mailServer{onRcpt: func(to string) error {
		if strings.HasPrefix(to, "nobody") {
			return reply(550)
		}
		return nil
	}}).start(t)
	kind := kindOf(t, email.Config{SMTPURL: server.plainURL(), From: sender})
	require.Error(t, run(t, kind, jobOf(`{"to":["ada@example.com","nobody@example.com"],"subject":"s","text":"t"}`, `{}`)))
	require.NoError(t, run(t, kind, jobOf(plainPayload, `{}`)))
	require.Equal(t, []string{"ada@example.com"}, server.only(t).to, "nothing is left of the refused one")
	conns, _, _ := server.counted()
	require.Equal(t, 1, conns)
}

// The server ends the kept connection in each way, before the second message is in
// full on its way. It is sent over a new connection in the same attempt, once.
func TestKeptConnectionThatEndedIsReplaced(t *testing.T) {
	t.Parallel()
	for name, onStep := range map[string]func(step string, message int, c *smtp.Conn) error{
		"closed when idle": nil,
		"closed at MAIL": func(step string, message int, c *smtp.Conn) error {
			if step == "mail" && message == 2 {
				_ = c.Close()
			}
			return nil
		},
		"421 at MAIL": func(step string, message int, _ *smtp.Conn) error {
			if step == "mail" && message == 2 {
				return reply(421)
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var kept atomic.Pointer[smtp.Conn]
			server := &mailServer{onStep: func(step string, message int, c *smtp.Conn) error {
				kept.Store(c)
				if onStep == nil {
					return nil
				}
				return onStep(step, message, c)
			}}
			server.start(t)
			kind := kindOf(t, email.Config{SMTPURL: server.plainURL(), From: sender})
			first, second := jobOf(plainPayload, `{}`), jobOf(plainPayload, `{}`)
			require.NoError(t, run(t, kind, first))
			if onStep == nil {
				require.NoError(t, kept.Load().Close())
			}
			require.NoError(t, run(t, kind, second))
			require.Equal(t, []string{"<" + first.ID.String() + "@signalstack.test>", "<" + second.ID.String() + "@signalstack.test>"}, messageIDs(t, server))
			conns, _, _ := server.counted()
			require.Equal(t, 2, conns)
		})
	}
}

// Nobody knows whether a server that dies after the message took it, so the attempt
// does not send it again by itself.
func TestMessageIsNotSentTwiceInOneAttempt(t *testing.T) {
	t.Parallel()
	var came atomic.Int32
	server := (&mailServer{onStep: func(step string, message int, c *smtp.Conn) error {
		if step == "data" {
			came.Add(1)
			if message == 2 {
				_ = c.Close()
			}
		}
		return nil
	}}).start(t)
	kind := kindOf(t, email.Config{SMTPURL: server.plainURL(), From: sender})
	require.NoError(t, run(t, kind, jobOf(plainPayload, `{}`)))
	err := run(t, kind, jobOf(plainPayload, `{}`))
	require.ErrorContains(t, err, "the connection failed")
	require.False(t, jobs.IsPermanent(err))
	require.EqualValues(t, 2, came.Load())
}

// A new connection that fails is left to the next attempt: a server that is down is
// not asked twice.
func TestNewConnectionThatEndsIsNotReplaced(t *testing.T) {
	t.Parallel()
	server := (&mailServer{onStep: func(step string, _ int, _ *smtp.Conn) error { return reply(421) }}).start(t)
	err := run(t, kindOf(t, email.Config{SMTPURL: server.plainURL(), From: sender}), jobOf(plainPayload, `{}`))
	require.ErrorContains(t, err, "421")
	require.False(t, jobs.IsPermanent(err))
	conns, _, _ := server.counted()
	require.Equal(t, 1, conns)
}

func TestHungConnectionGivesItsPlaceBack(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	var once atomic.Bool
	server := &mailServer{onStep: func(step string, _ int, _ *smtp.Conn) error {
		if step == "data" && once.CompareAndSwap(false, true) {
			<-hold
		}
		return nil
	}}
	server.start(t)
	t.Cleanup(func() { close(hold) })
	kind := kindOf(t, email.Config{SMTPURL: server.plainURL() + "&connections=1", From: sender})
	ctx, cancel := context.WithCancel(t.Context())
	hung := make(chan error)
	go func() {
		_, err := kind.Run(ctx, jobOf(plainPayload, `{}`))
		hung <- err
	}()
	require.Eventually(t, once.Load, 30*time.Second, time.Millisecond)

	// Another message waits for the place as long as it may.
	short, end := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer end()
	_, err := kind.Run(short, jobOf(plainPayload, `{}`))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.False(t, jobs.IsPermanent(err))

	cancel()
	require.ErrorIs(t, <-hung, context.Canceled)
	require.NoError(t, run(t, kind, jobOf(plainPayload, `{}`)))
}

func TestConnectionEndsAfterItsMessages(t *testing.T) {
	t.Parallel()
	server := (&mailServer{}).start(t)
	kind, err := email.KindKeeping(email.Config{SMTPURL: server.plainURL(), From: sender}, 3, time.Hour)
	require.NoError(t, err)
	for range 7 {
		require.NoError(t, run(t, kind, jobOf(plainPayload, `{}`)))
	}
	require.Len(t, server.all(), 7)
	conns, _, _ := server.counted()
	require.Equal(t, 3, conns)
	require.Eventually(t, func() bool { _, open, _ := server.counted(); return open == 1 }, 30*time.Second, time.Millisecond)
}

func TestIdleConnectionIsEnded(t *testing.T) {
	t.Parallel()
	server := (&mailServer{}).start(t)
	kind, err := email.KindKeeping(email.Config{SMTPURL: server.plainURL(), From: sender}, 100, time.Millisecond)
	require.NoError(t, err)
	for range 3 {
		require.NoError(t, run(t, kind, jobOf(plainPayload, `{}`)))
		require.Eventually(t, func() bool { _, open, _ := server.counted(); return open == 0 }, 30*time.Second, time.Millisecond)
	}
	require.Len(t, server.all(), 3)
	conns, _, _ := server.counted()
	require.Equal(t, 3, conns)
}

// A server that says one byte after the other never comes to an end by itself.
func TestDrippingServerEndsWithTheAttempt(t *testing.T) {
	t.Parallel()
	listener := listen(t)
	var wg sync.WaitGroup
	t.Cleanup(wg.Wait)
	t.Cleanup(func() { _ = listener.Close() })
	wg.Go(func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		drip(conn)
	})
	kind := kindOf(t, email.Config{SMTPURL: "smtp://" + listener.Addr().String() + "?tls=none", From: sender})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := kind.Run(ctx, jobOf(plainPayload, `{}`))
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// drip writes until the other side is gone.
func drip(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	for tick := time.NewTicker(5 * time.Millisecond); ; <-tick.C {
		if _, err := fmt.Fprint(conn, "2"); err != nil {
			return
		}
	}
}

// What a kept connection spares: the same messages over one connection each.
func BenchmarkSend(b *testing.B) {
	conf, roots := certify(b)
	for _, c := range []struct {
		name     string
		tls      bool
		messages int
	}{{"plain/connection each", false, 1}, {"plain/kept", false, 100}, {"TLS and login/connection each", true, 1}, {"TLS and login/kept", true, 100}} {
		b.Run(c.name, func(b *testing.B) {
			server := &mailServer{login: c.tls, tls: conf, implicit: c.tls}
			server.start(b)
			address := server.plainURL()
			if c.tls {
				address = "smtps://" + url.UserPassword(user, password).String() + "@" + server.addr
			}
			kind, err := email.KindKeeping(email.Config{SMTPURL: address, From: sender, RootCAs: roots}, c.messages, time.Minute)
			require.NoError(b, err)
			b.SetParallelism(5) // jobs at once, for each core
			b.RunParallel(func(next *testing.PB) {
				for next.Next() {
					if _, err := kind.Run(b.Context(), jobOf(plainPayload, `{}`)); err != nil {
						b.Error(err)
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "mails/s")
		})
	}
}
