package imager_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/tardisk"
)

// settings are what the scripts on the host are told, and the disk's table.
func settings(t *testing.T, p imager.Profile) (told imager.HostSettings, table *disk.Table) {
	t.Helper()
	img := build(t, p)
	table, err := disk.ReadTable(img.Plan, img.Plan.Size)
	if err != nil {
		t.Fatal(err)
	}
	entries, err := tardisk.Read(bytes.NewReader(read(t, volume(t, img), imager.KickstartFile)))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Path == imager.SettingsPath {
			if err := json.Unmarshal(e.Data, &told); err != nil {
				t.Fatal(err)
			}
		}
	}
	return told, table
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
		told, table := settings(t, p)
		if again, _ := settings(t, p); told != again {
			t.Errorf("%s: built twice: %v and %v", name, told, again)
		}
		want := imager.HostSettings{
			Version: 1, Disk: table.GUID.String(), Partition: table.Partitions[0].GUID.String(), Metadata: "optional",
		}
		if p.MetadataRequired {
			want.Metadata = "required"
		}
		if told != want {
			t.Errorf("%s: got %v, want %v", name, told, want)
		}
		for _, guid := range []string{told.Disk, told.Partition} {
			if other, ok := seen[guid]; ok {
				t.Errorf("%s and %s share %s", name, other, guid)
			}
			seen[guid] = name
		}
	}
}
