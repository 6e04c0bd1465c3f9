package email_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net"
	"net/mail"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/email"
	"github.com/signalstack/signalstack/internal/jobs"
)

const sender = "SignalStack <noreply@signalstack.test>"

func kindOf(t *testing.T, cfg email.Config) jobs.Kind {
	t.Helper()
	kind, err := email.Kind(cfg)
	require.NoError(t, err)
	return kind
}

// jobOf makes a job that a rule made of an event with this data.
func jobOf(payload, data string) jobs.Job {
	return jobs.Job{
		ID: uuid.Must(uuid.NewV7()), Kind: "email", Attempt: 1, Payload: json.RawMessage(payload),
		Event: &jobs.Event{
			ID: uuid.MustParse("0192f3a1-7c1e-7d3a-9b56-3f1f0c2d4e5f"), Type: "order.paid", Source: "shop", Subject: "42",
			Time: time.Date(2026, 1, 31, 23, 30, 0, 0, time.UTC), Data: json.RawMessage(data),
		},
	}
}

// run makes one attempt, which must not take longer than a test may wait.
func run(t *testing.T, kind jobs.Kind, job jobs.Job) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := kind.Run(ctx, job)
	return err
}

const plainPayload = `{"to":"ada@example.com","subject":"Hello","text":"Hi"}`

func TestMessageArrivesWithItsHeadersAndBothBodies(t *testing.T) {
	t.Parallel()
	server := (&mailServer{}).start(t)
	job := jobOf(`{
		"to": ["{{.data.customer.name}} <{{.data.customer.email}}>", "{{get .data \"absent\"}}"], "cc": "cc@example.com",
		"bcc": ["hidden@example.com"], "reply_to": "Support <support@example.com>",
		"subject": "Grüße, {{.data.customer.name}} ✓ {{.event.type}}",
		"text": "Order {{.data.id}} of {{.event.source}}\nat {{.event.time}}: {{.data.price}}\n.\nend",
		"html": "<p title=\"{{.data.note}}\">{{.data.note}}</p><script>var id = {{.data.id}};</script>"
	}`, `{"id": 9007199254740993, "price": 4200.50, "note": "<script>alert(\"1\")</script>", "customer": {"name": "Zoë Ünal", "email": "zoe@example.com"}}`)
	require.NoError(t, run(t, kindOf(t, email.Config{SMTPURL: server.plainURL(), From: sender}), job))

	got := server.only(t)
	require.Equal(t, "noreply@signalstack.test", got.from)
	require.Equal(t, []string{"zoe@example.com", "cc@example.com", "hidden@example.com"}, got.to)
	require.NotContains(t, string(got.raw), "hidden@example.com")
	m := got.open(t)
	to, err := m.AddressList("To")
	require.NoError(t, err)
	require.Equal(t, []*mail.Address{{Name: "Zoë Ünal", Address: "zoe@example.com"}}, to)
	require.Equal(t, "<cc@example.com>", m.Get("Cc"))
	require.Equal(t, `"Support" <support@example.com>`, m.Get("Reply-To"))
	require.Equal(t, `"SignalStack" <noreply@signalstack.test>`, m.Get("From"))
	require.Equal(t, "Grüße, Zoë Ünal ✓ order.paid", m.decoded(t, "Subject"))
	require.Equal(t, "<"+job.ID.String()+"@signalstack.test>", m.Get("Message-Id"))
	require.Equal(t, "auto-generated", m.Get("Auto-Submitted"))
	date, err := m.Date()
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), date, time.Minute)
	require.Equal(t, map[string]string{
		"text/plain": "Order 9007199254740993 of shop\nat 2026-01-31T23:30:00Z: 4200.50\n.\nend",
		"text/html": `<p title="&lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt;">&lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt;</p>` +
			`<script>var id =  9007199254740993 ;</script>`,
	}, m.parts)
}

