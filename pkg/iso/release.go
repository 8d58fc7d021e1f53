package iso

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
)

// Limits on the files that tell the release; each has a few KiB.
const (
	maxMetadata   = 1 << 20
	maxXMLDepth   = 64
	maxXMLText    = 256 // bytes of one element
	maxDiscInfo   = 64 << 10
	maxVolumeText = 32 // bytes in a volume id, which cuts longer names
)

// Release says which ESXi an image installs. Fields that nothing tells are
// empty.
type Release struct {
	Product string // "VMware ESXi"
	Version string // "8.0.2"
	Update  string // "U2" or ""
	Build   string // "22380479"
	Profile string // the image profile, "ESXi-8.0U2-22380479-standard"
	Vendor  string // who made the image profile, "VMware, Inc."
	Arch    string // "amd64" or "arm64"; "" if no boot loader or both are there
	// Evidence is everything that was looked at, best first, also what
	// disagrees.
	Evidence []Evidence
}

// Evidence is what one source says about the release.
type Evidence struct {
	Source string // where it stands: "esx-base VIB", "UPGRADE/METADATA.XML", "volume id"
	Text   string // what stands there
	// What the text means, empty where it does not say.
	Version, Build, Profile string
}

// claim is evidence with what has no place in it.
type claim struct {
	Evidence
	update, vendor string
}

// Release tells the release from what the caller knows, best first (the
// esx-base VIB, boot.cfg's build, the image profile in IMGDB.TGZ), and then
// from the image's own METADATA.XML, PROFILE.XML, .DISCINFO and volume id. The
// first source that fills a field wins. Of known, Source and Text are enough.
// The error is ErrNoRelease, wrapped, together with the evidence that was of no
// use; or one of reading the image.
func (im *Image) Release(known ...Evidence) (Release, error) {
	return Identify(im, im.volume.id, known...)
}

// Identify is Release for an installer's files wherever they lie, such as on
// the volume of a disk. volumeID is empty where there is none.
func Identify(fsys fs.FS, volumeID string, known ...Evidence) (Release, error) {
	s := sources{FS: fsys, volumeID: volumeID}
	var claims []claim
	for _, e := range known {
		claims = append(claims, understand(e))
	}
	for _, look := range []func() (*claim, error){s.metadataXML, s.profileXML, s.discInfo, s.volumeClaim} {
		c, err := look()
		if err != nil {
			return Release{}, err
		}
		if c != nil {
			claims = append(claims, *c)
		}
	}
	r := settle(claims)
	found := r.Version != "" || r.Build != ""
	r.Evidence = append(r.Evidence, s.architecture(&r)...)
	if !found {
		return r, fmt.Errorf("iso: volume %s: %w: no version in %s", printable(volumeID), ErrNoRelease, listed(known))
	}
	r.Product = "VMware ESXi"
	return r, nil
}

// sources is where a release may be told.
type sources struct {
	fs.FS
	volumeID string
}

// listed says where the release was looked for.
func listed(known []Evidence) string {
	var list []string
	for _, e := range known {
		list = append(list, e.Source)
	}
	return strings.Join(append(list, "UPGRADE/METADATA.XML, UPGRADE/PROFILE.XML, .DISCINFO or the volume id"), ", ")
}

// settle lets the first claim win, field by field.
func settle(claims []claim) Release {
	var r Release
	first := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	for _, c := range claims {
		r.Evidence = append(r.Evidence, c.Evidence)
		first(&r.Version, c.Version)
		first(&r.Build, c.Build)
		first(&r.Profile, c.Profile)
		first(&r.Vendor, c.vendor)
		if c.Version == r.Version { // 6.x tells its update in few places
			first(&r.Update, c.update)
		}
	}
	return r
}

// understand fills what a caller's evidence leaves empty from its text.
func understand(e Evidence) claim {
	c := claim{Evidence: e}
	version, update, build, ok := ParseVersion(e.Text)
	if !ok {
		if version, update, build, ok = parseProfile(e.Text); ok && c.Profile == "" && !strings.ContainsAny(e.Text, " \t\r\n") {
			c.Profile = e.Text
		}
	}
	if c.Version == "" {
		c.Version = version
	}
	if c.Version == version {
		c.update = update
	}
	if c.update == "" {
		_, c.update, _, _ = ParseVersion(c.Version)
	}
	if c.Build == "" {
		c.Build = build
	}
	return c
}

// metadataXML reads the upgrade metadata: <esxVersion> and <build>.
func (s *sources) metadataXML() (*claim, error) {
	const path = "UPGRADE/METADATA.XML"
	b, c, err := s.evidenceFile(path, maxMetadata)
	if b == nil {
		return c, err
	}
	f, err := xmlTexts(b, "esxVersion", "build")
	if err != nil {
		return unreadable(path, err), nil
	}
	c = &claim{Evidence: Evidence{Source: path, Text: strings.TrimSpace(f["esxVersion"] + " " + f["build"])}}
	c.Version, c.update, c.Build, _ = ParseVersion(f["esxVersion"])
	if n := f["build"]; n != "" && len(n) <= maxBuildDigits && allDigits(n) {
		c.Build = n
	}
	return c, nil
}

