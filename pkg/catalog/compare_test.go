package catalog_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/catalog"
	"github.com/esxi-img/esxi-img/pkg/plan"
)

func TestCompareVersions(t *testing.T) {
	// Each is later than the one before.
	for _, list := range [][]string{
		{"6.7.0-2.48.13006603", "7.0.0-1.0.15843807", "8.0.2-0.0.22380479", "8.0.2-0.10.1", "8.0.3-0.0.24022510", "8.0.10-0.0.1", "9.0.0-0.1", "10.0-1"},
		{"1.0-1vmw", "1.0-2vmw", "1.0-10vmw", "1.0.0-1vmw", "1.0.0.1-1vmw.802.0.0.22380479", "1.0.0.1-1vmw.803.0.0.1"},
		{"", "a", "b", "1", "1-1"},
		{"1.0-1OEM", "1.0-1vmw", "1.0-1vmw.1"},
		{"9", "99999999999999999999", "100000000000000000000"},
	} {
		for i, a := range list {
			for j, b := range list {
				got := catalog.CompareVersions(a, b)
				if (got < 0) != (i < j) || (got > 0) != (i > j) {
					t.Errorf("%q and %q: %d", a, b, got)
				}
			}
		}
	}
	for _, same := range [][2]string{{"1.0", "1.00"}, {"1_0", "1.0"}, {"01-1", "1-01"}} {
		if got := catalog.CompareVersions(same[0], same[1]); got != 0 {
			t.Errorf("%q and %q: %d", same[0], same[1], got)
		}
	}
}

func compare(tb testing.TB, a, b *catalog.Contents) *catalog.Difference {
	tb.Helper()
	d, err := catalog.Compare(tb.Context(), a, b)
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

func TestCompareVIBs(t *testing.T) {
	v := func(name, version, vendor, acceptance string) catalog.VIB {
		return catalog.VIB{Name: name, Version: version, Vendor: vendor, Acceptance: acceptance}
	}
	a := &catalog.Contents{VIBs: []catalog.VIB{
		v("same", "1-1", "VMware", "certified"), v("up", "1-9", "VMware", "certified"), v("down", "2-1", "VMware", "certified"),
		v("gone", "1-1", "VMware", "certified"), v("vendor", "1-1", "VMware", "certified"), v("zeros", "1.0", "x", "y"),
		v("two", "2-1", "x", "y"), v("two", "1-1", "x", "y"),
	}}
	b := &catalog.Contents{VIBs: []catalog.VIB{
		v("new", "1-1", "ACME", "partner"), v("vendor", "1-1", "ACME", "community"), v("same", "1-1", "VMware", "certified"),
		v("up", "1-10", "VMware", "certified"), v("down", "1-9", "VMware", "certified"), v("zeros", "1.00", "x", "y"),
		v("two", "3-1", "x", "y"), v("two", "2-1", "x", "y"), v("two", "4-1", "x", "y"),
	}}
	var got []string
	d := compare(t, a, b)
	for _, c := range d.VIBs {
		s := c.Name + " " + string(c.Change)
		if c.A != nil {
			s += " " + c.A.Version + " " + c.A.Acceptance
		}
		if c.B != nil {
			s += " > " + c.B.Version + " " + c.B.Acceptance
		}
		got = append(got, s)
	}
	want := `down downgraded 2-1 certified > 1-9 certified
gone removed 1-1 certified
new added > 1-1 partner
two upgraded 1-1 y > 3-1 y
two added > 4-1 y
up upgraded 1-9 certified > 1-10 certified
vendor changed 1-1 certified > 1-1 community
zeros changed 1.0 y > 1.00 y`
	if text := strings.Join(got, "\n"); text != want {
		t.Errorf("got\n%s\nwant\n%s", text, want)
	}
	if !d.Different {
		t.Error("nothing differs")
	}
	if d := compare(t, a, a); d.Different {
		t.Errorf("a differs from itself: %+v", d)
	}
}

// file is a file whose content is there.
func file(path, content string) catalog.File {
	return catalog.File{Path: path, Size: int64(len(content)), Role: plan.RolePayload, Content: strings.NewReader(content)}
}

// known is a file whose digest alone is known.
func known(path, content string) catalog.File {
	sum := sha256.Sum256([]byte(content))
	return catalog.File{Path: path, Size: int64(len(content)), Role: plan.RolePayload, SHA256: &sum}
}

func TestCompareFiles(t *testing.T) {
	long := strings.Repeat("x", 3<<20)
	for name, c := range map[string]struct {
		a, b []catalog.File
		want string
	}{
		"bytes":           {[]catalog.File{file("A", "1"), file("B", "2")}, []catalog.File{file("B", "3"), file("A", "1")}, "B changed 1 1"},
		"digests":         {[]catalog.File{known("A", "1"), known("B", "2")}, []catalog.File{known("A", "1"), known("B", "3")}, "B changed 1 1"},
		"digest of a":     {[]catalog.File{known("A", "1"), known("B", "2")}, []catalog.File{file("A", "1"), file("B", "3")}, "B changed 1 1"},
		"digest of b":     {[]catalog.File{file("A", "1"), file("B", "2")}, []catalog.File{known("A", "1"), known("B", "3")}, "B changed 1 1"},
		"sizes":           {[]catalog.File{{Path: "A", Size: 1}}, []catalog.File{{Path: "A", Size: 2}}, "A changed 1 2"},
		"empty":           {[]catalog.File{{Path: "A"}}, []catalog.File{{Path: "A"}}, ""},
		"there and gone":  {[]catalog.File{file("A", "1")}, []catalog.File{file("B", "22")}, "A removed 1 0, B added 0 2"},
		"case":            {[]catalog.File{file("efi/boot/A", "1")}, []catalog.File{file("EFI/BOOT/a", "1")}, ""},
		"two by case":     {[]catalog.File{file("A", "1"), file("a", "2")}, []catalog.File{file("A", "1")}, "a removed 1 0"},
		"the last byte":   {[]catalog.File{file("A", long+"1")}, []catalog.File{file("A", long+"2")}, "A changed 3145729 3145729"},
		"long":            {[]catalog.File{file("A", long)}, []catalog.File{file("A", long)}, ""},
		"long, by digest": {[]catalog.File{file("A", long)}, []catalog.File{known("A", long)}, ""},
	} {
		d := compare(t, &catalog.Contents{Files: c.a}, &catalog.Contents{Files: c.b})
		var got []string
		for _, f := range d.Files {
			text, err := json.Marshal([]any{f.SizeA, f.SizeB})
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, f.Path+" "+string(f.Change)+" "+strings.NewReplacer("[", "", "]", "", ",", " ").Replace(string(text)))
		}
		if text := strings.Join(got, ", "); text != c.want {
			t.Errorf("%s: got %q, want %q", name, text, c.want)
		}
		if d.Different != (c.want != "") {
			t.Errorf("%s: different: %t", name, d.Different)
		}
	}
}

