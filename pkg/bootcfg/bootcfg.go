// Package bootcfg parses, edits and writes boot.cfg, the configuration of
// VMware's boot loader (mboot), without losing a line.
//
// A [Config] keeps the file as it is, line by line; only the line that an edit
// is about changes, and in it only the option or the module concerned. What the
// getters answer is the loader's own view of the file, odd as it is: white
// space folds, keys abbreviate, and the last of several lines wins. It follows
// mboot as released with ESXi 9.0 (github.com/vmware/esx-boot, bootlib/parse.c,
// bootlib/string.c and mboot/config.c), whose rules were also measured by
// booting it.
package bootcfg

import (
	"fmt"
	"strings"
)

// MaxSize is the largest boot.cfg that Parse takes, in bytes. A stock file has
// about 2 KiB; the loader itself states no limit.
const MaxSize = 1 << 20

// Config is a boot.cfg. It is not safe for parallel use while it is edited.
type Config struct {
	lines []line
}

// line is one line of the file with its line ending, if it has one.
type line string

// SizeError says that a boot.cfg is larger than MaxSize.
type SizeError struct {
	Size int // in bytes
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("bootcfg: %d bytes, more than the %d that are read", e.Size, MaxSize)
}

// Parse reads a boot.cfg. It takes whatever the loader takes, which is every
// text: lines that mean nothing are kept and ignored, and [Config.Check] names
// those that stop the boot. The only error is a *SizeError.
func Parse(b []byte) (*Config, error) {
	if len(b) > MaxSize {
		return nil, &SizeError{Size: len(b)}
	}
	c := &Config{}
	for l := range strings.SplitAfterSeq(string(b), "\n") {
		if l != "" {
			c.lines = append(c.lines, line(l))
		}
	}
	return c, nil
}

// Bytes returns the file. Without an edit it is what Parse was given, byte for
// byte.
func (c *Config) Bytes() []byte {
	var out []byte
	for _, l := range c.lines {
		out = append(out, l...)
	}
	return out
}

// Get returns the value that the loader has for key, and whether any line sets
// it. White space in the value is folded. The keys that only ESXi itself knows
// (build, bootstate, updated) follow the same rules here.
func (c *Config) Get(key string) (string, bool) {
	i := c.find(canonical(key))
	if i < 0 {
		return "", false
	}
	s, _ := c.lines[i].setting()
	return fold(string(c.lines[i])[s.start:s.end]), true
}

func (c *Config) value(key string) string {
	v, _ := c.Get(key)
	return v
}

// Kernel returns the kernel's path as written, "" if none is set: the loader
// then stops.
func (c *Config) Kernel() string { return c.value(keyKernel) }

// KernelOpts returns the kernel's options, split at white space.
func (c *Config) KernelOpts() []string { return fields(c.value(keyKernelOpt)) }

// Modules returns the modules in the order in which they are loaded.
func (c *Config) Modules() []Module {
	modules, _ := splitModules(c.value(keyModules))
	return modules
}

// Prefix returns the directory that relative paths start from. Empty or absent,
// it is the directory of the boot.cfg itself.
func (c *Config) Prefix() string { return c.value(keyPrefix) }

// Title returns the text that the loader shows.
func (c *Config) Title() string { return c.value(keyTitle) }

// Build returns the release, such as "8.0.2-0.0.22380479": empty before ESXi
// 7.0. The loader ignores it.
func (c *Config) Build() string { return c.value("build") }

// find returns the index of the line that the loader uses for a canonical key,
// which is the last one that sets it, or -1.
func (c *Config) find(canon string) int {
	for i := len(c.lines) - 1; i >= 0; i-- {
		if s, ok := c.lines[i].setting(); ok && canonical(s.key) == canon {
			return i
		}
	}
	return -1
}
