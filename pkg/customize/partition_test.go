package customize_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/esxi-img/esxi-img/pkg/customize"
	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/iso"
)

func driveOf(t testing.TB, files map[string]string) *customize.Drive {
	t.Helper()
	fsys := fstest.MapFS{}
	for name, data := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(data)}
	}
	d, err := customize.ReadDrive("drive", fsys)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// partitionOf is the drive's partition: its size, its label and its files.
func partitionOf(t testing.TB, b []byte) (int64, string, map[string]string) {
	t.Helper()
	table, err := disk.ReadTable(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	p, ok := table.ConfigDrive()
	if !ok {
		return 0, "", nil
	}
	volume, err := iso.Open(io.NewSectionReader(bytes.NewReader(b), p.Offset, p.Size), p.Size)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, f := range volume.Files() {
		data := make([]byte, f.Size)
		if _, err := f.ReaderAt().ReadAt(data, 0); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		files[f.Path] = string(data)
	}
	return p.Size, volume.VolumeID(), files
}

// inModule are the paths of the metadata in the kickstart's module.
func inModule(t testing.TB, b []byte) (names []string) {
	t.Helper()
	for name := range entriesOf(t, b) {
		if strings.HasPrefix(name, imager.MetadataFolder+"/") {
			names = append(names, name)
		}
	}
	return names
}

// TestPartition takes an image through all that can become of its partition.
func TestPartition(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		b := image(t, imager.Profile{Headroom: 1 << 20, SectorSize: sector})
		drive := driveOf(t, map[string]string{
			customize.MetaDataPath: `{"hostname":"a"}`, customize.NetworkDataPath: `{"links":[]}`, "openstack/content/0000": "x",
		})
		// In the module first, then moved.
		_, first := customized(t, b, customize.Changes{Drive: drive})
		r, moved := customized(t, first, customize.Changes{DriveAs: customize.AsPartition})
		size, label, files := partitionOf(t, moved)
		if size != disk.MaxDriveSize || label != "config-2" || len(files) != 3 || files[customize.NetworkDataPath] != `{"links":[]}` || files["openstack/content/0000"] != "x" {
			t.Fatalf("sector %d: %d bytes, %q, %v", sector, size, label, files)
		}
		if left := inModule(t, moved); left != nil {
			t.Errorf("still in the module: %v", left)
		}
		if r.Grown != disk.MaxDriveSize || int64(len(moved)-len(b)) != r.Grown {
			t.Errorf("grown by %d", r.Grown)
		}
		if d := inspect(t, moved).Disk.Drive; d == nil || d.Label != "config-2" || len(d.Files) != 3 {
			t.Errorf("inspected: %+v", d)
		}
		if !bytes.Equal(payload(t, b), payload(t, moved)) {
			t.Error("another payload")
		}
		// Planned again it is the same, and other changes leave it alone.
		again, err := open(t, moved).Plan()
		if err != nil || !bytes.Equal(bytesOf(t, again), moved) {
			t.Fatalf("planned again it is another image: %v", err)
		}
		_, kept := customized(t, moved, customize.Changes{KernelOpts: []string{"a=b"}})
		if n := len(moved) - disk.MaxDriveSize; !bytes.Equal(kept[n-1<<20:], moved[n-1<<20:]) {
			t.Error("the partition is another one")
		}
		// Metadata goes where the rest of it is.
		_, named := customized(t, moved, customize.Changes{Hostname: "b"})
		if _, _, files = partitionOf(t, named); !strings.Contains(files[customize.MetaDataPath], `"hostname": "b"`) || len(files) != 3 || inModule(t, named) != nil {
			t.Errorf("%v", files)
		}
		// Smaller, with another drive.
		_, small := customized(t, named, customize.Changes{
			Drive: driveOf(t, map[string]string{"meta-data": "local-hostname: c\n"}), DriveAs: customize.AsPartition, DriveSize: 1 << 20,
		})
		if size, label, files = partitionOf(t, small); size != 1<<20 || label != "cidata" || len(files) != 1 || files["meta-data"] != "local-hostname: c\n" {
			t.Errorf("%d bytes, %q, %v", size, label, files)
		}
		// And away: what is left is as large as before there was one.
		_, back := customized(t, moved, customize.Changes{DriveAs: customize.AsModule})
		if size, _, _ = partitionOf(t, back); size != 0 || len(back) != len(b) || len(inModule(t, back)) != 3 {
			t.Errorf("%d bytes of partition, %d of %d of disk, %v", size, len(back), len(b), inModule(t, back))
		}
		// In place, over a file that shrinks and grows.
		for _, c := range []customize.Changes{{DriveAs: customize.AsModule}, {DriveAs: customize.AsPartition, DriveSize: 3 << 20}} {
			name := write(t, moved)
			writeFile(t, name, c, customize.WriteOptions{Output: name})
			got := read(t, name)
			if size, _, _ := partitionOf(t, got); size != c.DriveSize {
				t.Errorf("a partition of %d bytes, want %d", size, c.DriveSize)
			}
			if again, err := open(t, got).Plan(); err != nil || !bytes.Equal(got, bytesOf(t, again)) {
				t.Errorf("the file has leftovers: %v", err)
			}
		}
	}
}

