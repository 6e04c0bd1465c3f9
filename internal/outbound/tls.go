package outbound

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/signalstack/signalstack/internal/fault"
)

// TLS is what a receiver needs beside the public certificate authorities. Fields are
// PEM; the zero TLS needs nothing.
type TLS struct {
	CA          string // certificates of authorities that are trusted as well
	Certificate string // shown to the receiver (mutual TLS), with its chain
	Key         string // of the certificate
}

// maxPEM bounds each of the fields, in bytes.
const maxPEM = 64 << 10

// Check gives what is wrong with it, with pointers of the three fields.
func (t TLS) Check(ca, certificate, key string) []fault.Detail {
	var mistakes []fault.Detail
	for pointer, text := range map[string]string{ca: t.CA, certificate: t.Certificate, key: t.Key} {
		if len(text) > maxPEM {
			mistakes = append(mistakes, fault.Detail{Pointer: pointer, Detail: "must have at most 64 KiB"})
		}
	}
	if t.CA != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(t.CA)) {
		mistakes = append(mistakes, fault.Detail{Pointer: ca, Detail: "must be one or more certificates in PEM (-----BEGIN CERTIFICATE-----)"})
	}
	switch {
	case t.Certificate == "" && t.Key == "":
	case t.Certificate == "":
		mistakes = append(mistakes, fault.Detail{Pointer: certificate, Detail: "is required beside a key"})
	case t.Key == "":
		mistakes = append(mistakes, fault.Detail{Pointer: key, Detail: "is required beside a certificate"})
	default:
		if _, err := tls.X509KeyPair([]byte(t.Certificate), []byte(t.Key)); err != nil {
			mistakes = append(mistakes, fault.Detail{Pointer: certificate, Detail: "must be a certificate in PEM that belongs to the key, which must be one without a password"})
		}
	}
	return mistakes
}

// Expires gives when the certificate ends, the zero time when there is none.
func (t TLS) Expires() time.Time {
	block, _ := pem.Decode([]byte(t.Certificate))
	if block == nil {
		return time.Time{}
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return time.Time{}
	}
	return cert.NotAfter
}

// config makes the settings of a connection.
func (t TLS) config() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CA != "" {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM([]byte(t.CA)) {
			return nil, errors.New("the certificate authority cannot be read")
		}
		cfg.RootCAs = pool
	}
	if t.Certificate != "" {
		pair, err := tls.X509KeyPair([]byte(t.Certificate), []byte(t.Key))
		if err != nil {
			return nil, errors.New("the client certificate cannot be read") // the cause may show the key
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}

// name is what a TLS is remembered by.
func (t TLS) name() [sha256.Size]byte {
	sum := sha256.New()
	for _, text := range []string{t.CA, t.Certificate, t.Key} {
		part := sha256.Sum256([]byte(text))
		sum.Write(part[:])
	}
	return [sha256.Size]byte(sum.Sum(nil))
}

// ownClients are the clients of receivers with a TLS of their own. Connections are used
// again for the same TLS only: one that was made with a certificate speaks for it.
type ownClients struct {
	mu     sync.Mutex
	byName map[[sha256.Size]byte]*http.Client
	order  [][sha256.Size]byte // the one used longest ago first
}

// maxOwnClients bounds how many are remembered.
const maxOwnClients = 500

// get gives the client of a TLS, made by make when it is not known.
func (o *ownClients) get(t TLS, create func(*tls.Config) *http.Client) (*http.Client, error) {
	name := t.name()
	o.mu.Lock()
	defer o.mu.Unlock()
	if client, ok := o.byName[name]; ok {
		o.order = append(slices.DeleteFunc(o.order, func(n [sha256.Size]byte) bool { return n == name }), name)
		return client, nil
	}
	cfg, err := t.config()
	if err != nil {
		return nil, err
	}
	if len(o.order) >= maxOwnClients {
		o.byName[o.order[0]].CloseIdleConnections()
		delete(o.byName, o.order[0])
		o.order = o.order[1:]
	}
	client := create(cfg)
	o.byName[name], o.order = client, append(o.order, name)
	return client, nil
}
