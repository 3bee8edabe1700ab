package cli

import (
	"os"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/schollz/progressbar/v3"
)

// progress shows on standard error how far a command has got, with a bar for each phase. If that is
// not a terminal it shows nothing.
type progress struct {
	terminal bool
	phase    string
	bar      *progressbar.ProgressBar // of the phase, nil before the first
}

func newProgress() *progress { return &progress{terminal: isatty.IsTerminal(os.Stderr.Fd())} }

// inBytes is the unit of counts of bytes.
const inBytes = "bytes"

// show shows that done of total, in the plural of a unit, is done in a phase. total is -1 if it is
// not known. Failing to draw is not an error.
func (p *progress) show(phase string, done, total int64, unit string) {
	if !p.terminal {
		return
	}
	if phase != p.phase {
		p.clear()
		p.phase = phase
		rate := progressbar.OptionShowBytes(true)
		if unit != inBytes {
			rate = func(bar *progressbar.ProgressBar) {
				progressbar.OptionShowIts()(bar)
				progressbar.OptionSetItsString(unit)(bar)
			}
		}
		p.bar = progressbar.NewOptions64(total,
			progressbar.OptionSetWriter(os.Stderr), progressbar.OptionSetDescription(phase), rate, progressbar.OptionShowCount(),
			progressbar.OptionSetPredictTime(total > 0), progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionFullWidth(), progressbar.OptionSpinnerType(14), progressbar.OptionClearOnFinish())
	}
	_ = p.bar.Set64(done)
}

// describe replaces the displayed name of the phase by text.
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
