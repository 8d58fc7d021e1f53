package imager_test

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/bootcfg"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/plan"
)

const netbootPrefix = "http://boot.example/esxi/"

// netbootOf is the folder of a disk image with that profile.
func netbootOf(t *testing.T, p imager.Profile) *imager.Image {
	t.Helper()
	disk, err := imager.New(openISO(t), p)
	if err != nil {
		t.Fatal(err)
	}
	img, err := imager.NetbootOfDisk(disk.Plan, disk.Plan.Size, netbootPrefix)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func paths(files []plan.File) (out []string) {
	for _, f := range files {
		out = append(out, f.Path)
	}
	return out
}

func TestHostsHaveTheirOwnBesideWhatTheyShare(t *testing.T) {
	base := netbootOf(t, imager.Profile{Headroom: 1 << 20})
	module := imager.Module{Name: "own.tgz", Data: must(imager.InstallerModule())}
	host := netbootOf(t, imager.Profile{Headroom: 1 << 20, Host: imager.HostOptions{SerialConsole: true}, Modules: []imager.Module{module}})
	own, err := host.HostFiles(base, []string{"00:25:B5:00:00:0a", "00:25:b5:00:00:0b"})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"01-00-25-b5-00-00-0a/esxiks.tgz", "01-00-25-b5-00-00-0a/own.tgz", "01-00-25-b5-00-00-0a/boot.cfg", "01-00-25-b5-00-00-0b/boot.cfg"}
	if got := paths(own); !sameNames(got, want) {
		t.Errorf("its own are %v, want %v", got, want)
	}
	folder, err := base.WithHosts([][]plan.File{own}, false)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]plan.File{}
	var size int64
	for _, f := range folder.Files {
		if _, twice := files[f.Path]; twice {
			t.Errorf("%s is there twice", f.Path)
		}
		files[f.Path] = f
		size += f.Size
	}
	if size != folder.Size {
		t.Errorf("the folder has %d bytes, it says %d", size, folder.Size)
	}
	// All that the boot loader asks for is there, by the prefix.
	cfg, err := bootcfg.Parse(bytesOfFile(t, files["01-00-25-b5-00-00-0b/boot.cfg"]))
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Prefix() != netbootPrefix {
		t.Errorf("the prefix is %q", cfg.Prefix())
	}
	for _, m := range append(cfg.Modules(), bootcfg.Module{Path: cfg.Kernel()}) {
		if _, ok := files[m.Path]; !ok {
			t.Errorf("boot.cfg names %s, which is not there", m.Path)
		}
	}
	// Who is on no list is not installed.
	if _, ok := files["esxiks.tgz"]; ok {
		t.Error("there is a kickstart for hosts that are on no list")
	}
	if text := string(bytesOfFile(t, files["boot.cfg"])); !strings.Contains(text, "\nskip=1\n") || strings.Contains(text, "kernel") {
		t.Errorf("the boot.cfg for other hosts is\n%s", text)
	}
	others, err := base.WithHosts([][]plan.File{own}, true)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := paths(others.Files), append(paths(base.Plan.Files), paths(own)...); !reflect.DeepEqual(got, want) {
		t.Errorf("with an installation for others there are %v", got)
	}
}

func TestFoldersOfHostsThatCannotBe(t *testing.T) {
	base := netbootOf(t, imager.Profile{Headroom: 1 << 20})
	var input *imager.InputError
	if _, err := base.HostFiles(base, nil); !errors.As(err, &input) || input.Advice == "" {
		t.Errorf("without a MAC: %v", err)
	}
	large := []plan.File{{Path: "01-00-25-b5-00-00-01/esxiks.tgz", Size: 64<<20 + 1}}
	if _, err := base.WithHosts([][]plan.File{large}, false); !errors.As(err, &input) || !strings.Contains(err.Error(), "at most 67108864") {
		t.Errorf("too much: %v", err)
	}
	other := *base
	other.Plan = &plan.Plan{}
	if _, err := base.HostFiles(&other, []string{"00:25:b5:00:00:01"}); err == nil || !strings.Contains(err.Error(), "is not in the folder that the hosts share") {
		t.Errorf("of another image: %v", err)
	}
}

func sameNames(a, b []string) bool {
	seen := map[string]int{}
	for _, s := range a {
		seen[s]++
	}
	for _, s := range b {
		seen[s]--
	}
	for _, n := range seen {
		if n != 0 {
			return false
		}
	}
	return true
}

func bytesOfFile(t *testing.T, f plan.File) []byte {
	t.Helper()
	data := make([]byte, f.Size)
	if f.Size > 0 {
		if err := f.ReadContent(data, 0); err != nil {
			t.Fatal(err)
		}
	}
	return bytes.Clone(data)
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestHostFilesKeepArguments: a module that is a host's own has other
// arguments no more than another.
func TestHostFilesKeepArguments(t *testing.T) {
	base := netbootOf(t, imager.Profile{Headroom: 1 << 20})
	host := netbootOf(t, imager.Profile{Headroom: 1 << 20, Host: imager.HostOptions{SerialConsole: true}})
	edited := 0
	for n := range host.Plan.Files {
		f := &host.Plan.Files[n]
		if f.Path != imager.NetbootConfig {
			continue
		}
		data := make([]byte, f.Size)
		if err := f.ReadContent(data, 0); err != nil {
			t.Fatal(err)
		}
		text := strings.Replace(string(data), "esxiks.tgz", "esxiks.tgz a=1 b", 1)
		text = strings.Replace(text, "esxiimg.tgz", "esxiimg.tgz c", 1)
		f.Size, f.Content, f.Expect = int64(len(text)), strings.NewReader(text), nil
		edited++
	}
	own, err := host.HostFiles(base, []string{"00:25:b5:00:00:0a"})
	if err != nil || edited != 1 {
		t.Fatal(err, edited)
	}
	var data []byte
	for _, f := range own {
		if strings.HasSuffix(f.Path, "/"+imager.NetbootConfig) {
			data = make([]byte, f.Size)
			if err := f.ReadContent(data, 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, want := range []string{"01-00-25-b5-00-00-0a/esxiks.tgz a=1 b", " esxiimg.tgz c"} {
		if !strings.Contains(string(data), want) {
			t.Errorf("%q is not in %s", want, data)
		}
	}
}
