package iso

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

const metadataFixture = `<?xml version="1.0" encoding="UTF-8"?>
<metadata version="1.1"><product><esxVersion>8.0.2</esxVersion><build> 22380479 </build></product>
<note><build>1</build></note></metadata>
`

const profileFixture = `<?xml version="1.0"?>
<imageprofile><name>ESXi-8.0U2-22380479-standard</name><creator>VMware, Inc.</creator>
<viblist><vib><vib-id>x</vib-id><name>other</name></vib></viblist></imageprofile>
`

func TestParseVersion(t *testing.T) {
	for _, test := range []struct{ in, version, update, build string }{
		{"8.0.3-0.70.24674464", "8.0.3", "U3", "24674464"},
		{"8.0.0-1.25.21495797", "8.0.0", "", "21495797"},
		{"7.0.3-0.0.18644231", "7.0.3", "U3", "18644231"},
		{"6.7.0-2.48.13006603", "6.7.0", "U2", "13006603"},
		{"6.7.0-0.0.8169922", "6.7.0", "", "8169922"},
		{"6.5.0-3.96.13932383", "6.5.0", "U3", "13932383"},
		{"9.1.0.0.12345", "9.1.0", "", "12345"},
		{"9.0.1-0101.12345678", "9.0.1", "", "12345678"},
		{"9.0.1.0101.12345678", "9.0.1", "", "12345678"},
		{"9.0.1.0-24957456", "9.0.1", "", "24957456"},
		{"8.0.2", "8.0.2", "U2", ""},
		{" 8.0.2\n", "8.0.2", "U2", ""},
		{"8.0.2 build-22380479", "8.0.2", "U2", "22380479"},
		{"8.0.2-22380479", "8.0.2", "U2", "22380479"},
		{"8.0", "8.0.0", "", ""},
		{"10.0.0.0.12345678", "10.0.0", "", "12345678"},
		{"", "", "", ""},
		{"8", "", "", ""},
		{"8.", "", "", ""},
		{"8.x", "", "", ""},
		{"0.1.2", "", "", ""},
		{"8.0.2-", "", "", ""},
		{"8.0.2-a.b", "", "", ""},
		{"8.0.2x", "", "", ""},
		{"8.0.2-0.0.22380479-x", "", "", ""},
		{"8.0.2-0.0.1234567890", "", "", ""},
		{"100.0.0", "", "", ""},
		{"8.100.0", "", "", ""},
		{"-8.0.2", "", "", ""},
		{"ESXi-8.0U2-22380479-standard", "", "", ""},
	} {
		version, update, build, ok := ParseVersion(test.in)
		if version != test.version || update != test.update || build != test.build || ok != (test.version != "") {
			t.Errorf("%q: %q %q %q %v", test.in, version, update, build, ok)
		}
	}
}

func TestParseProfile(t *testing.T) {
	for _, test := range []struct{ in, version, update, build string }{
		{"ESXi-8.0U2-22380479-standard", "8.0.2", "U2", "22380479"},
		{"ESXI-8.0U3E-24677879-STANDARD", "8.0.3", "U3", "24677879"},
		{"ESXi-8.0a-20842819-standard", "8.0.0", "", "20842819"},
		{"ESXi-7.0U3g-20328353-no-tools", "7.0.3", "U3", "20328353"},
		{"ESXi-7.0.0-15843807-standard", "7.0.0", "", "15843807"},
		{"ESXi-6.7.0-20190802001-standard", "6.7.0", "", ""},
		{"ESXi-6.7U2-13006603", "6.7.0", "U2", "13006603"},
		{"VMware-ESXi-6.7.0-Update3-14320388-HPE", "6.7.0", "U3", "14320388"},
		{"Lenovo-VMware-ESXi-8.0.3-24674464-LNV-S04-20250515", "8.0.3", "U3", "24674464"},
		{"DEL-ESXi_802.22380479-A04", "", "", "22380479"},
		{"VMware ESXi 8.0.2 build-22380479", "8.0.2", "U2", "22380479"},
		{"ESXi-9.0.1.0-24957456-standard", "9.0.1", "", "24957456"},
		{"ESXi", "", "", ""},
		{"Debian 12.1.0", "", "", ""},
		{"", "", "", ""},
		{"my esxi notes", "", "", ""},
	} {
		version, update, build, ok := parseProfile(test.in)
		if version != test.version || update != test.update || build != test.build || ok != (test.version+test.build != "") {
			t.Errorf("%q: %q %q %q %v", test.in, version, update, build, ok)
		}
	}
}

