// Package display shows results on standard output and everything else on
// standard error: as bars on a terminal, as plain lines elsewhere, not at all
// when asked to be quiet.
package display

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/esxi-img/esxi-img/pkg/progress"
)

// Status tells what goes on. It is a progress.Reporter.
type Status struct {
	w        io.Writer
	quiet    bool
	terminal bool

	mu    sync.Mutex
	bar   *progressbar.ProgressBar
	phase string
	bytes int64
	began time.Time
}

var _ progress.Reporter = (*Status)(nil)

// NewStatus returns a Status that writes to w, with bars where w is a terminal.
func NewStatus(w io.Writer, quiet bool) *Status {
	f, ok := w.(*os.File)
	return &Status{w: w, quiet: quiet, terminal: ok && term.IsTerminal(int(f.Fd()))}
}

// Start implements progress.Reporter.
func (s *Status) Start(phase string, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.phase, s.bytes, s.began = Printable(phase), bytes, time.Now()
	if s.quiet || !s.terminal {
		return
	}
	s.bar = progressbar.NewOptions64(bytes,
		progressbar.OptionSetWriter(s.w),
		progressbar.OptionSetDescription(s.phase),
		progressbar.OptionShowBytes(true),
		progressbar.OptionUseIECUnits(true),
		progressbar.OptionShowTotalBytes(true),
		progressbar.OptionSetPredictTime(true),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionFullWidth(),
		progressbar.OptionClearOnFinish(),
	)
}

// Add implements progress.Reporter.
func (s *Status) Add(bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bar != nil {
		_ = s.bar.Add64(bytes) // a bar that cannot be drawn stops no work
	}
}

// Done implements progress.Reporter.
func (s *Status) Done() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bar != nil {
		_ = s.bar.Clear()
		s.bar = nil
	}
}

// Warn tells of something that the user should know.
func (s *Status) Warn(format string, args ...any) { s.line("warning: ", format, args...) }

// Note tells of something that the user may want to know.
func (s *Status) Note(format string, args ...any) { s.line("note: ", format, args...) }

// Log writes a line of a log that the user asked for.
func (s *Status) Log(format string, args ...any) { s.line("", format, args...) }

func (s *Status) line(prefix, format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.quiet {
		return
	}
	fmt.Fprintln(s.w, prefix+Printable(fmt.Sprintf(format, args...)))
}
