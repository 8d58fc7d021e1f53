package imager_test

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/esxitest"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/iso"
	"github.com/esxi-img/esxi-img/pkg/kickstart"
	"github.com/esxi-img/esxi-img/pkg/netinit"
	"github.com/esxi-img/esxi-img/pkg/plan"
)

// remaster plans an ISO and opens what it would be.
func remaster(t *testing.T, p imager.Profile, opts ...esxitest.Option) (*imager.Image, *iso.Image) {
	t.Helper()
	img, err := imager.NewISO(openISO(t, opts...), p)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(img.Plan.Reader())
	if err != nil {
		t.Fatal(err)
	}
	out, err := iso.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return img, out
}

// unpacked is what the sections of a kickstart that carry files write on a
// host: the literals of Python's are read as Go's, which they are a part of.
func unpacked(t *testing.T, ks string) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, call := range regexp.MustCompile(`(?m)^put\("([^"]+)", "(wb|ab)",((?:\n    b"(?:[^"\\\n]|\\.)*")+)\)$`).FindAllStringSubmatch(ks, -1) {
		if call[2] == "wb" {
			files[call[1]] = ""
		}
		for line := range strings.SplitSeq(strings.TrimSpace(call[3]), "\n") {
			text, err := strconv.Unquote(strings.TrimPrefix(strings.TrimSpace(line), "b"))
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			files[call[1]] += text
		}
	}
	return files
}

func TestAnISOIsTheInstallersWithAKickstart(t *testing.T) {
	for _, release := range esxitest.Releases() {
		t.Run(release.Version, func(t *testing.T) {
			source := openISO(t, esxitest.WithRelease(release))
			img, out := remaster(t, imager.Profile{}, esxitest.WithRelease(release))
			if out.VolumeID() != source.VolumeID() || out.ApplicationID() != source.ApplicationID() || !out.Created().Equal(source.Created()) {
				t.Errorf("%q, %q, %v", out.VolumeID(), out.ApplicationID(), out.Created())
			}
			want, got := source.BootImages(), out.BootImages()
			for i := range want {
				want[i].LBA = got[min(i, len(got)-1)].LBA
			}
			if len(got) != len(want) || got[0] != want[0] || got[len(got)-1] != want[len(want)-1] {
				t.Errorf("boot images %+v, want %+v", got, want)
			}
			for _, f := range source.Files() {
				if !strings.HasSuffix(f.Path, "BOOT.CFG") && f.Path != source.BootCatalog() && !bytes.Equal(read(t, out, f.Path), read(t, source, f.Path)) {
					t.Errorf("%s has other bytes than on the ISO", f.Path)
				}
			}
			if got, want := len(out.Files()), len(source.Files())+1; got != want {
				t.Errorf("%d files, want %d", got, want)
			}
			for _, name := range []string{"BOOT.CFG", "EFI/BOOT/BOOT.CFG"} {
				before := regexp.MustCompile(`(?m)^kernelopt=.*`).ReplaceAllString(string(read(t, source, name)), "$0 ks=cdrom:/KS.CFG")
				if after := string(read(t, out, name)); after != before {
					t.Errorf("%s is\n%s\nwant\n%s", name, after, before)
				}
			}
			if !bytes.Equal(read(t, out, "KS.CFG"), img.Kickstart) || len(img.Modules) != 0 {
				t.Errorf("KS.CFG is not the kickstart, or modules were added: %q", img.Modules)
			}
		})
	}
}

func TestTheKickstartOfAnISOCarriesTheHostScripts(t *testing.T) {
	awkward := "path=a\"b\\c ü\x60"
	disk, err := imager.ParseInstallDisk("vendor=" + awkward[5:])
	if err != nil {
		t.Fatal(err)
	}
	img, out := remaster(t, imager.Profile{MetadataRequired: true, Host: imager.HostOptions{Install: imager.InstallOptions{Disk: disk}}})
	ks := string(read(t, out, "KS.CFG"))
	got := unpacked(t, ks)

	files, err := netinit.Module()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if got[f.Path] != string(f.Data) {
			t.Errorf("%s is carried as %d bytes, has %d", f.Path, len(got[f.Path]), len(f.Data))
		}
	}
	if len(got) != len(files)+1 {
		t.Errorf("%d files are carried, want %d", len(got), len(files)+1)
	}
	settings, err := imager.ParseHostSettings([]byte(got[imager.SettingsPath]))
	if err != nil {
		t.Fatal(err)
	}
	if settings.Disk != "" || settings.Partition != "" || strings.Contains(got[imager.SettingsPath], "partition") {
		t.Errorf("an ISO is no disk: %s", got[imager.SettingsPath])
	}
	if settings.Metadata != "required" || settings.Install.Disk.Vendor != awkward[5:] || got[imager.SettingsPath] != string(img.Settings) {
		t.Errorf("settings %s", got[imager.SettingsPath])
	}
	// The files are there before a script of ours looks for them.
	if carried, first := strings.LastIndex(ks, "# pre/00-carry"), strings.Index(ks, "# pre/00-defaults.sh"); carried < 0 || carried > first {
		t.Errorf("carried at %d, wanted at %d", carried, first)
	}
	for n, line := range strings.Split(ks, "\n") {
		if strings.ContainsFunc(line, func(r rune) bool { return r > '~' }) {
			t.Errorf("KS.CFG:%d is not ASCII: %s", n+1, line)
		}
	}
	for _, f := range kickstart.Lint([]byte(ks), kickstart.LintOptions{}) {
		if f.Severity == kickstart.Error {
			t.Error(f)
		}
	}
}

