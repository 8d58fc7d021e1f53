//go:build e2e && !windows

package e2e

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// TestKilledCustomize stops the program at moments of chance, by INT and by
// KILL in turn: under the output's name there is what was there, or all that
// there is to be. An interrupted one also leaves nothing else, and says so by
// its exit code.
func TestKilledCustomize(t *testing.T) {
	iso := plain.iso(t, small, "")
	image := build(t, iso, "--headroom", "32M")
	layout := filepath.Join(t.TempDir(), "esxi.oci")
	run(t, program, "build", iso, "--quiet", "--layout", layout)
	drive, err := filepath.Abs(filepath.Join(hosts, "customized", "drive"))
	if err != nil {
		t.Fatal(err)
	}
	custom := []string{"--quiet", "--hostname", "esx1", "--config-drive", drive, "--config-drive-as", "partition", "--kernelopt", "a=b"}
	for name, c := range map[string]stopped{
		"in place":        {image: image, output: "esxi.img", old: image, args: []string{"customize", "esxi.img"}},
		"to another file": {image: image, output: "new.img", args: []string{"customize", "esxi.img", "-o", "new.img"}},
		"over another":    {image: image, output: "new.img", old: iso, args: []string{"customize", "esxi.img", "-o", "new.img", "--force"}},
		"to qcow2":        {image: image, output: "new.qcow2", args: []string{"customize", "esxi.img", "-o", "new.qcow2", "--format", "qcow2"}},
		"while pulling":   {output: "new.img", args: []string{"pull", "oci:" + layout, "-o", "new.img", "--insecure-skip-verify"}},
		"pulling over another": {output: "new.img", old: image, args: []string{
			"pull", "oci:" + layout, "-o", "new.img", "--insecure-skip-verify",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			c.args = append(c.args, custom...)
			c.dir = t.TempDir()
			c.run(t)
		})
	}
}

// stopped is a way to customise that is stopped.
type stopped struct {
	image  string // what "esxi.img" is; none if it is empty
	output string
	old    string // what is there before; nothing if it is empty
	args   []string
	dir    string
}

// reset makes the folder what it is before.
func (c *stopped) reset(t *testing.T) {
	t.Helper()
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(c.dir, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
	for to, from := range map[string]string{"esxi.img": c.image, c.output: c.old} {
		if from != "" {
			run(t, "cp", "--sparse=always", from, filepath.Join(c.dir, to))
		}
	}
}

// sum is the digest of a file, "" if it is not there.
func (c *stopped) sum(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(c.dir, name)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	return sum(t, path, fileSize(t, path))
}

func (c *stopped) names(t *testing.T) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func (c *stopped) start(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, c.args...)
	cmd.Dir, cmd.Stderr = c.dir, new(bytes.Buffer)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// stop starts the program, and stops it at a moment of that time by KILL or INT.
func (c *stopped) stop(t *testing.T, within time.Duration, kill bool) (*exec.Cmd, error) {
	t.Helper()
	cmd := c.start(t)
	time.Sleep(rand.N(within))
	if kill {
		_ = cmd.Process.Kill()
	} else {
		_ = cmd.Process.Signal(os.Interrupt)
	}
	return cmd, cmd.Wait()
}

func (c *stopped) run(t *testing.T) {
	c.reset(t)
	source, before := c.sum(t, "esxi.img"), c.sum(t, c.output)
	began := time.Now()
	if cmd := c.start(t); cmd.Wait() != nil {
		t.Fatal(cmd.Stderr)
	}
	took := time.Since(began)
	after, stops := c.sum(t, c.output), 0
	if after == before {
		t.Fatal("nothing was customised")
	}
	for n := range kills {
		c.reset(t)
		there := c.names(t)
		kill := n%2 == 0
		cmd, err := c.stop(t, took, kill)
		if err != nil {
			stops++
		}
		got := c.sum(t, c.output)
		if got != before && got != after || err == nil && got != after {
			t.Errorf("stop %d: neither the old nor the new one (%v)", n, err)
		}
		if c.output != "esxi.img" && c.sum(t, "esxi.img") != source {
			t.Errorf("stop %d: the image changed", n)
		}
		if !kill && err != nil {
			c.judgeInterrupt(t, cmd, there, got == before)
		}
		// What is left is in nobody's way.
		if got == before {
			if cmd := c.start(t); cmd.Wait() != nil {
				t.Errorf("stop %d, again: %s", n, cmd.Stderr)
			}
		}
		if c.sum(t, c.output) != after {
			t.Errorf("stop %d, again: another image", n)
		}
	}
	t.Logf("%d of %d were stopped within %v", stops, kills, took)
	if stops == 0 {
		t.Error("none was stopped: this test shows nothing")
	}
}

// judgeInterrupt wants 130, and no other files than before; but those from
// which a pull goes on. INT before the program listens ends it as any other.
func (c *stopped) judgeInterrupt(t *testing.T, cmd *exec.Cmd, there []string, old bool) {
	t.Helper()
	if code := cmd.ProcessState.ExitCode(); code != 130 && code != -1 {
		t.Errorf("exit code %d after INT: %s", code, cmd.Stderr)
	}
	for _, name := range c.names(t) {
		goesOn := c.args[0] == "pull" && name == "."+c.output+".partial"
		if !slices.Contains(there, name) && !goesOn && (old || name != c.output) {
			t.Errorf("%s was left behind", name)
		}
	}
}
