package customize_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/esxi-img/esxi-img/pkg/customize"
	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/esxitest"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/iso"
	"github.com/esxi-img/esxi-img/pkg/kickstart"
	"github.com/esxi-img/esxi-img/pkg/plan"
	"github.com/esxi-img/esxi-img/pkg/tardisk"
)

const hash = "$6$saltsaltsaltsalt$EEwgDAb6vQQW/7ybZ4xEJimq179Z0d8e3TwRC8mUyfieQ0rPbeS3w4y.tBjSmEIRXGdOfRy0Dc63/3XR26o8v0"

var source = customize.Source{Name: "esxi.img", Digest: "sha256:" + strings.Repeat("0", 64)}

// image builds an image, and returns its bytes.
func image(t testing.TB, p imager.Profile) []byte {
	t.Helper()
	b := esxitest.Bytes()
	src, err := iso.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	img, err := imager.New(src, p)
	if err != nil {
		t.Fatal(err)
	}
	return bytesOf(t, img.Plan)
}

func bytesOf(t testing.TB, p *plan.Plan) []byte {
	t.Helper()
	return held(t, p, p.Size)
}

// held is what a disk holds, for as long as the test lasts. Zeros are not touched,
// and so take no memory: a disk with sectors of 4096 bytes has 270 MB, most of
// it zeros.
func held(t testing.TB, r io.ReaderAt, size int64) []byte {
	t.Helper()
	data := zeroed(t, size)
	for at := disk.NextData(r, 0, size); at < size; at = disk.NextData(r, at, size) {
		n := min(size-at, 1<<20)
		if got, err := r.ReadAt(data[at:at+n], at); int64(got) < n {
			t.Fatal(err)
		}
		at += n
	}
	return data
}

