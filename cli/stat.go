package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v3"

	"tcp-log-server/client"
	"tcp-log-server/daemon"
	"tcp-log-server/internal/bucket"
	"tcp-log-server/internal/printable"
)

// statTime is how long a server may take to answer.
const statTime = 10 * time.Second

// statCommand is `tcp-log-server stat`.
func statCommand() *cli.Command {
	return &cli.Command{
		Name:  "stat",
		Usage: "show the status of a server or of the directories of a log",
		Description: "With an address, or no argument, asks the server there. With the directory of a log (a\n" +
			"path with a /, or one that exists) reads its index and the names of its files, without\n" +
			"a server and without changing anything. With the URL of an archive, s3://bucket/prefix or\n" +
			"file:///path, lists that.\n\n" +
			addressHelp + "\n\n" +
			"Examples:\n" +
			"   tcp-log-server stat                       # the server on this machine\n" +
			"   tcp-log-server stat log.example.com:8089\n" +
			"   tcp-log-server stat ./tcp-log-server.data # the directory, or a backup\n" +
			"   tcp-log-server stat --json | jq .head\n" +
			"   tcp-log-server stat --quiet && echo the server is well\n\n" +
			"Exit codes: 0 done, 1 the server does not answer, or refuses or acknowledges no\n" +
			"appends, 16 wrong usage.",
		ArgsUsage: "[ADDR|DIR|URL]",
		Flags: append(directoryFlags("", "DIR")[1:], // DIR is an argument
			append(connectFlags(),
				&cli.BoolFlag{Name: "json", Usage: "print one JSON object"},
				&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print nothing: the exit code is the answer"},
			)...),
		Action: action(showStat),
	}
}

func showStat(ctx context.Context, cmd *cli.Command) error {
	err := tellStat(ctx, cmd)
	if coded, ok := errors.AsType[cli.ExitCoder](err); cmd.Bool("quiet") && err != nil && (!ok || coded.ExitCode() != ExitUsage) {
		return cli.Exit("", ExitFailure)
	}
	return err
}

// tellStat asks and prints.
func tellStat(ctx context.Context, cmd *cli.Command) error {
	arg, err := argument(cmd, "address or directory")
	if err != nil {
		return err
	}
	if bucket.IsURL(arg) {
		return statArchive(ctx, cmd, arg)
	}
	if info, err := os.Stat(arg); err == nil && info.Mode().IsRegular() {
		return usageError(cmd, fmt.Sprintf("%q is a file, not an address or the directory of a log", arg))
	}
	if isDirectory(arg) {
		return statDirectory(ctx, cmd, arg)
	}
	for _, name := range []string{"wal", "blobs"} {
		// The variable may be set for the server; this command then ignores it.
		if value := cmd.String(name); value != setting(strings.ToUpper(name)).value() {
			return usageError(cmd, fmt.Sprintf("--%s needs the directory of a log as the argument; this would ask a server", name))
		}
	}
	return statServer(ctx, cmd, arg)
}

func statServer(ctx context.Context, cmd *cli.Command, arg string) error {
	addr, err := serverAddress(arg)
	if err != nil {
		return usageError(cmd, err.Error())
	}
	ctx, cancel := context.WithTimeout(ctx, statTime)
	defer cancel()
	c, err := connect(ctx, cmd, addr, client.Options{})
	if err != nil {
		return err
	}
	defer c.Close()
	text, err := c.Stat(ctx)
	if err != nil {
		return failure(cmd, addr, err)
	}
	var s daemon.Stat
	if err := json.Unmarshal(text, &s); err != nil {
		return failure(cmd, addr, fmt.Errorf("%w: %w", client.ErrProtocol, err))
	}
	switch {
	case cmd.Bool("quiet"):
	case cmd.Bool("json"):
		err = printLine(os.Stdout, "%s", text)
	default:
		err = printServerStat(os.Stdout, addr, s)
	}
	switch {
	case err != nil:
	case s.Failed != "":
		return cli.Exit(fmt.Sprintf("stat: %s refuses appends: %s", addr, s.Failed), ExitFailure)
	case s.SyncReplicas != nil && s.SyncReplicas.Missing != "":
		return cli.Exit(fmt.Sprintf("stat: %s acknowledges no appends: %s", addr, s.SyncReplicas.Missing), ExitFailure)
	}
	return err
}

