package devpg

import (
	"os"
	"strconv"
	"strings"
	"syscall"
)

// attributes gives a child a process group of its own, another user if need be,
// and SIGINT when its parent dies.
func attributes(c *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Credential: c, Pdeathsig: syscall.SIGINT}
}

// commandLine gives the words of a living process with spaces between, or "" when
// there is none, or only its remains.
func commandLine(pid int) string {
	words, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil {
		return ""
	}
	return strings.TrimRight(strings.ReplaceAll(string(words), "\x00", " "), " ")
}

// memoryDir is the directory of the memory file system, if it has room for tests.
func memoryDir() string {
	const dir, least = "/dev/shm", 4 << 30 // Docker gives 64 MiB, which one test run fills
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil || fs.Bavail*uint64(fs.Bsize) < least { //nolint:gosec // a block has a positive size
		return ""
	}
	return dir
}
