package cli

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/rs/zerolog"
)

// levels are the names that LOG_LEVEL takes: pino's, which are zerolog's too.
var levels = map[string]zerolog.Level{
	"trace": zerolog.TraceLevel, "debug": zerolog.DebugLevel, "info": zerolog.InfoLevel,
	"warn": zerolog.WarnLevel, "error": zerolog.ErrorLevel, "fatal": zerolog.FatalLevel,
	"silent": zerolog.Disabled,
}

// pinoLevels are pino's numbers for the levels.
var pinoLevels = map[zerolog.Level]int{
	zerolog.TraceLevel: 10, zerolog.DebugLevel: 20, zerolog.InfoLevel: 30,
	zerolog.WarnLevel: 40, zerolog.ErrorLevel: 50, zerolog.FatalLevel: 60,
}

// logBuffer is how many lines may wait for whoever reads the log. When it is full
// lines are dropped, and counted: the server serves on whatever becomes of them.
const logBuffer = 4096

// newLogger logs to out: on a terminal in a form for people, elsewhere one JSON
// object a line with the field names of pino, so that its tools read it. closeLog
// writes what waits, unless nobody takes it.
func newLogger(out *os.File, level string) (logger zerolog.Logger, closeLog func()) {
	zerolog.MessageFieldName = "msg"
	// A reader of the log that goes away is no reason to end.
	signal.Ignore(syscall.SIGPIPE)
	zerolog.ErrorHandler = func(error) {}
	w := newLogQueue(out, logBuffer, func(lines uint64) {
		fmt.Fprintf(os.Stderr, "tcp-log-server: %d log lines were dropped: nobody reads them\n", lines)
	})
	closeLog = func() { w.close(time.Second) }
	if isatty.IsTerminal(out.Fd()) {
		console := zerolog.ConsoleWriter{Out: w, TimeFormat: time.TimeOnly, NoColor: os.Getenv("NO_COLOR") != "", FormatPrepare: headline}
		return zerolog.New(console).Level(levels[level]).With().Timestamp().Logger(), closeLog
	}
	return pinoLogger(w, level), closeLog
}

// headline makes the event, which is what a person looks for, the message.
func headline(fields map[string]any) error {
	if event, ok := fields["event"].(string); ok {
		if msg, ok := fields[zerolog.MessageFieldName].(string); ok {
			event += ": " + msg
		}
		fields[zerolog.MessageFieldName] = event
		delete(fields, "event")
	}
	return nil
}

func pinoLogger(out io.Writer, level string) zerolog.Logger {
	zerolog.TimeFieldFormat = zerolog.TimeFormatUnixMs
	// zerolog writes levels as strings, pino as numbers: without a name for the
	// field zerolog leaves it out, and the hook puts it in.
	zerolog.LevelFieldName = ""
	hostname, _ := os.Hostname()
	return zerolog.New(out).Level(levels[level]).
		Hook(zerolog.HookFunc(func(e *zerolog.Event, level zerolog.Level, _ string) {
			e.Int("level", pinoLevels[level])
		})).
		With().Timestamp().Int("pid", os.Getpid()).Str("hostname", hostname).Logger()
}
