//go:build !unix

package command

import "os/exec"

// group leaves the command as it is: without process groups only it ends at once.
func group(*exec.Cmd) {}

func killGroup(*exec.Cmd) {}
