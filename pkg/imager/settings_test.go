package imager_test

import (
	"bytes"
	"encoding/json"
	"io"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/esxitest"
	"github.com/esxi-img/esxi-img/pkg/fat32"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/iso"
	"github.com/esxi-img/esxi-img/pkg/tardisk"
)

// built is a disk image and the settings that its host scripts will find.
type built struct {
	table    *disk.Table
	settings imager.HostSettings
}

func build(t *testing.T, p imager.Profile) built {
	t.Helper()
	medium := esxitest.Bytes()
	src, err := iso.Open(bytes.NewReader(medium), int64(len(medium)))
	if err != nil {
		t.Fatal(err)
	}
	img, err := imager.New(src, p)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(img.Plan.Reader())
	if err != nil {
		t.Fatal(err)
	}
	r := bytes.NewReader(data)
	var b built
	if b.table, err = disk.ReadTable(r, int64(len(data))); err != nil {
		t.Fatal(err)
	}
	part := b.table.Partitions[0]
	volume, err := fat32.Open(io.NewSectionReader(r, part.Offset, part.Size), part.Size)
	if err != nil {
		t.Fatal(err)
	}
	module, err := volume.ReadFile(imager.KickstartFile)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := tardisk.Read(bytes.NewReader(module))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Path == imager.SettingsPath {
			if err := json.Unmarshal(e.Data, &b.settings); err != nil {
				t.Fatal(err)
			}
		}
	}
	return b
}

// The scripts on the host find the disk that they came from by what is told
// here; the disk is named after what it is made of, so each other image has
// other names.
func TestHostSettings(t *testing.T) {
	profiles := map[string]imager.Profile{
		"default":        {},
		"required":       {MetadataRequired: true},
		"kernel option":  {KernelOpts: []string{"x=1"}},
		"own kickstart":  {Kickstart: []byte("vmaccepteula\ninstall --firstdisk=local --overwritevmfs\n%include /tmp/rootpw\nreboot\n")},
		"larger sectors": {SectorSize: 4096},
	}
	seen := map[string]string{}
	for name, p := range profiles {
		b, again := build(t, p), build(t, p)
		if b.settings != again.settings {
			t.Errorf("%s: built twice: %v and %v", name, b.settings, again.settings)
		}
		want := imager.HostSettings{
			Version: 1, Disk: b.table.GUID.String(), Partition: b.table.Partitions[0].GUID.String(), Metadata: "optional",
		}
		if p.MetadataRequired {
			want.Metadata = "required"
		}
		if b.settings != want {
			t.Errorf("%s: got %v, want %v", name, b.settings, want)
		}
		for _, guid := range []string{b.settings.Disk, b.settings.Partition} {
			if other, ok := seen[guid]; ok {
				t.Errorf("%s and %s share %s", name, other, guid)
			}
			seen[guid] = name
		}
	}
}
