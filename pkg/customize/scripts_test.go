package customize_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/customize"
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