func open(t testing.TB, b []byte) *customize.Image {
	t.Helper()
	img, err := customize.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func customized(t testing.TB, b []byte, c customize.Changes) (*customize.Result, []byte) {
	t.Helper()
	r, err := open(t, b).Customize(c, source)
	if err != nil {
		t.Fatal(err)
	}
	return r, bytesOf(t, r.Plan)
}

func inspect(t testing.TB, b []byte) *imager.Report {
	t.Helper()
	r, err := imager.InspectDisk(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func module(t testing.TB, name string) imager.Module {
	t.Helper()
	var b bytes.Buffer
	if err := tardisk.Write(&b, []tardisk.Entry{{Path: "x/" + name, Data: []byte(name)}}, imager.ModuleTime); err != nil {
		t.Fatal(err)
	}
	return imager.Module{Name: name, Data: b.Bytes()}
}

func snippet(t testing.TB, section kickstart.Section, name, body string) kickstart.Snippet {
	t.Helper()
	s, err := kickstart.NewSnippet(section, name, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestPlannedAgainIsTheSame holds what customising rests on.
func TestPlannedAgainIsTheSame(t *testing.T) {
	for name, p := range map[string]imager.Profile{
		"plain":       {Headroom: 1 << 20},
		"4096":        {SectorSize: 4096},
		"odd seconds": {Time: time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)},
		"modules":     {Modules: []imager.Module{module(t, "MY.TGZ")}, KernelOpts: []string{"a=b", "-cdromBoot"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := image(t, p)
			again, err := open(t, b).Plan()
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(bytesOf(t, again), b) {
				t.Error("another image")
			}
		})
	}
}

func TestChanges(t *testing.T) {
	b := image(t, imager.Profile{
		Headroom: 1 << 20, Snippets: []kickstart.Snippet{snippet(t, kickstart.Firstboot, "50-mine.sh", "echo mine\n"), snippet(t, kickstart.Pre, "60-old.sh", "echo old\n")},
		Host: imager.HostOptions{KernelOpts: []string{"x=1", "y"}},
	})
	yes := true
	required := true
	r, after := customized(t, b, customize.Changes{
		Kickstart:  &customize.File{Name: "my.cfg", Data: []byte("vmaccepteula\n%include /tmp/rootpw\n%include /tmp/network\n%include /tmp/install\nreboot\n")},
		Snippets:   []kickstart.Snippet{snippet(t, kickstart.Pre, "60-old.sh", "echo new\n")},
		Modules:    []imager.Module{module(t, "MORE.TGZ")},
		KernelOpts: []string{"allowLegacyCPU=true", "-cdromBoot"}, InstallerConsole: true,
		Host:             imager.HostOptions{RootHash: hash, Install: imager.InstallOptions{OverwriteVMFS: &yes}, KernelOpts: []string{"x=2", "z"}, SerialConsole: true},
		MetadataRequired: &required,
		Hostname:         "esx1.example.com", SSHKeys: []string{"ssh-ed25519 AAAA me"},
	})
	if len(after) != len(b) || r.Grown != 0 {
		t.Errorf("%d bytes, want %d; grown %d", len(after), len(b), r.Grown)
	}
	report := inspect(t, after)
	if ks := string(report.Kickstart); !strings.HasPrefix(ks, "vmaccepteula\n%include /tmp/rootpw") || !strings.Contains(ks, "echo mine") || !strings.Contains(ks, "echo new") || strings.Contains(ks, "echo old") || strings.Count(ks, "# pre/30-rootpw.py") != 1 {
		t.Errorf("kickstart:\n%.300s", ks)
	}
	for _, cfg := range report.BootCfg {
		if want := "runweasel ks=file:///esxiimg/KS.CFG allowLegacyCPU=true text nofb com1_baud=115200 com1_Port=0x3f8 tty2Port=com1 gdbPort=none logPort=none"; cfg.KernelOpt != want {
			t.Errorf("%s: %s", cfg.Path, cfg.KernelOpt)
		}
		if n := len(cfg.Modules); cfg.Modules[n-1] != "/more.tgz" || !slices.Contains(cfg.Modules, "/esxiks.tgz") {
			t.Errorf("%s: %v", cfg.Path, cfg.Modules)
		}
	}
	h := report.Host
	if h.RootHash != hash || h.Metadata != "required" || !h.SerialConsole || !slices.Equal(h.KernelOpts, []string{"x=2", "y", "z"}) || h.Install.OverwriteVMFS == nil {
		t.Errorf("host: %+v", h)
	}
	if h.Disk != report.Disk.GUID.String() {
		t.Error("the host is told of another disk")
	}
	entries := entriesOf(t, after)
	if got := string(entries["esxiimg/metadata/openstack/latest/meta_data.json"]); got != "{\n \"hostname\": \"esx1.example.com\",\n \"public_keys\": {\n  \"key-1\": \"ssh-ed25519 AAAA me\"\n }\n}\n" {
		t.Errorf("meta_data.json: %s", got)
	}
	// Nothing but the installer's own files stays, and stays where it is.
	before := inspect(t, b)
	for i, f := range before.Files {
		if f.Role == plan.RolePayload && (report.Files[i].Path != f.Path || report.Files[i].Offset != f.Offset) {
			t.Errorf("%s moved from %d to %d", f.Path, f.Offset, report.Files[i].Offset)
		}
	}
	if last := report.Files[len(report.Files)-1]; last.Path != imager.KickstartFile {
		t.Errorf("%s is last", last.Path)
	}
	checkRecord(t, report.Record)
}

func checkRecord(t *testing.T, data []byte) {
	t.Helper()
	record, err := customize.ParseRecord(data)
	if err != nil {
		t.Fatal(err)
	}
	step := record.Steps[0]
	var edits []string
	for _, e := range step.Edits {
		edits = append(edits, e.String())
	}
	want := []string{
		"kickstart my.cfg", "script pre/60-old.sh", "module MORE.TGZ", "serial console of the installer", "kernelopt allowLegacyCPU=true -cdromBoot",
		"root password", "overwritevmfs true", "host kernelopt x=2 z", "serial console of the installed host", "metadata required", "host name esx1.example.com", "SSH keys 1",
	}
	if !slices.Equal(edits, want) {
		t.Errorf("edits: %q", edits)
	}
	if len(step.Inputs) != 3 || step.Inputs[0].Name != "my.cfg" || len(step.Inputs[0].SHA256) != 64 {
		t.Errorf("inputs: %+v", step.Inputs)
	}
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(hash)))
	if bytes.Contains(data, []byte("saltsalt")) || bytes.Contains(data, []byte(sum)) {
		t.Error("the record tells of the password")
	}
}

// entriesOf are the files of the kickstart's module.
func entriesOf(t testing.TB, b []byte) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for _, f := range open(t, b).Files {
		if f.Path != imager.KickstartFile {
			continue
		}
		entries, err := tardisk.Read(io.NewSectionReader(f.Content, 0, f.Size))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			out[e.Path] = e.Data
		}
	}
	return out
}

