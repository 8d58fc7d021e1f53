package imager_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/esxitest"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/iso"
	"github.com/esxi-img/esxi-img/pkg/kickstart"
	"github.com/esxi-img/esxi-img/pkg/plan"
	"github.com/esxi-img/esxi-img/pkg/tardisk"
)

// busyProfile has something of everything.
func busyProfile(t *testing.T) imager.Profile {
	t.Helper()
	own, err := kickstart.NewSnippet(kickstart.Pre, "05-own.sh", []byte("echo own\n"))
	if err != nil {
		t.Fatal(err)
	}
	return imager.Profile{
		Kickstart:        []byte("vmaccepteula\n%include /tmp/install\n%include /tmp/network\n%include /tmp/rootpw\nreboot\n%pre --interpreter=busybox\necho mine\n"),
		Snippets:         []kickstart.Snippet{own},
		Modules:          []imager.Module{{Name: "extra.tgz", Data: fixedHelper(t)}},
		KernelOpts:       []string{"allowLegacyCPU=true"},
		MetadataRequired: true,
		Host:             imager.HostOptions{KernelOpts: []string{"a=b"}, SerialConsole: true},
	}
}

// A disk becomes what would have been built of the ISO at once.
func TestADiskBecomesAnISO(t *testing.T) {
	for _, release := range esxitest.Releases() {
		t.Run(release.Version, func(t *testing.T) {
			p := busyProfile(t)
			raw := build(t, p, esxitest.WithRelease(release))
			want, direct := remaster(t, p, esxitest.WithRelease(release))
			got, err := imager.ISOOfDisk(raw.Plan, raw.Plan.Size)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Kickstart, want.Kickstart) {
				t.Errorf("the kickstart has %d bytes, want these %d", len(got.Kickstart), len(want.Kickstart))
			}
			if got.KernelOpt != want.KernelOpt || strings.Join(got.Modules, " ") != "EXTRA.TGZ" && strings.Join(got.Modules, " ") != "extra.tgz" {
				t.Errorf("kernel options %q, modules %q", got.KernelOpt, got.Modules)
			}
			if got.Payload.Checked != want.Payload.Checked || len(got.Warnings) != len(want.Warnings) {
				t.Errorf("payload %+v, want %+v; warnings %v, want %v", got.Payload, want.Payload, got.Warnings, want.Warnings)
			}
			b, err := io.ReadAll(got.Plan.Reader())
			if err != nil {
				t.Fatal(err)
			}
			out, err := iso.Open(bytes.NewReader(b), int64(len(b)))
			if err != nil {
				t.Fatal(err)
			}
			if out.VolumeID() != direct.VolumeID() {
				t.Errorf("volume id %q, want %q", out.VolumeID(), direct.VolumeID())
			}
			for _, f := range direct.Files() {
				if f.Path != direct.BootCatalog() && !bytes.Equal(read(t, out, f.Path), read(t, direct, f.Path)) {
					t.Errorf("%s has other bytes", f.Path)
				}
			}
			if len(out.Files()) != len(direct.Files()) {
				t.Errorf("%d files, want %d", len(out.Files()), len(direct.Files()))
			}
			boot := out.BootImages()
			if len(boot) != 2 || boot[0].Path != "ISOLINUX.BIN" || boot[0].SectorCount != 4 || boot[1].Path != "EFIBOOT.IMG" || boot[1].Platform != iso.PlatformEFI {
				t.Errorf("boot images %+v", boot)
			}
		})
	}
}

