// Package e2e tests the built program as people run it: its commands, the daemon, and the promises
// of the documents. It holds only tests.
package e2e
