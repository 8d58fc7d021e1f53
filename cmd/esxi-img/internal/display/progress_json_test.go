package display_test

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/display"
)

// TestJSONProgress writes at most two lines a second, and one at the beginning and
// the end of each phase.
func TestJSONProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		p := display.NewJSONProgress(&b)
		p.Start("pull x", 1000)
		for range 1000 { // ten seconds
			time.Sleep(10 * time.Millisecond)
			p.Add(1)
		}
		p.Done()
		p.Done()
		lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
		if n := len(lines); n < 12 || n > 2+2*10 {
			t.Errorf("%d lines in ten seconds", n)
		}
		if first, last := lines[0], lines[len(lines)-1]; first != `{"phase":"pull x","done":0,"total":1000}` || last != `{"phase":"pull x","done":1000,"total":1000,"end":true}` {
			t.Errorf("it begins with %s and ends with %s", first, last)
		}
	})
}
