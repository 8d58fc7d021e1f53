package esxitest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// stock802 is the modules line of the stock BOOT.CFG of ESXi 8.0 Update 2.
const stock802 = `modules=/jumpstrt.gz --- /useropts.gz --- /features.gz --- /k.b00 --- /uc_intel.b00 --- /uc_amd.b00 --- /uc_hygon.b00 --- /procfs.b00 --- /vmx.v00 --- /vim.v00 --- /tpm.v00 --- /sb.v00 --- /s.v00 --- /atlantic.v00 --- /bcm_mpi3.v00 --- /bnxtnet.v00 --- /bnxtroce.v00 --- /brcmfcoe.v00 --- /cndi_igc.v00 --- /dwi2c.v00 --- /elxiscsi.v00 --- /elxnet.v00 --- /i40en.v00 --- /iavmd.v00 --- /icen.v00 --- /igbn.v00 --- /intelgpi.v00 --- /ionic_cl.v00 --- /ionic_en.v00 --- /irdman.v00 --- /iser.v00 --- /ixgben.v00 --- /lpfc.v00 --- /lpnic.v00 --- /lsi_mr3.v00 --- /lsi_msgp.v00 --- /lsi_msgp.v01 --- /lsi_msgp.v02 --- /mtip32xx.v00 --- /ne1000.v00 --- /nenic.v00 --- /nfnic.v00 --- /nhpsa.v00 --- /nipmi.v00 --- /nmlx5_cc.v00 --- /nmlx5_co.v00 --- /nmlx5_rd.v00 --- /ntg3.v00 --- /nvme_pci.v00 --- /nvmerdma.v00 --- /nvmetcp.v00 --- /nvmxnet3.v00 --- /nvmxnet3.v01 --- /pvscsi.v00 --- /qcnic.v00 --- /qedentv.v00 --- /qedrntv.v00 --- /qfle3.v00 --- /qfle3f.v00 --- /qfle3i.v00 --- /qflge.v00 --- /rdmahl.v00 --- /rste.v00 --- /sfvmk.v00 --- /smartpqi.v00 --- /vmkata.v00 --- /vmksdhci.v00 --- /vmkusb.v00 --- /vmw_ahci.v00 --- /bmcal.v00 --- /clusters.v00 --- /crx.v00 --- /drivervm.v00 --- /elx_esx_.v00 --- /btldr.v00 --- /esx_dvfi.v00 --- /esx_ui.v00 --- /esxupdt.v00 --- /tpmesxup.v00 --- /weaselin.v00 --- /esxio_co.v00 --- /infravis.v00 --- /loadesx.v00 --- /lsuv2_hp.v00 --- /lsuv2_in.v00 --- /lsuv2_ls.v00 --- /lsuv2_nv.v00 --- /lsuv2_oe.v00 --- /lsuv2_oe.v01 --- /lsuv2_sm.v00 --- /native_m.v00 --- /qlnative.v00 --- /trx.v00 --- /vdfs.v00 --- /vds_vsip.v00 --- /vmware_e.v00 --- /hbrsrv.v00 --- /vsan.v00 --- /vsanheal.v00 --- /vsanmgmt.v00 --- /tools.t00 --- /xorg.v00 --- /gc.v00 --- /imgdb.tgz --- /basemisc.tgz --- /resvibs.tgz --- /esxiodpt.tgz --- /imgpayld.tgz`

func byPath(files []File) map[string]File {
	m := map[string]File{}
	for _, f := range files {
		m[f.Path] = f
	}
	return m
}

func TestStockBootCfg(t *testing.T) {
	want := "bootstate=0\ntitle=Loading ESXi installer\ntimeout=5\nprefix=\nkernel=/b.b00\nkernelopt=runweasel cdromBoot\n" +
		stock802 + "\nbuild=8.0.2-0.0.22380479\nupdated=0\n"
	files := byPath(Tree())
	for _, path := range []string{"BOOT.CFG", "EFI/BOOT/BOOT.CFG"} {
		if got := string(files[path].Bytes()); got != want {
			t.Errorf("%s:\n%s\nwant:\n%s", path, got, want)
		}
	}
}

func TestModuleCounts(t *testing.T) {
	want := map[string]int{"6.7.0": 158, "7.0.0": 89, "8.0.2": 108, "8.0.3": 109}
	for _, r := range Releases() {
		if n := want[r.Version]; n != 0 && len(r.Modules) != n {
			t.Errorf("%s has %d modules, want %d", r.Version, len(r.Modules), n)
		}
		if unique := slices.Compact(slices.Sorted(slices.Values(r.Modules))); len(unique) != len(r.Modules) {
			t.Errorf("%s names a module twice", r.Version)
		}
	}
}

