package email_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"net/textproto"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/email"
	"github.com/signalstack/signalstack/internal/jobs"
)

// leaf is a part of a message that has no parts itself.
type leaf struct {
	within string // the media types around it
	header textproto.MIMEHeader
	body   string
}

func leavesOf(t *testing.T, raw []byte) []leaf {
	t.Helper()
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	require.NoError(t, err)
	return walk(t, "", textproto.MIMEHeader(m.Header), m.Body)
}

func walk(t *testing.T, within string, header textproto.MIMEHeader, body io.Reader) []leaf {
	t.Helper()
	media, params, err := mime.ParseMediaType(header.Get("Content-Type"))
	require.NoError(t, err)
	if !strings.HasPrefix(media, "multipart/") {
		switch header.Get("Content-Transfer-Encoding") {
		case "base64":
			body = base64.NewDecoder(base64.StdEncoding, body)
		case "quoted-printable":
			body = quotedprintable.NewReader(body)
		}
		b, err := io.ReadAll(body)
		require.NoError(t, err)
		return []leaf{{within: within, header: header, body: string(b)}}
	}
	var all []leaf
	for r := multipart.NewReader(body, params["boundary"]); ; {
		part, err := r.NextRawPart()
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err)
		all = append(all, walk(t, within+"/"+strings.TrimPrefix(media, "multipart/"), part.Header, part)...)
	}
}

func TestAttachmentsArriveByteForByte(t *testing.T) {
	t.Parallel()
	server := (&mailServer{}).start(t)
	every := make([]byte, 256*100)
	for i := range every {
		every[i] = byte(i)
	}
	logo := []byte("\x89PNG\r\n.\r\n")
	job := jobOf(`{"to":"ada@example.com","subject":"Invoice","text":"plain","html":"<img src=\"cid:logo\">","attachments":[
		{"filename":"Rechnung {{.data.no}} für \u00dcnal.pdf","content":"{{.data.pdf}}"},
		{"filename":"logo.png","content":"`+base64.RawURLEncoding.EncodeToString(logo)+`","content_id":"logo"},
		{"filename":"data","content":"YQ=="},
		{"filename":"notes.txt","content":"w7w=","content_type":"text/plain; charset=utf-8"}]}`,
		`{"no":7,"pdf":"`+base64.StdEncoding.EncodeToString(every)+`"}`)
	require.NoError(t, run(t, kindOf(t, email.Config{SMTPURL: server.plainURL(), From: sender}), job))

	leaves := leavesOf(t, server.only(t).raw)
	require.Len(t, leaves, 6)
	for i, want := range []struct{ within, media, disposition, filename, id, body string }{
		{"/mixed/related/alternative", "text/plain", "", "", "", "plain"},
		{"/mixed/related/alternative", "text/html", "", "", "", `<img src="cid:logo">`},
		{"/mixed/related", "image/png", "inline", "logo.png", "<logo>", string(logo)},
		{"/mixed", "application/pdf", "attachment", "Rechnung 7 für Ünal.pdf", "", string(every)},
		{"/mixed", "application/octet-stream", "attachment", "data", "", "a"},
		{"/mixed", "text/plain", "attachment", "notes.txt", "", "ü"},
	} {
		got := leaves[i]
		media, _, err := mime.ParseMediaType(got.header.Get("Content-Type"))
		require.NoError(t, err)
		require.Equal(t, want.within+" "+want.media, got.within+" "+media)
		require.Equal(t, want.body, got.body)
		require.Equal(t, want.id, got.header.Get("Content-Id"))
		if want.disposition == "" {
			continue
		}
		disposition, params, err := mime.ParseMediaType(got.header.Get("Content-Disposition"))
		require.NoError(t, err)
		require.Equal(t, want.disposition, disposition)
		require.Equal(t, want.filename, params["filename"])
	}
	for line := range bytes.Lines(server.only(t).raw) {
		require.LessOrEqual(t, len(line), 1000, "RFC 5322, section 2.1.1")
	}
}