func TestRelease(t *testing.T) {
	upgrade := func(metadata, profile string) *item {
		return dir("UPGRADE", file("METADATA.XML;1", metadata), file("PROFILE.XML;1", profile))
	}
	loader := func(names ...string) *item {
		d := dir("BOOT")
		for _, n := range names {
			d.kids = append(d.kids, file(n+";1", "MZ"))
		}
		return dir("EFI", d)
	}
	oldest := Release{Product: "VMware ESXi", Version: "6.7.0", Build: "8169922"}
	full := Release{
		Product: "VMware ESXi", Version: "8.0.2", Update: "U2", Build: "22380479",
		Profile: "ESXi-8.0U2-22380479-standard", Vendor: "VMware, Inc.", Arch: "amd64",
	}
	with := func(change func(r *Release)) Release { r := full; change(&r); return r }
	for _, test := range []struct {
		name     string
		volumeID string
		root     []*item
		known    []Evidence
		want     Release
		evidence string // sources, in order
	}{
		{
			"own files", "ESXI-8.0U2-22380479-STANDARD",
			[]*item{loader("BOOTX64.EFI"), upgrade(metadataFixture, profileFixture), file(".DISCINFO;1", "1700000000.1\nVMware ESXi 8.0.2 build-22380479\n")},
			nil,
			full, "UPGRADE/METADATA.XML UPGRADE/PROFILE.XML .DISCINFO volume id EFI/BOOT/BOOTX64.EFI",
		},
		{
			"the caller knows better", "ESXI-8.0U2-22380479-STANDARD",
			[]*item{loader("BOOTAA64.EFI"), upgrade(metadataFixture, profileFixture)},
			[]Evidence{{Source: "esx-base VIB", Text: "8.0.3-0.70.24674464"}, {Source: "BOOT.CFG build", Text: "8.0.2-0.0.22380479"}, {Source: "image profile", Text: "(Updated) custom", Profile: "custom"}},
			with(func(r *Release) {
				r.Version, r.Update, r.Build, r.Profile, r.Arch = "8.0.3", "U3", "24674464", "custom", "arm64"
			}),
			"esx-base VIB BOOT.CFG build image profile UPGRADE/METADATA.XML UPGRADE/PROFILE.XML volume id EFI/BOOT/BOOTAA64.EFI",
		},
		{
			"leading dot replaced", "X",
			[]*item{file("_DISCINF.;1", "VMware ESXi 8.0.2 build-22380479")},
			nil,
			with(func(r *Release) { r.Vendor, r.Arch, r.Profile = "", "", "" }), "_DISCINF",
		},
		{
			"empty build line", "ESXI-6.7U2-13006603-STANDARD", nil,
			[]Evidence{{Source: "BOOT.CFG build"}, {Source: "other", Version: "6.7.0"}},
			Release{Product: "VMware ESXi", Version: "6.7.0", Update: "U2", Build: "13006603", Profile: "ESXI-6.7U2-13006603-STANDARD"},
			"BOOT.CFG build other volume id",
		},
		{
			"an update of another version", "ESXI-8.0U2-22380479-STANDARD-AND", nil,
			[]Evidence{{Source: "BOOT.CFG build", Text: "6.7.0-0.0.8169922"}},
			oldest, "BOOT.CFG build volume id",
		},
		{
			"known by its profile's name", "X", nil,
			[]Evidence{{Source: "image profile", Text: "ESXi-8.0U2-22380479-standard"}},
			with(func(r *Release) { r.Vendor, r.Arch = "", "" }), "image profile",
		},
		{
			"volume id that was cut", "ESXI-8.0U2-22380479-STANDARD-AND", nil, nil,
			with(func(r *Release) { r.Vendor, r.Arch, r.Profile = "", "", "" }), "volume id",
		},
		{
			"broken XML", "ESXI-8.0U2-22380479-STANDARD",
			[]*item{upgrade("<a><esxVersion>7.0.0</esxVersion></b>", strings.Repeat("<a>", 65))},
			nil,
			with(func(r *Release) { r.Vendor, r.Arch, r.Profile = "", "", "ESXI-8.0U2-22380479-STANDARD" }),
			"UPGRADE/METADATA.XML UPGRADE/PROFILE.XML volume id",
		},
		{
			"both loaders", "ESXI-8.0U2-22380479-STANDARD-AND",
			[]*item{loader("BOOTX64.EFI", "BOOTAA64.EFI")},
			nil,
			with(func(r *Release) { r.Vendor, r.Arch, r.Profile = "", "", "" }), "volume id EFI/BOOT/BOOTX64.EFI EFI/BOOT/BOOTAA64.EFI",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := fixture{volumeID: test.volumeID, root: dir("\x00", test.root...)}
			got, err := open(t, f.build()).Release(test.known...)
			if err != nil {
				t.Fatal(err)
			}
			var list []string
			for _, e := range got.Evidence {
				list = append(list, e.Source)
			}
			if s := strings.Join(list, " "); s != test.evidence {
				t.Errorf("evidence is %s\nwant        %s", s, test.evidence)
			}
			got.Evidence = nil
			if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", test.want) {
				t.Errorf("release is %+v\nwant       %+v", got, test.want)
			}
		})
	}
}

