// Package vib reads IMGDB.TGZ, the image database of an ESXi installer: which
// VIBs make up the release, which image profile, and which file on the ISO
// belongs to which VIB, with the digest it must have.
//
// The database is a gzip'd tar with var/db/esximg/vibs/*.xml, a descriptor for
// each VIB, and var/db/esximg/profiles/*. A descriptor lists payloads by their
// own names; the profile says under which 8.3 name each lies on the ISO:
//
//	<vib><vib-id>VMware_bootbank_net-x_1.0-1</vib-id>
//	  <payloads><payload payload-name="net-x">net_x.v00</payload></payloads></vib>
//
// Where it does not say, names follow from how VMware cuts them, and the size
// and the digest tell apart what that leaves open. See [Database.Candidates].
package vib

import (
	"cmp"
	"slices"
	"strings"
)

// The limits, well above what any release needs: an installer has about 130
// modules, so about as many payloads, in fewer VIBs.
const (
	MaxDatabase = 256 << 20 // bytes of tar that are read
	MaxXML      = 8 << 20   // bytes of one descriptor or profile
	MaxFiles    = 65536     // entries of the tar
	MaxVIBs     = 4096      // descriptors, and VIBs that a profile lists
	MaxProfiles = 64        // profiles
	MaxPayloads = 1024      // payloads of one VIB
	MaxDepth    = 64        // elements inside each other
)

// Database is what IMGDB.TGZ says. It must not be changed.
type Database struct {
	VIBs     []VIB     // by name, then ID
	Profiles []Profile // by name

	mapped map[string][]Owner // lower-case file name → who a profile says it belongs to
	cut    map[string][]Owner // "stem.letter" → payloads whose names are cut to that
	stems  map[string][]Owner // the same, by stem alone
}

// VIB is a software package.
type VIB struct {
	ID          string // vendor_type_name_version
	Name        string // "esx-base"
	Version     string // "8.0.2-0.0.22380479"
	Vendor      string
	Summary     string
	Type        string // "bootbank", "locker"
	Acceptance  string // "certified", "accepted", "partner" or "community"
	ReleaseDate string // as written, RFC 3339
	Payloads    []Payload
}

// Payload is one of a VIB's files.
type Payload struct {
	Name string // its own, not the one on the ISO
	Type string // "vgz", "tgz", "boot" and others
	Size int64  // of the file as it lies on the ISO, in bytes; -1 if not said

	SHA256       *[32]byte // of the file as it lies on the ISO; nil if not said
	GunzipSHA256 *[32]byte // of its decompressed content; nil if not said
}

// Profile is an image profile: the set of VIBs that make up a release.
type Profile struct {
	Name       string // "ESXi-8.0U2-22380479-standard"
	Creator    string // mostly the vendor
	Acceptance string
	VIBIDs     []string // in the order of the profile
	Files      []File   // likewise
}

// File says under which name a payload lies on the ISO.
type File struct {
	VIBID   string
	Payload string
	Name    string // 8.3, mostly in lower case
}

// Owner is the payload that a file on the ISO is.
type Owner struct {
	VIB     *VIB
	Payload *Payload
}

// Find returns the VIB of that name, the one with the greatest ID if there are
// several, or nil.
func (db *Database) Find(name string) *VIB {
	for i := len(db.VIBs) - 1; i >= 0; i-- {
		if db.VIBs[i].Name == name {
			return &db.VIBs[i]
		}
	}
	return nil
}

// index prepares the look-ups. VIBs that no profile lists are not on the ISO,
// if a profile lists any.
func (db *Database) index() {
	slices.SortStableFunc(db.VIBs, func(a, b VIB) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	slices.SortStableFunc(db.Profiles, func(a, b Profile) int { return cmp.Compare(a.Name, b.Name) })
	byID := make(map[string]*VIB, len(db.VIBs))
	for i := range db.VIBs {
		byID[db.VIBs[i].ID] = &db.VIBs[i]
	}
	listed := map[string]bool{}
	db.mapped = map[string][]Owner{}
	named := map[*Payload]bool{}
	for _, p := range db.Profiles {
		for _, id := range p.VIBIDs {
			listed[id] = true
		}
		for _, f := range p.Files {
			owner, ok := ownerOf(byID[f.VIBID], f.Payload)
			if !ok {
				continue
			}
			named[owner.Payload] = true
			name := strings.ToLower(f.Name)
			if !slices.Contains(db.mapped[name], owner) {
				db.mapped[name] = append(db.mapped[name], owner)
			}
		}
	}
	db.cut, db.stems = map[string][]Owner{}, map[string][]Owner{}
	for i := range db.VIBs {
		v := &db.VIBs[i]
		if len(listed) > 0 && !listed[v.ID] {
			continue
		}
		for j := range v.Payloads {
			if p := &v.Payloads[j]; !named[p] {
				db.addCut(Owner{v, p})
			}
		}
	}
}

func ownerOf(v *VIB, payload string) (Owner, bool) {
	if v == nil {
		return Owner{}, false
	}
	for i := range v.Payloads {
		if v.Payloads[i].Name == payload {
			return Owner{v, &v.Payloads[i]}, true
		}
	}
	return Owner{}, false
}

func (db *Database) addCut(o Owner) {
	stem := cutName(o.Payload.Name)
	if stem == "" {
		return
	}
	db.stems[stem] = append(db.stems[stem], o)
	if letter := strings.ToLower(o.Payload.Type); letter != "" && letter[0] >= 'a' && letter[0] <= 'z' {
		key := stem + "." + letter[:1]
		db.cut[key] = append(db.cut[key], o)
	}
}
