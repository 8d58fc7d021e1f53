package imager_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/bootcfg"
	"github.com/esxi-img/esxi-img/pkg/esxitest"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/plan"
)

func netboot(t *testing.T, prefix string, p imager.Profile, opts ...esxitest.Option) (*imager.Image, map[string]string) {
	t.Helper()
	img, err := imager.NewNetboot(openISO(t, opts...), prefix, p)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, f := range img.Plan.Files {
		b := make([]byte, f.Size)
		if f.Size > 0 {
			if err := f.ReadContent(b, 0); err != nil {
				t.Fatal(err)
			}
		}
		if _, there := files[f.Path]; there {
			t.Errorf("%s is there twice", f.Path)
		}
		files[f.Path] = string(b)
	}
	return img, files
}

func TestAFolderForNetworkBootHasWhatBootCfgNames(t *testing.T) {
	for _, release := range esxitest.Releases() {
		t.Run(release.Version, func(t *testing.T) {
			source := openISO(t, esxitest.WithRelease(release))
			img, files := netboot(t, "", imager.Profile{}, esxitest.WithRelease(release))
			cfg, err := bootcfg.Parse([]byte(files["boot.cfg"]))
			if err != nil {
				t.Fatal(err)
			}
			named := map[string]bool{"boot.cfg": true, "mboot.efi": true, "mboot.c32": true}
			if release.Crypto64 {
				named["crypto64.efi"] = true
			}
			for _, m := range append(cfg.Modules(), bootcfg.Module{Path: cfg.Kernel()}) {
				named[m.Path] = true
				data, there := files[m.Path]
				switch {
				case !there:
					t.Errorf("boot.cfg names %s, which is not there: case counts", m.Path)
				case m.Path != "esxiimg.tgz" && m.Path != "esxiks.tgz" && data != string(read(t, source, m.Path)):
					t.Errorf("%s has other bytes than on the ISO", m.Path)
				}
			}
			for name := range files {
				if !named[name] {
					t.Errorf("%s is needed by nobody", name)
				}
			}
			if files["mboot.efi"] != string(read(t, source, "EFI/BOOT/BOOTX64.EFI")) {
				t.Error("mboot.efi is not the ISO's boot loader")
			}
			if cfg.Prefix() != "" || strings.Contains(files["boot.cfg"], "cdromBoot") || !strings.Contains(img.KernelOpt, "runweasel") ||
				!strings.Contains(img.KernelOpt, "ks=file:///esxiimg/KS.CFG") {
				t.Errorf("boot.cfg\n%s", files["boot.cfg"])
			}
			if last := cfg.Modules()[len(cfg.Modules())-2:]; last[0].Path != "esxiimg.tgz" || last[1].Path != "esxiks.tgz" {
				t.Errorf("the last modules are %v", last)
			}
			for _, f := range img.Plan.Files {
				if f.Role == plan.RolePayload && strings.HasSuffix(f.Path, ".v00") && len(f.Expect) == 0 {
					t.Errorf("%s is not checked against its VIB", f.Path)
				}
			}
		})
	}
}

func TestThePrefixIsWhereTheFolderWillBe(t *testing.T) {
	const prefix = "http://boot.example/esxi/"
	img, files := netboot(t, prefix, imager.Profile{KernelOpts: []string{"netdevice=vmnic0"}}, esxitest.WithArch(esxitest.ARM64))
	if !strings.Contains(files["boot.cfg"], "\nprefix="+prefix+"\n") || !strings.Contains(files["boot.cfg"], "\nkernel=b.b00\n") ||
		!strings.Contains(files["boot.cfg"], " netdevice=vmnic0\n") {
		t.Errorf("boot.cfg\n%s", files["boot.cfg"])
	}
	if _, there := files["mboot.c32"]; there || files["mboot.efi"] == "" {
		t.Error("the loaders are not those of arm64")
	}
	if len(img.KernelOpts) != 1 {
		t.Errorf("the profile's options are %q", img.KernelOpts)
	}
}

func TestPrefixesThatBootCfgCannotHold(t *testing.T) {
	for _, prefix := range []string{
		"http://a b/", "http://a/\n", "http://ü/", "http://user:secret@a/", "http://a/?x", "http://a/#x", "http://a/" + strings.Repeat("x", 200), "http://[::1/",
	} {
		_, err := imager.NewNetboot(openISO(t), prefix, imager.Profile{})
		var input *imager.InputError
		if !errors.As(err, &input) || input.Input != "prefix" || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: error %v", prefix, err)
		}
	}
}
