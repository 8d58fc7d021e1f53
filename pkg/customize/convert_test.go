package customize_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/customize"
	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/plan"
)

// diskIn is the disk in a qcow2 file.
func diskIn(t *testing.T, name string) []byte {
	t.Helper()
	b := read(t, name)
	d, err := disk.OpenQCOW2(bytes.NewReader(b), int64(len(b)), nil)
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(io.NewSectionReader(d, 0, d.Size))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func tryWrite(t *testing.T, name string, c customize.Changes, opts customize.WriteOptions) error {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	_, err = customize.WriteFile(t.Context(), f, c, opts)
	return err
}

// TestConvertIsTheSameDisk also where another tool has written to it.
func TestConvertIsTheSameDisk(t *testing.T) {
	built := image(t, imager.Profile{Headroom: 4 << 20})
	stray := bytes.Clone(built)
	copy(stray[len(stray)-(3<<20):], "what another tool wrote")
	for what, b := range map[string][]byte{"as built": built, "written to": stray} {
		name, dir := write(t, b), t.TempDir()
		for file, opts := range map[string]customize.WriteOptions{
			"plain": {Format: disk.QCOW2}, "small": {Format: disk.QCOW2, Compress: true},
		} {
			opts.Output, opts.Convert = filepath.Join(dir, file), true
			done := writeFile(t, name, customize.Changes{}, opts)
			if !done.Converted() || done.Format != disk.QCOW2 || done.Record != nil {
				t.Errorf("%s, %s: %+v", what, file, done)
			}
			if !bytes.Equal(diskIn(t, opts.Output), b) {
				t.Errorf("%s, %s: another disk", what, file)
			}
			// And back.
			raw := filepath.Join(dir, file+".img")
			writeFile(t, opts.Output, customize.Changes{}, customize.WriteOptions{Output: raw, Convert: true})
			if !bytes.Equal(read(t, raw), b) {
				t.Errorf("%s, %s: another disk comes back", what, file)
			}
		}
	}
	// A file as it is written without a detour has nothing that the plan has not.
	p, err := open(t, built).Plan()
	if err != nil {
		t.Fatal(err)
	}
	direct, out := filepath.Join(t.TempDir(), "direct"), filepath.Join(t.TempDir(), "converted")
	if err := disk.WriteFile(t.Context(), direct, p, disk.WriteOptions{Format: disk.QCOW2}); err != nil {
		t.Fatal(err)
	}
	writeFile(t, write(t, built), customize.Changes{}, customize.WriteOptions{Output: out, Format: disk.QCOW2, Convert: true})
	if !bytes.Equal(read(t, out), read(t, direct)) {
		t.Error("a converted image is another file than one that was built")
	}
}

// TestCustomizeQCOW2 to another file and in place.
func TestCustomizeQCOW2(t *testing.T) {
	b := image(t, imager.Profile{Headroom: 1 << 20})
	name, dir := write(t, b), t.TempDir()
	c := customize.Changes{Hostname: "esx1"}
	raw, q := filepath.Join(dir, "image"), filepath.Join(dir, "q", "image")
	if err := os.Mkdir(filepath.Dir(q), 0o700); err != nil {
		t.Fatal(err)
	}
	// The record has the image's name.
	if err := os.Rename(name, filepath.Join(filepath.Dir(name), "image")); err != nil {
		t.Fatal(err)
	}
	name = filepath.Join(filepath.Dir(name), "image")
	writeFile(t, name, customize.Changes{}, customize.WriteOptions{Output: q, Format: disk.QCOW2, Compress: true, Convert: true})
	if err := os.Chmod(q, 0o640); err != nil {
		t.Fatal(err)
	}
	want := writeFile(t, name, c, customize.WriteOptions{Output: raw})
	got := writeFile(t, q, c, customize.WriteOptions{Output: raw + ".2"})
	if !bytes.Equal(read(t, raw), read(t, raw+".2")) || got.Source != want.Source || got.Differs != want.Differs || got.Format != disk.Raw {
		t.Errorf("%+v of %d bytes, want %+v of %d", got.Source, got.Differs, want.Source, want.Differs)
	}
	got = writeFile(t, q, c, customize.WriteOptions{Output: q})
	if !bytes.Equal(diskIn(t, q), read(t, raw)) || got.Format != disk.QCOW2 {
		t.Error("in place it is another disk")
	}
	if info, err := os.Stat(q); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// TestQCOW2InPlaceKeepsWhatItHas refuses to lose snapshots and to write into an
// overlay what is behind it.
func TestQCOW2InPlaceKeepsWhatItHas(t *testing.T) {
	b := image(t, imager.Profile{Headroom: 1 << 20})
	name, c := write(t, b), customize.Changes{Hostname: "esx1"}
	q := filepath.Join(t.TempDir(), "q")
	writeFile(t, name, customize.Changes{}, customize.WriteOptions{Output: q, Format: disk.QCOW2, Convert: true})
	file := read(t, q)
	binary.BigEndian.PutUint32(file[60:], 1)
	if err := os.WriteFile(q, file, 0o600); err != nil {
		t.Fatal(err)
	}
	var input *imager.InputError
	if err := tryWrite(t, q, c, customize.WriteOptions{Output: q}); !errors.As(err, &input) || !strings.Contains(err.Error(), "1 snapshots") {
		t.Errorf("snapshots: %v", err)
	}
	if !bytes.Equal(read(t, q), file) {
		t.Error("the image changed")
	}
	if err := tryWrite(t, q, c, customize.WriteOptions{Output: q + ".2"}); err != nil {
		t.Errorf("to another file: %v", err)
	}

	over := filepath.Join(t.TempDir(), "over")
	p, err := open(t, b).Plan()
	if err != nil {
		t.Fatal(err)
	}
	backing := disk.Backing{Path: name, Format: disk.Raw, Disk: bytes.NewReader(b), Size: int64(len(b))}
	if _, err := disk.WriteOverlay(t.Context(), over, p, backing, nil, disk.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := tryWrite(t, over, c, customize.WriteOptions{Output: q, Replace: true}); !errors.As(err, &input) || !strings.Contains(err.Error(), "lies over another file") || input.Advice == "" {
		t.Errorf("not asked for: %v", err)
	}
	ask := func(string, string) (io.ReaderAt, int64, error) { return bytes.NewReader(b), int64(len(b)), nil }
	if err := tryWrite(t, over, c, customize.WriteOptions{Output: over, Backing: ask}); !errors.As(err, &input) || !strings.Contains(err.Error(), "would have all of the disk") {
		t.Errorf("in place: %v", err)
	}
	if err := tryWrite(t, over, c, customize.WriteOptions{Output: q, Replace: true, Backing: ask}); err != nil {
		t.Errorf("to another file: %v", err)
	}
	if err := tryWrite(t, name, customize.Changes{}, customize.WriteOptions{Output: name, Convert: true}); !errors.Is(err, customize.ErrNoChange) {
		t.Errorf("in place without a change: %v", err)
	}
}

// TestQCOW2MadeLarger tells what to do with a disk that is larger than one of ours
// can be.
func TestQCOW2MadeLarger(t *testing.T) {
	b := image(t, imager.Profile{Headroom: 1 << 20})
	q := filepath.Join(t.TempDir(), "q")
	writeFile(t, write(t, b), customize.Changes{}, customize.WriteOptions{Output: q, Format: disk.QCOW2, Convert: true})
	file := read(t, q)
	binary.BigEndian.PutUint64(file[24:], plan.MaxSize+1<<20)
	if err := os.WriteFile(q, file, 0o600); err != nil {
		t.Fatal(err)
	}
	var input *imager.InputError
	err := tryWrite(t, q, customize.Changes{Hostname: "esx1"}, customize.WriteOptions{Output: q + ".2"})
	if !errors.As(err, &input) || !strings.Contains(err.Error(), "is not of 1 to 1099511627776") || input.Advice != "use the image as it was before its disk was made larger" {
		t.Errorf("%v", err)
	}
}