// Every release's tree: upper-case 8.3 names, all modules there, gzip real,
// and the database true.
func TestTreeOfEveryRelease(t *testing.T) {
	for _, r := range Releases() {
		for _, arch := range []string{AMD64, ARM64} {
			t.Run(r.Version+"/"+arch, func(t *testing.T) {
				t.Parallel()
				opts := []Option{WithRelease(r), WithArch(arch)}
				files := Tree(opts...)
				checkNames(t, files, r)
				checkDatabase(t, byPath(files), Owners(opts...))
				if (byPath(files)["ISOLINUX.BIN"].Content != nil) != (arch == AMD64) {
					t.Error("ISOLINUX.BIN belongs to amd64 alone")
				}
			})
		}
	}
}

func checkNames(t *testing.T, files []File, r Release) {
	t.Helper()
	total, have := int64(0), byPath(files)
	for _, f := range files {
		total += f.Size
		name := filepath.Base(f.Path)
		stem, suffix, _ := strings.Cut(name, ".")
		if strings.ToUpper(f.Path) != f.Path || len(stem) > 8 || len(suffix) > 3 && name != ".DISCINFO" {
			t.Errorf("%s is not an upper-case 8.3 name", f.Path)
		}
		if strings.HasSuffix(name, "GZ") || strings.HasSuffix(name, "00") {
			if _, err := gunzip(f.Bytes()); err != nil {
				t.Errorf("%s: %v", f.Path, err)
			}
		}
	}
	if total > 3e6 {
		t.Errorf("a small tree has %d bytes", total)
	}
	for _, module := range append([]string{"b.b00"}, r.Modules...) {
		if have[strings.ToUpper(module)].Content == nil {
			t.Errorf("there is no %s", module)
		}
	}
}

// checkDatabase reads IMGDB.TGZ with other code than wrote it.
func checkDatabase(t *testing.T, files map[string]File, owners map[string]Owner) {
	t.Helper()
	entries := untar(t, files["IMGDB.TGZ"])
	vfat := map[string]string{} // VIB id + payload → file
	seen := map[string]Owner{}
	for path, data := range entries {
		if !strings.Contains(path, "/profiles/") {
			continue
		}
		var p imageProfile
		if err := xml.Unmarshal(data, &p); err != nil {
			t.Fatal(err)
		}
		for _, v := range p.VIBs {
			for _, pl := range v.Payloads {
				vfat[v.ID+"/"+pl.Name] = pl.File
			}
		}
	}
	for path, data := range entries {
		if !strings.Contains(path, "/vibs/") {
			continue
		}
		var v vib
		if err := xml.Unmarshal(data, &v); err != nil {
			t.Fatal(err)
		}
		for _, p := range v.Payloads {
			name := vfat[v.id()+"/"+p.Name]
			checkPayload(t, v, p, name, files[strings.ToUpper(name)])
			seen[strings.ToUpper(name)] = Owner{v.Name, p.Name}
		}
	}
	if len(seen) != len(owners) {
		t.Errorf("%d payloads in the database, %d owners", len(seen), len(owners))
	}
	for file, o := range owners {
		if seen[file] != o {
			t.Errorf("%s belongs to %v, want %v", file, seen[file], o)
		}
	}
}

func checkPayload(t *testing.T, v vib, p payload, name string, f File) {
	t.Helper()
	cut := strings.ReplaceAll(p.Name[:min(8, len(p.Name))], "-", "_")
	if stem, _, _ := strings.Cut(name, "."); stem != cut {
		t.Errorf("payload %s of %s is cut to %s, and on the medium as %s", p.Name, v.Name, cut, name)
	}
	if f.Content == nil || f.Size != p.Size {
		t.Errorf("%s: %d bytes for a payload of %d", name, f.Size, p.Size)
		return
	}
	if got := fmt.Sprintf("%x", sha256.Sum256(f.Bytes())); got != p.Checksums[0].Hex {
		t.Errorf("%s: sha-256 %s, the VIB says %s", name, got, p.Checksums[0].Hex)
	}
	if len(p.Checksums) < 2 {
		t.Errorf("%s has no digest of its plain data", name)
		return
	}
	plain, err := gunzip(f.Bytes())
	if err != nil {
		t.Errorf("%s: %v", name, err)
	}
	if got := fmt.Sprintf("%x", sha256.Sum256(plain)); got != p.Checksums[1].Hex || p.Checksums[1].Process != "gunzip" {
		t.Errorf("%s: plain sha-256 %s, the VIB says %v", name, got, p.Checksums[1])
	}
}

