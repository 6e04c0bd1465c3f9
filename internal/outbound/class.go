package outbound

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/signalstack/signalstack/internal/jobs"
)

// The classes of errors that kept a response from coming. They are few, so that a
// list of attempts can be filtered by them.
const (
	ClassBlocked     = "blocked"     // a private or special address
	ClassDNS         = "dns"         // the name did not resolve
	ClassRefused     = "refused"     // nothing listens there
	ClassUnreachable = "unreachable" // no route to the address
	ClassTLS         = "tls"         // the handshake failed, or the certificate is not to be trusted
	ClassReset       = "reset"       // the connection ended before the response
	ClassTimeout     = "timeout"     // it took longer than the attempt may
	ClassProtocol    = "protocol"    // what came is no HTTP response, or its headers are too large
	ClassOther       = "other"
)

// classOf gives the class of an error of net/http. The order matters: a lookup that
// timed out is a matter of DNS.
func classOf(err error) string {
	var dns *net.DNSError
	switch {
	case errors.Is(err, errBlocked):
		return ClassBlocked
	case errors.As(err, &dns):
		return ClassDNS
	case isTLS(err):
		return ClassTLS
	case isTimeout(err):
		return ClassTimeout
	case errors.Is(err, syscall.ECONNREFUSED):
		return ClassRefused
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EADDRNOTAVAIL):
		return ClassUnreachable
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return ClassReset
	case isProtocol(err):
		return ClassProtocol
	}
	return ClassOther
}

// isTimeout knows the end of a context by its cause as well, which net/http gives.
func isTimeout(err error) bool {
	var timed net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, jobs.ErrTimeout) || errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &timed) && timed.Timeout()
}

func isTLS(err error) bool {
	var (
		untrusted *tls.CertificateVerificationError
		noTLS     tls.RecordHeaderError
		alert     tls.AlertError
		unknown   x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
	)
	return errors.As(err, &untrusted) || errors.As(err, &noTLS) || errors.As(err, &alert) || errors.As(err, &unknown) ||
		errors.As(err, &host) || errors.As(err, &invalid) || strings.Contains(err.Error(), "remote error: tls:") ||
		strings.Contains(err.Error(), "TLS handshake timeout") || strings.Contains(err.Error(), "server gave HTTP response to HTTPS client")
}

// isProtocol knows errors of net/http that have no type.
func isProtocol(err error) bool {
	text := err.Error()
	return strings.Contains(text, "malformed HTTP") || strings.Contains(text, "server response headers exceeded") ||
		strings.Contains(text, "http2:") || strings.Contains(text, "net/http: ")
}
