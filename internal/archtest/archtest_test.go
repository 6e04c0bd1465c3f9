package archtest

import (
	"os"
	"path"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestHouse is the point of the package: the tree around it keeps the rules.
func TestHouse(t *testing.T) {
	t.Parallel()
	root := os.DirFS("../..")

	// A walk that found nothing would pass every rule.
	house, err := load(root)
	require.NoError(t, err)
	dirs, _ := house.packages()
	require.Subset(t, dirs, []string{"internal/archtest", "internal/fault"})

	broken, err := Check(root)
	require.NoError(t, err)
	for _, violation := range broken {
		t.Error(violation)
	}
}

// A rule about a package that is misspelled, or stands nowhere, would never bite.
func TestTablesAreConsistent(t *testing.T) {
	t.Parallel()
	packages := slices.Concat(line...)
	slices.Sort(packages)
	require.Equal(t, slices.Compact(slices.Clone(packages)), packages, "a package stands on the line twice")

	require.Subset(t, packages, testOnly)
	for importer, imported := range neighbours {
		require.Contains(t, packages, importer)
		for _, dir := range imported {
			require.Equal(t, stepOf(importer), stepOf(dir), "%s and %s are no neighbours", importer, dir)
		}
	}
	for imported, importers := range importersOf {
		require.Contains(t, packages, imported)
		require.Subset(t, packages, importers)
	}
	for library, globs := range confined {
		for _, glob := range globs {
			_, err := path.Match(glob, "")
			require.NoError(t, err, library)
		}
	}
}
