package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
)

// settlingCells compare appends with settling, as by default, and without.
func settlingCells() (cells []cell) {
	for _, c := range [][2]int{{1, 1}, {16, 1}, {64, 1}, {64, 16}} {
		cells = append(cells, cell{group: "settling", name: fmt.Sprintf("%dx%d", c[0], c[1]), only: ownOnly,
			run: func(r *runner, _ *target) (measurement, error) { return r.settling(c[0], c[1]) }})
	}
	return cells
}

func (r *runner) settling(conns, inFlight int) (measurement, error) {
	t, err := r.adjustable()
	if err != nil {
		return nil, err
	}
	var with, without measurement
	for _, way := range []struct {
		env []string
		m   *measurement
	}{{[]string{"FAULT_SETTLE_EVERY=1h"}, &without}, {nil, &with}} {
		err := r.withServer(t, way.env, func(p *process) error {
			*way.m, err = r.appends(t, p, conns, inFlight)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	with["rate_without"], with["p99_without"] = without["rate"], without["p99"]
	with["p99_ratio"] = with["p99"] / without["p99"]
	return with, nil
}

// adjustable is this project's server, built so that the environment sets how often
// it settles.
func (r *runner) adjustable() (*target, error) {
	binary := filepath.Join(r.temp, "tcp-log-server-adjustable")
	if _, err := os.Stat(binary); errors.Is(err, fs.ErrNotExist) {
		if err := build(binary, "-tags", "faults"); err != nil {
			return nil, err
		}
	}
	return logTarget("ours", "", "", func() *exec.Cmd { return exec.Command(binary) }), nil
}