func TestCustomisedTwice(t *testing.T) {
	b := image(t, imager.Profile{Headroom: 1 << 20})
	drive, err := customize.ReadDrive("host1", fstest.MapFS{
		"openstack/latest/meta_data.json":     {Data: []byte(`{"uuid":"1","public_keys":{"key-1":"ssh-rsa A"}}`)},
		"openstack/latest/network_data.json":  {Data: []byte(`{"links":[]}`)},
		"openstack/2012-08-10/meta_data.json": {Data: []byte(`{"admin_pass":"old"}`)},
		"openstack/content/0000":              {Data: []byte("x")},
		"ec2/latest/meta-data.json":           {Data: []byte(`{}`)},
	})
	if err != nil {
		t.Fatal(err)
	}
	_, first := customized(t, b, customize.Changes{Drive: drive, Modules: []imager.Module{module(t, "M.TGZ")}})
	other := module(t, "M.TGZ")
	other.Data = module(t, "LONGER.TGZ").Data
	_, second := customized(t, first, customize.Changes{
		Hostname: "esx2", SSHKeys: []string{"ssh-rsa A", "ssh-rsa B"}, Modules: []imager.Module{other},
		Files: map[string]customize.File{customize.UserDataPath: {Name: "ud", Data: []byte("#cloud-config\n")}},
	})
	entries := entriesOf(t, second)
	for name, want := range map[string]string{
		"meta_data.json":    "{\n \"hostname\": \"esx2\",\n \"public_keys\": {\n  \"key-1\": \"ssh-rsa A\",\n  \"key-2\": \"ssh-rsa B\"\n },\n \"uuid\": \"1\"\n}\n",
		"network_data.json": `{"links":[]}`,
		"user_data":         "#cloud-config\n",
	} {
		if got := string(entries["esxiimg/metadata/openstack/latest/"+name]); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
	if string(entries["esxiimg/metadata/openstack/content/0000"]) != "x" {
		t.Error("openstack/content is missing")
	}
	for name := range entries {
		if strings.Contains(name, "2012") || strings.Contains(name, "ec2") {
			t.Errorf("%s is carried", name)
		}
	}
	record, err := customize.ParseRecord(entries[imager.RecordPath])
	if err != nil || len(record.Steps) != 2 {
		t.Fatalf("%+v, %v", record, err)
	}
	report := inspect(t, second)
	if n := strings.Count(strings.Join(report.BootCfg[0].Modules, " "), "/m.tgz"); n != 1 {
		t.Errorf("/m.tgz is loaded %d times", n)
	}
	// Another drive replaces all of it.
	plain, err := customize.ReadDrive("nocloud", fstest.MapFS{"meta-data": {Data: []byte("local-hostname: x\n")}})
	if err != nil {
		t.Fatal(err)
	}
	_, third := customized(t, second, customize.Changes{Drive: plain})
	entries = entriesOf(t, third)
	if entries["esxiimg/metadata/openstack/latest/user_data"] != nil || string(entries["esxiimg/metadata/meta-data"]) != "local-hostname: x\n" {
		t.Errorf("%d entries", len(entries))
	}
	if _, err := open(t, third).Customize(customize.Changes{Hostname: "y"}, source); err == nil || !strings.Contains(err.Error(), "NoCloud") {
		t.Errorf("a host name beside NoCloud's: %v", err)
	}
}

func TestFullVolumeGrows(t *testing.T) {
	b := image(t, imager.Profile{})
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	files := fstest.MapFS{"openstack/latest/meta_data.json": {Data: []byte("{}")}}
	for i := range 34 {
		files[fmt.Sprintf("openstack/content/%04d", i)] = &fstest.MapFile{Data: content}
	}
	drive, err := customize.ReadDrive("large", files)
	if err != nil {
		t.Fatal(err)
	}
	r, after := customized(t, b, customize.Changes{Drive: drive})
	if r.Grown <= 0 || int64(len(after)-len(b)) != r.Grown {
		t.Errorf("grown by %d, %d to %d bytes", r.Grown, len(b), len(after))
	}
	was, is := inspect(t, b), inspect(t, after)
	if was.Disk.GUID != is.Disk.GUID || was.Disk.VolumeID != is.Disk.VolumeID || len(was.Files) != len(is.Files) {
		t.Error("another disk")
	}
	if !bytes.Equal(payload(t, b), payload(t, after)) {
		t.Error("another payload")
	}
	// Written to a file over a copy, it is the same.
	name := write(t, b)
	if done := writeFile(t, name, customize.Changes{Drive: drive}, customize.WriteOptions{Output: name}); done.Grown != r.Grown {
		t.Errorf("the file grew by %d", done.Grown)
	}
	got := read(t, name)
	if !bytes.Equal(payload(t, got), payload(t, b)) || len(got) != len(after) {
		t.Error("another file")
	}
}

// payload is what the installer's own files hold.
func payload(t testing.TB, b []byte) []byte {
	t.Helper()
	sum := sha256.New()
	for _, f := range open(t, b).Files {
		if f.Role == plan.RolePayload && f.Size > 0 {
			fmt.Fprintln(sum, f.Path)
			if _, err := io.Copy(sum, io.NewSectionReader(f.Content, 0, f.Size)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return sum.Sum(nil)
}

func write(t testing.TB, b []byte) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "esxi.img")
	writeTo(t, name, b)
	return name
}

// writeTo writes what is not zeros.
func writeTo(t testing.TB, name string, b []byte) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}()
	disk.MakeSparse(f)
	if err := f.Truncate(int64(len(b))); err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(b); at += 64 << 10 {
		part := b[at:min(len(b), at+64<<10)]
		if disk.AllZero(part) {
			continue
		}
		if _, err := f.WriteAt(part, int64(at)); err != nil {
			t.Fatal(err)
		}
	}
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	return held(t, f, fileSize(t, f))
}

