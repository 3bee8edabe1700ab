// Package e2e tests the built program as people run it: its commands, the daemon, and what the
// documents promise of both. It holds tests only.
package e2e
