package daemon

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/rs/zerolog"
)

// levels lists the log levels with their names in zerolog and pino, and pino's numbers, lowest first.
var levels = []struct {
	name  string
	level zerolog.Level
	pino  int
}{
	{"trace", zerolog.TraceLevel, 10}, {"debug", zerolog.DebugLevel, 20}, {"info", zerolog.InfoLevel, 30},
	{"warn", zerolog.WarnLevel, 40}, {"error", zerolog.ErrorLevel, 50}, {"fatal", zerolog.FatalLevel, 60},
	{"silent", zerolog.Disabled, 0},
}

// LevelNames returns the names that ParseLevel accepts, lowest level first.
func LevelNames() (names []string) {
	for _, l := range levels {
		names = append(names, l.name)
	}
	return names
}

// ParseLevel returns the level with this name. Its error is a ConfigError.
func ParseLevel(name string) (zerolog.Level, error) {
	for _, l := range levels {
		if l.name == name {
			return l.level, nil
		}
	}
	return 0, ConfigError(fmt.Sprintf("log-level is %q, want trace, debug, info, warn, error, fatal or silent", name))
}

// levelName returns the name of a level.
func levelName(level zerolog.Level) string {
	for _, l := range levels {
		if l.level == level {
			return l.name
		}
	}
	return level.String()
}

// logBuffer is how many lines may wait for the reader of the log; half as many more if they name a peer
// that has connected, and twice as many if they are errors. Lines without room are dropped and counted:
// the server does not wait for the reader.
const logBuffer = 4096

// NewLogger returns a logger that writes events of a level or above to out: in a form for people on a
// terminal, elsewhere as one JSON object a line with the field names of pino, whose tools can read it. It
// never waits for the reader of out; it drops lines instead, and says so on standard error. closeLog
// writes the queued lines, for at most a second.
//
// It sets zerolog's field names, which are global to the process: call it once, before anything is
// logged.
func NewLogger(out *os.File, level zerolog.Level) (logger zerolog.Logger, closeLog func()) {
	zerolog.MessageFieldName = "msg"
	zerolog.ErrorHandler = func(error) {} // losing the reader of the log is no reason to stop
	w := newLogQueue(out, logBuffer, func(lines uint64) {
		fmt.Fprintf(os.Stderr, "tcp-log-server: %d log lines were dropped, because their reader is too slow or gone\n", lines)
	})
	closeLog = func() { w.close(time.Second) }
	if isatty.IsTerminal(out.Fd()) {
		console := zerolog.ConsoleWriter{Out: w, TimeFormat: time.TimeOnly, NoColor: os.Getenv("NO_COLOR") != "", FormatPrepare: headline}
		return zerolog.New(console).Level(level).With().Timestamp().Logger(), closeLog
	}
	return pinoLogger(w, level), closeLog
}

// headline turns the event of a line without a message into its message.
func headline(fields map[string]any) error {
	if fields[zerolog.MessageFieldName] == nil {
		fields[zerolog.MessageFieldName] = fields["event"]
		delete(fields, "event")
	}
	return nil
}

func pinoLogger(out io.Writer, level zerolog.Level) zerolog.Logger {
	zerolog.TimeFieldFormat = zerolog.TimeFormatUnixMs
	// zerolog writes levels as strings, pino as numbers: with an empty field name zerolog omits the
	// level, and the hook adds it.
	zerolog.LevelFieldName = ""
	numbers := make(map[zerolog.Level]int)
	for _, l := range levels {
		numbers[l.level] = l.pino
	}
	hostname, _ := os.Hostname()
	return zerolog.New(out).Level(level).
		Hook(zerolog.HookFunc(func(e *zerolog.Event, level zerolog.Level, _ string) {
			e.Int("level", numbers[level])
		})).
		With().Timestamp().Int("pid", os.Getpid()).Str("hostname", hostname).Logger()
}
