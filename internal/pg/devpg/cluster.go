//go:build unix

package devpg

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/lib/pq"
)

// The user and the database that are there when Start returns.
const (
	superuser    = "signalstack"
	databaseName = "signalstack"
)

// freshPrefix begins the names of clusters that initdb has not finished.
const freshPrefix = "postgres.new-"

// clusterMajor is the major version that made a cluster, 0 when there is none.
func clusterMajor(cluster string) (int, error) {
	text, err := os.ReadFile(filepath.Join(cluster, "PG_VERSION")) //nolint:gosec // a file of the data directory
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the version of the data: %w", err)
	}
	first, _, _ := strings.Cut(strings.TrimSpace(string(text)), ".") // 9.6 and older have a dot
	major, err := strconv.Atoi(first)
	if err != nil {
		return 0, fmt.Errorf("read the version of the data in %s: %w", cluster, err)
	}
	return major, nil
}

// initialize makes the cluster. It works beside the final place and moves there
// what is on disk, so that a crash leaves a whole cluster or none.
func (h *home) initialize(ctx context.Context, bin binaries, noSync bool) (err error) {
	unfinished, _ := filepath.Glob(filepath.Join(h.dir, freshPrefix+"*")) // the only error is a bad pattern
	for _, dir := range unfinished {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("remove an unfinished cluster: %w", err)
		}
	}
	fresh, err := os.MkdirTemp(h.dir, freshPrefix+"*")
	if err != nil {
		return fmt.Errorf("make a directory for the cluster: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(fresh))
		}
	}()
	if err := h.as.own(fresh); err != nil {
		return fmt.Errorf("give the cluster to PostgreSQL's user: %w", err)
	}
	if err := h.runInitdb(ctx, bin, fresh, noSync); err != nil {
		return err
	}
	if err := os.Rename(fresh, h.cluster()); err != nil {
		return fmt.Errorf("name the new cluster: %w", err)
	}
	return syncDir(h.dir)
}

func (h *home) runInitdb(ctx context.Context, bin binaries, dir string, noSync bool) error {
	args := []string{"-D", dir, "-U", superuser, "-A", "trust", "-E", "UTF8", "--no-locale", "--no-instructions"}
	if noSync {
		args = append(args, "--no-sync")
	}
	out, err := output(command(ctx, h.as, bin.initdb(), args...))
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	err = fmt.Errorf("make a cluster with %s: %w", bin.initdb(), err)
	if said := lastLines(out, 5); said != "" {
		err = fmt.Errorf("%w\n%s", err, said)
	}
	return h.explain(err, bin)
}

// explain adds to a failure what may keep PostgreSQL's user from the data or from
// the binaries.
func (h *home) explain(err error, bin binaries) error {
	if h.as.barrier(h.cluster()) != "" {
		return h.as.explain(err, h.cluster())
	}
	return h.as.explain(err, bin.postgres())
}

// syncDir puts the names in a directory on disk.
func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // the data directory
	if err != nil {
		return fmt.Errorf("sync the data directory: %w", err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync the data directory: %w", err)
	}
	return nil
}

// ensureDatabase makes our database unless it is there. It is asked for at each
// start, as the first one may have been killed before it came to that.
func (h *home) ensureDatabase(ctx context.Context) error {
	err := onDatabase(ctx, h.dsn(databaseName), "SELECT 1")
	var answer *pq.Error
	if errors.As(err, &answer) && answer.Code == "3D000" { // invalid_catalog_name
		err = onDatabase(ctx, h.dsn("postgres"), "CREATE DATABASE "+databaseName)
	}
	if err != nil {
		return fmt.Errorf("make the database %s: %w", databaseName, err)
	}
	return nil
}

func onDatabase(ctx context.Context, dsn, statement string) error {
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	_, err = db.ExecContext(ctx, statement)
	return err
}