// profileXML reads the image profile: <name> and <creator>.
func (s *sources) profileXML() (*claim, error) {
	const path = "UPGRADE/PROFILE.XML"
	b, c, err := s.evidenceFile(path, maxMetadata)
	if b == nil {
		return c, err
	}
	f, err := xmlTexts(b, "name", "creator")
	if err != nil {
		return unreadable(path, err), nil
	}
	c = &claim{Evidence: Evidence{Source: path, Text: f["name"], Profile: f["name"]}, vendor: f["creator"]}
	c.Version, c.update, c.Build, _ = parseProfile(f["name"])
	return c, nil
}

// discInfo reads the line of .DISCINFO that names ESXi.
func (s *sources) discInfo() (*claim, error) {
	path := ".DISCINFO"
	if _, err := fs.Stat(s, path); errors.Is(err, fs.ErrNotExist) {
		path = "_DISCINF" // what genisoimage makes of it in 8.3 characters
	}
	b, c, err := s.evidenceFile(path, maxDiscInfo)
	if b == nil {
		return c, err
	}
	for line := range strings.Lines(text(b)) {
		line = strings.TrimSpace(line)
		if version, update, build, ok := parseProfile(line); ok {
			e := Evidence{Source: path, Text: quote(line), Version: version, Build: build}
			return &claim{Evidence: e, update: update}, nil
		}
	}
	return nil, nil
}

// volumeClaim reads the volume id: the image profile's name in upper case, as
// far as it fits.
func (s *sources) volumeClaim() (*claim, error) {
	id := s.volumeID
	version, update, build, ok := parseProfile(id)
	if !ok {
		return nil, nil
	}
	c := &claim{Evidence: Evidence{Source: "volume id", Text: printable(id), Version: version, Build: build}, update: update}
	if len(id) < maxVolumeText {
		c.Profile = id
	}
	return c, nil
}

// architecture sets Arch by the UEFI boot loader's name (UEFI 2.10, 3.5.1.1),
// if one alone is there.
func (s *sources) architecture(r *Release) []Evidence {
	var found []Evidence
	for _, loader := range [][2]string{{"EFI/BOOT/BOOTX64.EFI", "amd64"}, {"EFI/BOOT/BOOTAA64.EFI", "arm64"}} {
		if info, err := fs.Stat(s, loader[0]); err == nil && info.Mode().IsRegular() {
			found = append(found, Evidence{Source: loader[0], Text: loader[1]})
		}
	}
	if len(found) == 1 {
		r.Arch = found[0].Text
	}
	return found
}

// evidenceFile reads a file that may be missing. Without its bytes it returns
// what to say instead: nothing, why it is of no use, or the error of reading
// the image.
func (s *sources) evidenceFile(path string, limit int64) ([]byte, *claim, error) {
	info, err := fs.Stat(s, path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil, nil
	case err != nil:
		return nil, unreadable(path, err), nil
	case !info.Mode().IsRegular():
		return nil, unreadable(path, ErrIrregular), nil
	case info.Size() > limit:
		return nil, unreadable(path, fmt.Errorf("it has %d bytes, more than %d", info.Size(), limit)), nil
	case info.Size() == 0:
		return nil, unreadable(path, errors.New("it is empty")), nil
	}
	b, err := fs.ReadFile(s, path)
	if err != nil {
		return nil, nil, err
	}
	return b, nil, nil
}

// unreadable is the evidence of a file that tells nothing. Errors may quote the
// file at length.
func unreadable(path string, err error) *claim {
	return &claim{Evidence: Evidence{Source: path, Text: quote(fmt.Sprintf("unreadable: %v", err))}}
}

// quote returns the beginning of a text, fit for a terminal.
func quote(s string) string { return printable(s[:min(len(s), maxXMLText)]) }

// xmlTexts returns the text of the first element of each name, wherever it
// stands.
func xmlTexts(b []byte, names ...string) (map[string]string, error) {
	d := xml.NewDecoder(bytes.NewReader(b))
	texts := map[string]string{}
	wanted := func(name string) bool {
		_, done := texts[name]
		for _, n := range names {
			if n == name && !done {
				return true
			}
		}
		return false
	}
	current, depth := "", 0
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return texts, nil
		}
		if err != nil {
			return nil, err
		}
		switch t := token.(type) {
		case xml.StartElement:
			if depth++; depth > maxXMLDepth {
				return nil, fmt.Errorf("elements are more than %d deep", maxXMLDepth)
			}
			if current = ""; wanted(t.Name.Local) {
				current = t.Name.Local
				texts[current] = ""
			}
		case xml.EndElement:
			depth--
			if current != "" {
				texts[current] = strings.TrimSpace(texts[current])
			}
			current = ""
		case xml.CharData:
			if current == "" {
				continue
			}
			if len(texts[current])+len(t) > maxXMLText {
				return nil, fmt.Errorf("<%s> has more than %d bytes", current, maxXMLText)
			}
			texts[current] += string(t)
		}
	}
}