// printServerStat prints a server's status for people.
func printServerStat(w io.Writer, addr string, s daemon.Stat) error {
	t := newTable(w)
	if s.Rights == "write" {
		t.row("server", "%s, which tells a peer that may only write no more than this", addr)
		t.row("features", "%s", strings.Join(s.Features, " "))
		t.row("entries", "up to %s, up to %s together", printable.Bytes(int64(s.MaxEntry)), printable.Bytes(int64(s.MaxBatch)))
		return t.Flush()
	}
	up := time.Duration(s.Uptime * float64(time.Second)).Round(time.Second)
	t.row("server", "%s, version %s, up %v", addr, s.Version, up)
	if s.Failed != "" {
		t.row("failed", "refuses appends: %s", s.Failed)
	}
	if s.Fenced != nil {
		t.row("fenced", "%s says that a replica was promoted, which is in epoch %s", s.Fenced.By, grouped(s.Fenced.Epoch))
	}
	if s.Replica != nil {
		t.row("replica", "%s", replicaText(*s.Replica))
	}
	t.row("head", "%s", grouped(s.Head))
	if s.Epoch > 1 {
		t.row("epoch", "%s", grouped(s.Epoch))
	}
	if s.Head > s.Settled && s.Settled > 0 {
		t.row("settled", "through %s, %s to go", grouped(s.Settled), grouped(s.Head-s.Settled))
	}
	if s.Stalled != "" {
		t.row("stalled", "entries stay in their segments for the time being: %s", s.Stalled)
	}
	if s.Cluster != nil {
		printCluster(t, *s.Cluster, s.Bytes)
	} else {
		printPlaces(t, s)
	}
	printArchive(t, s)
	t.row("appended", "%s, %s since the start; %.4g a second now", counted(s.Appends.Entries, "entry", "entries"), printable.Bytes(int64(s.Appends.Bytes)), s.Appends.Rate)
	t.row("clients", "%s besides this one, %d of them read", counted(max(s.Connections-1, 0), "connection", "connections"), s.Readers)
	printReplicas(t, s)
	for i, name := range slices.Sorted(maps.Keys(s.Settings)) {
		label := ""
		if i == 0 {
			label = "settings"
		}
		value := s.Settings[name]
		if f, ok := value.(float64); ok {
			value = fmt.Sprintf("%.0f", f)
		}
		t.row(label, "%s=%v", name, value)
	}
	return t.Flush()
}

// printPlaces prints where the entries of a log in a directory are.
func printPlaces(t table, s daemon.Stat) {
	if s.Loose >= 0 {
		t.row("loose", "%s", counted(s.Loose, "blob file", "blob files"))
	}
	t.row("packed", "%s in segments that stay", counted(s.Packed, "entry", "entries"))
	t.row("segments", "%s, %s with the index", grouped(uint64(s.Segments)), printable.Bytes(s.Bytes))
	if s.Disk != nil {
		t.row("disk", "%s used, %s free", printable.Bytes(s.Disk.Used), printable.Bytes(s.Disk.Free))
	}
}

// printCluster prints the status of the cluster.
func printCluster(t table, s daemon.ClusterStat, bytes int64) {
	where := "on NATS"
	if s.Node != "" {
		where = "node " + s.Node
	}
	leader := "led by " + s.Leader
	if s.Leader == "" {
		leader = "without a leader"
	}
	t.row("cluster", "%s, %s; %s, %s on each node", where, leader, counted(s.Messages, "message", "messages"), printable.Bytes(bytes))
	for _, r := range s.Replicas {
		t.row("", "%s: %s", r.Node, replicaState(r))
	}
	if s.Behind > 0 || s.Waiting > 0 {
		t.row("", "%s to come, %s wait for a majority", counted(s.Behind, "message", "messages"), counted(s.Waiting, "append", "appends"))
	}
	if s.Damaged > 0 {
		t.row("", "%s came damaged from a node: run `tcp-log-server cluster verify`", counted(s.Damaged, "message", "messages"))
	}
}

