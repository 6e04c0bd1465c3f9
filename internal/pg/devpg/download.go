//go:build unix

package devpg

import (
	"context"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// errDeclined says that nobody agreed to a download.
var errDeclined = errors.New("nobody agreed to a download")

// downloadTime is for the slowest line that is worth waiting for.
const downloadTime = 20 * time.Minute

// obtain downloads a release, with consent, and gives its binaries.
func obtain(ctx context.Context, c Config, r release, cache string) (binaries, error) {
	registry := registryOf(c.Mirror, os.Getenv)
	if !agreed(ctx, c, r, registry) {
		return binaries{}, errDeclined
	}
	progress, end := showProgress(c.Stderr, r, registry)
	defer end()
	return download(ctx, registry, r, cache, progress)
}

// download brings a release into the cache, one process at a time, unless another
// one has been quicker. Under its name in the cache there is only ever a whole one.
func download(ctx context.Context, registry string, r release, cache string, progress io.Writer) (b binaries, err error) {
	if cache, err = makeDir(cache); err != nil {
		return b, err
	}
	lock, err := awaitLock(ctx, cache)
	if err != nil {
		return b, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	final := filepath.Join(cache, r.directory())
	if b, err := check(ctx, r, final); err == nil {
		return b, nil
	}
	unfinished, _ := filepath.Glob(filepath.Join(cache, ".download-*")) // the only error is a bad pattern
	for _, dir := range append(unfinished, final) {                     // what is there under its name does not run
		if err := os.RemoveAll(dir); err != nil {
			return b, fmt.Errorf("remove a broken download: %w", err)
		}
	}
	work, err := os.MkdirTemp(cache, ".download-*")
	if err != nil {
		return b, fmt.Errorf("make a directory for the download: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	whole := filepath.Join(work, r.directory())
	if err := fetchAndUnpack(ctx, registry, r, filepath.Join(work, "package.tgz"), whole, progress); err != nil {
		return b, err
	}
	if err := os.Rename(whole, final); err != nil {
		return b, fmt.Errorf("name the download: %w", err)
	}
	return check(ctx, r, final)
}

// awaitLock takes the lock of the cache when its owner is done.
func awaitLock(ctx context.Context, cache string) (*os.File, error) {
	var lock *os.File
	var err error
	_, waitErr := within(ctx, downloadTime, func() bool {
		lock, err = takeLock(cache, os.O_RDWR|os.O_CREATE)
		return !errors.As(err, new(*InUseError))
	})
	if waitErr != nil {
		return nil, waitErr
	}
	if errors.As(err, new(*InUseError)) {
		return nil, fmt.Errorf("wait for another download into %s: it does not end", cache)
	}
	return lock, err
}

// check runs what was unpacked.
func check(ctx context.Context, r release, dir string) (binaries, error) {
	found := look(ctx, holding([]string{filepath.Join(dir, "native", "bin")}))
	if b, ok := choose(found, r.major); ok {
		return b, nil
	}
	return binaries{}, errors.New("the downloaded PostgreSQL does not run on this machine")
}

func fetchAndUnpack(ctx context.Context, registry string, r release, archive, dir string, progress io.Writer) error {
	f, err := os.OpenFile(archive, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600) //nolint:gosec // a file of the cache
	if err != nil {
		return fmt.Errorf("make a file for the download: %w", err)
	}
	defer func() { _ = f.Close() }() // it was read, and goes
	if err := fetch(ctx, registry, r, io.MultiWriter(f, progress)); err != nil {
		return fmt.Errorf("download PostgreSQL: %w", err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("unpack PostgreSQL: %w", err)
	}
	if err := unpack(ctx, f, dir); err != nil {
		return fmt.Errorf("unpack PostgreSQL: %w", err)
	}
	return nil
}

// fetch writes the package to w and fails unless it is the very one this program
// knows.
func fetch(ctx context.Context, registry string, r release, w io.Writer) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url(registry), nil)
	if err != nil {
		return err
	}
	client := httpClient()
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", req.URL.Redacted(), resp.Status)
	}
	sum := sha512.New()
	if _, err := io.Copy(io.MultiWriter(w, sum), io.LimitReader(resp.Body, r.size)); err != nil {
		return err
	}
	if got := "sha512-" + base64.StdEncoding.EncodeToString(sum.Sum(nil)); got != r.integrity {
		return fmt.Errorf("%s sent something else than %s %s: its SHA-512 differs", req.URL.Host, r.name, r.version)
	}
	return nil
}

// httpClient asks through the proxy of the environment, if any.
func httpClient() *http.Client {
	return &http.Client{Timeout: downloadTime, Transport: &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout:   15 * time.Second,
		ResponseHeaderTimeout: 30 * time.Second,
		ForceAttemptHTTP2:     true,
	}}
}
