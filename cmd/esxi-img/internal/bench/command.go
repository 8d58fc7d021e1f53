package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// command is a child process that is measured.
type command struct {
	cmd  *exec.Cmd
	took time.Duration
	// maxRSS is the child's largest resident set in bytes, 0 where the system
	// does not tell. It is never less than this process's own: Linux counts
	// what the child shared with us before it became another program.
	maxRSS int64
}

func (b *bench) command(ctx context.Context, name string, args ...string) *command {
	return &command{cmd: exec.CommandContext(ctx, name, args...)}
}

// run waits until the disk has settled, then runs the command.
func (c *command) run() error {
	settle()
	var out bytes.Buffer
	c.cmd.Stdout, c.cmd.Stderr = &out, &out
	start := time.Now()
	err := c.cmd.Run()
	c.took = time.Since(start)
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(c.cmd.Args, " "), err, out.Bytes())
	}
	c.maxRSS = maxRSS(c.cmd.ProcessState)
	return nil
}

// timed runs a shell command that needs those programs, and returns how many
// seconds it took.
func (c *command) timed(programs ...string) (float64, error) {
	for _, p := range programs {
		if err := lookPath(p); err != nil {
			return 0, err
		}
	}
	err := c.run()
	return c.took.Seconds(), err
}

// lookPath also looks where Debian keeps what only root needs.
func lookPath(program string) error {
	_, err := exec.LookPath(program)
	for _, dir := range []string{"/usr/sbin/", "/sbin/"} {
		if err == nil {
			return nil
		}
		if _, again := exec.LookPath(dir + program); again == nil {
			return nil
		}
	}
	return err
}