func writeFile(t testing.TB, name string, c customize.Changes, opts customize.WriteOptions) *customize.Written {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	done, err := customize.WriteFile(context.Background(), f, c, opts)
	if err != nil {
		t.Fatal(err)
	}
	return done
}

func TestWriteFile(t *testing.T) {
	b := image(t, imager.Profile{Headroom: 1 << 20})
	c := customize.Changes{Hostname: "esx1", KernelOpts: []string{"a=b"}}
	want := fmt.Sprintf("sha256:%x", sha256.Sum256(b))
	name := write(t, b)

	dry := writeFile(t, name, c, customize.WriteOptions{Output: name, DryRun: true})
	if !bytes.Equal(read(t, name), b) {
		t.Fatal("a dry run wrote")
	}
	second := filepath.Join(t.TempDir(), "other.img")
	done := writeFile(t, name, c, customize.WriteOptions{Output: second})
	r, err := open(t, b).Customize(c, done.Source)
	if err != nil {
		t.Fatal(err)
	}
	planned := bytesOf(t, r.Plan)
	if !bytes.Equal(read(t, second), planned) || !bytes.Equal(read(t, name), b) {
		t.Error("the output is not what was planned, or the image changed")
	}
	if info, err := os.Stat(second); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("a private image became %v, %v", info.Mode(), err)
	}
	if done.Source.Digest != want || done.Step().Source.Digest != want {
		t.Errorf("source %s, want %s", done.Source.Digest, want)
	}
	if done.Differs == 0 || done.Differs > 1<<20 || dry.Differs != done.Differs {
		t.Errorf("%d bytes differ, %d in a dry run", done.Differs, dry.Differs)
	}
	// In place.
	writeFile(t, name, c, customize.WriteOptions{Output: name})
	if !bytes.Equal(read(t, name), planned) {
		t.Error("in place it is another image")
	}
	left, err := os.ReadDir(filepath.Dir(name))
	if err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
}

