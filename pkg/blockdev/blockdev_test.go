package blockdev

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

func TestHas(t *testing.T) {
	i := Info{Serial: "S45RNC0R123456", WWN: "naa.5002538e40a1b2c3"}
	for s, want := range map[string]bool{
		"S45RNC0R123456": true, " s45rnc0r123456\n": true, "S45RNC0R12345": false, "": false, " ": false,
	} {
		if got := i.HasSerial(s); got != want {
			t.Errorf("HasSerial(%q) = %v", s, got)
		}
	}
	for s, want := range map[string]bool{
		"naa.5002538e40a1b2c3": true, "0x5002538E40A1B2C3": true, "wwn-0x5002538e40a1b2c3": true, "5002538e40a1b2c3": true,
		"5002538e40a1b2c": false, "": false, "0x": false, "naa.": false,
	} {
		if got := i.HasWWN(s); got != want {
			t.Errorf("HasWWN(%q) = %v", s, got)
		}
	}
	var none Info
	if none.HasSerial("") || none.HasWWN("") || none.HasWWN("0x") {
		t.Error("a device without names has them all")
	}
}

func TestMeant(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "disk")
	if runtime.GOOS != "windows" {
		if err := os.Symlink("/dev/null", link); err != nil {
			t.Fatal(err)
		}
		if !Meant(link) || !Meant("/dev/null") || !Meant("/dev/there-is-no-such-disk") || !Meant("/tmp/../dev/sdz") {
			t.Error("a device was not meant as one")
		}
		if Meant("/dev/shm/esxi.img") {
			t.Error("/dev/shm is for files")
		}
	}
	for _, path := range []string{filepath.Join(dir, "esxi.img"), dir, "esxi.img", "/device/esxi.img", ""} {
		if Meant(path) {
			t.Errorf("%q was meant as a device", path)
		}
	}
	if !Meant(`\\.\PhysicalDrive1`) {
		t.Error(`\\.\PhysicalDrive1 was not meant as a device`)
	}
}
