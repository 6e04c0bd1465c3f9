//go:build unix

package devpg

import (
	"strconv"
	"strings"
)

// arguments of the server. What stands here wins over postgresql.conf and over
// ALTER SYSTEM. stopOrphan knows our servers by -D and cluster_name.
func arguments(h *home, c Config) []string {
	args := []string{"-D", h.cluster()}
	for _, setting := range settings(h, c) {
		args = append(args, "-c", setting)
	}
	return args
}

func settings(h *home, c Config) []string {
	durable := "on"
	if c.NoSync {
		durable = "off"
	}
	return []string{
		"cluster_name=" + clusterName,
		"listen_addresses=",
		"port=" + port,
		"unix_socket_directories=" + quoted(h.socket),
		"unix_socket_permissions=0700",
		"ssl=off",
		"log_destination=stderr",
		"logging_collector=off", // our own file, of which there are two at most
		"log_line_prefix=%m [%p] %d ",
		"max_connections=" + strconv.Itoa(c.MaxConnections),

		"fsync=" + durable,
		"synchronous_commit=" + durable,
		"full_page_writes=" + durable,

		// Memory is taken as it is used. Checkpoints are rarer than by default, which
		// saves most of the full page images; what a crash leaves to replay stays
		// within some seconds.
		"shared_buffers=256MB",
		"max_wal_size=2GB",
		"min_wal_size=256MB",
		"checkpoint_timeout=10min",
		"wal_compression=on",
	}
}

// quoted writes one path in a list of paths.
func quoted(path string) string {
	return `"` + strings.ReplaceAll(path, `"`, `""`) + `"`
}
