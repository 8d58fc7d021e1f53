package customize_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/esxi-img/esxi-img/pkg/customize"
	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/kickstart"
	"github.com/esxi-img/esxi-img/pkg/plan"
)

// host is one that gets a host name.
func host(dir, name string) customize.Host {
	return customize.Host{
		Name: name, Output: filepath.Join(dir, name),
		Changes: func() (customize.Changes, error) { return customize.Changes{Hostname: name}, nil },
	}
}

// bad is one whose changes cannot be had.
func bad(dir, name string, err error) customize.Host {
	h := host(dir, name)
	h.Changes = func() (customize.Changes, error) { return customize.Changes{}, err }
	return h
}

func writeHosts(t *testing.T, ctx context.Context, image string, hosts []customize.Host, opts customize.HostsOptions) ([]customize.HostResult, error) { //nolint:revive // t first
	t.Helper()
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	_, results, err := customize.WriteHosts(ctx, f, hosts, opts)
	if !errors.Is(f.Close(), os.ErrClosed) {
		t.Error("the image was left open")
	}
	return results, err
}

// TestHostsAreWhatOneByOneMakes holds every host's image against the one that
// is made alone.
func TestHostsAreWhatOneByOneMakes(t *testing.T) {
	b := image(t, imager.Profile{Headroom: 1 << 20})
	name := write(t, b)
	if err := os.Chmod(name, 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "new", "folder")
	var hosts []customize.Host
	for _, n := range []string{"esx1", "esx2", "esx3", "esx4", "esx5", "esx6"} {
		hosts = append(hosts, host(dir, n))
	}
	results, err := writeHosts(t, t.Context(), name, hosts, customize.HostsOptions{Workers: 3})
	if err != nil {
		t.Fatal(err)
	}
	for i, h := range hosts {
		alone := filepath.Join(t.TempDir(), "alone")
		want := writeFile(t, name, customize.Changes{Hostname: h.Name}, customize.WriteOptions{Output: alone})
		if r := results[i]; r.Err != nil || r.Differs != want.Differs || !reflect.DeepEqual(r.Edits, want.Step().Edits) || r.Size != want.Plan.Size {
			t.Errorf("%s: %+v, alone it differs by %d", h.Name, r, want.Differs)
		}
		if !bytes.Equal(read(t, h.Output), read(t, alone)) {
			t.Errorf("%s is another image than the one that is made alone", h.Name)
		}
		if info, err := os.Stat(h.Output); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
			t.Errorf("a private image became one that others may read: %v, %v", info.Mode(), err)
		}
	}
	if !bytes.Equal(read(t, name), b) {
		t.Error("the image changed")
	}
}

