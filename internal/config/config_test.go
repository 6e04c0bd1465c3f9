package config_test

import (
	"encoding/base64"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/signalstack/signalstack/internal/config"
)

// load reads settings of an environment that must be right.
func load(t *testing.T, environ ...string) config.Config {
	t.Helper()
	cfg, err := config.Load(environ, nil)
	require.NoError(t, err)
	return cfg
}

func TestDefaultsAreUsable(t *testing.T) {
	t.Parallel()
	require.Equal(t, config.Config{
		DatabaseConns: 20, MaxBody: 1 << 20, IdempotencyTTL: 24 * time.Hour, Queues: config.Queues{"default": 200, "email": 10},
		Concurrency: 200, Lease: 10 * time.Second, ShutdownGrace: 25 * time.Second, LogFormat: "auto", LogLevel: slog.LevelInfo,
		RetentionSucceeded: 7 * 24 * time.Hour, RetentionFailed: 30 * 24 * time.Hour, RetentionEvents: 30 * 24 * time.Hour,
		RetentionExchanges: 7 * 24 * time.Hour, DisableAfter: 5 * 24 * time.Hour,
	}, load(t))
}

func TestEverySettingIsRead(t *testing.T) {
	t.Parallel()
	key := base64.StdEncoding.EncodeToString(make([]byte, 32))
	require.Equal(t, config.Config{
		DatabaseURL: "postgres://h/d", DirectURL: "postgres://h2/d", DatabaseConns: 7, Addr: ":1", MaxBody: 512 << 10, IdempotencyTTL: time.Hour,
		Queues: config.Queues{"a": 1, "b": 9}, Concurrency: 9, Lease: time.Minute, ShutdownGrace: 0, AllowNetworks: config.List{"10.0.0.0/8", "host.test"},
		SMTPURL: "smtps://u:p@h", MailFrom: "a@example.com", SecretKey: key, DataDir: "/d", Ephemeral: true, PGBin: "/b", DownloadPostgres: true,
		PostgresMirror: "https://m", LogFormat: "json", LogLevel: slog.LevelWarn, RetentionSucceeded: time.Hour, RetentionEvents: 2 * time.Hour,
		RetentionExchanges: 3 * time.Hour, DisableAfter: 48 * time.Hour, Commands: config.Commands{"a": {"/bin/a", "-x", "1"}, "b": {"/b"}},
		RetentionQueues: config.Retentions{"a": {Succeeded: 24 * time.Hour, Failed: 72 * time.Hour}, "b": {Failed: time.Hour}},
	}, load(t,
		"DATABASE_URL=postgres://h/d", "SIGNALSTACK_DIRECT_DATABASE_URL=postgres://h2/d", "SIGNALSTACK_DATABASE_CONNS=7", "SIGNALSTACK_ADDR=:1",
		"SIGNALSTACK_MAX_BODY=512KiB", "SIGNALSTACK_IDEMPOTENCY_TTL=1h", "SIGNALSTACK_QUEUES=a=1,b", "SIGNALSTACK_CONCURRENCY=9", "SIGNALSTACK_LEASE=1m",
		"SIGNALSTACK_SHUTDOWN_GRACE=0s", "SIGNALSTACK_ALLOW_NETWORKS=10.0.0.0/8, host.test", "SIGNALSTACK_SMTP_URL=smtps://u:p@h",
		"SIGNALSTACK_MAIL_FROM=a@example.com", "SIGNALSTACK_SECRET_KEY="+key, "SIGNALSTACK_DATA_DIR=/d", "SIGNALSTACK_EPHEMERAL=true",
		"SIGNALSTACK_PG_BIN=/b", "SIGNALSTACK_DOWNLOAD_POSTGRES=true", "SIGNALSTACK_POSTGRES_MIRROR=https://m", "SIGNALSTACK_LOG_FORMAT=json",
		"SIGNALSTACK_LOG_LEVEL=warn", "SIGNALSTACK_RETENTION_SUCCEEDED=1h", "SIGNALSTACK_RETENTION_FAILED=0", "SIGNALSTACK_RETENTION_EVENTS=2h", "SIGNALSTACK_RETENTION_EXCHANGES=3h",
		"SIGNALSTACK_RETENTION_QUEUES=a=24h/72h, b=0/1h", "SIGNALSTACK_DISABLE_AFTER=48h",
		"SIGNALSTACK_COMMANDS=a=/bin/a -x  1; b=/b;",
	))
}

