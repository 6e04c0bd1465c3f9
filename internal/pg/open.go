package pg

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
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
	// Unbounded lifts both bounds; for migrations, whose index builds take long and
	// whose lock belongs to a session. A pooler is refused.
	Unbounded bool
	// ListenURL is where Listen listens when the pool goes through a pooler, which
	// loses notifications; "" is the pool's own URL.
	ListenURL string
}

// DB is a pool of connections to one PostgreSQL database.
type DB struct {
	*sqlx.DB
	connector *connector
	listening *connector // for Listen
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
	listening := c
	if opt.ListenURL != "" {
		if listening, err = newConnector(opt.ListenURL, opt); err != nil {
			return nil, err
		}
	}
	db := sql.OpenDB(c)
	db.SetMaxOpenConns(opt.MaxConns)
	db.SetMaxIdleConns(opt.MaxConns)
	db.SetConnMaxLifetime(30 * time.Minute)
	db.SetConnMaxIdleTime(5 * time.Minute)
	return &DB{DB: sqlx.NewDb(db, "postgres"), connector: c, listening: listening, maxConns: opt.MaxConns}, nil
}

// redial closes the idle connections, so that the next use dials anew.
func (db *DB) redial() {
	db.SetMaxIdleConns(0)
	db.SetMaxIdleConns(db.maxConns)
}

// errPooled refuses a pooler where it cannot do. It hides the pooler's own error,
// which would look like that of an absent database.
var errPooled = errors.New("the lock of a migration needs a connection of its own, and a pooler answers at the database URL; " +
	"name PostgreSQL itself in SIGNALSTACK_DIRECT_DATABASE_URL")

// way is how to dial.
type way struct {
	plain  bool // without TLS
	pooled bool // without the parameters that poolers do not know
}

// connector dials with TLS and, where the DSN leaves it open and the server is
// near, without it when the server has none; and with parameters that bound what a
// statement may take, or without them when a pooler does not pass them on. The way
// that worked is remembered.
type connector struct {
	ways      map[way]*pq.Connector // no plain ones when TLS was asked for
	way       atomic.Pointer[way]
	asked     atomic.Bool // whether the parameters reach the server
	dsn       string      // with an sslmode that lib/pq knows
	bounds    string      // the statements that stand for the parameters in a transaction
	unbounded bool
}

// protocolViolation is what PgBouncer calls a parameter that it does not know.
const protocolViolation = "08P01"

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
	bounds := map[string]string{"client_connection_check_interval": "5000"}
	d := dialer{timeout: cfg.ConnectTimeout}
	if !opt.Unbounded {
		bounds["statement_timeout"] = strconv.FormatInt(opt.StatementTimeout.Milliseconds(), 10)
		bounds["idle_in_transaction_session_timeout"] = "60000"
		d.readTimeout = opt.StatementTimeout + 2*time.Second
	}
	c := &connector{ways: map[way]*pq.Connector{}, dsn: secureDSN, bounds: settle(&cfg, bounds), unbounded: opt.Unbounded}
	c.way.Store(&way{})
	for _, w := range []way{{}, {pooled: true}, {plain: true}, {plain: true, pooled: true}} {
		if w.plain && !mayFallBack {
			break
		}
		if c.ways[w], err = w.connector(cfg, bounds, d); err != nil {
			return nil, ErrBadURL
		}
	}
	return c, nil
}

// settle adds the parameters to those of the DSN, which win, and gives the
// statements that say the same inside a transaction.
func settle(cfg *pq.Config, bounds map[string]string) string {
	if cfg.Runtime == nil {
		cfg.Runtime = map[string]string{}
	}
	if cfg.Runtime["timezone"] == "" {
		cfg.Runtime["timezone"] = "UTC"
	}
	var set []string
	for k, v := range bounds {
		if _, said := cfg.Runtime[k]; !said {
			cfg.Runtime[k] = v
		}
		set = append(set, "SET LOCAL "+k+" = "+pq.QuoteLiteral(cfg.Runtime[k]))
	}
	slices.Sort(set)
	return strings.Join(set, "; ")
}

func (w way) connector(cfg pq.Config, bounds map[string]string, d dialer) (*pq.Connector, error) {
	cfg = cfg.Clone()
	if w.plain {
		cfg.SSLMode = pq.SSLModeDisable
	}
	if w.pooled {
		for k := range bounds {
			delete(cfg.Runtime, k)
		}
	}
	c, err := pq.NewConnectorConfig(cfg)
	if err != nil {
		return nil, err
	}
	c.Dialer(d)
	return c, nil
}

// Connect dials one connection; database/sql calls it.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	w := *c.way.Load()
	for {
		dialed, err := c.ways[w].Connect(ctx)
		switch {
		case err == nil:
			return c.accept(ctx, dialed.(conn), w)
		case errors.Is(err, pq.ErrSSLNotSupported) && c.ways[way{plain: true}] == nil:
			return nil, fmt.Errorf("%w: the server offers no TLS; if the network is trusted say sslmode=disable in the database URL", err)
		case errors.Is(err, pq.ErrSSLNotSupported) && !w.plain:
			w.plain = true
		case isRefusedParameter(err) && !w.pooled:
			w.pooled = true
		default:
			return nil, err
		}
	}
}

// accept remembers the way of a new connection. The first one is asked whether it
// has its parameters: some poolers take them in silence and drop them.
func (c *connector) accept(ctx context.Context, dialed conn, w way) (driver.Conn, error) {
	switch {
	case w.pooled:
	case c.asked.Load():
		w.pooled = c.way.Load().pooled
	default:
		has, err := hasParameters(ctx, dialed)
		if err != nil {
			return nil, errors.Join(err, dialed.Close())
		}
		w.pooled = !has
	}
	if w.pooled && c.unbounded {
		return nil, errors.Join(errPooled, dialed.Close())
	}
	c.way.Store(&w)
	c.asked.Store(true)
	if w.pooled {
		return pooledConn{conn: dialed, bounds: c.bounds}, nil
	}
	return &serverConn{conn: dialed, pooled: func() { c.way.Store(&way{plain: w.plain, pooled: true}) }}, nil
}

// isRefusedParameter says whether a pooler ended the connection because of a
// parameter that it does not know.
func isRefusedParameter(err error) bool {
	e, ok := errors.AsType[*pq.Error](err)
	return ok && e.Code == protocolViolation && strings.Contains(e.Message, "startup parameter")
}

// hasParameters says whether what the connection was dialed with has reached the
// server.
func hasParameters(ctx context.Context, c conn) (bool, error) {
	rows, err := c.QueryContext(ctx, `SELECT source = 'client' FROM pg_settings WHERE name = 'client_connection_check_interval'`, nil)
	if err != nil {
		return false, fmt.Errorf("ask for the parameters of the connection: %w", err)
	}
	defer func() { _ = rows.Close() }()
	row := make([]driver.Value, 1)
	if err := rows.Next(row); err != nil {
		return false, fmt.Errorf("ask for the parameters of the connection: %w", err)
	}
	has, _ := row[0].(bool)
	return has, nil
}

// Driver is lib/pq's.
func (c *connector) Driver() driver.Driver { return c.ways[way{}].Driver() }

// listenDSN is the DSN in the form that last worked.
func (c *connector) listenDSN() string {
	if c.way.Load().plain {
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
