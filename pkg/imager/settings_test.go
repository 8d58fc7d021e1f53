package imager_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/tardisk"
)

var someHash = imager.PasswordHash("$6$saltsaltsaltsalt$" + strings.Repeat("x", 86))

// settings are what the scripts on the host are told, and the disk's table.
func settings(t *testing.T, p imager.Profile) (told imager.HostSettings, table *disk.Table) {
	t.Helper()
	img := build(t, p)
	table, err := disk.ReadTable(img.Plan, img.Plan.Size)
	if err != nil {
		t.Fatal(err)
	}
	if told, err = imager.ParseHostSettings(imageJSON(t, img)); err != nil {
		t.Fatal(err)
	}
	return told, table
}

func imageJSON(t *testing.T, img *imager.Image) []byte {
	t.Helper()
	entries, err := tardisk.Read(bytes.NewReader(read(t, volume(t, img), imager.KickstartFile)))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Path == imager.SettingsPath {
			return e.Data
		}
	}
	t.Fatal("the image tells its hosts nothing")
	return nil
}

// The scripts on the host find the disk that they came from by what is told
// here; the disk is named after what it is made of, so each other image has
// other names.
func TestHostSettings(t *testing.T) {
	yes := true
	host := func(o imager.HostOptions) imager.Profile { return imager.Profile{Host: o} }
	profiles := map[string]imager.Profile{
		"default":        {},
		"required":       {MetadataRequired: true},
		"kernel option":  {KernelOpts: []string{"x=1"}},
		"own kickstart":  {Kickstart: []byte("vmaccepteula\ninstall --firstdisk=local --overwritevmfs\n%include /tmp/rootpw\nreboot\n")},
		"larger sectors": {SectorSize: 4096},
		"password":       host(imager.HostOptions{RootHash: someHash}),
		"disk":           host(imager.HostOptions{Install: imager.InstallOptions{Disk: &imager.InstallDisk{Size: "smallest"}}}),
		"other disk":     host(imager.HostOptions{Install: imager.InstallOptions{Disk: &imager.InstallDisk{FirstDisk: []string{"local"}}}}),
		"overwrite":      host(imager.HostOptions{Install: imager.InstallOptions{OverwriteVMFS: &yes}}),
		"host's option":  host(imager.HostOptions{KernelOpts: []string{"x=1"}}),
		"serial console": host(imager.HostOptions{SerialConsole: true}),
		"keep":           host(imager.HostOptions{Keep: true}),
	}
	seen := map[string]string{}
	for name, p := range profiles {
		told, table := settings(t, p)
		if again, _ := settings(t, p); !reflect.DeepEqual(told, again) {
			t.Errorf("%s: built twice: %v and %v", name, told, again)
		}
		want := imager.HostSettings{
			Version: 1, Disk: table.GUID.String(), Partition: table.Partitions[0].GUID.String(), Metadata: "optional", HostOptions: p.Host,
		}
		if p.MetadataRequired {
			want.Metadata = "required"
		}
		if !reflect.DeepEqual(told, want) {
			t.Errorf("%s: got %+v, want %+v", name, told, want)
		}
		if told.HasRootPassword() != (name == "password") {
			t.Errorf("%s: a root password: %v", name, told.HasRootPassword())
		}
		for _, guid := range []string{told.Disk, told.Partition} {
			if other, ok := seen[guid]; ok {
				t.Errorf("%s and %s share %s", name, other, guid)
			}
			seen[guid] = name
		}
	}
}

