package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/schollz/progressbar/v3"
	"github.com/urfave/cli/v3"

	"tcp-log-server/client"
)

// Exit codes of append beside those of all commands.
const (
	ExitRefused = 2
	ExitUnknown = 3
)

// appendCommand is `tcp-log-server append`.
func appendCommand() *cli.Command {
	return &cli.Command{
		Name:  "append",
		Usage: "append entries to the log of a server",
		Description: "Takes JSON objects, arrays and nulls, as arguments or else from standard input: one a\n" +
			"line, or a stream of them. Prints the index of each once it is on the server's disk.\n\n" +
			addressHelp + " An argument that begins with { or [, or is null, is an entry.\n\n" +
			"Examples:\n" +
			"   tcp-log-server append '{\"event\":\"start\"}'\n" +
			"   tcp-log-server append --quiet < entries.ndjson\n" +
			"   jq -c '.items' export.json | tcp-log-server append --array\n" +
			"   tcp-log-server append --on-error continue --json log.example:8089 < entries.ndjson\n\n" +
			"Many entries are under way at a time. When not all of them are stored, the last line\n" +
			"on standard error says which are, which are not, and of which nobody knows, since the\n" +
			"connection was lost: those may be in the log or not; nothing is sent twice. A token that\n" +
			"may not write, or a server that takes no more connections, is named there, once.\n\n" +
			"Exit codes: 0 all stored; 1 it could not be done, and what was not sent is not stored;\n" +
			"2 some entries were refused; 3 of some the outcome is unknown; 16 wrong usage.",
		ArgsUsage: "[ADDR] [JSON…]",
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "array", Usage: "standard input is one array, the elements of which are the entries"},
			&cli.StringFlag{Name: "on-error", Value: "stop", Usage: "`stop|continue` at an entry that is refused", Validator: func(s string) error {
				if s != "stop" && s != "continue" {
					return fmt.Errorf("on-error is %q, want stop or continue", s)
				}
				return nil
			}},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "do not print indices"},
			&cli.BoolFlag{Name: "json", Usage: "print what became of each entry, one JSON object a line"},
		}, connectFlags()...),
		Action: appendEntries,
	}
}

// appendEntries appends what the arguments or standard input have.
func appendEntries(ctx context.Context, cmd *cli.Command) error {
	args := cmd.Args().Slice()
	name := ""
	if len(args) > 0 && !looksLikeEntry(args[0]) {
		name, args = args[0], args[1:]
	}
	addr, err := serverAddress(name)
	switch {
	case errors.Is(err, errFile):
		err = fmt.Errorf("%w; entries of a file come from standard input: < FILE", err)
	case err != nil:
	case cmd.Bool("array") && len(args) > 0:
		err = errors.New("--array is for standard input, not for arguments")
	case cmd.Bool("quiet") && cmd.Bool("json"):
		err = errors.New("--quiet and --json do not go together")
	}
	if err != nil {
		return usageError(cmd, err.Error())
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	dial, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // while there is nothing yet to end in good order
		select {
		case s := <-signals:
			signals <- s
			cancel()
		case <-dial.Done():
		}
	}()
	c, err := connect(dial, cmd, addr, client.Options{})
	if err != nil {
		return err
	}
	cancel()
	defer c.Close()

	out := newGatherer(os.Stdout)
	a := &appender{client: c, values: &argValues{args: args}, ledger: newLedger(cmd, out, len(args) > 0)}
	if len(args) == 0 {
		a.values = newValueReader(&countingReader{r: os.Stdin, n: &a.taken}, cmd.Bool("array"))
		a.bar = newAppendBar(out.terminal && !cmd.Bool("quiet"))
		if isatty.IsTerminal(os.Stdin.Fd()) && isatty.IsTerminal(os.Stderr.Fd()) {
			fmt.Fprintln(os.Stderr, "tcp-log-server: append: type JSON values; end with Ctrl-D")
		}
	}
	err = a.run(ctx, signals, out.failed)
	if werr := out.close(); err == nil && werr != nil {
		err = cli.Exit(fmt.Sprintf("append: standard output: %v", werr), ExitFailure)
	}
	return err
}

// valueSource gives values and says where each begins; io.EOF is the end.
type valueSource interface {
	next() (value []byte, place int, err error)
}

// argValues are the values among the arguments.
type argValues struct {
	args []string
	at   int
}