func TestADiskBecomesAFolderForNetworkBoot(t *testing.T) {
	const prefix = "http://boot.example/esxi"
	p := busyProfile(t)
	raw := build(t, p)
	_, want := netboot(t, prefix, p)
	img, err := imager.NetbootOfDisk(raw.Plan, raw.Plan.Size, prefix)
	if err != nil {
		t.Fatal(err)
	}
	if len(img.Plan.Files) != len(want) || len(img.Modules) != 3 {
		t.Errorf("%d files, want %d; modules %q", len(img.Plan.Files), len(want), img.Modules)
	}
	for _, f := range img.Plan.Files {
		b := make([]byte, f.Size)
		if f.Size > 0 {
			if err := f.ReadContent(b, 0); err != nil {
				t.Fatal(err)
			}
		}
		if string(b) != want[f.Path] {
			t.Errorf("%s has %d other bytes than these %d", f.Path, len(b), len(want[f.Path]))
		}
	}
	if _, err := imager.NetbootOfDisk(raw.Plan, raw.Plan.Size, "http://a b/"); err == nil {
		t.Error("a prefix with a blank is taken")
	}
}

// What is customised in between goes along, whatever bytes it has.
func TestWhatADiskCarriesForItsHostGoesAlong(t *testing.T) {
	img := build(t, imager.Profile{})
	data := []byte("binary \x00\xff\r\n\"\\\n")
	files := img.Plan.Files
	for i, f := range files {
		if f.Path != imager.KickstartFile {
			continue
		}
		var b bytes.Buffer
		err := tardisk.Write(&b, []tardisk.Entry{
			{Path: imager.KickstartPath, Data: img.Kickstart},
			{Path: imager.SettingsPath, Data: img.Settings},
			{Path: imager.MetadataFolder + "/openstack/latest/user_data", Data: data},
			{Path: imager.RecordPath, Data: []byte("{}\n")},
		}, imager.ModuleTime)
		if err != nil {
			t.Fatal(err)
		}
		files[i].Size, files[i].Content, files[i].Expect = int64(b.Len()), bytes.NewReader(b.Bytes()), nil
	}
	layout := img.Layout
	layout.VolumeSize = 0
	p, _, _, err := layout.Plan(files, img.Dirs)
	if err != nil {
		t.Fatal(err)
	}
	out, err := imager.ISOOfDisk(p, p.Size)
	if err != nil {
		t.Fatal(err)
	}
	carried := unpacked(t, string(out.Kickstart))
	if carried[imager.MetadataFolder+"/openstack/latest/user_data"] != string(data) || carried[imager.RecordPath] != "{}\n" {
		t.Errorf("carried: %q", carried[imager.MetadataFolder+"/openstack/latest/user_data"])
	}
	folder, err := imager.NetbootOfDisk(p, p.Size, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range folder.Plan.Files {
		if f.Path != "esxiks.tgz" {
			continue
		}
		entries, err := tardisk.Read(io.NewSectionReader(f.Content, 0, f.Size))
		if err != nil || len(entries) != 4 {
			t.Errorf("the module holds %v, %v", entries, err)
		}
	}
}

func TestDisksThatDoNotBecomeAnISO(t *testing.T) {
	helper := build(t, imager.Profile{Helper: fixedHelper(t, tardisk.Entry{Path: imager.KickstartPath, Data: fixedKickstart})})
	bare := build(t, imager.Profile{})
	files := slices.DeleteFunc(slices.Clone(bare.Plan.Files), func(f plan.File) bool { return f.Path == "EFIBOOT.IMG" })
	without, _, _, err := bare.Layout.Plan(files, bare.Dirs)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		disk *plan.Plan
		want string
	}{
		"a helper of its own": {helper.Plan, "ESXIKS.TGZ"},
		"no EFI boot image":   {without, "EFIBOOT.IMG"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := imager.ISOOfDisk(c.disk, c.disk.Size)
			var input *imager.InputError
			if !errors.As(err, &input) || input.Input != c.want {
				t.Errorf("error %v", err)
			}
		})
	}
	var blank [1 << 20]byte
	if _, err := imager.ISOOfDisk(bytes.NewReader(blank[:]), int64(len(blank))); !errors.Is(err, disk.ErrNoGPT) {
		t.Errorf("a blank disk: %v", err)
	}
}