func TestAnISOTakesWhatWasAskedFor(t *testing.T) {
	module := fixedHelper(t)
	img, out := remaster(t, imager.Profile{
		Modules: []imager.Module{{Name: "extra.tgz", Data: module}}, KernelOpts: []string{"-cdromBoot", "allowLegacyCPU=true"},
	})
	if got := read(t, out, "EXTRA.TGZ"); !bytes.Equal(got, module) || strings.Join(img.Modules, " ") != "extra.tgz" {
		t.Errorf("modules %q, EXTRA.TGZ has %d bytes", img.Modules, len(got))
	}
	cfg := string(read(t, out, "EFI/BOOT/BOOT.CFG"))
	if img.KernelOpt != "runweasel ks=cdrom:/KS.CFG allowLegacyCPU=true" || !strings.Contains(cfg, "kernelopt="+img.KernelOpt+"\n") ||
		!strings.Contains(cfg, " --- /extra.tgz\n") {
		t.Errorf("kernel options %q, boot.cfg\n%s", img.KernelOpt, cfg)
	}
	warned := map[string]bool{}
	for _, w := range img.Warnings {
		warned[w.Input] = true
	}
	if !warned["EXTRA.TGZ"] || !warned["install"] {
		t.Errorf("warnings %v", img.Warnings)
	}
	disk, err := imager.ParseInstallDisk("smallest")
	if err != nil {
		t.Fatal(err)
	}
	if img, _ := remaster(t, imager.Profile{Host: imager.HostOptions{Install: imager.InstallOptions{Disk: disk}}}); len(img.Warnings) != 0 {
		t.Errorf("warnings %v", img.Warnings)
	}
}

// An ISO that is built of an ISO of ours is the same.
func TestAnISOOfOursIsMadeAnew(t *testing.T) {
	img, out := remaster(t, imager.Profile{})
	again, err := imager.NewISO(out, imager.Profile{})
	if err != nil {
		t.Fatal(err)
	}
	a, err := io.ReadAll(img.Plan.Reader())
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(again.Plan.Reader())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Errorf("%d bytes became %d other ones", len(a), len(b))
	}
}

func TestAnISOIsRefused(t *testing.T) {
	large := bytes.Repeat([]byte("# a long comment\n"), 40000)
	for name, c := range map[string]struct {
		p    imager.Profile
		opts []esxitest.Option
		want string
	}{
		"a helper":          {p: imager.Profile{Helper: fixedHelper(t)}, want: "an ISO gets none"},
		"a large kickstart": {p: imager.Profile{Kickstart: append(bytes.Clone(fixedKickstart), large...)}, want: "with the scripts of esxi-img in it"},
		"a module's clash":  {p: imager.Profile{Modules: []imager.Module{{Name: "vmx.v00", Data: fixedHelper(t)}}}, want: "VMX.V00"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := imager.NewISO(openISO(t, c.opts...), c.p)
			var input *imager.InputError
			if !errors.As(err, &input) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

func TestInspectReadsTheKickstartOfAnISO(t *testing.T) {
	img, out := remaster(t, imager.Profile{MetadataRequired: true, Host: imager.HostOptions{SerialConsole: true}})
	r, err := imager.InspectISO(out)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(r.Kickstart, img.Kickstart) {
		t.Errorf("a kickstart of %d bytes, want %d", len(r.Kickstart), len(img.Kickstart))
	}
	if r.Host == nil || r.Host.Metadata != "required" || !r.Host.SerialConsole {
		t.Errorf("the host is told %+v", r.Host)
	}
	if last := r.Files[len(r.Files)-1]; last.Path != "KS.CFG" || last.Role != plan.RoleKickstart {
		t.Errorf("the last file is %+v", last)
	}
	if r, err = imager.InspectISO(openISO(t)); err != nil || r.Kickstart != nil || len(r.Warnings) != 0 {
		t.Errorf("the installer's own ISO: %d bytes, %v, %v", len(r.Kickstart), r.Warnings, err)
	}
	lost := openISO(t, esxitest.BootCfg(func(s string) string { return strings.Replace(s, "cdromBoot", "cdromBoot ks=cdrom:/NONE.CFG", 1) }))
	if r, err = imager.InspectISO(lost); err != nil || r.Kickstart != nil || len(r.Warnings) != 1 {
		t.Errorf("a kickstart that is not there: %v, %v", r.Warnings, err)
	}
}