func TestMessageOfOneBodyAndOfTheJobsOwnData(t *testing.T) {
	t.Parallel()
	server := (&mailServer{}).start(t)
	kind := kindOf(t, email.Config{SMTPURL: server.plainURL(), From: sender})
	job := jobOf(`{"to":"a@example.com","from":"Own <own@other.test>","subject":"s","html":"<b>{{.data}}</b>","data":[1,"<"]}`, `{"not":"this"}`)
	require.NoError(t, run(t, kind, job))
	m := server.only(t).open(t)
	require.Equal(t, map[string]string{"text/html": "<b>[1 &lt;]</b>"}, m.parts)
	require.Equal(t, "<"+job.ID.String()+"@other.test>", m.Get("Message-Id"))
	_, hasCC := m.Header["Cc"]
	require.False(t, hasCC)
}

func TestEveryAttemptHasTheSameMessageID(t *testing.T) {
	t.Parallel()
	first := true
	server := (&mailServer{onData: func() error {
		if first {
			first = false
			return reply(451)
		}
		return nil
	}}).start(t)
	kind, job := kindOf(t, email.Config{SMTPURL: server.plainURL(), From: sender}), jobOf(plainPayload, `{}`)
	require.Error(t, run(t, kind, job))
	require.NoError(t, run(t, kind, job))
	require.NoError(t, run(t, kind, job)) // as after a worker's death
	all := server.all()
	require.Len(t, all, 2)
	require.Equal(t, all[0].open(t).Get("Message-Id"), all[1].open(t).Get("Message-Id"))
}

func TestAnswersOfTheServerDecideWhetherToTryAgain(t *testing.T) {
	t.Parallel()
	always := func(code int) func() error { return func() error { return reply(code) } }
	refuse := func(codes map[string]int) func(string) error {
		return func(to string) error {
			if code, ok := codes[to]; ok {
				return reply(code)
			}
			return nil
		}
	}
	for name, c := range map[string]struct {
		server    *mailServer
		permanent bool
		names     []string
	}{
		"sender 451":               {&mailServer{onMail: always(451)}, false, []string{"451", "noreply@signalstack.test"}},
		"sender 550":               {&mailServer{onMail: always(550)}, true, []string{"550", "noreply@signalstack.test"}},
		"login missing":            {&mailServer{onMail: always(530)}, false, []string{"530"}},
		"recipient 451":            {&mailServer{onRcpt: refuse(map[string]int{"b@example.com": 451})}, false, []string{"451", "b@example.com"}},
		"recipient 550":            {&mailServer{onRcpt: refuse(map[string]int{"b@example.com": 550})}, true, []string{"550", "b@example.com"}},
		"recipients 550, then 451": {&mailServer{onRcpt: refuse(map[string]int{"a@example.com": 550, "c@example.com": 451})}, true, []string{"a@example.com", "c@example.com"}},
		"recipients 451, then 550": {&mailServer{onRcpt: refuse(map[string]int{"a@example.com": 451, "c@example.com": 550})}, true, []string{"a@example.com", "c@example.com"}},
		"message 452":              {&mailServer{onData: always(452)}, false, []string{"452"}},
		"message 554":              {&mailServer{onData: always(554)}, true, []string{"554"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.server.start(t)
			kind := kindOf(t, email.Config{SMTPURL: c.server.plainURL(), From: sender})
			err := run(t, kind, jobOf(`{"to":["a@example.com","b@example.com"],"cc":"c@example.com","subject":"s","text":"t"}`, `{}`))
			require.Error(t, err)
			require.Equal(t, c.permanent, jobs.IsPermanent(err), err)
			for _, n := range c.names {
				require.ErrorContains(t, err, n)
			}
			require.Empty(t, c.server.all(), "all get it or none")
		})
	}
}