func untar(t *testing.T, f File) map[string][]byte {
	t.Helper()
	z, err := gzip.NewReader(f.Reader())
	if err != nil {
		t.Fatal(err)
	}
	entries := map[string][]byte{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return entries
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeDir {
			continue
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		entries[h.Name] = data
	}
}

func TestArchivesAreTars(t *testing.T) {
	files := byPath(Tree())
	for name, want := range map[string]string{
		"IMGPAYLD.TGZ": "var/db/payloads/imgpayld.bin", "RESVIBS.TGZ": "var/db/reservedvibs/resvibs.bin",
		"BASEMISC.TGZ": "usr/lib/vmware/misc/basemisc.bin", "ESXIODPT.TGZ": "var/db/esxiodepot/esxiodpt.bin",
	} {
		if entries := untar(t, files[name]); len(entries[want]) == 0 {
			t.Errorf("%s holds no %s", name, want)
		}
	}
}

func TestTinyFiles(t *testing.T) {
	files := byPath(Tree())
	for name, want := range map[string]struct {
		size  int64
		plain string
	}{"JUMPSTRT.GZ": {20, ""}, "FEATURES.GZ": {20, ""}, "USEROPTS.GZ": {21, "\n"}} {
		plain, err := gunzip(files[name].Bytes())
		if err != nil || string(plain) != want.plain || files[name].Size != want.size {
			t.Errorf("%s: %d bytes of %q, %v", name, files[name].Size, plain, err)
		}
	}
}

// Reads at odd places must agree with the whole, for every kind of content.
func TestContentReadsAnywhere(t *testing.T) {
	plain := join(literal([]byte("head")), newNoise(7, "x", 3*gzipBlock+17), literal(nil), literal([]byte("tail")))
	z, _ := seal(plain)
	for name, c := range map[string]content{
		"noise": newNoise(1, "n", 3*noiseBlock+5), "join": plain, "gzip": z,
		"flipped": flipped{plain, 4000},
	} {
		whole := make([]byte, c.Size())
		if n, _ := c.ReadAt(whole, 0); int64(n) != c.Size() {
			t.Fatalf("%s: %d of %d bytes", name, n, c.Size())
		}
		for _, n := range []int{1, 3, 511, 4096, 5000, 40000} {
			for off := int64(0); off < c.Size(); off += 997 {
				b := make([]byte, n)
				got, err := c.ReadAt(b, off)
				want := whole[off:min(off+int64(n), c.Size())]
				if !bytes.Equal(b[:got], want) || got < n && !errors.Is(err, io.EOF) {
					t.Fatalf("%s: %d bytes at %d: got %d, %v", name, n, off, got, err)
				}
			}
		}
		if n, err := c.ReadAt(make([]byte, 1), c.Size()); n != 0 || !errors.Is(err, io.EOF) {
			t.Errorf("%s: at the end: %d, %v", name, n, err)
		}
	}
}

func TestGzipPayloadGivesTheSize(t *testing.T) {
	for _, size := range []int64{64, 4096, 32773 + 18, 32774 + 18, 65546, 1 << 20} {
		z, _ := seal(newNoise(0, "", gzipPayload(size)))
		if over := size - z.Size(); over < 0 || over > storedHeader {
			t.Errorf("asked for %d, got %d", size, z.Size())
		}
	}
}

func TestMutations(t *testing.T) {
	stock := byPath(Tree())
	changed := byPath(Tree(
		Drop("qflge.v00"), Damage("S.V00"), Replace("vim.v00", []byte("not gzip")), Add("KS.CFG", []byte("ks")),
		WithEFI([]byte("MZ efi")), BootCfg(func(s string) string { return "# first\n" + s }),
	))
	if _, ok := changed["QFLGE.V00"]; ok {
		t.Error("QFLGE.V00 was not dropped")
	}
	if a, b := stock["S.V00"].Bytes(), changed["S.V00"].Bytes(); diff(a, b) != 1 {
		t.Errorf("%d bytes of S.V00 are damaged, want 1", diff(a, b))
	}
	for path, want := range map[string]string{"VIM.V00": "not gzip", "KS.CFG": "ks", "EFI/BOOT/BOOTX64.EFI": "MZ efi"} {
		if got := string(changed[path].Bytes()); got != want {
			t.Errorf("%s: %q", path, got)
		}
	}
	for _, path := range []string{"BOOT.CFG", "EFI/BOOT/BOOT.CFG"} {
		if got := string(changed[path].Bytes()); !strings.HasPrefix(got, "# first\nbootstate=0\n") {
			t.Errorf("%s: %.40q", path, got)
		}
	}
	joined := string(bytes.Join(values(untar(t, changed["IMGDB.TGZ"])), nil))
	if sum := fmt.Sprintf("%x", sha256.Sum256([]byte("not gzip"))); !strings.Contains(joined, sum) {
		t.Error("the VIB does not know the replaced payload")
	}
	if sum := fmt.Sprintf("%x", sha256.Sum256(stock["S.V00"].Bytes())); !strings.Contains(joined, sum) {
		t.Error("the VIB does not have the digest from before the damage")
	}
}

func values(m map[string][]byte) (out [][]byte) {
	for _, v := range m {
		out = append(out, v)
	}
	return out
}

func diff(a, b []byte) (n int) {
	for i := range a {
		if a[i] != b[i] {
			n++
		}
	}
	return n
}

func TestMisusePanics(t *testing.T) {
	for name, o := range map[string]Option{
		"drop": Drop("NO.SUCH"), "damage": Damage("NO.SUCH"), "replace": Replace("NO.SUCH", nil),
		"add": Add("BOOT.CFG", nil), "arch": WithArch("riscv64"),
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			Tree(o)
		}()
	}
}

