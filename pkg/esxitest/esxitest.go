// Package esxitest makes synthetic ESXi installer media for tests, as
// net/http/httptest makes servers.
//
// [Tree] returns the files of a medium, [ISO] and [Bytes] a whole image,
// [WriteISO] writes any files as an ISO9660 image of the kind VMware ships:
// no Rock Ridge, no Joliet, upper-case 8.3 names. The media have the shape of
// real ones (names, module lists, sizes, an image database whose digests are
// true), and none of their content: all else is noise, the same for a seed on
// every machine.
//
// Like httptest, the package panics where a test asks for what can't be, such
// as to damage a file that isn't there.
package esxitest

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var errNegativeOffset = errors.New("esxitest: read at a negative offset")

// Size says how large a medium is.
type Size int

// The sizes.
const (
	// Small is the whole tree in less than 3 MB, made in milliseconds.
	Small Size = iota
	// Full has the sizes of real media: 600 MB and more for 8.0 and later,
	// one file of 171 MiB, at least FullFiles files.
	Full
)

// FullFiles is the least number of files on a full-size medium. Releases with
// fewer modules are filled up with licence texts.
const FullFiles = 170

// The architectures, in Go's names.
const (
	AMD64 = "amd64"
	ARM64 = "arm64"
)

// File is a file of a medium.
type File struct {
	// Path as the medium names it, slash separated, without ";1".
	Path string
	Size int64 // in bytes
	// Content holds Size bytes and allows parallel reads. Large content is
	// made as it is read.
	Content io.ReaderAt
}

// Reader returns the file from its beginning.
func (f File) Reader() *io.SectionReader { return io.NewSectionReader(f.Content, 0, f.Size) }

// Bytes returns the file in memory.
func (f File) Bytes() []byte {
	b := make([]byte, f.Size)
	if n, err := f.Content.ReadAt(b, 0); n < len(b) {
		panic(fmt.Sprintf("esxitest: %s: %d of %d bytes: %v", f.Path, n, f.Size, err))
	}
	return b
}

// Option changes what is made. Without any it is a small 8.0.2 for amd64.
type Option func(*config)

type config struct {
	release     Release
	arch        string
	size        Size
	seed        uint64
	lower       bool
	efi         []byte
	noVFATNames bool
	bootCfg     []func(string) string
	replaced    map[string][]byte // by upper-case path
	edits       []edit
}

type edit struct {
	what, path string // "drop", "damage", "add"
	data       []byte
}

// WithRelease chooses the release.
func WithRelease(r Release) Option { return func(c *config) { c.release = r } }

// WithSize chooses the size.
func WithSize(s Size) Option { return func(c *config) { c.size = s } }

// WithArch chooses the architecture. ARM64 has BOOTAA64.EFI in the place of
// BOOTX64.EFI and nothing for BIOS.
func WithArch(arch string) Option { return func(c *config) { c.arch = arch } }

// WithSeed changes the noise in all files.
func WithSeed(seed uint64) Option { return func(c *config) { c.seed = seed } }

// LowerCase gives every path in lower case, as re-mastered media have them.
func LowerCase() Option { return func(c *config) { c.lower = true } }

// WithoutVFATNames leaves out of the image profile which file holds which
// payload: readers must tell from the names.
func WithoutVFATNames() Option { return func(c *config) { c.noVFATNames = true } }

// BootCfg edits the text of both copies of BOOT.CFG.
func BootCfg(f func(string) string) Option {
	return func(c *config) { c.bootCfg = append(c.bootCfg, f) }
}

// WithEFI sets the architecture's boot program, EFI/BOOT/BOOTX64.EFI or
// BOOTAA64.EFI.
func WithEFI(program []byte) Option {
	return func(c *config) { c.efi = program }
}

// Replace gives a file other bytes. The medium stays consistent: where the
// file is a VIB's payload, its digests are those of the new bytes.
func Replace(path string, data []byte) Option {
	return func(c *config) { c.replaced[strings.ToUpper(path)] = data }
}

// Drop leaves a file out. BOOT.CFG and the VIBs still name it.
func Drop(path string) Option { return func(c *config) { c.edit("drop", path, nil) } }

// Damage flips a bit in the middle of a file, after its digests were taken.
func Damage(path string) Option { return func(c *config) { c.edit("damage", path, nil) } }

// Add puts a file on the medium that nothing else there speaks of.
func Add(path string, data []byte) Option { return func(c *config) { c.edit("add", path, data) } }

func (c *config) edit(what, path string, data []byte) {
	c.edits = append(c.edits, edit{what, strings.ToUpper(path), data})
}

func newConfig(opts []Option) *config {
	c := &config{release: Release802(), arch: AMD64, replaced: map[string][]byte{}}
	for _, o := range opts {
		o(c)
	}
	if c.arch != AMD64 && c.arch != ARM64 {
		panic("esxitest: no such architecture: " + c.arch)
	}
	return c
}

func (c *config) efiPath() string {
	if c.arch == ARM64 {
		return "EFI/BOOT/BOOTAA64.EFI"
	}
	return "EFI/BOOT/BOOTX64.EFI"
}

