//go:build unix && !linux

package devpg

import (
	"context"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// attributes gives a child a process group of its own and another user if need be.
// Only Linux can tell a child that its parent died; here the next Start does.
func attributes(c *syscall.Credential) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Credential: c}
}

// commandLine gives the words of a living process with spaces between, or "" when
// there is none.
func commandLine(pid int) string {
	out, err := exec.CommandContext(context.Background(), "ps", "-ww", "-o", "args=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// memoryDir is "": there is no memory file system to count on.
func memoryDir() string { return "" }
