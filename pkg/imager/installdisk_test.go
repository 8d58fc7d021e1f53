package imager_test

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/imager"
)

// The file is also read by the tests of the host scripts, which read the same
// language in metadata: what the one takes, the other does.
func TestParseInstallDisk(t *testing.T) {
	data, err := os.ReadFile("testdata/install-disk.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Spec string
		Disk *imager.InstallDisk
	}
	if err := json.Unmarshal(data, &cases); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		got, err := imager.ParseInstallDisk(c.Spec)
		if (err == nil) != (c.Disk != nil) || !reflect.DeepEqual(got, c.Disk) {
			t.Errorf("%q: %+v, %v, want %+v", c.Spec, got, err, c.Disk)
			continue
		}
		if err != nil {
			if !strings.Contains(err.Error(), "disk ") {
				t.Errorf("%q: %v names no disk", c.Spec, err)
			}
			continue
		}
		if again, err := imager.ParseInstallDisk(got.String()); !strings.Contains(c.Spec, ";x") && (err != nil || !reflect.DeepEqual(again, got)) {
			t.Errorf("%q: %q reads back as %+v, %v", c.Spec, got.String(), again, err)
		}
	}
	if len(cases) < 60 {
		t.Errorf("only %d cases", len(cases))
	}
}

func TestInstallDiskLimits(t *testing.T) {
	for _, spec := range []string{
		strings.Repeat(";", 1025), "serial=" + strings.Repeat("s", 129), "vendor=" + strings.Repeat("s", 65), "model=" + strings.Repeat("ä", 65),
		"path=" + strings.Repeat("s", 513), "naa." + strings.Repeat("s", 513), "firstdisk=" + strings.Repeat("s", 65),
	} {
		if d, err := imager.ParseInstallDisk(spec); err == nil {
			t.Errorf("%.20q… is taken: %v", spec, d)
		}
	}
	if _, err := imager.ParseInstallDisk("model=" + strings.Repeat("ä", 64)); err != nil {
		t.Error(err)
	}
}

func FuzzParseInstallDisk(f *testing.F) {
	for _, seed := range []string{"smallest", "serial=a;wwn=naa.12345678", `{"serial": "a", "min_gib": 7}`, "firstdisk=a,b", "naa.1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, spec string) {
		d, err := imager.ParseInstallDisk(spec)
		if err != nil {
			return
		}
		if err := d.Check(); err != nil {
			t.Errorf("%q is taken as %+v: %v", spec, d, err)
		}
	})
}
