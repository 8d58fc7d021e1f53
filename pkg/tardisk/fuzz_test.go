package tardisk_test

import (
	"archive/tar"
	"bytes"
	"strings"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/tardisk"
)

func seeds(f *testing.F) {
	f.Add(archive(f, dir("a/"), file("a/b")))
	f.Add(archive(f, tar.Header{Name: "l", Linkname: "b", Typeflag: tar.TypeSymlink}, file(strings.Repeat("x", 120))))
	pax := file("a")
	pax.Format, pax.PAXRecords = tar.FormatPAX, map[string]string{"comment": "x"}
	f.Add(archive(f, pax))
	small := []tardisk.Entry{{Path: "a/b", Data: []byte("c")}}
	f.Add(write(f, small))
	f.Add(gunzip(f, write(f, small)))
	f.Add([]byte{0x1f, 0x8b})
}

// FuzzRead: no panic, and what Read returns can be written and read again,
// unless it is more than a module may have.
func FuzzRead(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		entries, err := tardisk.Read(bytes.NewReader(b))
		if err != nil {
			return
		}
		var out bytes.Buffer
		if tardisk.Write(&out, entries, when) != nil {
			return
		}
		if err := tardisk.Check(bytes.NewReader(out.Bytes())); err != nil {
			t.Errorf("Check of what Write wrote: %v", err)
		}
		again, err := tardisk.Read(&out)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, again, entries)
	})
}

// FuzzCheck: no panic, and what Check accepts Read can read, plain or gzip'd.
func FuzzCheck(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, module := range [][]byte{b, tardisk.Store(b)} {
			if tardisk.Check(bytes.NewReader(module)) != nil {
				continue
			}
			if raw := gunzip(t, module); len(raw) >= 263 && string(raw[257:263]) == "visor " {
				continue
			}
			if _, err := tardisk.Read(bytes.NewReader(module)); err != nil {
				t.Errorf("Check accepts what Read does not: %v", err)
			}
		}
	})
}

// FuzzWrite: whatever Write takes, Check accepts and Read gives back.
func FuzzWrite(f *testing.F) {
	f.Add("a/b", []byte("x"), "a/c", []byte(nil), int64(0))
	f.Add("a", []byte("x"), "a-b/c", make([]byte, 70_000), int64(1<<33-1))
	f.Fuzz(func(t *testing.T, p1 string, d1 []byte, p2 string, d2 []byte, sec int64) {
		entries := []tardisk.Entry{{Path: p1, Data: d1}, {Path: p2, Data: d2}}
		var out bytes.Buffer
		if tardisk.Write(&out, entries, when.AddDate(0, 0, int(sec%20_000))) != nil {
			return
		}
		if err := tardisk.Check(bytes.NewReader(out.Bytes())); err != nil {
			t.Errorf("Check: %v", err)
		}
		got, err := tardisk.Read(&out)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, got, entries)
	})
}