func (v *argValues) next() ([]byte, int, error) {
	if v.at == len(v.args) {
		return nil, v.at + 1, io.EOF
	}
	v.at++
	return []byte(v.args[v.at-1]), v.at, nil
}

// countingReader counts what is read through it.
type countingReader struct {
	r io.Reader
	n *atomic.Int64
}

func (c *countingReader) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n.Add(int64(n))
	return n, err
}

// appender appends values until their end, or until there is a reason to stop.
type appender struct {
	client *client.Client
	values valueSource
	ledger *ledger
	taken  atomic.Int64 // bytes of standard input
	bar    *appendBar   // nil where there is none
}

// run appends and waits for what has become of everything that was sent. The first
// signal stops it, the second does not wait.
func (a *appender) run(ctx context.Context, signals <-chan os.Signal, deaf <-chan struct{}) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// Nothing ends a read of standard input, so what reads it is not waited for: once
	// the ledger is closed it sends nothing any more.
	go a.pump(ctx)
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for stopped := a.ledger.stopped; ; {
		select {
		case <-stopped: // by the end of the input, or for a reason
			stopped = nil
			cancel()
		case <-a.ledger.settled:
			a.bar.end(a.ledger)
			return a.ledger.report()
		case <-deaf: // whoever reads the indices has gone: nobody wants more
			deaf = nil
			a.ledger.stop(nil)
		case s := <-signals:
			if stopped == nil {
				a.client.Close() // which settles all
			} else {
				a.ledger.stop(fmt.Errorf("stopped by a signal: %v", s))
			}
		case <-ticker.C:
			a.bar.show(a.ledger, a.taken.Load())
		}
	}
}

// pump gives the values to the client.
func (a *appender) pump(ctx context.Context) {
	for {
		text, place, err := a.values.next()
		var bad *valueError
		switch {
		case err == nil:
			v, ok := a.ledger.begin(place)
			if !ok {
				return
			}
			if err := a.client.AppendAsync(ctx, text, func(index uint64, err error) { a.ledger.settle(v, index, err) }); err != nil {
				a.ledger.settle(v, 0, err)
			}
		case errors.Is(err, io.EOF):
			a.ledger.end()
			return
		case errors.As(err, &bad):
			v, ok := a.ledger.begin(place)
			if !ok {
				return
			}
			a.ledger.settle(v, 0, fmt.Errorf("%w: %w", client.ErrInvalid, err))
			if bad.fatal {
				a.ledger.stop(errors.New("what comes behind cannot be told apart"))
				return
			}
		default:
			a.ledger.stop(fmt.Errorf("standard input: %w", err))
			return
		}
	}
}

// appendBar shows the progress on a terminal, unless indices go there.
type appendBar struct {
	bar   *progressbar.ProgressBar
	size  int64 // of standard input, -1 if it is no file
	begun time.Time
}

func newAppendBar(indices bool) *appendBar {
	if indices || !isatty.IsTerminal(os.Stderr.Fd()) || isatty.IsTerminal(os.Stdin.Fd()) {
		return nil
	}
	b := &appendBar{size: -1, begun: time.Now()}
	if info, err := os.Stdin.Stat(); err == nil && info.Mode().IsRegular() && info.Size() > 0 {
		b.size = info.Size()
	}
	options := []progressbar.Option{
		progressbar.OptionSetWriter(os.Stderr), progressbar.OptionShowBytes(true), progressbar.OptionSetDescription("append"),
		progressbar.OptionFullWidth(), progressbar.OptionClearOnFinish(), progressbar.OptionSetPredictTime(b.size > 0),
	}
	if b.size < 0 {
		options = append(options, progressbar.OptionSpinnerType(14))
	}
	b.bar = progressbar.NewOptions64(b.size, options...)
	return b
}

// show draws. What cannot be drawn is not missed.
func (b *appendBar) show(l *ledger, taken int64) {
	if b == nil {
		return
	}
	stored := l.count(stored)
	b.bar.Describe(fmt.Sprintf("%d stored, %.0f/s", stored, float64(stored)/time.Since(b.begun).Seconds()))
	_ = b.bar.Set64(taken)
}

// end replaces the bar by what it came to.
func (b *appendBar) end(l *ledger) {
	if b == nil {
		return
	}
	_ = b.bar.Clear()
	took := time.Since(b.begun)
	n := l.count(stored)
	fmt.Fprintf(os.Stderr, "%d stored in %v, %.0f/s\n", n, took.Round(time.Millisecond), float64(n)/took.Seconds())
}
