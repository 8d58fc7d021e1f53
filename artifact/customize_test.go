package artifact_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/pkg/customize"
	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/kickstart"
	"github.com/esxi-img/esxi-img/pkg/plan"
)

// customizing is what a caller gives to a pull.
func customizing(c customize.Changes, source customize.Source) artifact.Customize {
	return func(_ digest.Digest, p plan.Plan) (plan.Plan, error) {
		img, err := customize.Open(&p, p.Size)
		if err != nil {
			return plan.Plan{}, err
		}
		r, err := img.Customize(c, source)
		if err != nil {
			return plan.Plan{}, err
		}
		return *r.Plan, nil
	}
}

func changes(t *testing.T) customize.Changes {
	t.Helper()
	s, err := kickstart.NewSnippet(kickstart.Pre, "60-x.sh", []byte("echo x\n"))
	if err != nil {
		t.Fatal(err)
	}
	return customize.Changes{
		Hostname: "esx1", KernelOpts: []string{"a=b"}, Snippets: []kickstart.Snippet{s},
		Host: imager.HostOptions{SerialConsole: true},
	}
}

// Pulled and customised on the way is what is pulled and customised afterwards,
// and fetches no more than pulling does.
func TestPullCustomized(t *testing.T) {
	layout, packed := packLarge(t, imager.Profile{Headroom: 1 << 20})
	s := serve(t, layout)
	source := customize.Source{Name: "image", Digest: "sha256:0"}
	disk := diskOf(t, layout)
	img, err := customize.Open(bytes.NewReader(disk), int64(len(disk)))
	if err != nil {
		t.Fatal(err)
	}
	r, err := img.Customize(changes(t), source)
	if err != nil {
		t.Fatal(err)
	}
	want, err := io.ReadAll(r.Plan.Reader())
	if err != nil {
		t.Fatal(err)
	}

	dir := t.TempDir()
	path := filepath.Join(dir, "esxi.img")
	opts := skip
	opts.Check = true
	var got digest.Digest
	change := customizing(changes(t), source)
	opts.Customize = func(d digest.Digest, p plan.Plan) (plan.Plan, error) { got = d; return change(d, p) }
	p := pullTo(t, s.repo, path, opts)
	holds(t, path, want)
	only(t, dir, "esxi.img")
	if got != packed.Index.Digest {
		t.Errorf("customised %s, want %s", got, packed.Index.Digest)
	}
	if len(p.Changed) != 1 || p.Changed[0] != "customised" {
		t.Errorf("changed: %q", p.Changed)
	}
	if content := contentOf(packed.Config); p.Fetched > content*102/100 {
		t.Errorf("fetched %d of %d bytes of content", p.Fetched, content)
	}
	// Again there is nothing to do.
	if p = pullTo(t, s.repo, path, opts); p.Written != 0 || p.Fetched != 0 {
		t.Errorf("pulled again: %d fetched, %d written", p.Fetched, p.Written)
	}
	// What the host is told is of the disk that it is.
	opts.UniqueIDs = true
	pullTo(t, s.repo, filepath.Join(dir, "unique.img"), opts)
	unique, err := os.ReadFile(filepath.Join(dir, "unique.img"))
	if err != nil {
		t.Fatal(err)
	}
	report, err := imager.InspectDisk(bytes.NewReader(unique), int64(len(unique)))
	if err != nil {
		t.Fatal(err)
	}
	if report.Host.Disk != report.Disk.GUID.String() || report.Disk.GUID == img.Layout.DiskGUID || report.Record == nil {
		t.Errorf("the host is told of %s, the disk is %s", report.Host.Disk, report.Disk.GUID)
	}
}

