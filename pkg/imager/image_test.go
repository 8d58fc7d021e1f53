package imager_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/esxitest"
	"github.com/esxi-img/esxi-img/pkg/fat32"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/iso"
	"github.com/esxi-img/esxi-img/pkg/kickstart"
	"github.com/esxi-img/esxi-img/pkg/plan"
	"github.com/esxi-img/esxi-img/pkg/tardisk"
)

func openISO(t *testing.T, opts ...esxitest.Option) *iso.Image {
	t.Helper()
	b := esxitest.Bytes(opts...)
	img, err := iso.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func build(t *testing.T, p imager.Profile, opts ...esxitest.Option) *imager.Image {
	t.Helper()
	img, err := imager.New(openISO(t, opts...), p)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// volume reads the volume of a planned disk back.
func volume(t *testing.T, img *imager.Image) *fat32.FS {
	t.Helper()
	table, err := disk.ReadTable(img.Plan, img.Plan.Size)
	if err != nil {
		t.Fatal(err)
	}
	p := table.Partitions[0]
	v, err := fat32.Open(io.NewSectionReader(img.Plan, p.Offset, p.Size), p.Size)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func read(t *testing.T, fsys fs.FS, name string) []byte {
	t.Helper()
	b, err := fs.ReadFile(fsys, name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The digests of whole images: the same ISO and profile give the same bytes on
// every machine, on every day, by every user. A change here is a change of the
// layout that all who hold an image will see.
var golden = map[string]string{
	"512":  "2c2b5effbed7c070a0c741b974c908de4b0e5b3acf51cd8ccc3e0120afc7f4f0",
	"4096": "5228cfaf461f7257e0955627c47e9d4ced478fb4546b9d22f7472463cfdb7956",
}

func TestImagesAreTheSameEverywhere(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		img := build(t, imager.Profile{
			SectorSize: sector, Headroom: 1 << 20, Helper: fixedHelper(t, tardisk.Entry{Path: imager.KickstartPath, Data: fixedKickstart}),
			Modules: []imager.Module{{Name: "extra.tgz", Data: fixedHelper(t)}},
		})
		h := sha256.New()
		if _, err := io.Copy(h, img.Plan.Reader()); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%x", h.Sum(nil)); got != golden[fmt.Sprint(sector)] {
			t.Errorf("sectors of %d bytes: the image is %s, want %s", sector, got, golden[fmt.Sprint(sector)])
		}
	}
}

// fixedKickstart and fixedHelper keep changes of the host scripts out of the
// golden digests: those are about the layout. A kickstart outside of the helper
// would get the built-in snippets.
var fixedKickstart = []byte("vmaccepteula\ninstall --firstdisk --overwritevmfs\nrootpw --iscrypted $6$salt$" + strings.Repeat("a", 86) + "\nreboot\n")

func fixedHelper(t *testing.T, more ...tardisk.Entry) []byte {
	t.Helper()
	var b bytes.Buffer
	err := tardisk.Write(&b, append(more, tardisk.Entry{Path: "esxiimg/hello.py", Data: []byte("print('hello')\n")}), imager.ModuleTime)
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestTheDiskHoldsTheISOAndWhatWasAdded(t *testing.T) {
	for _, release := range esxitest.Releases() {
		t.Run(release.Version, func(t *testing.T) {
			source := openISO(t, esxitest.WithRelease(release))
			img, err := imager.New(source, imager.Profile{})
			if err != nil {
				t.Fatal(err)
			}
			v := volume(t, img)
			for _, f := range source.Files() {
				if strings.HasSuffix(f.Path, "BOOT.CFG") {
					continue
				}
				if !bytes.Equal(read(t, v, f.Path), read(t, source, f.Path)) {
					t.Errorf("%s has other bytes than on the ISO", f.Path)
				}
			}
			for _, name := range []string{"BOOT.CFG", "EFI/BOOT/BOOT.CFG"} {
				checkBootCfg(t, string(read(t, source, name)), string(read(t, v, name)))
			}
			if img.Release.Version != release.Version || img.Release.Build != release.Build {
				t.Errorf("release %+v, want %s build %s", img.Release, release.Version, release.Build)
			}
		})
	}
}

// checkBootCfg holds that only two lines changed, and how.
func checkBootCfg(t *testing.T, before, after string) {
	t.Helper()
	old, edited := strings.Split(before, "\n"), strings.Split(after, "\n")
	if len(old) != len(edited) {
		t.Fatalf("%d lines became %d", len(old), len(edited))
	}
	for i, line := range old {
		want := line
		switch {
		case strings.HasPrefix(line, "kernelopt="):
			want += " ks=file:///esxiimg/KS.CFG"
		case strings.HasPrefix(line, "modules="):
			want += " --- /esxiimg.tgz --- /esxiks.tgz"
		}
		if edited[i] != want {
			t.Errorf("line %d is %q, want %q", i+1, edited[i], want)
		}
	}
}

func TestPayloadLiesFirstAndWhatChangesLast(t *testing.T) {
	img := build(t, imager.Profile{Modules: []imager.Module{{Name: "mine.tgz", Data: fixedHelper(t)}}})
	if want := []string{"esxiimg.tgz", "esxiks.tgz", "mine.tgz"}; !slices.Equal(img.Modules, want) {
		t.Errorf("modules are loaded in the order %q, want %q", img.Modules, want)
	}
	rank := map[plan.Role]int{plan.RolePayload: 0, plan.RoleBootCfg: 1, plan.RoleModule: 2, plan.RoleKickstart: 3}
	last, at := 0, int64(0)
	for _, f := range img.Plan.Files {
		if rank[f.Role] < last {
			t.Errorf("%s (%s) lies after what changes more often", f.Path, f.Role)
		}
		last = rank[f.Role]
		if f.Size > 0 && f.Offset < at {
			t.Errorf("%s lies before the file listed before it", f.Path)
		}
		if f.Size > 0 {
			at = f.Offset
		}
	}
}

func TestAnotherKickstartMovesNoPayload(t *testing.T) {
	long := append(bytes.Clone(fixedKickstart), bytes.Repeat([]byte("# a line\n"), 20_000)...)
	a, b := build(t, imager.Profile{Kickstart: fixedKickstart, Headroom: 1 << 20}), build(t, imager.Profile{Kickstart: long, Headroom: 1 << 20})
	for i, f := range a.Plan.Files {
		if g := b.Plan.Files[i]; f.Role == plan.RolePayload && f.Offset-a.Plan.Files[0].Offset != g.Offset-b.Plan.Files[0].Offset {
			t.Errorf("%s moved from %d to %d", f.Path, f.Offset, g.Offset)
		}
	}
}

func TestIdentifiersFollowTheInputs(t *testing.T) {
	base := imager.Profile{Kickstart: fixedKickstart}
	first := build(t, base).Layout.DiskGUID
	if again := build(t, base).Layout.DiskGUID; again != first {
		t.Errorf("the same inputs give %v and %v", first, again)
	}
	if v := first.Version(); v != 8 {
		t.Errorf("GUID of version %d", v)
	}
	other := map[string]func(*imager.Profile) []esxitest.Option{
		"kickstart": func(p *imager.Profile) []esxitest.Option {
			p.Kickstart = append(bytes.Clone(fixedKickstart), '\n', '#', 'x', '\n')
			return nil
		},
		"kernel option": func(p *imager.Profile) []esxitest.Option { p.KernelOpts = []string{"debug"}; return nil },
		"time":          func(p *imager.Profile) []esxitest.Option { p.Time = time.Unix(1e9, 0); return nil },
		"sector size":   func(p *imager.Profile) []esxitest.Option { p.SectorSize = 4096; return nil },
		"headroom":      func(p *imager.Profile) []esxitest.Option { p.Headroom = 1 << 20; return nil },
		"payload":       func(*imager.Profile) []esxitest.Option { return []esxitest.Option{esxitest.WithSeed(7)} },
		"boot.cfg": func(*imager.Profile) []esxitest.Option {
			return []esxitest.Option{esxitest.BootCfg(func(s string) string { return s + "# a comment\n" })}
		},
		"user's module": func(p *imager.Profile) []esxitest.Option {
			p.Modules = []imager.Module{{Name: "extra.tgz", Data: fixedHelper(t)}}
			return nil
		},
	}
	seen := map[string]string{first.String(): "nothing"}
	for name, change := range other {
		p := base
		opts := change(&p)
		guid := build(t, p, opts...).Layout.DiskGUID.String()
		if was, ok := seen[guid]; ok {
			t.Errorf("another %s gives the GUID of another %s", name, was)
		}
		seen[guid] = name
	}
}

func TestKernelOptions(t *testing.T) {
	img := build(t, imager.Profile{KernelOpts: []string{"allowLegacyCPU=true", "-runweasel", "ks=http://10.0.0.1/ks"}})
	if want := "cdromBoot ks=http://10.0.0.1/ks allowLegacyCPU=true"; img.KernelOpt != want {
		t.Errorf("kernelopt %q, want %q", img.KernelOpt, want)
	}
}

func TestBuildingFromAnImageOfOursIsTheSame(t *testing.T) {
	first := build(t, imager.Profile{})
	v := volume(t, first)
	again := build(t, imager.Profile{},
		esxitest.BootCfg(func(string) string { return string(read(t, v, "BOOT.CFG")) }),
		esxitest.Add("ESXIIMG.TGZ", read(t, v, "ESXIIMG.TGZ")), esxitest.Add("ESXIKS.TGZ", read(t, v, "ESXIKS.TGZ")))
	w := volume(t, again)
	for _, name := range []string{"BOOT.CFG", "EFI/BOOT/BOOT.CFG", "ESXIIMG.TGZ"} {
		if !bytes.Equal(read(t, v, name), read(t, w, name)) {
			t.Errorf("%s changed when it was built again", name)
		}
	}
	// The other file in its module tells the GUIDs, which are the new image's.
	if !bytes.Equal(first.Kickstart, again.Kickstart) {
		t.Error("the kickstart changed when it was built again")
	}
	if a, b := len(first.Plan.Files), len(again.Plan.Files); a != b {
		t.Errorf("%d files became %d", a, b)
	}
}

func TestArm(t *testing.T) {
	if img := build(t, imager.Profile{}, esxitest.WithArch(esxitest.ARM64)); img.Release.Arch != "arm64" {
		t.Errorf("architecture %q", img.Release.Arch)
	}
}

func TestLowerCaseMedium(t *testing.T) {
	img := build(t, imager.Profile{}, esxitest.LowerCase())
	v := volume(t, img)
	if _, err := fs.Stat(v, "EFI/BOOT/BOOTX64.EFI"); err != nil {
		t.Error(err)
	}
	if n := len(img.Plan.Files); n != len(build(t, imager.Profile{}).Plan.Files) {
		t.Errorf("%d files: BOOT.CFG is there twice, or not at all", n)
	}
	if img.Payload.Checked == 0 {
		t.Error("no file was tied to its VIB")
	}
}

func TestDamageIsNamedByFileAndVIB(t *testing.T) {
	img := build(t, imager.Profile{}, esxitest.Damage("NTG3.V00"))
	err := disk.WriteFile(t.Context(), filepath.Join(t.TempDir(), "x.img"), img.Plan, disk.WriteOptions{})
	var input *imager.InputError
	if explained := img.Explain(err); !errors.As(explained, &input) || !strings.Contains(explained.Error(), "NTG3.V00 is not payload \"ntg3\" of VIB") {
		t.Errorf("%v", explained)
	}
	if img := build(t, imager.Profile{SkipPayloadDigests: true}, esxitest.Damage("NTG3.V00")); img.Payload.Checked != 0 {
		t.Errorf("%d files would be checked", img.Payload.Checked)
	}
}

func TestHelperWithItsOwnKickstart(t *testing.T) {
	helper, err := imager.InstallerHelper(fixedKickstart)
	if err != nil {
		t.Fatal(err)
	}
	img := build(t, imager.Profile{Helper: helper})
	if got := strings.Join(img.Modules, " "); got != "esxiimg.tgz" || img.Kickstart != nil {
		t.Errorf("modules %q, kickstart %q", got, img.Kickstart)
	}
	v := volume(t, img)
	if strings.Contains(string(read(t, v, "BOOT.CFG")), "esxiks") {
		t.Error("boot.cfg names a second kickstart")
	}
	_, err = imager.New(openISO(t), imager.Profile{Helper: helper, Kickstart: fixedKickstart})
	if err == nil || !strings.Contains(err.Error(), "a kickstart of its own") {
		t.Errorf("two kickstarts: %v", err)
	}
}

// A download that broke off is noticed wherever it did: the file that lies
// there is outside the image, or the padding behind the last one is.
func TestISOsThatAreCutShort(t *testing.T) {
	whole := esxitest.Bytes()
	for size := 0; size < len(whole); size += iso.BlockSize / 2 {
		img, err := iso.Open(bytes.NewReader(whole[:size]), int64(size))
		if err != nil {
			continue
		}
		if _, err := imager.New(img, imager.Profile{}); err == nil {
			t.Errorf("an image was planned from %d of %d bytes", size, len(whole))
		}
		if img, err := imager.New(img, imager.Profile{SkipPayloadDigests: true}); err == nil && !strings.Contains(fmt.Sprint(img.Warnings), "is cut short") {
			t.Errorf("%d of %d bytes: warnings %v", size, len(whole), img.Warnings)
		}
	}
}

func TestUnusableInputs(t *testing.T) {
	manyModules := esxitest.BootCfg(func(s string) string {
		return strings.Replace(s, "modules=", "modules="+strings.Repeat("/s.v00 --- ", 120), 1)
	})
	badSnippet := kickstart.Snippet{Section: kickstart.Pre, Name: "x.sh", Interpreter: kickstart.Busybox, Body: "%post\n"}
	for name, c := range map[string]struct {
		profile imager.Profile
		media   []esxitest.Option
		want    string // of the error, or of a warning after "warning: "
	}{
		"no boot.cfg":         {media: opts(esxitest.Drop("BOOT.CFG")), want: "BOOT.CFG: is missing: this is not an ESXi installer ISO"},
		"no EFI boot.cfg":     {media: opts(esxitest.Drop("EFI/BOOT/BOOT.CFG")), want: "EFI/BOOT/BOOT.CFG: is missing"},
		"no loader":           {media: opts(esxitest.Drop("EFI/BOOT/BOOTX64.EFI")), want: "EFI/BOOT/BOOTX64.EFI: is missing"},
		"module not there":    {media: opts(esxitest.Drop("VMX.V00")), want: "BOOT.CFG: names the module /vmx.v00, which is not on the ISO"},
		"kernel not there":    {media: opts(esxitest.Drop("B.B00")), want: "BOOT.CFG: names the kernel /b.b00"},
		"database damaged":    {media: opts(esxitest.Damage("IMGDB.TGZ")), want: "IMGDB.TGZ: "},
		"over 200 modules":    {media: opts(manyModules), want: "warning: 200"},
		"long kernel options": {profile: imager.Profile{KernelOpts: []string{"a=" + strings.Repeat("x", 4096)}}, want: "4095"},
		"kernel option text":  {profile: imager.Profile{KernelOpts: []string{"a\nkernel=/x"}}, want: "kernel option"},
		"kickstart":           {profile: imager.Profile{Kickstart: []byte("vmaccepteula\nreboot\n")}, want: "kickstart"},
		"snippet":             {profile: imager.Profile{Snippets: []kickstart.Snippet{badSnippet}}, want: "x.sh"},
		"module":              {profile: imager.Profile{Modules: []imager.Module{{Name: "x.tgz", Data: []byte("no")}}}, want: "x.tgz: "},
		"module twice":        {profile: imager.Profile{Modules: []imager.Module{{Name: "x.tgz", Data: fixedHelper(t)}, {Name: "X.TGZ", Data: fixedHelper(t)}}}, want: "which is there already"},
		"module's name taken": {profile: imager.Profile{Modules: []imager.Module{{Name: "imgdb.tgz", Data: fixedHelper(t)}}}, want: "is the name of a file of the ISO's too"},
		"helper":              {profile: imager.Profile{Helper: []byte("no")}, want: "installer helper: "},
		"sector size":         {profile: imager.Profile{SectorSize: 1024}, want: "1024"},
		"headroom":            {profile: imager.Profile{Headroom: 1 << 40}, want: "headroom of 1099511627776 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			img, err := imager.New(openISO(t, c.media...), c.profile)
			warning, warned := strings.CutPrefix(c.want, "warning: ")
			switch {
			case warned && err != nil:
				t.Errorf("error %v", err)
			case warned:
				if !strings.Contains(fmt.Sprint(img.Warnings), warning) {
					t.Errorf("warnings %v", img.Warnings)
				}
			case !warned && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

func opts(o ...esxitest.Option) []esxitest.Option { return o }