func TestAttachmentsThatAreNone(t *testing.T) {
	t.Parallel()
	kind := kindOf(t, email.Config{SMTPURL: "smtp://127.0.0.1:1", From: sender})
	many := "[" + strings.Repeat(`{"filename":"a","content":"YQ=="},`, 20) + `{"filename":"a","content":"YQ=="}]`
	for attachments, pointers := range map[string][]string{
		`null`: nil, `[]`: nil, `[{"filename":"a.txt","content":"YQ"}]`: nil, `[{"filename":"{{.data.x}}","content":"{{.data.y}}"}]`: nil,
		`{}`:                              {"/attachments"},
		many:                              {"/attachments"},
		`[7]`:                             {"/attachments/0"},
		`[null]`:                          {"/attachments/0"},
		`[{}]`:                            {"/attachments/0/content", "/attachments/0/filename"},
		`[{"filename":"a.txt"}]`:          {"/attachments/0/content"},
		`[{"filename":7,"content":true}]`: {"/attachments/0/content", "/attachments/0/filename"},
		`[{"filename":"a","content":"YQ==","path":"/etc/passwd"}]`:                                      {"/attachments/0/path"},
		`[{"filename":"a","content":"no base64!"}]`:                                                     {"/attachments/0/content"},
		`[{"filename":"../a","content":"YQ=="},{"filename":"a\r\nX: 1","content":"YQ=="}]`:              {"/attachments/0/filename", "/attachments/1/filename"},
		`[{"filename":"` + strings.Repeat("ü", 126) + `","content":"YQ=="}]`:                            {"/attachments/0/filename"},
		`[{"filename":"a","content":"YQ==","content_type":"text"}]`:                                     {"/attachments/0/content_type"},
		`[{"filename":"a","content":"YQ==","content_type":"multipart/mixed"}]`:                          {"/attachments/0/content_type"},
		`[{"filename":"a","content":"YQ==","content_type":"text/plain\r\nBcc: eve@x.y"}]`:               {"/attachments/0/content_type"},
		`[{"filename":"a","content":"YQ==","content_id":"a>\r\nBcc: e@x.y"}]`:                           {"/attachments/0/content_id"},
		`[{"filename":"{{","content":"{{.data.y"}]`:                                                     {"/attachments/0/filename", "/attachments/0/content"},
		`[{"filename":"a","content":"` + base64.StdEncoding.EncodeToString(make([]byte, 8<<20)) + `"}]`: {"/attachments/0/content"},
	} {
		name := attachments[:min(len(attachments), 80)]
		payload := json.RawMessage(`{"to":"a@example.com","subject":"s","text":"t","attachments":` + attachments + `}`)
		var found []string
		for _, m := range kind.Check(payload, jobs.Later{Event: true}) {
			found = append(found, m.Pointer)
		}
		if len(attachments) > 8<<20 { // how large all are together is seen when they are made
			_, err := kind.Run(t.Context(), jobOf(string(payload), `{}`))
			require.ErrorContains(t, err, "larger than")
			require.True(t, jobs.IsPermanent(err))
			continue
		}
		require.Equal(t, pointers, found, name)
	}
	for data, names := range map[string]string{
		`{"x":"a.txt","y":"no base64!"}`:       "attachments/0/content must be the bytes",
		`{"x":"a\r\nBcc: eve@x.y","y":"YQ=="}`: "attachments/0/filename must not hold control characters",
		`{"x":"","y":"YQ=="}`:                  "attachments/0/filename must be the name of a file",
		`{"y":"YQ=="}`:                         "attachments/0/filename cannot be rendered",
	} {
		_, err := kind.Run(t.Context(), jobOf(`{"to":"a@example.com","subject":"s","text":"t","attachments":[{"filename":"{{.data.x}}","content":"{{.data.y}}"}]}`, data))
		require.ErrorContains(t, err, names)
		require.True(t, jobs.IsPermanent(err))
	}
}

func TestAddressesBeyondASCII(t *testing.T) {
	t.Parallel()
	old, modern := (&mailServer{}).start(t), (&mailServer{utf8: true}).start(t)
	oldKind := kindOf(t, email.Config{SMTPURL: old.plainURL(), From: sender})
	modernKind := kindOf(t, email.Config{SMTPURL: modern.plainURL(), From: "Büro <post@bücher.example>"})

	// A domain goes everywhere.
	domain := jobOf(`{"to":"Ada <ada@bücher.example>","subject":"s","text":"t"}`, `{}`)
	require.NoError(t, run(t, oldKind, domain))
	require.Equal(t, []string{"ada@xn--bcher-kva.example"}, old.only(t).to)
	require.NoError(t, run(t, modernKind, domain))
	require.Equal(t, "post@xn--bcher-kva.example", modern.only(t).from)
	require.Equal(t, "<"+domain.ID.String()+"@xn--bcher-kva.example>", modern.only(t).open(t).Get("Message-Id"))
	require.False(t, modern.only(t).utf8, "a message that asks for it cannot be passed on to servers without")

	// A mailbox only to servers that say so.
	mailbox := jobOf(`{"to":"Ünal <ünal@example.com>","subject":"s","text":"t"}`, `{}`)
	err := run(t, oldKind, mailbox)
	require.ErrorContains(t, err, "SMTPUTF8")
	require.True(t, jobs.IsPermanent(err))
	require.NoError(t, run(t, modernKind, mailbox))
	all := modern.all()
	require.Equal(t, []string{"ünal@example.com"}, all[1].to)
	require.True(t, all[1].utf8)

	require.NotEmpty(t, oldKind.Check(json.RawMessage(`{"to":"a@-bü_cher.example","subject":"s","text":"t"}`), jobs.Later{}))
}

func TestResultSaysWhatTheServerAnswered(t *testing.T) {
	t.Parallel()
	addr := speak(t, "220 hello", map[string]string{
		"EHLO": "250 hello", "MAIL": "250 ok", "RCPT": "250 ok", "DATA": "354 go on", ".": "250 2.0.0 Ok: queued as 4F2A", "QUIT": "221 bye",
	})
	job := jobOf(plainPayload, `{}`)
	result, err := kindOf(t, email.Config{SMTPURL: "smtp://" + addr + "?tls=none", From: sender}).Run(t.Context(), job)
	require.NoError(t, err)
	require.JSONEq(t, `{"message_id":"`+job.ID.String()+`@signalstack.test","response":"2.0.0 Ok: queued as 4F2A"}`, string(result.Value))
}