func TestFlagBeatsEnvironmentBeatsDefault(t *testing.T) {
	t.Parallel()
	environ := []string{"SIGNALSTACK_LEASE=20s", "SIGNALSTACK_CONCURRENCY=7"}
	cfg, err := config.Load(environ, map[string]string{"SIGNALSTACK_LEASE": "30s"})
	require.NoError(t, err)
	require.Equal(t, 30*time.Second, cfg.Lease)
	require.Equal(t, 7, cfg.Concurrency)
	require.Equal(t, 25*time.Second, cfg.ShutdownGrace)
}

func TestValueComesFromAFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "url")
	require.NoError(t, os.WriteFile(path, []byte("postgres://file/d\r\n\n"), 0o600))
	require.Equal(t, "postgres://file/d", load(t, "DATABASE_URL_FILE="+path).DatabaseURL)
	require.Equal(t, "postgres://file/d", load(t, "DATABASE_URL=", "DATABASE_URL_FILE="+path).DatabaseURL)
	require.Equal(t, "postgres://own/d", load(t, "DATABASE_URL=postgres://own/d", "DATABASE_URL_FILE="+path).DatabaseURL)
	cfg, err := config.Load([]string{"DATABASE_URL_FILE=" + path}, map[string]string{"DATABASE_URL": "postgres://flag/d"})
	require.NoError(t, err)
	require.Equal(t, "postgres://flag/d", cfg.DatabaseURL)

	_, err = config.Load([]string{"SIGNALSTACK_SECRET_KEY_FILE=" + path + ".absent", "SIGNALSTACK_LEASE=0s"}, nil)
	require.ErrorContains(t, err, "SIGNALSTACK_SECRET_KEY_FILE: ")
	require.ErrorContains(t, err, "SIGNALSTACK_LEASE: ")
}

func TestEveryBadValueIsNamedAtOnce(t *testing.T) {
	t.Parallel()
	bad := map[string]string{
		"SIGNALSTACK_DATABASE_CONNS":      "1",
		"SIGNALSTACK_MAX_BODY":            "much",
		"SIGNALSTACK_IDEMPOTENCY_TTL":     "1s",
		"SIGNALSTACK_QUEUES":              "a=0",
		"SIGNALSTACK_CONCURRENCY":         "0",
		"SIGNALSTACK_LEASE":               "2h",
		"SIGNALSTACK_SHUTDOWN_GRACE":      "-1s",
		"SIGNALSTACK_ALLOW_NETWORKS":      "10.0.0.0/33",
		"SIGNALSTACK_SMTP_URL":            "mail.example.com",
		"SIGNALSTACK_SECRET_KEY":          "hunter2",
		"SIGNALSTACK_EPHEMERAL":           "perhaps",
		"SIGNALSTACK_LOG_FORMAT":          "xml",
		"SIGNALSTACK_LOG_LEVEL":           "loud",
		"SIGNALSTACK_RETENTION_SUCCEEDED": "59m",
		"SIGNALSTACK_RETENTION_FAILED":    "-1h",
		"SIGNALSTACK_RETENTION_EVENTS":    "a week",
		"SIGNALSTACK_RETENTION_EXCHANGES": "30m",
		"SIGNALSTACK_RETENTION_QUEUES":    "bulk=24h",
		"SIGNALSTACK_COMMANDS":            "backup",
	}
	var environ []string
	for name, value := range bad {
		environ = append(environ, name+"="+value)
	}
	_, err := config.Load(environ, nil)
	require.Error(t, err)
	lines := strings.Split(err.Error(), "\n")
	require.Len(t, lines, len(bad), err)
	for name := range bad {
		require.Contains(t, err.Error(), name+": ")
	}
	require.NotContains(t, err.Error(), "hunter2", "a secret is not repeated")
}