// Tree returns the files of a medium in the order in which they lie on it:
// the boot images, then the rest by path. The boot catalog is not among them;
// WriteISO adds it.
func Tree(opts ...Option) []File { return build(newConfig(opts)).files }

// Owner says which payload of which VIB a file is.
type Owner struct{ VIB, Payload string }

// Owners returns the owner of every file that has one, by path in upper case:
// the truth that readers of the image database are to find.
func Owners(opts ...Option) map[string]Owner {
	owners := map[string]Owner{}
	for _, name := range newConfig(opts).payloadFiles() {
		if o, ok := ownerOf(name); ok {
			owners[strings.ToUpper(name)] = Owner{VIB: o.vib, Payload: o.payload}
		}
	}
	return owners
}

// isoOptions are how VMware would label the medium.
func (c *config) isoOptions() ISOOptions {
	o := ISOOptions{
		VolumeID: c.release.VolumeID(), ApplicationID: "ESXIMAGE", Time: c.release.Date,
		EFIImage: "EFIBOOT.IMG", Catalog: "BOOT.CAT",
	}
	if c.arch == AMD64 {
		o.BIOSImage = "ISOLINUX.BIN"
	}
	if c.lower {
		o.EFIImage, o.Catalog, o.BIOSImage = "efiboot.img", "boot.cat", strings.ToLower(o.BIOSImage)
	}
	return o
}

// Write writes a medium as a plain ISO9660 image.
func Write(w io.Writer, opts ...Option) error {
	c := newConfig(opts)
	return WriteISO(w, build(c).files, c.isoOptions())
}

// Bytes returns a medium's image in memory: for small ones.
func Bytes(opts ...Option) []byte {
	var b bytes.Buffer
	if err := Write(&b, opts...); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// ISO writes a medium's image to a file that lasts as long as the test, and
// returns its path.
func ISO(tb testing.TB, opts ...Option) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "esxi.iso")
	f, err := os.Create(path)
	if err != nil {
		tb.Fatal(err)
	}
	if err := errors.Join(Write(f, opts...), f.Close()); err != nil {
		tb.Fatal(err)
	}
	return path
}

// medium is a tree that is being built.
type medium struct {
	*config
	files []File
	vibs  []*vib
}

func build(c *config) *medium {
	m := &medium{config: c}
	m.addPayloads()
	m.addArchives()
	m.addBootFiles()
	m.addUpgrade()
	m.addTexts()
	m.applyEdits()
	m.finish()
	return m
}

// put adds a file, with the bytes that a Replace gave it if one did.
func (m *medium) put(path string, content content) {
	path = strings.ToUpper(path)
	if data, ok := m.replaced[path]; ok {
		content = literal(data)
	}
	m.files = append(m.files, File{Path: path, Size: content.Size(), Content: content})
}

// noise is a file's worth of noise; which one depends on the release and the
// seed too.
func (m *medium) noise(path string, size int64) content {
	return newNoise(m.seed, m.release.Build+"/"+path, size)
}

// scaled returns the size of a file that no list knows.
func (m *medium) scaled(small, full int64) int64 {
	if m.size == Full {
		return full
	}
	return small
}

func (m *medium) find(path string) int {
	return slices.IndexFunc(m.files, func(f File) bool { return f.Path == path })
}

func (m *medium) applyEdits() {
	for path := range m.replaced {
		if m.find(path) < 0 {
			panic("esxitest: no file " + path + " to replace")
		}
	}
	for _, e := range m.edits {
		i := m.find(e.path)
		if (i < 0) != (e.what == "add") {
			panic(fmt.Sprintf("esxitest: can't %s %s: it is there: %t", e.what, e.path, i >= 0))
		}
		switch e.what {
		case "add":
			m.put(e.path, literal(e.data))
		case "drop":
			m.files = slices.Delete(m.files, i, i+1)
		case "damage":
			m.damage(&m.files[i])
		}
	}
}

func (m *medium) damage(f *File) {
	if f.Size == 0 {
		panic("esxitest: can't damage " + f.Path + ": it is empty")
	}
	f.Content = flipped{content: sized{f.Content, f.Size}, at: f.Size / 2}
}

// sized is a reader that knows its size.
type sized struct {
	io.ReaderAt
	size int64
}

func (s sized) Size() int64 { return s.size }

// finish puts the files in the medium's order and case.
func (m *medium) finish() {
	rank := func(f File) int {
		return 1 + slices.Index([]string{"ISOLINUX.BIN", "EFIBOOT.IMG"}, f.Path) // 0: not a boot image
	}
	slices.SortFunc(m.files, func(a, b File) int {
		if ra, rb := rank(a), rank(b); ra != rb {
			return rb - ra
		}
		return strings.Compare(a.Path, b.Path)
	})
	if m.lower {
		for i := range m.files {
			m.files[i].Path = strings.ToLower(m.files[i].Path)
		}
	}
}

// sumOf returns what the VIBs say of a file that a test replaced.
func sumOf(data []byte) digests {
	d := digests{file: sha256.Sum256(data)}
	if plain, err := gunzip(data); err == nil {
		sum := sha256.Sum256(plain)
		d.gunzip = &sum
	}
	return d
}
