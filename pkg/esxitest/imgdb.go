package esxitest

import (
	"archive/tar"
	"encoding/xml"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
)

// vib is a VIB descriptor, with the elements in the order of real ones.
type vib struct {
	XMLName     xml.Name  `xml:"vib"`
	Schema      string    `xml:"version,attr"`
	Type        string    `xml:"type"`
	Name        string    `xml:"name"`
	Version     string    `xml:"version"`
	Vendor      string    `xml:"vendor"`
	Summary     string    `xml:"summary"`
	Description string    `xml:"description"`
	ReleaseDate string    `xml:"release-date"`
	URLs        []urlItem `xml:"urls>url"`
	Relations   relations `xml:"relationships"`
	Tags        []string  `xml:"software-tags>tag"`
	Requires    requires  `xml:"system-requires"`
	Files       []string  `xml:"file-list>file"`
	Acceptance  string    `xml:"acceptance-level"`
	LiveInstall bool      `xml:"live-install-allowed"`
	LiveRemove  bool      `xml:"live-remove-allowed"`
	Cimom       bool      `xml:"cimom-restart"`
	Stateless   bool      `xml:"stateless-ready"`
	Overlay     bool      `xml:"overlay"`
	Payloads    []payload `xml:"payloads>payload"`
}

type urlItem struct {
	Key  string `xml:"key,attr"`
	Text string `xml:",chardata"`
}

type relations struct {
	Depends   string `xml:"depends"`
	Conflicts string `xml:"conflicts"`
	Replaces  string `xml:"replaces"`
	Provides  string `xml:"provides"`
	Compat    string `xml:"compatibleWith"`
}

type requires struct {
	MaintenanceMode bool `xml:"maintenance-mode"`
}

type payload struct {
	Name      string     `xml:"name,attr"`
	Type      string     `xml:"type,attr"`
	Size      int64      `xml:"size,attr"`
	Checksums []checksum `xml:"checksum"`
	file      string     // on the medium
}

type checksum struct {
	Type    string `xml:"checksum-type,attr"`
	Process string `xml:"verify-process,attr,omitempty"`
	Hex     string `xml:",chardata"`
}

// id is the VIB's identifier: vendor, type, name, version.
func (v *vib) id() string { return strings.Join([]string{v.Vendor, v.Type, v.Name, v.Version}, "_") }

// own notes that a file is a VIB's payload.
func (m *medium) own(o owner, file string, made made) {
	v := m.vib(o.vib)
	p := payload{
		Name: o.payload, Type: payloadType(file), Size: made.content.Size(), file: file,
		Checksums: []checksum{{Type: "sha-256", Hex: fmt.Sprintf("%x", made.digests.file)}},
	}
	if sum := made.digests.gunzip; sum != nil {
		p.Checksums = append(p.Checksums, checksum{Type: "sha-256", Process: "gunzip", Hex: fmt.Sprintf("%x", *sum)})
	}
	v.Payloads = append(v.Payloads, p)
	v.Files = append(v.Files, "usr/lib/vmware/"+o.vib+"/"+o.payload)
}

// vib returns the VIB of the name, which it makes where it is not there yet.
func (m *medium) vib(name string) *vib {
	for _, v := range m.vibs {
		if v.Name == name {
			return v
		}
	}
	v := &vib{
		Schema: "5.0", Type: "bootbank", Name: name, Vendor: "VMW", Acceptance: "certified",
		Summary: "Synthetic " + name, Description: "A payload of noise for tests.",
		ReleaseDate: m.release.Date.Format("2006-01-02T15:04:05.000000+00:00"),
		URLs:        []urlItem{{Key: "website", Text: "https://example.com/"}},
		Tags:        []string{"driver", "module"}, Requires: requires{MaintenanceMode: true}, Stateless: true,
	}
	v.Version = "1.0.0.1-1vmw." + strings.ReplaceAll(m.release.Version, ".", "") + ".0.0." + m.release.Build
	if ownRelease(name) {
		v.Vendor, v.Version, v.Tags = "VMware", m.release.VIBVersion, []string{}
	}
	if name == "tools-light" {
		v.Type = "locker"
	}
	if name == "esx-base" {
		v.Summary = "ESXi base system"
	}
	m.vibs = append(m.vibs, v)
	return v
}

