package cli

import (
	"os"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/schollz/progressbar/v3"
)

// progress shows on standard error how far a command has come, a bar for each phase. Where that
// is no terminal it shows nothing.
type progress struct {
	terminal bool
	phase    string
	bar      *progressbar.ProgressBar // of the phase, nil before the first
}

func newProgress() *progress { return &progress{terminal: isatty.IsTerminal(os.Stderr.Fd())} }

// show draws that done of total is done in a phase, in bytes or in things. total is -1 if it is not
// known. What cannot be drawn is not an error.
func (p *progress) show(phase string, done, total int64, inBytes bool) {
	if !p.terminal {
		return
	}
	if phase != p.phase {
		p.clear()
		p.phase = phase
		p.bar = progressbar.NewOptions64(total,
			progressbar.OptionSetWriter(os.Stderr), progressbar.OptionSetDescription(phase),
			progressbar.OptionShowBytes(inBytes), progressbar.OptionShowCount(), progressbar.OptionShowIts(),
			progressbar.OptionSetPredictTime(total > 0), progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionFullWidth(), progressbar.OptionSpinnerType(14), progressbar.OptionClearOnFinish())
	}
	_ = p.bar.Set64(done)
}

// describe replaces the name of the phase, as it is shown, by text.
func (p *progress) describe(text string) {
	if p.bar != nil {
		p.bar.Describe(text)
	}
}

// clear removes the bar, so that a line of output can take its place.
func (p *progress) clear() {
	if p.bar != nil {
		_ = p.bar.Clear()
	}
}