// printArchive prints how far the archive is, and what is only there.
func printArchive(t table, s daemon.Stat) {
	if a := s.Archive; a != nil {
		behind := "nothing behind"
		if b := a.Behind; b.Entries > 0 {
			behind = fmt.Sprintf("behind by %s, %s, %.1f s", counted(b.Entries, "entry", "entries"), printable.Bytes(b.Bytes), b.Seconds)
		}
		t.row("archive", "%s, through %s; %s", a.URL, grouped(a.Through), behind)
		switch {
		case a.Stopped:
			t.row("", "stopped since %s: %s", a.Since, a.Error)
		case a.Error != "":
			t.row("", "fails since %s: %s", a.Since, a.Error)
		}
	}
	if a := s.Archived; a != nil && a.Through > 0 {
		t.row("archived", "segments through entry %s are there only, %s of them removed since the start", grouped(a.Through), grouped(a.Removed))
		t.row("", "blocks read: %s from the cache, %s from there; %s fetched, %s in the cache", grouped(a.Hits), grouped(a.Misses), printable.Bytes(a.Fetched), printable.Bytes(a.Cached))
	}
}

// printReplicas prints how far the replicas are.
func printReplicas(t table, s daemon.Stat) {
	for i, r := range s.Replicas {
		label := ""
		if i == 0 {
			label = "replicas"
		}
		t.row(label, "%s at %s, on disk through %s, %s to go, connected since %s", cmp.Or(r.Name, "one without a name"), r.Address,
			grouped(r.Durable), grouped(r.Behind), r.Since.Local().Format(time.DateTime))
	}
	if sync := s.SyncReplicas; sync != nil {
		t.row("acknowledged", "once on disk at %s too, of %s connected; %s, %s of unknown outcome since the start",
			counted(sync.Need, "replica", "replicas"), grouped(uint64(sync.Connected)), counted(sync.Waiting, "append waits", "appends wait"), grouped(sync.Unknown))
		if sync.Missing != "" {
			t.row("missing", "%s", sync.Missing)
		}
	}
}

// replicaText describes the status of a replica.
func replicaText(r daemon.ReplicaStatus) string {
	text := "of " + r.Source
	switch {
	case r.Stopped != "":
		return text + ", stopped: " + r.Stopped
	case !r.Connected && r.Error != "":
		text += ", not connected: " + r.Error + "; had"
	case !r.Connected:
		text += ", connecting; had"
	default:
		text += ", has"
	}
	if r.Behind == 0 && r.BehindSeconds == 0 {
		return text + fmt.Sprintf(" all that it has, compared through %s", grouped(r.Verified))
	}
	return text + fmt.Sprintf(" %s less than it, %.1f s behind, compared through %s", counted(r.Behind, "entry", "entries"), r.BehindSeconds, grouped(r.Verified))
}

// directoryStat is what `stat --json DIR` prints.
type directoryStat struct {
	Store    string `json:"store"`
	Head     uint64 `json:"head"`
	Loose    uint64 `json:"loose"`  // entries with a blob file
	Packed   uint64 `json:"packed"` // entries in segments that stay
	Blobs    int    `json:"blobs"`  // blob files
	Segments int    `json:"segments"`
	First    uint64 `json:"first"` // the first index in a segment
	Settled  uint64 `json:"settled"`
	Digest   string `json:"digest,omitempty"` // of entries 1 to settled, by the index alone
	Damaged  int    `json:"damaged"`          // segments that cannot be read at all
	Bytes    struct {
		Segments int64 `json:"segments"`
		Index    int64 `json:"index"`
		Blobs    int64 `json:"blobs"`
	} `json:"bytes"`
	Last      string         `json:"last,omitempty"`       // when the last settled entry was committed
	Epoch     uint64         `json:"epoch"`                // the log's current epoch
	ReplicaOf string         `json:"replica_of,omitempty"` // the source of a replica
	Fenced    *daemon.Fenced `json:"fenced,omitempty"`
	Archived  *archivedStat  `json:"archived,omitempty"`
}

