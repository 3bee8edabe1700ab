package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"tcp-log-server/engine"
	"tcp-log-server/internal/bucketblobs"
	"tcp-log-server/internal/cluster"
)

// storeNames matches the names of a log's own files and directories, in every version.
var storeNames = regexp.MustCompile(`^(LOCK|BACKUP|ARCHIVE|archive\.cache|EPOCH|REPLICA|FENCED|segments|wal|blobs|lookup|incoming|cluster|store-[0-9a-f]{32}|[0-9]{20}.*|[0-9a-f]{2}|(next|blob|repair|archive|ARCHIVE)\.tmp)$`)

// checkDirectories refuses a directory that holds other files and no part of a log: the log's files would
// get mixed with them.
func (c *Config) checkDirectories() error {
	for _, dir := range []struct{ name, path string }{{"data", c.Data}, {"wal", c.WAL}, {"blobs", c.Blobs}} {
		if dir.path == "" || dir.path == engine.Memory || bucketblobs.IsURL(dir.path) {
			continue
		}
		if found := c.foreign(dir.path); len(found) > 0 {
			shown := found[:min(len(found), 3)]
			text := strings.Join(shown, ", ")
			if more := len(found) - len(shown); more > 0 {
				text += fmt.Sprintf(" and %d more", more)
			}
			return fmt.Errorf("%s: %s holds other files (%s) and no part of a log; name an empty directory or a new one, such as %s",
				dir.name, dir.path, text, filepath.Join(dir.path, "tcp-log-server.data"))
		}
	}
	return nil
}

// checkKind refuses a directory that a daemon of the other kind has used: it holds the log of a single
// server, or the replica of a cluster node.
func (c *Config) checkKind() error {
	if c.Data == engine.Memory {
		return nil
	}
	node := cluster.NodeOf(c.clusterDir())
	switch {
	case node != "" && c.Cluster.Nodes == "":
		return fmt.Errorf("data: %s belongs to node %s of a cluster: start it with cluster-nodes and cluster-node, or name another directory; "+
			"to have the log on one machine, make a replica of the cluster and promote it", c.Data, node)
	case node == "" && c.Cluster.Nodes != "" && c.hasLog():
		return fmt.Errorf("data: %s has the log of a single server: name another directory for the node; "+
			"a new cluster begins with that log if the first of its nodes is started with cluster-seed %[1]s", c.Data)
	}
	return nil
}

// foreign returns the names in dir if none of them is a log's own. It omits hidden files, lost+found, and
// the files and directories that other settings name. It returns none if dir cannot be read; opening the
// log reports why.
func (c *Config) foreign(dir string) (names []string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		switch name := e.Name(); {
		case storeNames.MatchString(name):
			return nil
		case strings.HasPrefix(name, "."), name == "lost+found", c.uses(filepath.Join(dir, name)):
		default:
			names = append(names, name)
		}
	}
	return names
}

// uses reports whether a setting names path, or something in it.
func (c *Config) uses(path string) bool {
	path, err := filepath.Abs(path)
	if err != nil {
		return false
	}
	for _, named := range []string{c.Data, c.WAL, c.Blobs, c.Tokens, c.TLSCert, c.TLSKey, c.TLSClientCA} {
		if named == "" || named == engine.Memory || bucketblobs.IsURL(named) {
			continue
		}
		if named, err = filepath.Abs(named); err == nil && (named == path || strings.HasPrefix(named, path+string(filepath.Separator))) {
			return true
		}
	}
	return false
}
