package esxitest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Flavour says by which names an image can be read.
type Flavour string

// The flavours.
const (
	Plain     Flavour = "plain"     // upper-case 8.3, as VMware ships it
	RockRidge Flavour = "rockridge" // and Rock Ridge and Joliet: re-mastered as VMware documents it
	Joliet    Flavour = "joliet"    // and Joliet alone
	Lower     Flavour = "lower"     // plain names in lower case
)

// Tool writes the image.
type Tool string

// The tools.
const (
	Builtin     Tool = "builtin" // WriteISO: plain and lower only
	Xorriso     Tool = "xorriso"
	Genisoimage Tool = "genisoimage"
)

// Mastering says how a medium's image is made. The zero value is Plain, by
// Builtin.
type Mastering struct {
	Flavour Flavour
	Tool    Tool // empty: Builtin where it can, else Xorriso
}

// Made says what Master wrote.
type Made struct {
	Release Release
	Arch    string
	Files   int
	Size    int64 // of the image, in bytes
	Mastering
}

// Master writes a medium's image to path, which it replaces only when the
// image is complete. The same arguments give the same image, except that
// genisoimage writes the time of day into its descriptors. An error for a
// tool that isn't there matches [exec.ErrNotFound] and names it.
func Master(ctx context.Context, path string, how Mastering, opts ...Option) (Made, error) {
	how, err := how.resolve()
	if err != nil {
		return Made{}, err
	}
	if how.Flavour != Plain {
		opts = append(slices.Clip(opts), LowerCase()) // as a mounted medium shows its names
	}
	c := newConfig(opts)
	m := build(c)
	made := Made{Release: c.release, Arch: c.arch, Files: len(m.files), Mastering: how}
	tmp, err := os.MkdirTemp(filepath.Dir(path), ".mkiso-*")
	if err != nil {
		return Made{}, err
	}
	out := filepath.Join(tmp, "iso")
	err = m.master(ctx, out, filepath.Join(tmp, "tree"), how)
	if err == nil {
		made.Size, err = moveInto(out, path)
	}
	return made, errors.Join(err, os.RemoveAll(tmp))
}

func (how Mastering) resolve() (Mastering, error) {
	if how.Flavour == "" {
		how.Flavour = Plain
	}
	builtin := how.Flavour == Plain || how.Flavour == Lower
	switch {
	case !slices.Contains([]Flavour{Plain, RockRidge, Joliet, Lower}, how.Flavour):
		return how, fmt.Errorf("no such flavour: %q", how.Flavour)
	case how.Tool == "" && builtin:
		how.Tool = Builtin
	case how.Tool == "":
		how.Tool = Xorriso
	case !slices.Contains([]Tool{Builtin, Xorriso, Genisoimage}, how.Tool):
		return how, fmt.Errorf("no such tool: %q", how.Tool)
	case how.Tool == Builtin && !builtin:
		return how, fmt.Errorf("flavour %s needs xorriso or genisoimage", how.Flavour)
	}
	return how, nil
}

func (m *medium) master(ctx context.Context, out, tree string, how Mastering) error {
	if how.Tool == Builtin {
		return createFile(ctx, out, func(w io.Writer) error { return WriteISO(w, m.files, m.isoOptions()) })
	}
	tool, err := exec.LookPath(string(how.Tool))
	if err != nil {
		return fmt.Errorf("flavour %s needs %s, which is not installed: %w", how.Flavour, how.Tool, err)
	}
	if err := m.writeTree(ctx, tree); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, tool, m.arguments(how, out, tree)...) //nolint:gosec // one of two tools
	// Both stamp what they write; xorriso takes the time from here.
	cmd.Env = append(cmd.Environ(), fmt.Sprintf("SOURCE_DATE_EPOCH=%d", m.release.Date.Unix()), "TZ=UTC", "LC_ALL=C")
	var messages bytes.Buffer
	cmd.Stdout, cmd.Stderr = &messages, &messages
	if err := cmd.Run(); err != nil {
		text := messages.String()
		return fmt.Errorf("%s: %w: %s", how.Tool, err, text[max(0, len(text)-2000):])
	}
	return nil
}

// arguments is the command line that VMware documents for re-mastering a
// medium, less what a flavour does without.
func (m *medium) arguments(how Mastering, out, tree string) []string {
	iso := m.isoOptions()
	args := []string{"-quiet", "-relaxed-filenames", "-V", iso.VolumeID, "-A", iso.ApplicationID, "-o", out}
	if how.Tool == Xorriso {
		args = append([]string{"-no_rc", "-as", "mkisofs"}, args...)
	}
	switch how.Flavour {
	case RockRidge:
		args = append(args, "-J", "-R")
	case Joliet:
		args = append(args, "-J")
	case Lower:
		args = append(args, "-allow-lowercase")
	}
	if how.Flavour != RockRidge && how.Tool == Xorriso {
		args = append(args, "--norock")
	}
	args = append(args, "-c", iso.Catalog)
	if iso.BIOSImage != "" {
		args = append(args, "-b", iso.BIOSImage, "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table", "-eltorito-alt-boot")
	}
	args = append(args, "-e", iso.EFIImage, "-no-emul-boot")
	return append(args, tree)
}

// writeTree writes the files to a directory, with the release's date.
func (m *medium) writeTree(ctx context.Context, dir string) error {
	var dirs []string
	for _, f := range m.files {
		path := filepath.Join(dir, filepath.FromSlash(f.Path))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		err := createFile(ctx, path, func(w io.Writer) error {
			_, err := io.CopyBuffer(w, struct{ io.Reader }{f.Reader()}, make([]byte, 256<<10))
			return err
		})
		if err != nil {
			return err
		}
		if err := os.Chtimes(path, m.release.Date, m.release.Date); err != nil {
			return err
		}
		for parent := filepath.Dir(path); len(parent) >= len(dir); parent = filepath.Dir(parent) {
			dirs = append(dirs, parent)
		}
	}
	slices.Sort(dirs)
	for _, d := range slices.Compact(dirs) {
		if err := os.Chtimes(d, m.release.Date, m.release.Date); err != nil {
			return err
		}
	}
	return nil
}

// createFile writes a file until it is complete or ctx ends.
func createFile(ctx context.Context, path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	until := writerFunc(func(b []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return f.Write(b)
	})
	return errors.Join(write(until), f.Close())
}

type writerFunc func([]byte) (int, error)

func (w writerFunc) Write(b []byte) (int, error) { return w(b) }

// moveInto renames a finished file, and returns its size.
func moveInto(from, to string) (int64, error) {
	info, err := os.Stat(from)
	if err != nil {
		return 0, err
	}
	return info.Size(), os.Rename(from, to)
}

// String says what was made, in one line.
func (m Made) String() string {
	return fmt.Sprintf("%s, %s, %s by %s: %d files, %.1f MB",
		m.Release.Profile, m.Arch, m.Flavour, m.Tool, m.Files, float64(m.Size)/1e6)
}

// ParseSize reads "small" or "full".
func ParseSize(s string) (Size, error) {
	switch strings.ToLower(s) {
	case "small":
		return Small, nil
	case "full":
		return Full, nil
	}
	return 0, fmt.Errorf("no such size: %q", s)
}