// archivedStat says where the log's archive is, and gives the last entry whose segment was
// removed here because the archive has it, 0 if none was.
type archivedStat struct {
	URL     string `json:"url"`
	Through uint64 `json:"through"`
}

func statDirectory(ctx context.Context, cmd *cli.Command, dir string) error {
	log, _, err := openDirectories(ctx, cmd, dir)
	if err != nil {
		return err
	}
	found, err := log.Stat(ctx)
	if err != nil {
		return fmt.Errorf("stat: %w", err)
	}
	s := directoryStat{
		Store: found.Store, Head: found.Head, Loose: found.Loose, Packed: found.Packed, Blobs: found.Blobs,
		Segments: found.Segments, First: found.First, Settled: found.Settled, Digest: found.Digest, Damaged: found.Damaged,
	}
	s.Bytes.Segments, s.Bytes.Index, s.Bytes.Blobs = found.SegmentBytes, found.IndexBytes, found.BlobBytes
	s.Epoch, s.ReplicaOf = found.Epoch, found.ReplicaOf
	if found.Fenced.Epoch > 0 {
		s.Fenced = &daemon.Fenced{Epoch: found.Fenced.Epoch, By: found.Fenced.By}
	}
	if found.Archive != "" {
		s.Archived = &archivedStat{found.Archive, found.Archived}
	}
	if !found.Last.IsZero() {
		s.Last = found.Last.UTC().Format(time.RFC3339Nano)
	}
	switch {
	case cmd.Bool("quiet"):
		return nil
	case cmd.Bool("json"):
		var b bytes.Buffer
		if err := json.NewEncoder(&b).Encode(s); err != nil {
			return err
		}
		_, err = os.Stdout.Write(b.Bytes())
		return err
	}
	t := newTable(os.Stdout)
	t.row("log", "%s, store %s", dir, s.Store)
	if s.ReplicaOf != "" {
		t.row("replica", "of %s", s.ReplicaOf)
	}
	if s.Fenced != nil {
		t.row("fenced", "%s says that a replica was promoted, which is in epoch %s", cmp.Or(s.Fenced.By, "another copy"), grouped(s.Fenced.Epoch))
	}
	t.row("head", "%s", grouped(s.Head))
	if s.Epoch > 1 {
		t.row("epoch", "%s", grouped(s.Epoch))
	}
	if s.Last != "" {
		t.row("last", "%s", found.Last.Local().Format(time.DateTime))
	}
	if s.Head > s.Settled {
		t.row("settled", "through %s, %s to go", grouped(s.Settled), grouped(s.Head-s.Settled))
	}
	if s.Digest != "" {
		t.row("digest", "%s (entries 1 to %s, by the index alone)", s.Digest, grouped(s.Settled))
	}
	t.row("loose", "%s in %s, %s", counted(s.Loose, "entry", "entries"), counted(s.Blobs, "blob file", "blob files"), printable.Bytes(s.Bytes.Blobs))
	t.row("packed", "%s in segments that stay", counted(s.Packed, "entry", "entries"))
	t.row("segments", "%s, %s", grouped(uint64(s.Segments)), printable.Bytes(s.Bytes.Segments))
	t.row("index", "%s", printable.Bytes(s.Bytes.Index))
	if s.Archived != nil {
		text := s.Archived.URL
		if s.Archived.Through > 0 {
			text += "; segments through entry " + grouped(s.Archived.Through) + " were removed here, and are there"
		}
		t.row("archive", "%s", text)
	}
	if s.Damaged > 0 {
		t.row("damaged", "%s cannot be read: run `tcp-log-server fsck %s`", counted(s.Damaged, "segment", "segments"), dir)
	}
	return t.Flush()
}