func TestPullCustomizedRefuses(t *testing.T) {
	layout, _ := packLarge(t, imager.Profile{})
	s := serve(t, layout)
	why := errors.New("no")
	for name, c := range map[string]artifact.Customize{
		"refused": func(digest.Digest, plan.Plan) (plan.Plan, error) { return plan.Plan{}, why },
		"no plan": func(digest.Digest, plan.Plan) (plan.Plan, error) { return plan.Plan{}, nil },
		"no disk": func(_ digest.Digest, p plan.Plan) (plan.Plan, error) {
			p.Extents = []plan.Extent{{Length: p.Size}}
			return p, nil
		},
		"reads payload": func(_ digest.Digest, p plan.Plan) (plan.Plan, error) {
			return p, p.Files[0].ReadContent(make([]byte, 1), 0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			opts := skip
			opts.Customize = c
			to, err := artifact.ToFile(filepath.Join(dir, "esxi.img"), artifact.FileOptions{})
			if err != nil {
				t.Fatal(err)
			}
			_, err = artifact.Pull(t.Context(), s.repo, "", to, opts)
			var custom *artifact.CustomizeError
			if !errors.As(err, &custom) {
				t.Errorf("%v", err)
			}
			if err := to.Close(); err != nil {
				t.Error(err)
			}
			only(t, dir)
		})
	}
}

// A partition for the config drive is pulled with the rest, also to a larger
// disk and with identifiers of its own, and replaces or removes another.
func TestPullCustomizedPartition(t *testing.T) {
	layout, _ := packLarge(t, imager.Profile{Headroom: 1 << 20})
	s := serve(t, layout)
	source := customize.Source{Name: "image", Digest: "sha256:0"}
	onPartition := customize.Changes{Hostname: "esx1", DriveAs: customize.AsPartition, DriveSize: 2 << 20}
	image := diskOf(t, layout)
	img, err := customize.Open(bytes.NewReader(image), int64(len(image)))
	if err != nil {
		t.Fatal(err)
	}
	r, err := img.Customize(onPartition, source)
	if err != nil {
		t.Fatal(err)
	}
	want, err := io.ReadAll(r.Plan.Reader())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "esxi.img")
	opts := skip
	opts.Check = true
	opts.Customize = customizing(onPartition, source)
	pullTo(t, s.repo, path, opts)
	holds(t, path, want)

	drives := map[string][]byte{}
	for name, c := range map[string]struct {
		sector int
		size   int64
	}{"512": {512, int64(len(want)) + 3<<20}, "4096": {4096, 300 << 20}} {
		// A larger disk, other identifiers.
		opts.UniqueIDs = true
		d := newDevice(c.size, c.sector)
		if _, err := pullToDevice(t, s.repo, d, opts); err != nil {
			t.Fatal(err)
		}
		table, p := configDrive(t, d.medium)
		if first, own := configDrive(t, want); table.GUID == first.GUID || p.GUID == own.GUID || p.Size != 2<<20 {
			t.Errorf("%s: %+v", name, p)
		}
		drives[name] = bytes.Clone(d.medium[p.Offset : p.Offset+p.Size])
		if _, err := customize.Open(bytes.NewReader(d.medium), d.info.Size); err != nil {
			t.Error(err)
		}
		// Without a partition the next time: nothing of it is left.
		opts.UniqueIDs = false
		plain := opts
		plain.Customize = customizing(customize.Changes{Hostname: "esx1"}, source)
		if _, err := pullToDevice(t, s.repo, d, plain); err != nil {
			t.Fatal(err)
		}
		if table, err = disk.ReadTable(bytes.NewReader(d.medium), d.info.Size); err != nil || table.FromBackup || len(table.Partitions) != 1 {
			t.Errorf("%s: %+v, %v", name, table, err)
		}
	}
	_, p := configDrive(t, want)
	for name, drive := range drives {
		if !bytes.Equal(drive, want[p.Offset:p.Offset+p.Size]) {
			t.Errorf("%s: the drive on the device is another one", name)
		}
	}
}

func configDrive(t *testing.T, b []byte) (*disk.Table, disk.Partition) {
	t.Helper()
	table, err := disk.ReadTable(bytes.NewReader(b), int64(len(b)))
	if err != nil || table.FromBackup {
		t.Fatalf("%+v, %v", table, err)
	}
	p, ok := table.ConfigDrive()
	if !ok {
		t.Fatalf("no config drive: %+v", table)
	}
	return table, p
}
