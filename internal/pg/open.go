package pg

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
)

// Options of a pool.
type Options struct {
	// Role is shown in pg_stat_activity as signalstack/<role>.
	Role string
	// MaxConns bounds the pool; 0 means 10.
	MaxConns int
	// StatementTimeout bounds each statement on the server; 0 means 8 s. A read
	// from the network may take 2 s longer.
	StatementTimeout time.Duration
	// Unbounded lifts both bounds; for migrations, whose index builds take long.
	Unbounded bool
}

// DB is a pool of connections to one PostgreSQL database.
type DB struct {
	*sqlx.DB
	connector *connector
	maxConns  int
}

// ErrBadURL says that a database URL cannot be read. No part of the URL is shown,
// nor what the library says of it: any part may be the password.
var ErrBadURL = errors.New("the database URL cannot be read; write postgres://user:password@host:5432/name?sslmode=require, " +
	"with special characters of the password as %XX, or host=... user=... password=... dbname=... sslmode=...; " +
	"sslmode is disable, allow, prefer, require, verify-ca or verify-full")

// Open prepares a pool; it does not dial. The DSN is a URL or key=value pairs. The
// error is ErrBadURL: the DSN itself is wrong.
func Open(dsn string, opt Options) (*DB, error) {
	if opt.MaxConns == 0 {
		opt.MaxConns = 10
	}
	if opt.StatementTimeout == 0 {
		opt.StatementTimeout = 8 * time.Second
	}
	c, err := newConnector(dsn, opt)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(c)
	db.SetMaxOpenConns(opt.MaxConns)
	db.SetMaxIdleConns(opt.MaxConns)
	db.SetConnMaxLifetime(30 * time.Minute)
	db.SetConnMaxIdleTime(5 * time.Minute)
	return &DB{DB: sqlx.NewDb(db, "postgres"), connector: c, maxConns: opt.MaxConns}, nil
}

// redial closes the idle connections, so that the next use dials anew.
func (db *DB) redial() {
	db.SetMaxIdleConns(0)
	db.SetMaxIdleConns(db.maxConns)
}

// connector dials with TLS and, where the DSN leaves it open and the server is
// near, without it when the server has none.
type connector struct {
	secure, plain *pq.Connector // plain is nil when TLS was asked for
	usePlain      atomic.Bool
	dsn           string // with an sslmode that lib/pq knows
}

func newConnector(dsn string, opt Options) (*connector, error) {
	secureDSN, mayFallBack, err := settleSSLMode(dsn)
	if err != nil {
		return nil, err
	}
	cfg, err := pq.NewConfig(secureDSN)
	if err != nil {
		return nil, ErrBadURL
	}
	cfg.BinaryParameters = true
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = 5 * time.Second
	}
	cfg.ApplicationName = "signalstack/" + opt.Role
	runtime := map[string]string{"timezone": "UTC", "client_connection_check_interval": "5000"}
	d := dialer{timeout: cfg.ConnectTimeout}
	if !opt.Unbounded {
		runtime["statement_timeout"] = strconv.FormatInt(opt.StatementTimeout.Milliseconds(), 10)
		runtime["idle_in_transaction_session_timeout"] = "60000"
		d.readTimeout = opt.StatementTimeout + 2*time.Second
	}
	if cfg.Runtime == nil {
		cfg.Runtime = map[string]string{}
	}
	for k, v := range runtime {
		if _, said := cfg.Runtime[k]; !said {
			cfg.Runtime[k] = v
		}
	}
	c := &connector{dsn: secureDSN}
	if c.secure, err = pq.NewConnectorConfig(cfg); err != nil {
		return nil, ErrBadURL
	}
	c.secure.Dialer(d)
	if mayFallBack {
		cfg.SSLMode = pq.SSLModeDisable
		if c.plain, err = pq.NewConnectorConfig(cfg); err != nil {
			return nil, ErrBadURL
		}
		c.plain.Dialer(d)
	}
	return c, nil
}

// Connect dials one connection; database/sql calls it.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	if c.usePlain.Load() {
		return c.plain.Connect(ctx)
	}
	conn, err := c.secure.Connect(ctx)
	if !errors.Is(err, pq.ErrSSLNotSupported) {
		return conn, err
	}
	if c.plain == nil {
		return nil, fmt.Errorf("%w: the server offers no TLS; if the network is trusted say sslmode=disable in the database URL", err)
	}
	conn, err = c.plain.Connect(ctx)
	if err == nil {
		c.usePlain.Store(true)
	}
	return conn, err
}

// Driver is lib/pq's.
func (c *connector) Driver() driver.Driver { return c.secure.Driver() }

// listenDSN is the DSN in the form that last worked.
func (c *connector) listenDSN() string {
	if c.usePlain.Load() {
		return withSSLMode(c.dsn, "disable")
	}
	return c.dsn
}

// settleSSLMode gives a DSN with an sslmode that lib/pq knows and says whether
// plain text may be tried after it: when the DSN says prefer or allow, or says
// nothing and the host is not a public one.
func settleSSLMode(dsn string) (string, bool, error) {
	mode, host, err := sslModeAndHost(dsn)
	switch {
	case err != nil:
		return "", false, err
	case mode == "prefer" || mode == "allow":
		return withSSLMode(dsn, "require"), true, nil
	case mode == "":
		return withSSLMode(dsn, "require"), !isPublicHost(host), nil
	}
	return dsn, false, nil
}

func isURL(dsn string) bool {
	return strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://")
}

func sslModeAndHost(dsn string) (mode, host string, err error) {
	if isURL(dsn) {
		u, err := url.Parse(dsn)
		if err != nil {
			return "", "", ErrBadURL
		}
		query, err := url.ParseQuery(u.RawQuery) // Query drops what it cannot read
		if err != nil {
			return "", "", ErrBadURL
		}
		host = u.Hostname()
		if h := query.Get("host"); h != "" {
			host = h
		}
		return query.Get("sslmode"), host, nil
	}
	for _, pair := range strings.Fields(dsn) {
		switch k, v, _ := strings.Cut(pair, "="); k {
		case "sslmode":
			mode = v
		case "host":
			host = v
		}
	}
	return mode, host, nil
}

func withSSLMode(dsn, mode string) string {
	if !isURL(dsn) {
		return dsn + " sslmode=" + mode
	}
	u, err := url.Parse(dsn)
	if err != nil {
		return dsn
	}
	q := u.Query()
	q.Set("sslmode", mode)
	u.RawQuery = q.Encode()
	return u.String()
}

// isPublicHost is a guess that errs towards TLS.
func isPublicHost(host string) bool {
	if host == "" || strings.HasPrefix(host, "/") || strings.HasPrefix(host, "@") || !strings.Contains(host, ".") && !strings.Contains(host, ":") {
		return false
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return !ip.IsLoopback() && !ip.IsPrivate() && !ip.IsLinkLocalUnicast()
	}
	for _, suffix := range []string{".local", ".internal", ".lan", ".localhost"} {
		if strings.HasSuffix(host, suffix) {
			return false
		}
	}
	return true
}
