// Package cluster runs a node of a cluster inside this process: a NATS server with JetStream, which
// keeps one replica of the log. It knows nodes, their secrets and their disks; what the log is
// made of belongs to package replicated.
package cluster
