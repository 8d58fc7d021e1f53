//go:build e2e

package e2e

import (
	"bytes"
	"regexp"
	"strings"
	"sync"
)

// consoleLimit bounds what a machine may say, in bytes.
const consoleLimit = 4 << 20

// console keeps what a machine says, and switches it off at its last word.
type console struct {
	lastWord string
	done     func()

	mu  sync.Mutex
	all bytes.Buffer
}

func (c *console) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all.Write(b)
	tail := c.all.Bytes()[max(0, c.all.Len()-len(b)-len(c.lastWord)):]
	if bytes.Contains(tail, []byte(c.lastWord)) || c.all.Len() > consoleLimit {
		c.done()
	}
	return len(b), nil
}

var escapes = regexp.MustCompile(`\x1b\[[0-9;=?]*[A-Za-z]`)

// text returns it without what moves the cursor.
func (c *console) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.ReplaceAll(escapes.ReplaceAllString(c.all.String(), ""), "\r", "")
}