// interrupter ends a context when the first bytes are copied.
type interrupter struct{ stop func() }

func (interrupter) Start(string, int64) {}
func (i interrupter) Add(int64)         { i.stop() }
func (interrupter) Done()               {}

// TestInterrupted holds that the image is the old one, alone in its folder,
// whatever stopped the work.
func TestInterrupted(t *testing.T) {
	b := image(t, imager.Profile{Headroom: 1 << 20})
	for _, kind := range []string{"interrupted", "changed", "refused"} {
		t.Run(kind, func(t *testing.T) {
			name := write(t, b)
			f, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			stop, c, want := cancel, customize.Changes{Hostname: "x"}, context.Canceled
			switch kind {
			case "changed":
				stop = func() { _ = os.Chtimes(name, time.Unix(1, 0), time.Unix(1, 0)) }
				want = customize.ErrChanged
			case "refused":
				c, want = customize.Changes{}, customize.ErrNoChange
			}
			opts := customize.WriteOptions{Output: name, Progress: interrupter{stop}}
			if _, err := customize.WriteFile(ctx, f, c, opts); !errors.Is(err, want) {
				t.Errorf("%v, want %v", err, want)
			}
			if err := f.Close(); !errors.Is(err, os.ErrClosed) {
				t.Errorf("the file was left open: %v", err)
			}
			if !bytes.Equal(read(t, name), b) {
				t.Error("the image changed")
			}
			if left, err := os.ReadDir(filepath.Dir(name)); err != nil || len(left) != 1 {
				t.Errorf("%v, %v", left, err)
			}
		})
	}
}

func TestWriteFileInOtherFormats(t *testing.T) {
	name := write(t, image(t, imager.Profile{Headroom: 1 << 20}))
	out := filepath.Join(t.TempDir(), "esxi.qcow2")
	writeFile(t, name, customize.Changes{Hostname: "esx1"}, customize.WriteOptions{Output: out, Format: disk.QCOW2})
	if f := disk.FormatOf(bytes.NewReader(read(t, out))); f != disk.QCOW2 {
		t.Errorf("it is %s", f)
	}
}

// TestStrayBytesAreCleared holds that what was deleted from a volume does not
// go on to the next host.
func TestStrayBytesAreCleared(t *testing.T) {
	b := image(t, imager.Profile{Headroom: 1 << 20})
	copy(b[len(b)-(1<<20)-4096:], "a password that was deleted")
	name := write(t, b)
	writeFile(t, name, customize.Changes{Hostname: "x"}, customize.WriteOptions{Output: name})
	if bytes.Contains(read(t, name), []byte("a password that was deleted")) {
		t.Error("what was deleted is still there")
	}
}

