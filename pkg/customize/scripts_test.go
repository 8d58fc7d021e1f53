package customize_test

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/customize"
	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/kickstart"
	"github.com/esxi-img/esxi-img/pkg/plan"
	"github.com/esxi-img/esxi-img/pkg/tardisk"
)

// fileIn is a file of an image.
func fileIn(t *testing.T, b []byte, name string) []byte {
	t.Helper()
	img := open(t, b)
	n := slices.IndexFunc(img.Files, func(f plan.File) bool { return strings.EqualFold(f.Path, name) })
	if n < 0 {
		t.Fatalf("there is no %s", name)
	}
	data := make([]byte, img.Files[n].Size)
	if err := img.Files[n].ReadContent(data, 0); err != nil {
		t.Fatal(err)
	}
	return data
}

// withFile is an image in which a file has another content.
func withFile(t *testing.T, b []byte, name string, data []byte) []byte {
	t.Helper()
	img := open(t, b)
	for n := range img.Files {
		if f := &img.Files[n]; strings.EqualFold(f.Path, name) {
			f.Size, f.Content, f.Expect = int64(len(data)), bytes.NewReader(data), nil
		}
	}
	p, _, _, err := img.Layout.Plan(img.Files, img.Dirs)
	if err != nil {
		t.Fatal(err)
	}
	return bytesOf(t, p)
}

func tarOf(t *testing.T, entries []tardisk.Entry) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := tardisk.Write(&b, entries, imager.ModuleTime); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestHostScripts brings those of this version with a kickstart that is rendered
// anew, and leaves a helper of the user's alone.
func TestHostScripts(t *testing.T) {
	b := image(t, imager.Profile{Headroom: 1 << 20})
	now := fileIn(t, b, imager.ModuleFile)
	entries, err := tardisk.Read(bytes.NewReader(now))
	if err != nil {
		t.Fatal(err)
	}
	older := tarOf(t, append(slices.Clone(entries), tardisk.Entry{Path: "esxiimg/older", Data: []byte("x")}))
	helper := tarOf(t, []tardisk.Entry{{Path: "esxiimg/mine", Data: []byte("x")}})
	script := customize.Changes{Snippets: []kickstart.Snippet{snippet(t, kickstart.Pre, "60-x.sh", "echo x\n")}}
	for name, c := range map[string]struct {
		module  []byte
		changes customize.Changes
		want    []byte
	}{
		"older, rendered":    {older, script, now},
		"older, as it is":    {older, customize.Changes{Hostname: "x"}, older},
		"the same, rendered": {now, script, now},
		"a helper, rendered": {helper, script, helper},
	} {
		r, after := customized(t, withFile(t, b, imager.ModuleFile, c.module), c.changes)
		if !bytes.Equal(fileIn(t, after, imager.ModuleFile), c.want) {
			t.Errorf("%s: another module", name)
		}
		told := slices.ContainsFunc(r.Step().Edits, func(e customize.Edit) bool { return e.What == "host scripts" })
		if told == bytes.Equal(c.module, c.want) {
			t.Errorf("%s: told of: %v", name, told)
		}
	}
}

// TestWhatElseIsInTheModule leaves it there.
func TestWhatElseIsInTheModule(t *testing.T) {
	b := image(t, imager.Profile{Headroom: 1 << 20})
	entries, err := tardisk.Read(bytes.NewReader(fileIn(t, b, imager.KickstartFile)))
	if err != nil {
		t.Fatal(err)
	}
	b = withFile(t, b, imager.KickstartFile, tarOf(t, append(entries, tardisk.Entry{Path: "esxiimg/extra", Data: []byte("mine")})))
	_, after := customized(t, b, customize.Changes{Hostname: "x"})
	entries, err = tardisk.Read(bytes.NewReader(fileIn(t, after, imager.KickstartFile)))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(entries, func(e tardisk.Entry) bool { return e.Path == "esxiimg/extra" && string(e.Data) == "mine" }) {
		t.Error("it is gone")
	}
}