// What the host scripts read, key by key (stage.py).
func TestHostSettingsFile(t *testing.T) {
	yes, no := true, false
	img := build(t, imager.Profile{Host: imager.HostOptions{
		RootHash: someHash, KernelOpts: []string{"a=b", "c"}, SerialConsole: true,
		Install: imager.InstallOptions{Disk: &imager.InstallDisk{Serial: "S", MinBytes: 1 << 30}, OverwriteVMFS: &yes, OverwriteVSAN: &no},
	}})
	var got map[string]any
	if err := json.Unmarshal(imageJSON(t, img), &got); err != nil {
		t.Fatal(err)
	}
	delete(got, "disk")
	delete(got, "partition")
	want := map[string]any{
		"version": 1.0, "metadata": "optional", "root_hash": string(someHash), "kernelopts": []any{"a=b", "c"}, "serial_console": true,
		"install": map[string]any{"disk": map[string]any{"serial": "S", "min_bytes": float64(1 << 30)}, "overwritevmfs": true, "overwritevsan": false},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
	if strings.Contains(string(imageJSON(t, build(t, imager.Profile{}))), "install") {
		t.Error("an image of no options tells some")
	}
}

func TestHostOptionsThatAreRefused(t *testing.T) {
	long := make([]string, 65)
	for i := range long {
		long[i] = "x"
	}
	own := []byte("vmaccepteula\nrootpw --iscrypted " + string(someHash) + "\ninstall --firstdisk=local --overwritevmfs\nreboot\n")
	helper, err := imager.InstallerHelper(own)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		p    imager.Profile
		want string
	}{
		"hash":            {imager.Profile{Host: imager.HostOptions{RootHash: "$1$Canary$abcdefghijklmnopqrstuv"}}, "$6$"},
		"disk":            {imager.Profile{Host: imager.HostOptions{Install: imager.InstallOptions{Disk: &imager.InstallDisk{}}}}, "chooses no disk"},
		"option":          {imager.Profile{Host: imager.HostOptions{KernelOpts: []string{"a b"}}}, `"a b"`},
		"removal":         {imager.Profile{Host: imager.HostOptions{KernelOpts: []string{"-a"}}}, "not removed"},
		"separator":       {imager.Profile{Host: imager.HostOptions{KernelOpts: []string{"a---b"}}}, "a---b"},
		"long option":     {imager.Profile{Host: imager.HostOptions{KernelOpts: []string{strings.Repeat("a", 256)}}}, "255"},
		"many options":    {imager.Profile{Host: imager.HostOptions{KernelOpts: long}}, "at most 64"},
		"own rootpw":      {imager.Profile{Kickstart: own, Host: imager.HostOptions{RootHash: someHash}}, "%include /tmp/rootpw"},
		"own install":     {imager.Profile{Kickstart: own, Host: imager.HostOptions{Install: imager.InstallOptions{Disk: &imager.InstallDisk{Image: true}}}}, "%include /tmp/install"},
		"helper with all": {imager.Profile{Helper: helper, Host: imager.HostOptions{SerialConsole: true}}, "do not reach"},
	} {
		_, err := imager.New(openISO(t), c.p)
		var input *imager.InputError
		if !errors.As(err, &input) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "Canary") {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	// Neither needs anything of the kickstart.
	build(t, imager.Profile{Kickstart: own, Host: imager.HostOptions{SerialConsole: true, KernelOpts: []string{"a"}}})
}

func TestParseHostSettings(t *testing.T) {
	for _, data := range []string{
		"", "[]", `{"version": 2}`, `{"version": 1, "root_hash": "Canary"}`, `{"version": 1, "kernelopts": ["Canary"`, `{"version": 1, "kernelopts": "Canary"}`,
		`{"version": 1, "install": {"disk": {}}}`, `{"version": 1} {}`, `{"version": 1, "x": "` + strings.Repeat("x", 1<<20) + `"}`,
	} {
		_, err := imager.ParseHostSettings([]byte(data))
		if err == nil || !strings.Contains(err.Error(), imager.SettingsPath) || strings.Contains(err.Error(), "Canary") {
			t.Errorf("%.40q: %v", data, err)
		}
	}
	if s, err := imager.ParseHostSettings([]byte(`{"version": 1, "later": true}`)); err != nil || s.HasRootPassword() {
		t.Errorf("%v, %v", s, err)
	}
}

// inspect tells what is in there, and the hash is none of its business to show.
func TestInspectTellsTheSettings(t *testing.T) {
	img := build(t, imager.Profile{Host: imager.HostOptions{RootHash: someHash, SerialConsole: true}})
	report, err := imager.InspectDisk(img.Plan, img.Plan.Size)
	if err != nil || report.Host == nil || !report.Host.HasRootPassword() || !report.Host.SerialConsole || report.Host.Disk != img.Layout.DiskGUID.String() {
		t.Errorf("%+v, %v", report, err)
	}
}