// ownRelease says whether a VIB's version is the release's.
func ownRelease(name string) bool {
	for _, prefix := range []string{"esx-", "esxio-", "vsan", "tools-light", "cpu-microcode", "vdfs", "crx", "trx", "gc", "loadesx"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// imageProfile is an image profile, in the database and in UPGRADE.
type imageProfile struct {
	XMLName    xml.Name     `xml:"imageprofile"`
	Schema     string       `xml:"schemaversion"`
	Name       string       `xml:"name"`
	Creator    string       `xml:"creator"`
	Created    string       `xml:"creationtime"`
	Modified   string       `xml:"modifiedtime"`
	Acceptance string       `xml:"acceptancelevel"`
	Readonly   bool         `xml:"readonly"`
	VIBs       []profileVIB `xml:"viblist>vib"`
}

type profileVIB struct {
	ID       string           `xml:"vib-id"`
	Payloads []profilePayload `xml:"payloads>payload"`
}

type profilePayload struct {
	Name string `xml:"payload-name,attr"`
	File string `xml:",chardata"` // its name on the volume
}

func (m *medium) profile() imageProfile {
	date := m.release.Date.Format("2006-01-02T15:04:05.000000+00:00")
	p := imageProfile{
		Schema: "1.0", Name: m.release.Profile, Creator: "VMware, Inc.", Created: date, Modified: date,
		Acceptance: "partner", Readonly: true,
	}
	for _, v := range m.vibs {
		entry := profileVIB{ID: v.id()}
		for _, pl := range v.Payloads {
			if !m.noVFATNames {
				entry.Payloads = append(entry.Payloads, profilePayload{Name: pl.Name, File: pl.file})
			}
		}
		p.VIBs = append(p.VIBs, entry)
	}
	return p
}

// component is a bulletin or a reserved component.
type component struct {
	XMLName xml.Name `xml:"bulletin"`
	ID      string   `xml:"id"`
	Kind    string   `xml:"kind"`
	Vendor  string   `xml:"vendor"`
	Summary string   `xml:"summary"`
	VIBs    []string `xml:"vibList>vibID"`
}

// addArchives writes the image database, once all payloads are known.
func (m *medium) addArchives() {
	slices.SortFunc(m.vibs, func(a, b *vib) int { return strings.Compare(a.id(), b.id()) })
	const root = "var/db/esximg/"
	folders := []string{root + "profiles/", root + "vibs/"}
	entries := []tarEntry{numbered(root+"profiles/", m.release.Profile, m.profile())}
	for _, v := range m.vibs {
		slices.SortFunc(v.Payloads, func(a, b payload) int { return strings.Compare(a.file, b.file) })
		slices.Sort(v.Files)
		entries = append(entries, numbered(root+"vibs/", v.Name, v))
	}
	if m.release.Components {
		folders = append(folders, root+"bulletins/", root+"reservedComponents/")
		entries = append(entries,
			numbered(root+"bulletins/", "ESXi_"+m.release.VIBVersion, m.component("ESXi", m.vibs)),
			numbered(root+"reservedComponents/", "VMware-VM-Tools_"+m.release.VIBVersion, m.component("VMware-VM-Tools", m.vibs[:1])))
	}
	slices.SortFunc(entries, func(a, b tarEntry) int { return strings.Compare(a.path, b.path) })
	z, _ := seal(literal(m.tarBytes(entries, folders, tar.Header{})))
	m.put("imgdb.tgz", z)
}

func (m *medium) component(name string, vibs []*vib) component {
	c := component{
		ID: name + "_" + m.release.VIBVersion, Kind: "component", Vendor: "VMware, Inc.", Summary: "Synthetic " + name,
	}
	for _, v := range vibs {
		c.VIBs = append(c.VIBs, v.id())
	}
	return c
}

// numbered names an XML file as the image database does: the name and a
// signed 64-bit hash.
func numbered(dir, name string, v any) tarEntry {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name)) // never fails
	return tarEntry{
		path: fmt.Sprintf("%s%s-%d.xml", dir, name, int64(h.Sum64())), //nolint:gosec // meant to wrap
		data: marshal(v),
	}
}

func marshal(v any) []byte {
	b, err := xml.MarshalIndent(v, "", "  ")
	if err != nil {
		panic(err)
	}
	return append([]byte(xml.Header), b...)
}