func TestOptions(t *testing.T) {
	if a, b := byPath(Tree())["S.V00"], byPath(Tree(WithSeed(1)))["S.V00"]; bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Error("another seed gives the same noise")
	}
	for _, f := range Tree(LowerCase()) {
		if strings.ToLower(f.Path) != f.Path {
			t.Errorf("%s is not in lower case", f.Path)
		}
	}
	for path, data := range untar(t, byPath(Tree(WithoutVFATNames()))["IMGDB.TGZ"]) {
		if bytes.Contains(data, []byte("payload-name")) {
			t.Errorf("%s says which file holds which payload", path)
		}
	}
	if r, ok := FindRelease("6.7U2"); !ok || r.BootBuild != "" || r.KernelOpt != "cdromBoot runweasel" {
		t.Errorf("6.7U2: %+v", r)
	}
	if _, ok := FindRelease("5.5"); ok {
		t.Error("there is a 5.5")
	}
}

// goldenSmall is the SHA-256 of the small 8.0.2 image: the same bytes on every
// machine and with every Go release.
const goldenSmall = "323a00d662b956ce59644d891eb1566f489dad1350ff71eb91877349962f71de"

func TestSameBytesEverywhere(t *testing.T) {
	if got := fmt.Sprintf("%x", sha256.Sum256(Bytes())); got != goldenSmall {
		t.Errorf("the small image is %s, want %s", got, goldenSmall)
	}
}

func TestFullSize(t *testing.T) {
	if testing.Short() {
		t.Skip("hashes 700 MB")
	}
	files := Tree(WithSize(Full))
	var total, largest, tiny, middle int64
	for _, f := range files {
		total += f.Size
		largest = max(largest, f.Size)
		if f.Size <= 30 {
			tiny++
		}
		if f.Size >= 4<<20 && f.Size <= 41<<20 {
			middle++
		}
	}
	if total < 600e6 || len(files) != FullFiles || largest>>20 != 170 && largest != 171<<20 || tiny < 3 || middle < 12 {
		t.Errorf("%d bytes in %d files, largest %d, %d tiny, %d of 5 to 40 MiB", total, len(files), largest, tiny, middle)
	}
}

func TestMaster(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	path := filepath.Join(dir, "out.iso")
	if _, err := Master(ctx, path, Mastering{}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, Bytes()) {
		t.Errorf("Master wrote other bytes than Bytes: %v", err)
	}
	for _, how := range []Mastering{{Flavour: "udf"}, {Tool: "nero"}, {Flavour: Joliet, Tool: Builtin}} {
		if _, err := Master(ctx, path, how); err == nil {
			t.Errorf("%+v: no error", how)
		}
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := Master(ended, filepath.Join(dir, "no.iso"), Mastering{}); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
	t.Setenv("PATH", dir)
	_, err = Master(ctx, filepath.Join(dir, "no.iso"), Mastering{Flavour: RockRidge})
	if !errors.Is(err, exec.ErrNotFound) || !strings.Contains(err.Error(), "xorriso, which is not installed") {
		t.Errorf("without the tool: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func BenchmarkTreeSmall(b *testing.B) {
	for b.Loop() {
		Tree()
	}
}
