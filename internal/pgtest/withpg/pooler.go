package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// poolerVariable is what the tests read the pooler's URL from.
const poolerVariable = "TEST_POOLER_URL"

// poolerPort is only part of the socket's name, the one that PostgreSQL's has.
const poolerPort = "5432"

// settings are PgBouncer's own defaults where a test may notice: it refuses the
// startup parameters that it does not know. Idle connections go soon, since each
// test has a database of its own and its connections count on the server.
const settings = `[databases]
* = host='%s' port=%s user=signalstack_test password=test

[pgbouncer]
unix_socket_dir = %s
listen_port = ` + poolerPort + `
auth_type = any
pool_mode = transaction
default_pool_size = 20
max_client_conn = 1000
server_idle_timeout = 2
server_login_retry = 1
log_connections = 0
log_disconnections = 0
log_pooler_errors = 0
log_stats = 0
`

var errNoPooler = errors.New("pgbouncer is not installed; install it (apt-get install pgbouncer, brew install pgbouncer) and try again")

// pooler is a PgBouncer in front of the server, and the directory it lives in.
type pooler struct {
	dir  string
	cmd  *exec.Cmd
	log  bytes.Buffer // to be read after done
	done chan struct{}
}

// withPooler runs what needs a pooler in front of the server.
func withPooler(run func() (int, error)) (code int, err error) {
	p, err := startPooler(os.Getenv(variable))
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	if err := os.Setenv(poolerVariable, p.url()); err != nil {
		return 1, fmt.Errorf("set %s: %w", poolerVariable, err)
	}
	return run()
}

func startPooler(server string) (*pooler, error) {
	program, err := findPooler()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "signalstack-pooler-*")
	if err != nil {
		return nil, fmt.Errorf("make a directory for the pooler: %w", err)
	}
	p := &pooler{dir: dir, done: make(chan struct{})}
	if err := p.start(program, server); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return p, nil
}

// findPooler looks also where Debian installs it, which is not on every PATH.
func findPooler() (string, error) {
	for _, name := range []string{"pgbouncer", "/usr/sbin/pgbouncer"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errNoPooler
}

func (p *pooler) start(program, server string) error {
	config := filepath.Join(p.dir, "pgbouncer.ini")
	text, err := p.settings(server)
	if err != nil {
		return err
	}
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil { //nolint:gosec // PgBouncer may run as another user, and the password is no secret
		return fmt.Errorf("write the pooler's settings: %w", err)
	}
	args := []string{config}
	if os.Geteuid() == 0 { // as whom PgBouncer refuses to run
		name, err := p.giveAway()
		if err != nil {
			return err
		}
		args = append(args, "--user="+name)
	}
	p.cmd = exec.CommandContext(context.Background(), program, args...)
	p.cmd.Stderr = &p.log
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("start the pooler: %w", err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // whoever stops it knows, and whoever misses it reads the log
	}()
	return p.await()
}

func (p *pooler) settings(server string) (string, error) {
	u, err := url.Parse(server)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", variable, errors.Unwrap(err)) // the URL may hold a password
	}
	host, port := u.Query().Get("host"), u.Port()
	if host == "" {
		host = u.Hostname()
	}
	if port == "" {
		port = "5432"
	}
	return fmt.Sprintf(settings, host, port, p.dir), nil
}

// giveAway gives the directory to the user that the private PostgreSQL runs as,
// whose socket only that user can enter, and names it.
func (p *pooler) giveAway() (string, error) {
	as, err := user.Lookup("postgres")
	if err != nil {
		if as, err = user.Lookup("nobody"); err != nil {
			return "", fmt.Errorf("find a user for the pooler: %w", err)
		}
	}
	uid, uidErr := strconv.Atoi(as.Uid)
	gid, gidErr := strconv.Atoi(as.Gid)
	if err := errors.Join(uidErr, gidErr, os.Chown(p.dir, uid, gid)); err != nil {
		return "", fmt.Errorf("give the pooler its directory: %w", err)
	}
	return as.Username, nil
}

// await waits until the pooler answers.
func (p *pooler) await() error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var d net.Dialer
	for {
		conn, err := d.DialContext(ctx, "unix", filepath.Join(p.dir, ".s.PGSQL."+poolerPort))
		if err == nil {
			return conn.Close()
		}
		select {
		case <-tick.C:
		case <-p.done:
			return fmt.Errorf("the pooler ended: %s", strings.TrimSpace(p.log.String()))
		case <-ctx.Done():
			return errors.Join(errors.New("the pooler does not answer"), p.stop())
		}
	}
}

// url is that of the pooler, without a database.
func (p *pooler) url() string {
	query := url.Values{"host": {p.dir}, "sslmode": {"disable"}}
	u := url.URL{Scheme: "postgres", User: url.User("signalstack_test"), Host: ":" + poolerPort, RawQuery: query.Encode()}
	return u.String()
}

// stop ends the pooler without waiting for its clients.
func (p *pooler) stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	patience := time.NewTimer(5 * time.Second)
	defer patience.Stop()
	select {
	case <-p.done:
	case <-patience.C:
		_ = p.cmd.Process.Kill()
		<-p.done
	}
	return os.RemoveAll(p.dir)
}
