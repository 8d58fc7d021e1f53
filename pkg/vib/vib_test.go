package vib_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/vib"
)

// member is a file of a synthetic image database.
type member struct{ name, text string }

func database(t testing.TB, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	zw, err := gzip.NewWriterLevel(&b, gzip.NoCompression)
	if err != nil {
		t.Fatal(err)
	}
	tw := tar.NewWriter(zw)
	for _, m := range members {
		h := &tar.Header{Name: m.name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(m.text)), Format: tar.FormatGNU}
		if strings.HasSuffix(m.name, "/") {
			h.Typeflag = tar.TypeDir
		}
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(tw, m.text); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []io.Closer{tw, zw} {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func read(t testing.TB, members ...member) *vib.Database {
	t.Helper()
	db, err := vib.Read(bytes.NewReader(database(t, members...)))
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// descriptor makes a VIB whose payloads are given as "name:type:content"; the
// content is that of the file on the ISO.
func descriptor(name, version string, payloads ...string) member {
	var b strings.Builder
	for _, p := range payloads {
		f := strings.SplitN(p, ":", 3)
		fmt.Fprintf(&b, `
    <payload name="%s" type="%s" size="%d">
      <checksum checksum-type="sha-256">%x</checksum>
      <checksum checksum-type="sha-256" verify-process="gunzip">%x</checksum>
      <checksum checksum-type="sha-1" verify-process="gunzip">%040d</checksum>
    </payload>`, f[0], f[1], len(f[2]), sha256.Sum256([]byte(f[2])), sha256.Sum256([]byte("un"+f[2])), 7)
	}
	return member{"var/db/esximg/vibs/" + name + "--123456789.xml", `<?xml version="1.0" encoding="UTF-8"?>
<vib version="5.0">
  <type>bootbank</type>
  <name>` + name + `</name>
  <version>` + version + `</version>
  <vendor>Example</vendor>
  <summary>A &lt;thing&gt;</summary>
  <release-date>2024-02-29T12:00:00.000000+00:00</release-date>
  <relationships><depends/><provides><constraint name="x"/></provides></relationships>
  <file-list><file>bin/x</file></file-list>
  <acceptance-level>partner</acceptance-level>
  <payloads>` + b.String() + `
  </payloads>
</vib>`}
}

// profile makes an image profile; each VIB is "id" or "id payload=file …".
func profile(name string, vibs ...string) member {
	var b strings.Builder
	for _, v := range vibs {
		f := strings.Fields(v)
		fmt.Fprintf(&b, "<vib><vib-id>%s</vib-id><payloads>", f[0])
		for _, p := range f[1:] {
			payload, file, _ := strings.Cut(p, "=")
			fmt.Fprintf(&b, `<payload payload-name="%s">%s</payload>`, payload, file)
		}
		b.WriteString("</payloads></vib>")
	}
	return member{"var/db/esximg/profiles/" + name, `<imageprofile><name>` + name + `</name><creator>Example, Inc.</creator>` +
		`<acceptancelevel>partner</acceptancelevel><viblist>` + b.String() + `</viblist></imageprofile>`}
}

func owners(list []vib.Owner) string {
	var out []string
	for _, o := range list {
		out = append(out, o.VIB.Name+"/"+o.Payload.Name)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func TestRead(t *testing.T) {
	db := read(t,
		member{"var/db/esximg/", ""},
		member{"var/db/esximg/bulletins/x.xml", "not XML"},
		member{"var/db/esximg/vibs/sub/x.xml", "not XML"},
		member{"var/db/esximg/vibs/readme.txt", "not XML"},
		member{"var/db/esximg/profiles/x.sig", "not XML"},
		descriptor("net-y", "1", "net-y:vgz:y"),
		descriptor("esx-base", "8.0.2-0.0.22380479", "b:boot:bbb", "k:boot:kk"),
		member{"./var/db/esximg/vibs/bare-1.xml", `<vib><name>bare</name><version>1</version><payloads><payload name="p"/></payloads></vib>`},
		profile("ESXi-8.0U2-22380479-standard", "Example_bootbank_esx-base_8.0.2-0.0.22380479 b=b.b00 k=k.b00", "Example_bootbank_net-y_1 net-y="),
	)
	var names []string
	for _, v := range db.VIBs {
		names = append(names, v.ID)
	}
	if got, want := fmt.Sprint(names), "[__bare_1 Example_bootbank_esx-base_8.0.2-0.0.22380479 Example_bootbank_net-y_1]"; got != want {
		t.Errorf("VIBs %s, want %s", got, want)
	}
	base := db.Find("esx-base")
	if base == nil || db.Find("none") != nil {
		t.Fatal("Find")
	}
	meta := []string{base.Version, base.Vendor, base.Summary, base.Type, base.Acceptance, base.ReleaseDate}
	if want := []string{"8.0.2-0.0.22380479", "Example", "A <thing>", "bootbank", "partner", "2024-02-29T12:00:00.000000+00:00"}; !slices.Equal(meta, want) {
		t.Errorf("esx-base: %q, want %q", meta, want)
	}
	p := base.Payloads[0]
	if p.Name != "b" || p.Type != "boot" || p.Size != 3 || *p.SHA256 != sha256.Sum256([]byte("bbb")) || *p.GunzipSHA256 != sha256.Sum256([]byte("unbbb")) {
		t.Errorf("payload %+v", p)
	}
	if p := db.Find("bare").Payloads[0]; p.Size != -1 || p.SHA256 != nil || p.GunzipSHA256 != nil {
		t.Errorf("bare payload %+v", p)
	}
	prof := db.Profiles[0]
	if prof.Name != "ESXi-8.0U2-22380479-standard" || prof.Creator != "Example, Inc." || prof.Acceptance != "partner" || len(prof.VIBIDs) != 2 || len(prof.Files) != 2 {
		t.Errorf("profile %+v", prof)
	}
}

func TestCandidates(t *testing.T) {
	mapped := read(t,
		descriptor("esx-base", "1", "b:boot:bbb", "jumpstrt:boot:jump", "features:boot:f"),
		descriptor("net-x", "1", "nvmxnet3:vgz:one", "other:vgz:other"),
		descriptor("left-out", "1", "left:vgz:l"),
		profile("one", "Example_bootbank_esx-base_1 b=B.B00 jumpstrt=jumpstrt.gz", "Example_bootbank_net-x_1 nvmxnet3=nvmxnet3.v01 ghost=ghost.v00", "ghost_1 a=a.v00"),
	)
	cut := read(t,
		descriptor("esx-base", "1", "b:boot:bbb", "jumpstrt:boot:jump", "useropts:boot:uu"),
		descriptor("net-a", "1", "nvmxnet3:vgz:one"),
		descriptor("net-b", "1", "nvmxnet3-ens:vgz:three"),
		descriptor("net-c", "1", "nvmxnet3:vgz:two", "elx-esx-libelxima.so:vgz:elx"),
		descriptor("tools-light", "1", "tools:tgz:tools"),
	)
	two := read(t,
		descriptor("a", "1", "p:vgz:one"), descriptor("b", "1", "p:vgz:three"),
		profile("one", "Example_bootbank_a_1 p=p.v00"), profile("two", "Example_bootbank_b_1 p=P.V00"),
	)
	for _, tc := range []struct {
		db   *vib.Database
		name string
		size int64
		want string
	}{
		{mapped, "b.b00", 3, "esx-base/b"},
		{mapped, "B.B00", -1, "esx-base/b"},
		{mapped, "b.b00", 99, "esx-base/b"},
		{mapped, "JUMPSTRT.GZ", 4, "esx-base/jumpstrt"},
		{mapped, "nvmxnet3.v01", 3, "net-x/nvmxnet3"},
		{mapped, "nvmxnet3.v00", 3, ""},         // the profile says v01
		{mapped, "other.v00", 5, "net-x/other"}, // the profile says nothing
		{mapped, "ghost.v00", 1, ""},
		{mapped, "a.v00", 1, ""},
		{mapped, "left.v00", 1, ""}, // not in the profile
		{mapped, "features.gz", 1, "esx-base/features"},
		{mapped, "features.gz", 2, ""},

		{cut, "b.b00", 3, "esx-base/b"},
		{cut, "b.v00", 3, ""}, // the letter is that of another type
		{cut, "nvmxnet3.v00", 5, "net-b/nvmxnet3-ens"},
		{cut, "nvmxnet3.v01", 3, "net-a/nvmxnet3 net-c/nvmxnet3"},
		{cut, "nvmxnet3.v02", 99, "net-a/nvmxnet3 net-b/nvmxnet3-ens net-c/nvmxnet3"},
		{cut, "NVMXNET3.V02", -1, "net-a/nvmxnet3 net-b/nvmxnet3-ens net-c/nvmxnet3"},
		{cut, "elx_esx_.v00", 3, "net-c/elx-esx-libelxima.so"},
		{cut, "tools.t00", 5, "tools-light/tools"},
		{cut, "useropts.gz", 2, "esx-base/useropts"},
		{cut, "useropts.gz", -1, ""},
		{cut, "b.cfg", 3, ""},
		{cut, "imgdb.tgz", 3, ""},
		{cut, "", 3, ""},

		{two, "p.v00", -1, "a/p b/p"},
		{two, "p.v00", 5, "b/p"},
	} {
		if got := owners(tc.db.Candidates(tc.name, tc.size)); got != tc.want {
			t.Errorf("%s of %d bytes: %q, want %q", tc.name, tc.size, got, tc.want)
		}
	}
	for _, tc := range []struct {
		db   *vib.Database
		want string
	}{
		{mapped, "[b.b00 features.b00 jumpstrt.gz nvmxnet3.v01 other.v00]"},
		{cut, "[b.b00 elx_esx_.v00 jumpstrt.b00 tools.t00 useropts.b00]"},
		{two, "[]"},
	} {
		if got := fmt.Sprint(slices.Sorted(maps.Keys(tc.db.Owners()))); got != tc.want {
			t.Errorf("Owners: %s, want %s", got, tc.want)
		}
	}
}

func TestExpect(t *testing.T) {
	db := read(t,
		descriptor("a", "1", "p:vgz:one"), descriptor("b", "1", "p:vgz:two"), descriptor("c", "1", "same:vgz:same"), descriptor("d", "1", "same:vgz:same"),
		member{"var/db/esximg/vibs/bare.xml", `<vib><name>bare</name><version>1</version><payloads><payload name="q" type="vgz" size="3"/></payloads></vib>`},
	)
	one, same := sha256.Sum256([]byte("one")), sha256.Sum256([]byte("same"))
	bad := sha256.Sum256(nil)
	for _, tc := range []struct {
		file   string
		size   int64
		known  bool
		single *[32]byte
		sum    [32]byte
		err    string
	}{
		{"p.v00", 3, true, nil, one, ""},
		{"p.v01", 3, true, nil, sha256.Sum256([]byte("two")), ""},
		{"p.v00", 3, true, nil, bad, `p.v00 is not payload "p" of VIB Example_bootbank_a_1, nor 1 others of that name: its sha256 is e3b0`},
		{"p.v00", 4, true, nil, one, `: it has 4 bytes, expected 3`},
		{"same.v00", 4, true, &same, same, ""},
		{"same.v00", 4, true, &same, bad, `same.v00 is not payload "same" of VIB Example_bootbank_c_1`},
		{"q.v00", 3, false, nil, bad, ""},
		{"q.v00", 2, false, nil, bad, "it has 2 bytes, expected 3"},
		{"imgdb.tgz", 2, false, nil, bad, ""},
	} {
		e := db.Expect(tc.file, tc.size)
		if e.Known() != tc.known {
			t.Errorf("%s: known %v", tc.file, e.Known())
		}
		if got := e.SHA256(); (got == nil) != (tc.single == nil) || got != nil && *got != *tc.single {
			t.Errorf("%s: digest %x, want %x", tc.file, got, tc.single)
		}
		err := e.Check(tc.sum)
		if tc.err == "" {
			if err != nil {
				t.Errorf("%s: %v", tc.file, err)
			}
			continue
		}
		var mismatch *vib.MismatchError
		if !errors.As(err, &mismatch) || !strings.Contains(err.Error(), tc.err) {
			t.Errorf("%s: got %v, want %q", tc.file, err, tc.err)
		}
	}
	if o, ok := db.Expect("p.v01", 3).Owner(one); !ok || o.VIB.Name != "a" {
		t.Errorf("Owner: %v, %v", o, ok)
	}
}

func TestReadRefuses(t *testing.T) {
	xml := func(text string) []byte { return database(t, member{"var/db/esximg/vibs/x-1.xml", text}) }
	vibWith := func(payload string) []byte {
		return xml(`<vib><name>x</name><version>1</version><payloads>` + payload + `</payloads></vib>`)
	}
	repeat := func(n int, f func(i int) member) []byte {
		list := make([]member, n)
		for i := range list {
			list[i] = f(i)
		}
		return database(t, list...)
	}
	good := database(t, descriptor("a", "1"))
	for _, tc := range []struct {
		name  string
		data  []byte
		want  string
		large bool
	}{
		{"empty", nil, "image database: gzip: EOF", false},
		{"not gzip", []byte("hello, world"), "gzip: invalid header", false},
		{"cut off", good[:len(good)-1], "unexpected EOF", false},
		{"cut off in the tar", good[:100], "unexpected EOF", false},
		{"bad checksum", func() []byte { b := bytes.Clone(good); b[len(b)-8]++; return b }(), "invalid checksum", false},
		{"not tar", func() []byte {
			var b bytes.Buffer
			zw := gzip.NewWriter(&b)
			_, err := zw.Write(bytes.Repeat([]byte("x"), 2000))
			if err := errors.Join(err, zw.Close()); err != nil {
				t.Fatal(err)
			}
			return b.Bytes()
		}(), "entry 1: archive/tar: invalid tar header", false},
		{"empty XML", xml(""), "var/db/esximg/vibs/x-1.xml: there is no XML in it", false},
		{"not XML", xml("hello"), "there is no XML in it", false},
		{"cut off XML", xml("<vib><name>x</name>"), "unexpected EOF", false},
		{"crossed tags", xml("<vib><name>x</vib></name>"), "x-1.xml: XML syntax error", false},
		{"another root", xml("<bulletin/>"), "expected element type <vib> but have <bulletin>", false},
		{"no name", xml("<vib><version>1</version></vib>"), "no name or no version", false},
		{"no version", xml("<vib><name>x</name></vib>"), "no name or no version", false},
		{"DTD", xml(`<!DOCTYPE vib [<!ENTITY a "b">]><vib><name>&a;</name></vib>`), "a document type declaration is not allowed", false},
		{"DTD inside", xml(`<vib><!DOCTYPE vib></vib>`), "a document type declaration is not allowed", false},
		{"unknown entity", xml(`<vib><name>&a;</name></vib>`), "invalid character entity &a;", false},
		{"another encoding", xml(`<?xml version="1.0" encoding="utf-16"?><vib/>`), `encoding "utf-16" is neither UTF-8 nor ASCII`, false},
		{"too deep", xml(strings.Repeat("<vib>", 65)), "more than 64 elements inside each other", true},
		{"XML too large", xml("<vib><name>" + strings.Repeat("x", vib.MaxXML)), "it is too large", true},
		{"profile too deep", database(t, member{"var/db/esximg/profiles/x", strings.Repeat("<a>", 65)}), "profiles/x: more than 64 elements", true},
		{"payload without a name", vibWith(`<payload type="vgz"/>`), `payload "": it has no name`, false},
		{"negative size", vibWith(`<payload name="p" size="-1"/>`), `payload "p": size "-1" is not a number of bytes`, false},
		{"size no number", vibWith(`<payload name="p" size="1k"/>`), `size "1k" is not`, false},
		{"size too large", vibWith(`<payload name="p" size="9223372036854775808"/>`), `is not a number of bytes`, false},
		{"short digest", vibWith(`<payload name="p"><checksum checksum-type="sha-256">ab</checksum></payload>`), `sha-256 "ab" is not 64 hexadecimal digits`, false},
		{"two digests", vibWith(`<payload name="p"><checksum checksum-type="sha-256">` + strings.Repeat("0", 64) + `</checksum><checksum checksum-type="sha-256">` + strings.Repeat("1", 64) + `</checksum></payload>`), `two different sha-256 checksums`, false},
		{"too many payloads", vibWith(strings.Repeat(`<payload name="p"/>`, vib.MaxPayloads+1)), "1025 payloads: too large", true},
		{"too many VIBs", repeat(vib.MaxVIBs+1, func(i int) member { return descriptor(fmt.Sprint(i), "1") }), "more than 4096 VIBs", true},
		{"too many profiles", repeat(vib.MaxProfiles+1, func(i int) member { return profile(fmt.Sprint(i)) }), "more than 64 profiles", true},
		{"too many VIBs in a profile", database(t, profile("x", slices.Repeat([]string{"a"}, vib.MaxVIBs+1)...)), "4097 VIBs: too large", true},
		{"too many entries", repeat(vib.MaxFiles+1, func(int) member { return member{"x", ""} }), "more than 65536 entries", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := vib.Read(bytes.NewReader(tc.data))
			var file *vib.FileError
			if !errors.As(err, &file) || !strings.Contains(err.Error(), tc.want) || errors.Is(err, vib.ErrTooLarge) != tc.large {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

// TestReadBomb reads a database whose tar is larger than the limit, made of one
// gzip member after the other.
func TestReadBomb(t *testing.T) {
	member := func(data []byte) []byte {
		var b bytes.Buffer
		zw, err := gzip.NewWriterLevel(&b, gzip.NoCompression)
		if err != nil {
			t.Fatal(err)
		}
		_, err = zw.Write(data)
		if err := errors.Join(err, zw.Close()); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	var header bytes.Buffer
	h := &tar.Header{Name: "x", Typeflag: tar.TypeReg, Size: vib.MaxDatabase, Format: tar.FormatGNU}
	if err := tar.NewWriter(&header).WriteHeader(h); err != nil {
		t.Fatal(err)
	}
	readers := []io.Reader{bytes.NewReader(member(header.Bytes()))}
	megabyte := member(make([]byte, 1<<20))
	for range vib.MaxDatabase >> 20 {
		readers = append(readers, bytes.NewReader(megabyte))
	}
	if _, err := vib.Read(io.MultiReader(readers...)); !errors.Is(err, vib.ErrTooLarge) {
		t.Errorf("got %v", err)
	}
}

func TestProfileWithoutName(t *testing.T) {
	db := read(t, member{"var/db/esximg/profiles/mine", `<?xml version="1.0" encoding="us-ascii"?><imageProfile/>`})
	if db.Profiles[0].Name != "mine" {
		t.Errorf("got %q", db.Profiles[0].Name)
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("<vib><name>x</name></vib>"), []byte("<imageprofile/>"))
	f.Add([]byte(descriptor("net-x", "1", "net-x:vgz:one").text), []byte(profile("p", "Example_bootbank_net-x_1 net-x=net_x.v00").text))
	f.Add([]byte(strings.ReplaceAll(descriptor("a", "1", "p:vgz:one").text, "vgz", "1é")), []byte(nil))
	f.Add([]byte(`<!DOCTYPE a><vib/>`), []byte(strings.Repeat("<a>", 70)))
	f.Fuzz(func(t *testing.T, descriptor, profile []byte) {
		// The raw bytes as the whole file first, then as what lies in it.
		if db, err := vib.Read(bytes.NewReader(descriptor)); err == nil {
			exercise(t, db)
		}
		data := database(t, member{"var/db/esximg/vibs/x.xml", string(descriptor)}, member{"var/db/esximg/profiles/x", string(profile)})
		if db, err := vib.Read(bytes.NewReader(data)); err == nil {
			exercise(t, db)
		}
	})
}

func exercise(t *testing.T, db *vib.Database) {
	for name, owner := range db.Owners() {
		if owner.VIB == nil || owner.Payload == nil {
			t.Fatalf("%q has no owner", name)
		}
		if name != strings.ToLower(name) {
			t.Errorf("%q is not in lower case", name)
		}
		e := db.Expect(name, owner.Payload.Size)
		if !slices.Contains(e.Candidates, owner) {
			t.Errorf("the owner of %q is not among its candidates", name)
		}
		if sum := owner.Payload.SHA256; sum != nil {
			if err := e.Check(*sum); err != nil {
				t.Errorf("its own digest: %v", err)
			}
		}
	}
	for _, p := range db.Profiles {
		for _, f := range p.Files {
			_ = db.Expect(f.Name, 1).Check([32]byte{})
		}
	}
}
