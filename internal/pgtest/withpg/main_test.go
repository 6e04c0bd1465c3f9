package main

import (
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestExitCodes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		args []string
		want int
	}{
		{"success", []string{"true"}, 0},
		{"failure", []string{"sh", "-c", "exit 7"}, 7},
		{"a signal", []string{"sh", "-c", "kill -9 $$"}, 137},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			code, err := command(c.args, nil)
			require.NoError(t, err)
			require.Equal(t, c.want, code)
		})
	}
	code, err := command([]string{"/no/such/command"}, nil)
	require.Error(t, err)
	require.Equal(t, 127, code)
}

func TestASignalReachesTheCommand(t *testing.T) {
	t.Parallel()
	heard := make(chan os.Signal, 1)
	heard <- syscall.SIGTERM
	code, err := command([]string{"sleep", "60"}, heard)
	require.NoError(t, err)
	require.Equal(t, 128+int(syscall.SIGTERM), code)
}

func TestOnlyAnOutspokenNoKeepsFromDownloading(t *testing.T) {
	t.Parallel()
	for setting, want := range map[string]bool{"": true, "1": true, "true": true, "please": true, "0": false, "false": false} {
		require.Equal(t, want, mayDownload(setting), setting)
	}
}