func TestLoginTravelsUnderTLS(t *testing.T) {
	t.Parallel()
	conf, roots := certify(t)
	for scheme, implicit := range map[string]bool{"smtp": false, "smtps": true} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			server := (&mailServer{tls: conf, implicit: implicit, login: true}).start(t)
			address := scheme + "://" + url.UserPassword(user, password).String() + "@" + server.addr
			require.NoError(t, run(t, kindOf(t, email.Config{SMTPURL: address, From: sender, RootCAs: roots}), jobOf(plainPayload, `{}`)))
			require.Equal(t, user, server.only(t).user)

			err := run(t, kindOf(t, email.Config{SMTPURL: address, From: sender}), jobOf(plainPayload, `{}`))
			require.ErrorContains(t, err, "certificate")
			require.False(t, jobs.IsPermanent(err))

			wrong := strings.Replace(address, user, "eve", 1)
			err = run(t, kindOf(t, email.Config{SMTPURL: wrong, From: sender, RootCAs: roots}), jobOf(plainPayload, `{}`))
			require.ErrorContains(t, err, "AUTH")
			require.False(t, jobs.IsPermanent(err), "the operator can mend it")
			require.NotContains(t, err.Error(), password)
		})
	}
}

func TestTLSIsMandatoryUnlessTheURLSaysOtherwise(t *testing.T) {
	t.Parallel()
	server := (&mailServer{login: true}).start(t)
	login := url.UserPassword(user, password).String() + "@" + server.addr
	err := run(t, kindOf(t, email.Config{SMTPURL: "smtp://" + login, From: sender}), jobOf(plainPayload, `{}`))
	require.ErrorContains(t, err, "STARTTLS")
	require.False(t, jobs.IsPermanent(err))
	require.Empty(t, server.all())
	require.NoError(t, run(t, kindOf(t, email.Config{SMTPURL: "smtp://" + login + "?tls=none", From: sender}), jobOf(plainPayload, `{}`)))
	require.Equal(t, user, server.only(t).user)
}

func TestPasswordIsLeftOutOfTheServersAnswer(t *testing.T) {
	t.Parallel()
	for _, echo := range []string{password, base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))} {
		addr := speak(t, "220 hello", map[string]string{"EHLO": "250-hello\r\n250 AUTH PLAIN", "AUTH": "535 I do not like " + echo, "*": "501 well", "QUIT": "221 bye"})
		address := "smtp://" + url.UserPassword(user, password).String() + "@" + addr + "?tls=none"
		err := run(t, kindOf(t, email.Config{SMTPURL: address, From: sender}), jobOf(plainPayload, `{}`))
		require.ErrorContains(t, err, "refused the login")
		require.NotContains(t, err.Error(), echo)
	}
}

// Each server stops answering at another step.
func TestAttemptEndsWithItsContext(t *testing.T) {
	t.Parallel()
	yes := map[string]string{"EHLO": "250 hello", "MAIL": "250 ok", "RCPT": "250 ok", "DATA": "354 go on", ".": "250 ok", "QUIT": "221 bye"}
	for _, step := range []string{"", "EHLO", "MAIL", "RCPT", "DATA", "."} {
		t.Run("hangs at "+step, func(t *testing.T) {
			t.Parallel()
			greeting, answers := "220 hello", map[string]string{}
			for k, v := range yes {
				answers[k] = v
			}
			if step == "" {
				greeting = "hang"
			} else {
				answers[step] = "hang"
			}
			kind := kindOf(t, email.Config{SMTPURL: "smtp://" + speak(t, greeting, answers) + "?tls=none", From: sender})
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			start := time.Now()
			_, err := kind.Run(ctx, jobOf(plainPayload, `{}`))
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.False(t, jobs.IsPermanent(err))
			require.Less(t, time.Since(start), 10*time.Second)
		})
	}
}