func TestEvidenceOfTrouble(t *testing.T) {
	for _, test := range []struct{ metadata, want string }{
		{"<a><esxVersion>" + strings.Repeat("x", 257), "unreadable: <esxVersion> has more than 256 bytes"},
		{strings.Repeat("<a>", 65), "unreadable: elements are more than 64 deep"},
		{strings.Repeat(" ", maxMetadata+1), "unreadable: it has 1048577 bytes, more than 1048576"},
		{"", "unreadable: it is empty"},
		{"<a>\x1b</a>", "unreadable: XML syntax error on line 1: illegal character code U+001B"},
		{"<a><esxVersion>x</esxVersion><build>12a</build></a>", "x 12a"},
		{"<a><" + strings.Repeat("\xdd", 300) + ">", `"` + `unreadable: XML syntax error on line 1: invalid XML name: ` + strings.Repeat(`\xdd`, 198) + `"`},
	} {
		f := fixture{volumeID: "ESXI-8.0U2-22380479", root: dir("\x00", dir("UPGRADE", file("METADATA.XML;1", test.metadata)))}
		r, err := open(t, f.build()).Release()
		if err != nil || len(r.Evidence) != 2 || r.Evidence[0].Text != test.want || r.Evidence[0].Version+r.Evidence[0].Build != "" || r.Version != "8.0.2" {
			t.Errorf("%+v, %v\nwant %s", r, err, test.want)
		}
	}
}

func TestNoRelease(t *testing.T) {
	f := fixture{volumeID: "Debian 12.1.0 amd64 n", root: tree()}
	r, err := open(t, f.build()).Release(Evidence{Source: "BOOT.CFG build"})
	if !errors.Is(err, ErrNoRelease) || !strings.Contains(err.Error(), "BOOT.CFG build, UPGRADE/METADATA.XML") || !strings.Contains(err.Error(), "Debian") {
		t.Error(err)
	}
	if r.Product != "" || !slices.ContainsFunc(r.Evidence, func(e Evidence) bool { return e.Text == "amd64" }) {
		t.Errorf("%+v", r)
	}
}

func FuzzRelease(f *testing.F) {
	f.Add(metadataFixture, profileFixture, "VMware ESXi 8.0.2 build-22380479\n", "8.0.3-0.70.24674464")
	f.Add("<esxVersion>9.0.1</esxVersion>", "<name>ESXi-9.0.1.0-24957456-standard</name>", "1\n2\nESXi 8", "6.7.0-2.48.13006603")
	f.Fuzz(func(t *testing.T, metadata, profile, discInfo, known string) {
		if len(metadata)+len(profile)+len(discInfo) > 1<<20 {
			return
		}
		fix := fixture{root: dir("\x00", dir("UPGRADE", file("METADATA.XML;1", metadata), file("PROFILE.XML;1", profile)), file(".DISCINFO;1", discInfo))}
		r, err := open(t, fix.build()).Release(Evidence{Source: "known", Text: known})
		if err != nil && !errors.Is(err, ErrNoRelease) {
			t.Fatal(err)
		}
		for _, e := range r.Evidence[1:] {
			if len(e.Text) > 4*maxXMLText+100 {
				t.Fatalf("evidence of %d bytes", len(e.Text))
			}
		}
		if version, _, build, ok := ParseVersion(known); ok && (r.Version != version || build != "" && r.Build != build) {
			t.Fatalf("%q: %+v", known, r)
		}
		for _, s := range []string{r.Build, strings.ReplaceAll(r.Version, ".", "0")} {
			if !allDigits(s) {
				t.Fatalf("%q in %+v", s, r)
			}
		}
	})
}