func TestDamagedTable(t *testing.T) {
	b := image(t, imager.Profile{Headroom: 1 << 20})
	clear(b[512:1024])
	img := open(t, b)
	if len(img.Warnings) != 1 || !strings.Contains(img.Warnings[0].Message, "backup") {
		t.Errorf("warnings: %v", img.Warnings)
	}
	r, after := customized(t, b, customize.Changes{Hostname: "x"})
	if len(r.Warnings) != 1 {
		t.Errorf("warnings: %v", r.Warnings)
	}
	if w := open(t, after).Warnings; len(w) > 0 {
		t.Errorf("still %v", w)
	}
}

func TestRefused(t *testing.T) {
	good := image(t, imager.Profile{Headroom: 1 << 20})
	foreign := bytes.Clone(good)
	// The partition's name, in both tables.
	for _, at := range []int{1024 + 56, len(good) - 512 - 16384 + 56} {
		foreign[at] = 'X'
	}
	iso := esxitest.Bytes()
	for name, c := range map[string]struct {
		b    []byte
		want string
		ours bool
	}{
		"iso":       {iso, "it is an ISO", false},
		"qcow2":     {append([]byte("QFI\xfb\x00\x00\x00\x03"), make([]byte, 1<<20)...), "it is a qcow2 file", false},
		"nothing":   {make([]byte, 2<<20), "not an image of ours", false},
		"text":      {[]byte("hello"), "not an image of ours", false},
		"cut short": {good[:len(good)/2], "", true},
		"another's": {foreign, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := customize.Open(bytes.NewReader(c.b), int64(len(c.b)))
			var input *imager.InputError
			if !errors.As(err, &input) || !strings.Contains(err.Error(), c.want) || !c.ours && !errors.Is(err, customize.ErrNotOurs) {
				t.Errorf("%v", err)
			}
			if input != nil && input.Advice == "" {
				t.Errorf("%v: no advice", err)
			}
		})
	}
}

func TestRefusedChanges(t *testing.T) {
	img := open(t, image(t, imager.Profile{Headroom: 1 << 20, Kickstart: []byte("vmaccepteula\nrootpw --iscrypted " + hash + "\n%include /tmp/install\n%include /tmp/network\nreboot\n")}))
	for name, c := range map[string]struct {
		changes customize.Changes
		want    string
	}{
		"nothing":         {customize.Changes{}, "nothing to change"},
		"host name":       {customize.Changes{Hostname: "a_b"}, "is not one of letters"},
		"lost password":   {customize.Changes{Host: imager.HostOptions{RootHash: hash}}, `has no "%include /tmp/rootpw"`},
		"kickstart":       {customize.Changes{Kickstart: &customize.File{Name: "k", Data: []byte("reboot\n")}}, "there is no install"},
		"too large":       {customize.Changes{Kickstart: &customize.File{Name: "k", Data: bytes.Repeat([]byte("#\n"), 1<<20)}}, "too large"},
		"module":          {customize.Changes{Modules: []imager.Module{{Name: "a.tgz", Data: []byte("x")}}}, "a.tgz"},
		"our module":      {customize.Changes{Modules: []imager.Module{{Name: "esxiks.tgz", Data: module(t, "x").Data}}}, "which is ours"},
		"payload":         {customize.Changes{Modules: []imager.Module{{Name: "vmx.v00", Data: module(t, "x").Data}}}, "a file of the installer's"},
		"kickstart's URL": {customize.Changes{KernelOpts: []string{"ks=http://x/"}}, "names the kickstart"},
		"meta data":       {customize.Changes{Files: map[string]customize.File{customize.MetaDataPath: {Name: "m", Data: []byte("a: b")}}}, "is not an object of JSON"},
		"large user data": {customize.Changes{Files: map[string]customize.File{customize.UserDataPath: {Name: "u", Data: make([]byte, 2<<20)}}}, "a host takes at most"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := img.Customize(c.changes, source); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v", err)
			}
		})
	}
}