func TestBrokenConnectionsAreTriedAgain(t *testing.T) {
	t.Parallel()
	yes := map[string]string{"EHLO": "250 hello", "MAIL": "250 ok", "RCPT": "250 ok", "DATA": "354 go on", ".": "250 ok"}
	for _, step := range []string{"", "EHLO", "MAIL", "RCPT", "DATA", "."} {
		t.Run("closes at "+step, func(t *testing.T) {
			t.Parallel()
			greeting, answers := "220 hello", map[string]string{}
			for k, v := range yes {
				answers[k] = v
			}
			if step == "" {
				greeting = "close"
			} else {
				answers[step] = "close"
			}
			err := run(t, kindOf(t, email.Config{SMTPURL: "smtp://" + speak(t, greeting, answers) + "?tls=none", From: sender}), jobOf(plainPayload, `{}`))
			require.Error(t, err)
			require.False(t, jobs.IsPermanent(err), err)
		})
	}
	t.Run("refuses to talk", func(t *testing.T) {
		t.Parallel()
		err := run(t, kindOf(t, email.Config{SMTPURL: "smtp://" + speak(t, "554 no mail here", nil) + "?tls=none", From: sender}), jobOf(plainPayload, `{}`))
		require.ErrorContains(t, err, "554")
		require.False(t, jobs.IsPermanent(err), "a server that is set up wrong can be mended")
	})
	t.Run("nobody listens", func(t *testing.T) {
		t.Parallel()
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		require.NoError(t, listener.Close())
		err = run(t, kindOf(t, email.Config{SMTPURL: "smtp://" + listener.Addr().String() + "?tls=none", From: sender}), jobOf(plainPayload, `{}`))
		require.ErrorContains(t, err, "connect to the mail server")
		require.False(t, jobs.IsPermanent(err))
	})
}

// What follows the answer to the message does not change that it was taken.
func TestMessageIsSentWhenOnlyTheGoodbyeFails(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"close", "hang", "500 what?"} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			addr := speak(t, "220 hello", map[string]string{
				"EHLO": "250 hello", "MAIL": "250 ok", "RCPT": "250 ok", "DATA": "354 go on", ".": "250 ok", "QUIT": end, "RSET": end,
			})
			require.NoError(t, run(t, kindOf(t, email.Config{SMTPURL: "smtp://" + addr + "?tls=none", From: sender}), jobOf(plainPayload, `{}`)))
		})
	}
}

func TestMissingSettingsAreWaitedFor(t *testing.T) {
	t.Parallel()
	err := run(t, kindOf(t, email.Config{From: sender}), jobOf(plainPayload, `{}`))
	require.ErrorContains(t, err, "SIGNALSTACK_SMTP_URL")
	require.False(t, jobs.IsPermanent(err))
	server := (&mailServer{}).start(t)
	err = run(t, kindOf(t, email.Config{SMTPURL: server.plainURL()}), jobOf(plainPayload, `{}`))
	require.ErrorContains(t, err, "SIGNALSTACK_MAIL_FROM")
	require.False(t, jobs.IsPermanent(err))
}

func TestBadSettingsAreRefusedWithoutThePassword(t *testing.T) {
	t.Parallel()
	for _, address := range []string{
		"http://u:hunter2@h", "smtp://", "smtp://u:hunter2@", "smtp://u:hun%zzter2@h", "smtp://u:hunter2@h:port", "smtp://u:hunter2@h:0",
		"smtp://u:hunter2@h:99999", "smtp://u@h", "smtp://:hunter2@h", "smtp://u:hunter2@h?tls=maybe", "smtp://u:hunter2@h?tsl=none",
		"smtps://u:hunter2@h?tls=none", "smtp://u:hunter2@h/path", "smtp://u:hunter2/@h", "smtp://u:hunter2@h#x", "u:hunter2@h", "smtp://u:hunter2@h?%",
	} {
		_, err := email.Kind(email.Config{SMTPURL: address})
		require.ErrorContains(t, err, "SIGNALSTACK_SMTP_URL", address)
		require.NotContains(t, err.Error(), "hunter2")
	}
	for _, address := range []string{"smtp://h", "smtp://u:p@h:2525?tls=none", "smtp://u:p@[::1]:25?tls=starttls", "smtps://h/"} {
		_, err := email.Kind(email.Config{SMTPURL: address})
		require.NoError(t, err, address)
	}
	_, err := email.Kind(email.Config{From: "nobody"})
	require.ErrorContains(t, err, "SIGNALSTACK_MAIL_FROM")
}