// What cannot be read is told, and not taken for a difference.
func TestCompareReadErrors(t *testing.T) {
	short := file("A", "1234")
	short.Size = 6
	whole := file("A", "123456")
	nothing := catalog.File{Path: "A", Size: 6}
	for name, c := range map[string][2]catalog.File{
		"cut, bytes":   {short, whole},
		"cut, digest":  {short, known("A", "123456")},
		"nothing":      {nothing, whole},
		"nothing of b": {known("A", "123456"), nothing},
	} {
		_, err := catalog.Compare(t.Context(), &catalog.Contents{Files: []catalog.File{c[0]}}, &catalog.Contents{Files: []catalog.File{c[1]}})
		var read *plan.ReadError
		if !errors.As(err, &read) || read.Path != "A" {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := catalog.Compare(ctx, &catalog.Contents{Files: []catalog.File{whole}}, &catalog.Contents{Files: []catalog.File{file("A", "123457")}}); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

func TestCompareBoot(t *testing.T) {
	boot := func(path, title, kernel, opts, modules string) catalog.BootConfig {
		return catalog.BootConfig{Path: path, Title: title, Kernel: kernel, KernelOpts: strings.Fields(opts), Modules: strings.Fields(modules)}
	}
	a := &catalog.Contents{Boot: []catalog.BootConfig{
		boot("BOOT.CFG", "t", "/b.b00", "runweasel cdromBoot", "/a /b /b"), boot("EFI/BOOT/BOOT.CFG", "t", "/k", "x", "/a /b"), boot("OLD.CFG", "", "", "", ""),
	}}
	b := &catalog.Contents{Boot: []catalog.BootConfig{
		boot("boot.cfg", "u", "/c.b00", "runweasel ks=file:///x", "/a /b /c"), boot("EFI/BOOT/BOOT.CFG", "t", "/k", "x", "/b /a"), boot("NEW.CFG", "", "", "", ""),
	}}
	got, err := json.Marshal(compare(t, a, b).Boot)
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"change":"changed","path":"boot.cfg","title":{"name":"title","a":"t","b":"u"},"kernel":{"name":"kernel","a":"/b.b00","b":"/c.b00"},` +
		`"kernelopt":{"added":["ks=file:///x"],"removed":["cdromBoot"]},"modules":{"added":["/c"],"removed":["/b"]}},` +
		`{"change":"changed","path":"EFI/BOOT/BOOT.CFG","modules":{"added":[],"removed":[],"reordered":true}},` +
		`{"change":"removed","path":"OLD.CFG"},{"change":"added","path":"NEW.CFG"}]`
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	b.BootUnknown, b.Boot = true, nil
	if d := compare(t, a, b); d.Different || !d.BootUnknown {
		t.Errorf("unknown: %+v", d)
	}
}

func TestCompareProperties(t *testing.T) {
	secret := func(value string) catalog.Property {
		return catalog.Property{Name: "root password", Value: value, Secret: true}
	}
	for _, c := range []struct{ a, b, want string }{
		{"$6$one", "$6$two", "set|another one"}, {"", "$6$two", "|set"}, {"$6$one", "", "set|"}, {"$6$one", "$6$one", ""},
	} {
		d := compare(t, &catalog.Contents{Properties: []catalog.Property{secret(c.a)}}, &catalog.Contents{Properties: []catalog.Property{secret(c.b)}})
		got := ""
		if len(d.Properties) > 0 {
			got = d.Properties[0].A + "|" + d.Properties[0].B
		}
		if got != c.want || d.Different != (c.want != "") {
			t.Errorf("%q and %q: %q, want %q", c.a, c.b, got, c.want)
		}
	}
	// What one side only has is not compared: an ISO has no sectors.
	d := compare(t, &catalog.Contents{Properties: []catalog.Property{{Name: "sector size", Value: "512"}}}, &catalog.Contents{})
	if d.Different {
		t.Errorf("one side only: %+v", d.Properties)
	}
}

func TestCompareKickstarts(t *testing.T) {
	d := compare(t, &catalog.Contents{Kickstart: []byte("a\nb\n")}, &catalog.Contents{Kickstart: []byte("a\nc")})
	if want := "--- a/KS.CFG\n+++ b/KS.CFG\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n\\ No newline at end of file\n"; d.Kickstart != want || !d.Different {
		t.Errorf("got %q, want %q", d.Kickstart, want)
	}
	if d := compare(t, &catalog.Contents{Kickstart: []byte("a\n")}, &catalog.Contents{}); !strings.Contains(d.Kickstart, "\n-a\n") {
		t.Errorf("gone: %q", d.Kickstart)
	}
	same := bytes.Repeat([]byte("line\n"), 10000)
	if d := compare(t, &catalog.Contents{Kickstart: same}, &catalog.Contents{Kickstart: bytes.Clone(same)}); d.Different {
		t.Error("the same differs")
	}
}

// Versions have an order, whatever they are.
func FuzzCompareVersions(f *testing.F) {
	for _, s := range [][3]string{
		{"8.0.2-0.0.22380479", "8.0.3-0.0.24022510", "8.0.10"}, {"1.0-1vmw", "1.0-1OEM", ""}, {"-", "...", "ü1"}, {"0", "00", "a0"},
	} {
		f.Add(s[0], s[1], s[2])
	}
	sign := func(a, b string) int {
		return max(-1, min(1, catalog.CompareVersions(a, b)))
	}
	f.Fuzz(func(t *testing.T, a, b, c string) {
		if sign(a, a) != 0 || sign(a, b) != -sign(b, a) {
			t.Errorf("%q and %q: %d and %d", a, b, sign(a, b), sign(b, a))
		}
		if sign(a, b) <= 0 && sign(b, c) <= 0 && sign(a, c) > 0 {
			t.Errorf("%q, %q, %q are in no order", a, b, c)
		}
	})
}
