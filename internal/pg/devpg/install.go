//go:build unix

package devpg

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// cacheDir is where downloads are kept: for root where the server's own user can
// read them, else where the operating system keeps a user's caches. It is "" for a
// user without a home.
func cacheDir() string {
	if os.Geteuid() == 0 {
		return "/var/cache/signalstack"
	}
	base, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(base, "signalstack")
}

// installCommand is the command that installs PostgreSQL of a major version, 0 for
// any, on this machine.
func installCommand(major int) string {
	release, _ := os.ReadFile("/etc/os-release") // none outside Linux
	command := installCommandOf(runtime.GOOS, string(release), major)
	if runtime.GOOS == "linux" && os.Geteuid() != 0 {
		return "sudo " + command
	}
	return command
}

func installCommandOf(goos, osRelease string, major int) string {
	version := ""
	if major != 0 {
		version = fmt.Sprint(major)
	}
	if goos == "darwin" {
		if version == "" {
			version = "18" // Homebrew has no formula without one
		}
		return "brew install postgresql@" + version
	}
	for _, id := range distributions(osRelease) {
		switch id {
		case "debian", "ubuntu":
			return strings.TrimSuffix("apt-get install -y postgresql-"+version, "-")
		case "fedora", "rhel", "centos":
			return "dnf install -y postgresql" + version + "-server"
		case "alpine":
			if version == "" {
				version = "16" // as in Homebrew; each Alpine has some versions, and 16 for long
			}
			return "apk add postgresql" + version
		case "arch":
			return "pacman -S postgresql"
		case "suse", "opensuse":
			return "zypper install postgresql" + version + "-server"
		}
	}
	return "install the PostgreSQL server with your package manager"
}

// distributions reads the names of a Linux distribution and of those it is made
// from, its own first.
func distributions(osRelease string) []string {
	var own, like string
	for line := range strings.Lines(osRelease) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch value = strings.Trim(value, `"'`); key {
		case "ID":
			own = value
		case "ID_LIKE":
			like = value
		}
	}
	return strings.Fields(own + " " + like)
}
