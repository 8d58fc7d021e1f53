package tardisk_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/esxi-img/esxi-img/pkg/tardisk"
)

var (
	when   = time.Date(2024, 2, 29, 12, 0, 0, 999, time.UTC)
	sample = []tardisk.Entry{
		{Path: "esxiimg/pre/10-net.py", Data: []byte("print(1)\n")},
		{Path: "esxiimg/KS.CFG", Data: []byte("vmaccepteula\n")},
		{Path: "esxiimg-x", Data: nil},
		{Path: "etc/large", Data: bytes.Repeat([]byte("0123456789abcdef"), 10_000)},
	}
)

func write(t testing.TB, entries []tardisk.Entry) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := tardisk.Write(&b, entries, when); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gunzip(t testing.TB, b []byte) []byte {
	t.Helper()
	zr, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(zr)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func compress(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	zw := gzip.NewWriter(&out)
	if _, err := zw.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestHeaders compares each tar header with the fields of an old GNU tar.
func TestHeaders(t *testing.T) {
	raw := gunzip(t, write(t, sample))
	var names []string
	for at := 0; raw[at] != 0; {
		h := raw[at : at+512]
		name := string(bytes.TrimRight(h[:100], "\x00"))
		names = append(names, name)
		mode, typeflag := "0000644\x00", byte('0')
		if strings.HasSuffix(name, "/") {
			mode, typeflag = "0000755\x00", '5'
		}
		for _, f := range []struct {
			field      string
			start, end int
			want       string
		}{
			{"mode", 100, 108, mode},
			{"uid", 108, 116, "0000000\x00"},
			{"gid", 116, 124, "0000000\x00"},
			{"mtime", 136, 148, fmt.Sprintf("%011o\x00", when.Unix())},
			{"typeflag", 156, 157, string(typeflag)},
			{"linkname", 157, 257, strings.Repeat("\x00", 100)},
			{"magic", 257, 265, "ustar  \x00"},
			{"uname", 265, 297, strings.Repeat("\x00", 32)},
			{"gname", 297, 329, strings.Repeat("\x00", 32)},
			{"devmajor", 329, 337, "0000000\x00"},
			{"devminor", 337, 345, "0000000\x00"},
			{"the rest", 345, 512, strings.Repeat("\x00", 167)},
		} {
			if got := string(h[f.start:f.end]); got != f.want {
				t.Errorf("%s: %s is %q, want %q", name, f.field, got, f.want)
			}
		}
		var size int
		if _, err := fmt.Sscanf(string(h[124:135]), "%o", &size); err != nil {
			t.Fatal(err)
		}
		at += 512 + (size+511)/512*512
	}
	want := []string{"esxiimg-x", "esxiimg/", "esxiimg/KS.CFG", "esxiimg/pre/", "esxiimg/pre/10-net.py", "etc/", "etc/large"}
	if !slices.Equal(names, want) {
		t.Errorf("entries %q, want %q", names, want)
	}
}

// TestBytes holds the exact bytes: other Go releases and machines must agree.
func TestBytes(t *testing.T) {
	b := write(t, sample)
	if head := b[:10]; !bytes.Equal(head, []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff}) {
		t.Errorf("gzip header % x", head)
	}
	const golden = "b400fc61281afd2d8fd67bc3d723ab0a4bcd81b266b54ed09f5860d113f60537"
	if got := fmt.Sprintf("%x", sha256.Sum256(b)); got != golden {
		t.Errorf("digest %s, want %s", got, golden)
	}
	shuffled := slices.Clone(sample)
	slices.Reverse(shuffled)
	if !bytes.Equal(b, write(t, shuffled)) {
		t.Error("the order of the entries matters")
	}
	var local bytes.Buffer
	if err := tardisk.Write(&local, sample, when.In(time.FixedZone("x", 7200)).Add(time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, local.Bytes()) {
		t.Error("the time zone or the fraction of a second matters")
	}
}

func TestWriteThenRead(t *testing.T) {
	for name, entries := range map[string][]tardisk.Entry{
		"sample":                              sample,
		"none":                                nil,
		"empty file":                          {{Path: "a"}},
		"99 bytes":                            {{Path: strings.Repeat("a", 99), Data: []byte("x")}},
		"a block":                             {{Path: "a", Data: make([]byte, 512)}},
		"the most that a stored block takes":  {{Path: "a", Data: bytes.Repeat([]byte("x"), 65535-512-1024)}},
		"a stored block that ends the stream": {{Path: "a", Data: bytes.Repeat([]byte("x"), 127*512)}},
	} {
		t.Run(name, func(t *testing.T) {
			b := write(t, entries)
			if err := tardisk.Check(bytes.NewReader(b)); err != nil {
				t.Errorf("Check: %v", err)
			}
			got, err := tardisk.Read(bytes.NewReader(b))
			if err != nil {
				t.Fatal(err)
			}
			equal(t, got, entries)
		})
	}
}

func equal(t testing.TB, got, want []tardisk.Entry) {
	t.Helper()
	want = slices.Clone(want)
	slices.SortFunc(want, func(a, b tardisk.Entry) int { return strings.Compare(a.Path, b.Path) })
	if !slices.EqualFunc(got, want, func(a, b tardisk.Entry) bool { return a.Path == b.Path && bytes.Equal(a.Data, b.Data) }) {
		t.Errorf("got %.200q, want %.200q", got, want)
	}
}

func TestWriteRefuses(t *testing.T) {
	one := func(p string) []tardisk.Entry { return []tardisk.Entry{{Path: p}} }
	for _, tc := range []struct {
		entries []tardisk.Entry
		mtime   time.Time
		want    string
	}{
		{one(""), when, "it has no name"},
		{one(strings.Repeat("a", 100)), when, "its name has 100 bytes, at most 99"},
		{one("ä"), when, "other than printable ASCII"},
		{one("a\nb"), when, "other than printable ASCII"},
		{one("/a"), when, "begins with a slash"},
		{one("a//b"), when, "empty, . or .. elements"},
		{one("./a"), when, "empty, . or .. elements"},
		{one("../a"), when, "empty, . or .. elements"},
		{one("a/.."), when, "empty, . or .. elements"},
		{one("."), when, "empty, . or .. elements"},
		{one("a/"), when, "named like a directory"},
		{one(`a\b`), when, "has a backslash"},
		{[]tardisk.Entry{{Path: "a"}, {Path: "a"}}, when, "it is there twice"},
		{[]tardisk.Entry{{Path: "a"}, {Path: "a/b"}}, when, "a file and a directory"},
		{one("a"), time.Unix(-1, 0), "outside of what tar holds"},
		{one("a"), time.Unix(1<<33, 0), "outside of what tar holds"},
	} {
		err := tardisk.Write(io.Discard, tc.entries, tc.mtime)
		if !errors.Is(err, tardisk.ErrFormat) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v: got %v, want %q", tc.entries, err, tc.want)
		}
	}
	large := []tardisk.Entry{{Path: "a", Data: make([]byte, tardisk.MaxData+1)}}
	if err := tardisk.Write(io.Discard, large, when); !errors.Is(err, tardisk.ErrTooLarge) {
		t.Errorf("too large: got %v", err)
	}
	broken := errors.New("disk full")
	if err := tardisk.Write(failing{broken}, sample, when); !errors.Is(err, broken) {
		t.Errorf("failing writer: got %v", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }
func (f failing) Read([]byte) (int, error)  { return 0, f.err }

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// archive makes a tar file of headers; a regular file gets its size in "x".
func archive(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, h := range headers {
		if h.Format == tar.FormatUnknown {
			h.Format = tar.FormatGNU
		}
		if err := tw.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write(bytes.Repeat([]byte("x"), int(h.Size))); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func file(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg, Size: 3} }
func dir(name string) tar.Header  { return tar.Header{Name: name, Typeflag: tar.TypeDir} }

// patch changes bytes of the first header and makes its checksum right again.
func patch(raw []byte, at int, text string) []byte {
	raw = bytes.Clone(raw)
	copy(raw[at:], text)
	copy(raw[148:156], "        ")
	sum := 0
	for _, b := range raw[:512] {
		sum += int(b)
	}
	copy(raw[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return raw
}

func TestCheck(t *testing.T) {
	good := archive(t, dir("a/"), file("a/b"))
	posix := file("a")
	posix.Format = tar.FormatUSTAR
	pax := file("a")
	pax.Format, pax.PAXRecords = tar.FormatPAX, map[string]string{"comment": "x"}
	gz := compress(t, good)
	vmtar := patch(make([]byte, 1024), 257, "visor ")
	for _, tc := range []struct {
		name string
		data []byte
		want string // "" if acceptable
	}{
		{"good", gz, ""},
		{"leading ./", compress(t, archive(t, dir("./"), dir("./a/"), file("./a/b"))), ""},
		{"symbolic link", compress(t, archive(t, tar.Header{Name: "l", Linkname: "b", Typeflag: tar.TypeSymlink})), ""},
		{"padded", compress(t, append(bytes.Clone(good), make([]byte, 8192)...)), ""},
		{"old type of files", compress(t, patch(archive(t, file("a")), 156, "\x00")), ""},
		{"vmtar", compress(t, vmtar), ""},
		{"name of 99 bytes", compress(t, archive(t, file(strings.Repeat("a", 99)))), ""},

		{"empty", nil, "it is not compressed with gzip: compress it with gzip -n"},
		{"plain tar", good, "it is not compressed with gzip"},
		{"not a tar", compress(t, bytes.Repeat([]byte("hello"), 500)), "there is no tar file in it"},
		{"nothing in it", compress(t, nil), "the tar file is cut off"},
		{"two members", append(bytes.Clone(gz), gz...), "it has several gzip members"},
		{"an empty second member", append(bytes.Clone(gz), compress(t, nil)...), "it has several gzip members"},
		{"trailing zero", append(bytes.Clone(gz), 0), "something follows the gzip data"},
		{"trailing zeros", append(bytes.Clone(gz), 0, 0, 0), "something follows the gzip data"},
		{"trailing after vmtar", append(compress(t, vmtar), 0), "something follows the gzip data"},
		{"cut off", gz[:len(gz)-1], "its gzip data is damaged or cut off"},
		{"cut off in the header", gz[:5], "its gzip data is damaged or cut off"},
		{"bad checksum", func() []byte { b := bytes.Clone(gz); b[len(b)-8]++; return b }(), "its gzip data is damaged or cut off"},
		{"tar cut off in an entry", compress(t, good[:1100]), `entry 2, "a/b": it has 3 bytes, the file ends after`},
		{"tar without an end", compress(t, good[:1536]), "the tar file is cut off"},
		{"tar with half an end", compress(t, good[:2048]), "the tar file is cut off"},
		{"two tars", compress(t, append(bytes.Clone(good), good...)), "something follows the end of the tar file"},
		{"POSIX", compress(t, archive(t, posix)), `entry 1, "a": it is a POSIX (ustar or PAX) tar header, not an old GNU one: make it with tar --format=gnu`},
		{"PAX", compress(t, archive(t, pax)), "it is a PAX header"},
		{"V7", compress(t, patch(archive(t, file("a")), 257, "\x00\x00\x00\x00\x00\x00\x00\x00")), "its magic is"},
		{"long name", compress(t, archive(t, file(strings.Repeat("a", 101)))), "it announces a name of more than 99 bytes"},
		{"name of 100 bytes", compress(t, archive(t, file(strings.Repeat("a", 100)))), "its name has more than 99 bytes: shorten it"},
		{"no parent", compress(t, archive(t, file("a/b"))), `entry 1, "a/b": its directory "a/" has no entry before it`},
		{"parent after", compress(t, archive(t, file("a/b"), dir("a/"))), `its directory "a/" has no entry before it`},
		{"no grandparent", compress(t, archive(t, dir("a/b/"))), `its directory "a/" has no entry before it`},
		{"directory without slash", compress(t, patch(archive(t, dir("a/")), 0, "a\x00")), "a slash must end the names of directories"},
		{"file with slash", compress(t, patch(archive(t, file("ab")), 0, "a/")), "a slash must end the names of directories"},
		{"hard link", compress(t, archive(t, tar.Header{Name: "l", Linkname: "b", Typeflag: tar.TypeLink})), `it is of type '1'`},
		{"device", compress(t, archive(t, tar.Header{Name: "l", Typeflag: tar.TypeBlock})), `it is of type '4'`},
		{"not ASCII", compress(t, patch(archive(t, file("aa")), 0, "ä")), "other than printable ASCII"},
		{"absolute", compress(t, archive(t, file("/a"))), "begins with a slash"},
		{"leads out", compress(t, archive(t, file("../a"))), "empty, . or .. elements"},
		{"root as a file", compress(t, patch(archive(t, file("aa")), 0, "./")), "it has no name"},
		{"directory with content", compress(t, patch(archive(t, file("aa")), 156, "5")), "it is no regular file but has 3 bytes"},
		{"damaged header", compress(t, func() []byte { b := bytes.Clone(good); b[512]++; return b }()), `entry 2, "b/b": its header is damaged`},
		{"size not octal", compress(t, patch(archive(t, file("a")), 124, "9")), "its size is not a number that fits"},
		{"size base-256", compress(t, patch(archive(t, file("a")), 124, "\x80")), "its size is not a number that fits"},
		{"size beyond the limit", compress(t, patch(archive(t, file("a")), 124, "77777777777")), "its size is not a number that fits"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := tardisk.Check(bytes.NewReader(tc.data))
			if tc.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var e *tardisk.Error
			if !errors.As(err, &e) || !errors.Is(err, tardisk.ErrFormat) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestRead(t *testing.T) {
	pax := file(strings.Repeat("d/", 70) + "long")
	pax.Format = tar.FormatPAX
	for _, tc := range []struct {
		name string
		data []byte
		want string
	}{
		{"plain", archive(t, dir("a/"), file("a/b")), "a/b"},
		{"gzip", compress(t, archive(t, dir("a/"), file("a/b"))), "a/b"},
		{"two members", append(compress(t, archive(t, file("a"))[:1024]), compress(t, archive(t, file("b")))...), "a b"},
		{"./", archive(t, dir("./"), file("./esxiimg/KS.CFG")), "esxiimg/KS.CFG"},
		{"links are left out", archive(t, tar.Header{Name: "l", Linkname: "/etc", Typeflag: tar.TypeSymlink}, file("a")), "a"},
		{"GNU long name", archive(t, file(strings.Repeat("d/", 70)+"long")), strings.Repeat("d/", 70) + "long"},
		{"PAX long name", archive(t, pax), strings.Repeat("d/", 70) + "long"},
		{"empty", nil, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			entries, err := tardisk.Read(bytes.NewReader(tc.data))
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, e := range entries {
				names = append(names, e.Path)
				if string(e.Data) != "xxx" {
					t.Errorf("%s has %q", e.Path, e.Data)
				}
			}
			if got := strings.Join(names, " "); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestReadRefuses(t *testing.T) {
	huge := file("a")
	good := compress(t, archive(t, file("a")))
	// One entry of 600 MiB that is no file, so that it counts as tar only.
	bomb := patch(patch(archive(t, file("d")), 124, fmt.Sprintf("%011o", 600<<20)), 156, "D")
	broken := errors.New("cable pulled")
	for _, tc := range []struct {
		name string
		r    io.Reader
		want error
	}{
		{"outside", bytes.NewReader(archive(t, file("../a"))), tardisk.ErrFormat},
		{"absolute", bytes.NewReader(archive(t, file("/a"))), tardisk.ErrFormat},
		{"junk", strings.NewReader(strings.Repeat("junk", 500)), tardisk.ErrFormat},
		{"cut off", bytes.NewReader(good[:len(good)-9]), tardisk.ErrFormat},
		{"file too large", bytes.NewReader(patch(archive(t, huge), 124, fmt.Sprintf("%011o", tardisk.MaxData+1))), tardisk.ErrTooLarge},
		{"bomb", io.MultiReader(bytes.NewReader(bomb[:512]), io.LimitReader(zeros{}, 600<<20)), tardisk.ErrTooLarge},
		{"vmtar", bytes.NewReader(patch(make([]byte, 1024), 257, "visor ")), tardisk.ErrVMTar},
		{"broken", failing{broken}, broken},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := tardisk.Read(tc.r); !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
		})
	}
	if err := tardisk.Check(failing{broken}); !errors.Is(err, broken) {
		t.Errorf("Check: got %v, want %v", err, broken)
	}
}

func TestVolumeName(t *testing.T) {
	for _, tc := range []struct{ file, want string }{
		{"ks.tgz", "KS.TGZ"},
		{"/tmp/dir.d/ESXIIMG.TGZ", "ESXIIMG.TGZ"},
		{`C:\dir\ks.tgz`, "KS.TGZ"},
		{"my-long-module.tgz", "MY_LONG_.TGZ"},
		{"a.b.v00", "A_B.V00"},
		{"net.tar.gz", "NET.TGZ"},
		{"module", "MODULE"},
		{"module.", "MODULE"},
		{"a---b.tgz", "A___B.TGZ"},
		{"ks file.tgz", "KS_FILE.TGZ"},
		{"x.modules", "X.MOD"},
		{"sbx.tgz", "SBX.TGZ"},
	} {
		if got, err := tardisk.VolumeName(tc.file); got != tc.want || err != nil {
			t.Errorf("%s: got %q, %v; want %q", tc.file, got, err, tc.want)
		}
	}
	for _, file := range []string{"", ".tgz", "---.tgz", "dir/", "con.tgz", "LPT1.tgz", "s.tgz", "sb.v00", "EsxCore.tgz", "esxupdt.v00", "äö.tgz"} {
		if got, err := tardisk.VolumeName(file); !errors.Is(err, tardisk.ErrFormat) {
			t.Errorf("%q: got %q, %v", file, got, err)
		}
	}
}
