package esxitest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"runtime"
	"slices"
	"strings"
)

// payloadFiles returns the kernel and the modules, in the loader's order.
func (c *config) payloadFiles() []string {
	return append([]string{"b.b00"}, c.release.Modules...)
}

// made is a module with its digests.
type made struct {
	content content
	digests digests
}

// addPayloads makes the kernel and every module but the image database, and
// notes whose payload each is.
func (m *medium) addPayloads() {
	names := slices.DeleteFunc(m.payloadFiles(), func(n string) bool { return n == "imgdb.tgz" })
	// Largest first: the others are done by the time it is.
	slices.SortStableFunc(names, func(a, b string) int {
		return int(moduleSize(b, m.size) - moduleSize(a, m.size))
	})
	results := make([]made, len(names))
	parallel(len(names), runtime.GOMAXPROCS(0), func(i int) { results[i] = m.makePayload(names[i]) })
	for i, name := range names {
		m.put(name, results[i].content)
		if o, ok := ownerOf(name); ok {
			m.own(o, name, results[i])
		}
	}
}

func (m *medium) makePayload(name string) made {
	if data, ok := m.replaced[strings.ToUpper(name)]; ok {
		return made{literal(data), sumOf(data)}
	}
	switch name {
	case "jumpstrt.gz", "features.gz":
		return made{literal(tinyGzip("")), sumOf(tinyGzip(""))}
	case "useropts.gz":
		return made{literal(tinyGzip("\n")), sumOf(tinyGzip("\n"))}
	}
	plain := m.noise(name, gzipPayload(moduleSize(name, m.size)))
	if dir, ok := archiveDir(name); ok {
		plain = m.tarOf(dir, name, plain)
	}
	z, d := seal(plain)
	return made{z, d}
}

// archiveDir returns where a module that is a tar file keeps its file.
func archiveDir(name string) (string, bool) {
	switch name {
	case "imgpayld.tgz":
		return "var/db/payloads/", true
	case "basemisc.tgz":
		return "usr/lib/vmware/misc/", true
	case "resvibs.tgz":
		return "var/db/reservedvibs/", true
	case "esxiodpt.tgz":
		return "var/db/esxiodepot/", true
	}
	return "", false
}

// tarOf wraps one file into a tar that may be too large for memory.
func (m *medium) tarOf(dir, name string, file content) content {
	const record = 512
	head := m.tarBytes(nil, []string{dir}, tar.Header{Name: dir + strings.TrimSuffix(name, ".tgz") + ".bin", Size: file.Size()})
	// The end of a tar is two records of zeros.
	tail := make([]byte, (record-file.Size()%record)%record+2*record)
	return join(literal(head), file, literal(tail))
}

// tarEntry is a small file of a tar.
type tarEntry struct {
	path string
	data []byte
}

// tarBytes writes an old GNU tar: the folders with all their parents, then
// the files. Where last has a name, its header ends the bytes, and content,
// padding and end mark are the caller's.
func (m *medium) tarBytes(entries []tarEntry, folders []string, last tar.Header) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	write := func(h tar.Header, data []byte) {
		h.Format, h.ModTime = tar.FormatGNU, m.release.Date
		if err := w.WriteHeader(&h); err != nil {
			panic(err)
		}
		if _, err := w.Write(data); err != nil {
			panic(err)
		}
	}
	for _, dir := range withParents(folders) {
		write(tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755}, nil)
	}
	for _, e := range entries {
		write(tar.Header{Typeflag: tar.TypeReg, Name: e.path, Mode: 0o644, Size: int64(len(e.data))}, e.data)
	}
	if last.Name != "" {
		last.Typeflag, last.Mode = tar.TypeReg, 0o644
		write(last, nil)
		return b.Bytes()
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// withParents returns folders ("a/b/") and every folder above them, sorted,
// so parents come first.
func withParents(folders []string) []string {
	var all []string
	for _, dir := range folders {
		for i, r := range dir {
			if r == '/' {
				all = append(all, dir[:i+1])
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func gunzip(data []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}
