//go:build unix

package devpg

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// nobody is the uid and gid that stand for no user by convention.
const nobody = 65534

var errNotPermitted = errors.New("PostgreSQL refuses to run as root, and this root may not change to another user; run signalstack as a non-root user")

// account is the user that PostgreSQL runs as when that is not ourselves. The nil
// account is ourselves.
type account struct{ uid, gid uint32 }

// accountFor gives the account for a cluster that may not exist yet. Its present
// owner comes first, so that a start with sudo does not lock the owner out.
func accountFor(cluster string) *account {
	if os.Geteuid() != 0 {
		return nil
	}
	if info, err := os.Stat(cluster); err == nil {
		if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 {
			return &account{uid: st.Uid, gid: st.Gid}
		}
	}
	if u, err := user.Lookup("postgres"); err == nil {
		uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
		if uidErr == nil && gidErr == nil && uid != 0 {
			return &account{uid: uint32(uid), gid: uint32(gid)}
		}
	}
	return &account{uid: nobody, gid: nobody}
}

// own gives a file or directory to the account.
func (a *account) own(path string) error {
	if a == nil {
		return nil
	}
	err := os.Chown(path, int(a.uid), int(a.gid))
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EINVAL) { // EINVAL: the uid is not mapped into this user namespace
		return fmt.Errorf("%w (%w)", errNotPermitted, err)
	}
	return err
}

// credential is what the kernel is asked for when a program starts.
func (a *account) credential() *syscall.Credential {
	if a == nil {
		return nil
	}
	return &syscall.Credential{Uid: a.uid, Gid: a.gid}
}

// barrier gives the first directory on the way to a path that the mode bits do not
// let the account enter, or "". It explains a failure and never decides, as access
// lists may say otherwise.
func (a *account) barrier(path string) string {
	if a == nil {
		return ""
	}
	var found string
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err == nil && !a.mayEnter(info) {
			found = dir
		}
		if dir == filepath.Dir(dir) {
			return found
		}
	}
}

func (a *account) mayEnter(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok:
		return true
	case st.Uid == a.uid:
		return info.Mode()&0o100 != 0
	case st.Gid == a.gid:
		return info.Mode()&0o010 != 0
	}
	return info.Mode()&0o001 != 0
}

// explain adds to a failure the directory that the account cannot enter, if any.
func (a *account) explain(err error, path string) error {
	if dir := a.barrier(path); err != nil && dir != "" {
		return fmt.Errorf("%w\nPostgreSQL runs as uid %d, which cannot enter %s: choose another --data-dir, or run signalstack as a non-root user", err, a.uid, dir)
	}
	return err
}