func TestBadValueIsRefusedByItself(t *testing.T) {
	t.Parallel()
	for _, setting := range []string{
		"SIGNALSTACK_DATABASE_CONNS=many", "SIGNALSTACK_LEASE=10", "SIGNALSTACK_LEASE=999ms", "SIGNALSTACK_MAX_BODY=0", "SIGNALSTACK_MAX_BODY=-1MiB",
		"SIGNALSTACK_MAX_BODY=1MB", "SIGNALSTACK_MAX_BODY=1.5MiB", "SIGNALSTACK_MAX_BODY=99999999999GiB", "SIGNALSTACK_QUEUES=a=1,=2",
		"SIGNALSTACK_QUEUES=a b=1", "SIGNALSTACK_QUEUES=a=x", "SIGNALSTACK_QUEUES=a=100001", "SIGNALSTACK_QUEUES=a,,b",
		"SIGNALSTACK_RETENTION_SUCCEEDED=7d", "SIGNALSTACK_RETENTION_QUEUES=bulk", "SIGNALSTACK_RETENTION_QUEUES==1h/1h",
		"SIGNALSTACK_RETENTION_QUEUES=a b=1h/1h", "SIGNALSTACK_RETENTION_QUEUES=bulk=1h/30m", "SIGNALSTACK_RETENTION_QUEUES=bulk=-1h/1h",
		"SIGNALSTACK_RETENTION_QUEUES=bulk=x/1h", "SIGNALSTACK_RETENTION_QUEUES=bulk=1h/1h,",
		"SIGNALSTACK_COMMANDS=a=b", "SIGNALSTACK_COMMANDS=a=", "SIGNALSTACK_COMMANDS==/b", "SIGNALSTACK_COMMANDS=a b=/b", "SIGNALSTACK_COMMANDS=a=/b;a=/c",
		"SIGNALSTACK_SMTP_URL=http://h", "SIGNALSTACK_SMTP_URL=smtp://", "SIGNALSTACK_SMTP_URL=smtp://%zz",
		"SIGNALSTACK_SECRET_KEY=" + base64.StdEncoding.EncodeToString(make([]byte, 31)),
		"SIGNALSTACK_SECRET_KEY=" + base64.RawStdEncoding.EncodeToString(make([]byte, 32)),
	} {
		_, err := config.Load([]string{setting}, nil)
		name, _, _ := strings.Cut(setting, "=")
		require.ErrorContains(t, err, name+": ", setting)
	}
}

func TestSizesHaveUnits(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]config.Size{"1": 1, "1048576": 1 << 20, "512KiB": 512 << 10, "2 MiB": 2 << 20, "3GiB": 3 << 30} {
		var got config.Size
		require.NoError(t, got.UnmarshalText([]byte(text)), text)
		require.Equal(t, want, got, text)
	}
}

func TestQueueWithoutANumberHasTheDefaultOne(t *testing.T) {
	t.Parallel()
	require.Equal(t, config.Queues{"a": 5, "b": 8}, load(t, "SIGNALSTACK_QUEUES= a=5 , b", "SIGNALSTACK_CONCURRENCY=8").Queues)
}

func TestFieldsDescribeEverySetting(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, f := range config.Fields() {
		require.NotEmpty(t, f.Help, f.Env)
		require.NotEmpty(t, f.Cmds, f.Env)
		require.True(t, f.Env == "DATABASE_URL" || strings.HasPrefix(f.Env, "SIGNALSTACK_"), f.Env)
		require.False(t, seen[f.Flag], "the flag %s stands twice", f.Flag)
		seen[f.Flag] = true
		for _, word := range []string{"SECRET", "DATABASE_URL", "SMTP"} {
			if strings.Contains(f.Env, word) {
				require.True(t, f.Secret, f.Env)
			}
		}
	}
	require.True(t, seen["database-url"])
	require.True(t, seen["secret-key"])
	for _, f := range config.FieldsOf("migrate") {
		require.Contains(t, f.Cmds, "migrate")
	}
	require.NotEmpty(t, config.FieldsOf("all"))
	require.Empty(t, config.FieldsOf("nothing"))
}
