package display

import (
	"encoding/json"
	"io"
	"sync"
	"time"

	"github.com/esxi-img/esxi-img/pkg/progress"
)

// jsonInterval is how often a line of progress is written at most.
const jsonInterval = 500 * time.Millisecond

// JSONProgress writes progress as lines of JSON, for programs: one at the start
// and at the end of each phase, and some between.
type JSONProgress struct {
	mu   sync.Mutex
	enc  *json.Encoder
	line progressLine
	last time.Time
	open bool
}

// progressLine is one line. Total is -1 where it is not known.
type progressLine struct {
	Phase string `json:"phase"`
	Done  int64  `json:"done"`  // bytes
	Total int64  `json:"total"` // bytes
	End   bool   `json:"end,omitempty"`
}

var _ progress.Reporter = (*JSONProgress)(nil)

// NewJSONProgress writes to w.
func NewJSONProgress(w io.Writer) *JSONProgress { return &JSONProgress{enc: json.NewEncoder(w)} }

// Start implements progress.Reporter.
func (p *JSONProgress) Start(phase string, bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.line, p.open = progressLine{Phase: phase, Total: bytes}, true
	p.write()
}

// Add implements progress.Reporter.
func (p *JSONProgress) Add(bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.line.Done += bytes
	if time.Since(p.last) >= jsonInterval {
		p.write()
	}
}

// Done implements progress.Reporter.
func (p *JSONProgress) Done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.open {
		return
	}
	p.open, p.line.End = false, true
	p.write()
}

func (p *JSONProgress) write() {
	_ = p.enc.Encode(p.line) // progress that cannot be shown stops no work
	p.last = time.Now()
}