// TestEmptyPartition is what Ironic fills: the image's metadata stays in the
// module.
func TestEmptyPartition(t *testing.T) {
	b := image(t, imager.Profile{Headroom: 1 << 20})
	_, empty := customized(t, b, customize.Changes{DriveAs: customize.AsPartition})
	if size, label, files := partitionOf(t, empty); size != disk.MaxDriveSize || label != "config-2" || len(files) != 0 {
		t.Fatalf("%d bytes, %q, %v", size, label, files)
	}
	_, named := customized(t, empty, customize.Changes{Hostname: "a"})
	if size, _, files := partitionOf(t, named); size != disk.MaxDriveSize || len(files) != 0 || len(inModule(t, named)) != 1 {
		t.Errorf("%d bytes, %v, %v", size, files, inModule(t, named))
	}
}

func TestPartitionRefuses(t *testing.T) {
	b := image(t, imager.Profile{Headroom: 1 << 20})
	large := driveOf(t, map[string]string{customize.MetaDataPath: "{}", "openstack/content/0000": strings.Repeat("x", 2<<20)})
	_, err := open(t, b).Customize(customize.Changes{Drive: large, DriveAs: customize.AsPartition, DriveSize: 2 << 20}, source)
	if err == nil || !strings.Contains(err.Error(), "its partition has 2097152") {
		t.Errorf("too small: %v", err)
	}
	clash := driveOf(t, map[string]string{customize.MetaDataPath: "{}", "openstack/content/a": "", "openstack/content/A": ""})
	if _, err := open(t, b).Customize(customize.Changes{Drive: clash, DriveAs: customize.AsPartition}, source); err == nil || !strings.Contains(err.Error(), "twice in upper case") {
		t.Errorf("names that are one: %v", err)
	}
	// Something else on the partition is not overwritten.
	_, moved := customized(t, b, customize.Changes{DriveAs: customize.AsPartition, DriveSize: 1 << 20})
	at := bytes.Index(moved, []byte("config-2  "))
	if at < 0 {
		t.Fatal("no label")
	}
	other := bytes.Clone(moved)
	copy(other[at:], "SOMEBODY")
	var unusable *imager.InputError
	if _, err := customize.Open(bytes.NewReader(other), int64(len(other))); !errors.As(err, &unusable) || !strings.Contains(err.Error(), "something else than a config drive") {
		t.Errorf("a foreign volume: %v", err)
	}
	// What can't be read is kept, and replaced when that is asked for.
	odd := bytes.Clone(moved)
	_, full := customized(t, b, customize.Changes{Drive: driveOf(t, map[string]string{customize.MetaDataPath: "{}"}), DriveAs: customize.AsPartition, DriveSize: 1 << 20})
	copy(odd, full)
	at = bytes.LastIndex(odd, []byte("{}"))
	copy(odd[at:], "[]")
	if _, err := open(t, odd).Customize(customize.Changes{KernelOpts: []string{"a=b"}}, source); err != nil {
		t.Errorf("kept: %v", err)
	}
	if _, err := open(t, odd).Customize(customize.Changes{Hostname: "a"}, source); !errors.As(err, &unusable) || !strings.Contains(err.Error(), "not an object of JSON") {
		t.Errorf("metadata of an odd drive: %v", err)
	}
	_, now := customized(t, odd, customize.Changes{Drive: driveOf(t, map[string]string{customize.MetaDataPath: `{"a":1}`})})
	if _, _, files := partitionOf(t, now); files[customize.MetaDataPath] != `{"a":1}` {
		t.Errorf("replaced: %v", files)
	}
}