// TestFragmented brings together a file that another tool has put elsewhere in
// parts, though its beginning is where it was.
func TestFragmented(t *testing.T) {
	b := image(t, imager.Profile{Headroom: 1 << 20})
	img := open(t, b)
	payload := slices.DeleteFunc(slices.Clone(img.Files), func(f plan.File) bool { return f.Role != plan.RolePayload })
	file := slices.MaxFunc(payload, func(a, b plan.File) int { return cmp.Compare(a.Size, b.Size) })
	want := fileIn(t, b, file.Path)
	// The last cluster goes to the end of the volume.
	le := binary.LittleEndian
	volume := b[disk.PartitionStart:]
	sector := int64(le.Uint16(volume[11:]))
	cluster, reserved, fats, fat := int64(volume[13])*sector, int64(le.Uint16(volume[14:]))*sector, int64(volume[16]), int64(le.Uint32(volume[36:]))*sector
	data := reserved + fats*fat
	first := (file.Offset-disk.PartitionStart-data)/cluster + 2
	last := first + (file.Size-1)/cluster
	spare := (int64(le.Uint32(volume[32:]))*sector-data)/cluster + 1
	for i := range fats {
		at := volume[reserved+i*fat:]
		if le.Uint32(at[4*spare:]) != 0 {
			t.Fatal("the cluster is in use")
		}
		copy(at[4*spare:][:4], at[4*last:][:4])
		clear(at[4*last:][:4])
		le.PutUint32(at[4*(last-1):], uint32(spare))
	}
	from := volume[data+(last-2)*cluster:][:cluster]
	copy(volume[data+(spare-2)*cluster:], from)
	copy(from, bytes.Repeat([]byte("rubbish "), int(cluster/8)))
	if !bytes.Equal(fileIn(t, b, file.Path), want) {
		t.Fatal("the file is another one")
	}

	out := filepath.Join(t.TempDir(), "out")
	for name, opts := range map[string]customize.WriteOptions{"raw": {}, "qcow2": {Format: disk.QCOW2}} {
		opts.Output, opts.Replace = out, true
		writeFile(t, write(t, b), customize.Changes{Hostname: "x"}, opts)
		after := read(t, out)
		if opts.Format == disk.QCOW2 {
			after = diskIn(t, out)
		}
		if !bytes.Equal(fileIn(t, after, file.Path), want) {
			t.Errorf("%s: the file is another one", name)
		}
	}
}

// TestDiffers tells how much is written anew, which docs/customize.md calls some
// ten kilobytes.
func TestDiffers(t *testing.T) {
	b := image(t, imager.Profile{Headroom: 1 << 20})
	name, out := write(t, b), filepath.Join(t.TempDir(), "out")
	c := customize.Changes{
		Kickstart: &customize.File{Name: "my.cfg", Data: []byte("vmaccepteula\n%include /tmp/rootpw\n%include /tmp/network\n%include /tmp/install\nreboot\n")},
		Hostname:  "esx1", KernelOpts: []string{"a=b"}, Host: imager.HostOptions{RootHash: hash},
	}
	dry := writeFile(t, name, c, customize.WriteOptions{Output: out, DryRun: true})
	done := writeFile(t, name, c, customize.WriteOptions{Output: out})
	var differs int64
	after := read(t, out)
	for at := 0; at < len(b); at += 4096 {
		if end := min(at+4096, len(b)); !bytes.Equal(b[at:end], after[at:end]) {
			differs += int64(end - at)
		}
	}
	// The last kilobytes of the disk and of the volume may be part of a block.
	if d := done.Differs; d > differs || d < differs/2 || d > 100<<10 || dry.Differs != d {
		t.Errorf("told are %d and %d bytes, in blocks %d differ", done.Differs, dry.Differs, differs)
	}
}
