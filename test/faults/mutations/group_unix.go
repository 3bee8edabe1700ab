//go:build unix

package main

import (
	"os/exec"
	"syscall"
)

// group makes killing cmd kill all its descendants.
func group(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
