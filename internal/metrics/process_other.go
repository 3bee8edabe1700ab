//go:build !linux

package metrics

// processUsage returns nothing on this system.
func processUsage() usage { return unknown() }