// TestOneHostFails holds that the others go on, and that nothing is left of it.
func TestOneHostFails(t *testing.T) {
	name := write(t, image(t, imager.Profile{Headroom: 1 << 20}))
	dir := t.TempDir()
	wrong := errors.New("no config drive")
	underscore := host(dir, "esx_3") // no host name
	hosts := []customize.Host{host(dir, "esx1"), bad(dir, "esx2", wrong), underscore, host(dir, "esx4")}
	results, err := writeHosts(t, t.Context(), name, hosts, customize.HostsOptions{Workers: 1}) // one after the other
	if err != nil {
		t.Fatal(err)
	}
	if results[0].Err != nil || !errors.Is(results[1].Err, wrong) || results[2].Err == nil || results[3].Err != nil {
		t.Errorf("%v", results)
	}
	if left := names(t, dir); !reflect.DeepEqual(left, []string{"esx1", "esx4"}) {
		t.Errorf("there are %v", left)
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// TestHostsInterrupted holds that what is there is whole.
func TestHostsInterrupted(t *testing.T) {
	b := image(t, imager.Profile{Headroom: 1 << 20})
	name := write(t, b)
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	hosts := []customize.Host{host(dir, "esx1"), host(dir, "esx2"), host(dir, "esx3")}
	third := hosts[2].Changes
	hosts[2].Changes = func() (customize.Changes, error) { cancel(); return third() }
	results, err := writeHosts(t, ctx, name, hosts, customize.HostsOptions{Workers: 1})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if results[0].Err != nil || results[1].Err != nil || !errors.Is(results[2].Err, context.Canceled) {
		t.Errorf("%v", results)
	}
	if left := names(t, dir); !reflect.DeepEqual(left, []string{"esx1", "esx2"}) {
		t.Errorf("there are %v", left)
	}
	for _, n := range []string{"esx1", "esx2"} {
		open(t, read(t, filepath.Join(dir, n)))
	}
}

// TestHostsOfAnImageThatChanges holds that no mixture stays.
func TestHostsOfAnImageThatChanges(t *testing.T) {
	name := write(t, image(t, imager.Profile{Headroom: 1 << 20}))
	dir := t.TempDir()
	hosts := []customize.Host{host(dir, "esx1"), host(dir, "esx2")}
	second := hosts[1].Changes
	hosts[1].Changes = func() (customize.Changes, error) {
		if err := os.Chtimes(name, time.Unix(1, 0), time.Unix(1, 0)); err != nil {
			t.Error(err)
		}
		return second()
	}
	_, err := writeHosts(t, t.Context(), name, hosts, customize.HostsOptions{Workers: 1})
	if !errors.Is(err, customize.ErrChanged) {
		t.Errorf("error %v", err)
	}
	if left := names(t, dir); len(left) != 0 {
		t.Errorf("there are %v", left)
	}
}

// TestHostsAsOverlays reads each overlay with what is behind it.
func TestHostsAsOverlays(t *testing.T) {
	b := image(t, imager.Profile{Headroom: 1 << 20})
	stray := bytes.Clone(b)
	copy(stray[len(stray)-(1<<20)-4096:], "a password that was deleted")
	for title, c := range map[string]struct {
		b     []byte
		write disk.Format
	}{
		"over the image": {b, ""}, "over a copy": {b, disk.Raw}, "over a qcow2 file": {b, disk.QCOW2},
		"stray bytes": {stray, ""}, "stray bytes, over a copy": {stray, disk.Raw},
	} {
		t.Run(title, func(t *testing.T) {
			name := write(t, c.b)
			dir := t.TempDir()
			backing := &customize.HostsBacking{Path: name}
			if c.write != "" {
				backing = &customize.HostsBacking{Path: filepath.Join(dir, "base"), Write: c.write}
			}
			as := host(dir, "asis")
			as.Changes = func() (customize.Changes, error) { return customize.Changes{}, nil }
			hosts := []customize.Host{host(dir, "esx1"), as}
			results, err := writeHosts(t, t.Context(), name, hosts, customize.HostsOptions{Format: disk.QCOW2, Backing: backing})
			if err != nil {
				t.Fatal(err)
			}
			if c.write == disk.Raw && !bytes.Equal(read(t, backing.Path), b) {
				t.Error("the copy is another disk")
			}
			for i, h := range hosts {
				if results[i].Err != nil {
					t.Fatal(results[i].Err)
				}
				if got := read(t, h.Output); disk.FormatOf(bytes.NewReader(got)) != disk.QCOW2 || int64(len(got)) != results[i].FileSize || len(got) > 1<<20 {
					t.Errorf("%s has %d bytes, %+v", h.Name, len(got), results[i])
				}
			}
			if d := results[0].Differs; d < 1 || d > 512<<10 {
				t.Errorf("%d bytes differ", d)
			}
			if d := results[1].Differs; d != 0 && c.write != "" || title == "over the image" && d != 0 {
				t.Errorf("%d bytes differ of what is the same", d)
			}
		})
	}
}

func TestHostsDryRun(t *testing.T) {
	name := write(t, image(t, imager.Profile{Headroom: 1 << 20}))
	dir := t.TempDir()
	backing := &customize.HostsBacking{Path: filepath.Join(dir, "base"), Write: disk.Raw}
	for _, opts := range []customize.HostsOptions{
		{DryRun: true}, {DryRun: true, Format: disk.VMDK}, {DryRun: true, Format: disk.QCOW2, Backing: backing},
	} {
		results, err := writeHosts(t, t.Context(), name, []customize.Host{host(dir, "esx1")}, opts)
		if err != nil || results[0].Err != nil || results[0].Differs == 0 || len(results[0].Edits) != 1 {
			t.Errorf("%+v, %v", results, err)
		}
	}
	if left := names(t, dir); len(left) != 0 {
		t.Errorf("there are %v", left)
	}
}

func TestHostsWriteWhatAsMakes(t *testing.T) {
	name := write(t, image(t, imager.Profile{Headroom: 1 << 20}))
	dir := t.TempDir()
	var b plan.Builder
	b.Literal([]byte(strings.Repeat("x", 512)))
	other, err := b.Build(512)
	if err != nil {
		t.Fatal(err)
	}
	results, err := writeHosts(t, t.Context(), name, []customize.Host{host(dir, "esx1")}, customize.HostsOptions{
		As: func(*customize.Result) (*plan.Plan, error) { return other, nil },
	})
	if err != nil || results[0].Err != nil || string(read(t, filepath.Join(dir, "esx1"))) != strings.Repeat("x", 512) {
		t.Errorf("%+v, %v", results, err)
	}
}

func TestHostsOutputThatIsThere(t *testing.T) {
	name := write(t, image(t, imager.Profile{Headroom: 1 << 20}))
	dir := t.TempDir()
	h := host(dir, "esx1")
	if err := os.WriteFile(h.Output, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	results, err := writeHosts(t, t.Context(), name, []customize.Host{h}, customize.HostsOptions{})
	var exists *fs.PathError
	if err != nil || !errors.As(results[0].Err, &exists) || string(read(t, h.Output)) != "mine" {
		t.Errorf("%v, %v", results, err)
	}
	results, err = writeHosts(t, t.Context(), name, []customize.Host{h}, customize.HostsOptions{Replace: true})
	if err != nil || results[0].Err != nil {
		t.Errorf("%v, %v", results, err)
	}
	open(t, read(t, h.Output))
}

func TestEachHostBeginsWithTheFirst(t *testing.T) {
	name := write(t, image(t, imager.Profile{Headroom: 1 << 20}))
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // read only
	first := false
	hosts := []customize.Host{host("", "esx1"), host("", "esx2"), host("", "esx3"), host("", "esx4")}
	_, errs, err := customize.EachHost(t.Context(), f, nil, hosts, 4, func(_ context.Context, i int, r *customize.Result) error {
		switch {
		case i == 0:
			time.Sleep(10 * time.Millisecond)
			first = true
		case !first:
			t.Errorf("host %d came before the first one", i)
		}
		if r.Step().Edits[0].Detail != hosts[i].Name {
			t.Errorf("host %d is %v", i, r.Step().Edits)
		}
		return nil
	})
	if err != nil || errors.Join(errs...) != nil || len(errs) != 4 {
		t.Errorf("%v, %v", errs, err)
	}
}

func TestOver(t *testing.T) {
	yes, no := true, false
	disk1, disk2 := &imager.InstallDisk{}, &imager.InstallDisk{}
	base := customize.Changes{
		Kickstart: &customize.File{Name: "base"}, Snippets: []kickstart.Snippet{snippet(t, kickstart.Pre, "50-a.sh", "echo base"), snippet(t, kickstart.Pre, "50-b.sh", "echo")},
		Modules: []imager.Module{{Name: "a.tgz"}}, KernelOpts: []string{"a=1"}, InstallerConsole: true,
		Host: imager.HostOptions{
			RootHash: "base", KernelOpts: []string{"a=1", "b=1"}, SerialConsole: true, Keep: true,
			Install: imager.InstallOptions{Disk: disk1, OverwriteVMFS: &yes, OverwriteVSAN: &yes},
		},
		MetadataRequired: &yes, Drive: &customize.Drive{Name: "base"}, Files: map[string]customize.File{"x": {Name: "base"}, "y": {Name: "base"}},
		Hostname: "base", SSHKeys: []string{"base"}, DriveAs: customize.AsModule, DriveSize: 1 << 20,
	}
	own := customize.Changes{
		Kickstart: &customize.File{Name: "own"}, Snippets: []kickstart.Snippet{snippet(t, kickstart.Pre, "50-a.sh", "echo own")},
		Modules: []imager.Module{{Name: "b.tgz"}}, KernelOpts: []string{"a=2"},
		Host: imager.HostOptions{
			RootHash: "own", KernelOpts: []string{"a=2"},
			Install: imager.InstallOptions{Disk: disk2, OverwriteVMFS: &no, OverwriteVSAN: &no},
		},
		MetadataRequired: &no, Drive: &customize.Drive{Name: "own"}, Files: map[string]customize.File{"x": {Name: "own"}},
		Hostname: "own", SSHKeys: []string{"own"}, DriveAs: customize.AsPartition, DriveSize: 2 << 20,
	}
	want := own
	want.Snippets = []kickstart.Snippet{base.Snippets[1], own.Snippets[0]}
	want.Modules = []imager.Module{{Name: "a.tgz"}, {Name: "b.tgz"}}
	want.KernelOpts = []string{"a=1", "a=2"}
	want.InstallerConsole, want.Host.SerialConsole, want.Host.Keep = true, true, true
	want.Host.KernelOpts = []string{"a=2", "b=1"}
	want.Files = map[string]customize.File{"x": {Name: "own"}, "y": {Name: "base"}}
	want.SSHKeys = []string{"base", "own"}
	if got := own.Over(base); !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
	if got := (customize.Changes{}).Over(base); !reflect.DeepEqual(got, base) {
		t.Errorf("nothing over it changes it: %+v", got)
	}
	// What a field says has to be thought of when there is a new one.
	if n := reflect.TypeFor[customize.Changes]().NumField(); n != 13 {
		t.Errorf("Changes has %d fields: does Over know them all?", n)
	}
	if base.Files["x"].Name != "base" || base.Snippets[0].Body == own.Snippets[0].Body || base.Host.KernelOpts[0] != "a=1" {
		t.Error("the base was changed")
	}
}

// TestHostsAtOnce works on up to four, as docs/customize.md says.
func TestHostsAtOnce(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(8))
	name, dir := write(t, image(t, imager.Profile{Headroom: 1 << 20})), t.TempDir()
	var now, most atomic.Int32
	var hosts []customize.Host
	for n := range 12 {
		h := host(dir, fmt.Sprintf("esx%d", n))
		changes := h.Changes
		h.Changes = func() (customize.Changes, error) {
			defer now.Add(-1)
			n := now.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			time.Sleep(50 * time.Millisecond)
			return changes()
		}
		hosts = append(hosts, h)
	}
	if _, err := writeHosts(t, t.Context(), name, hosts, customize.HostsOptions{DryRun: true}); err != nil || most.Load() != 4 {
		t.Errorf("%d at once, %v", most.Load(), err)
	}
}
