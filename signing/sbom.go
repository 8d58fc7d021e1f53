package signing

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/spdx/tools-golang/spdx/v2/common"
	"github.com/spdx/tools-golang/spdx/v2/v2_3"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/pkg/plan"
)

const (
	// spdxNamespace begins the names of documents. They need not be addresses of
	// anything (SPDX 2.3, 6.5).
	spdxNamespace = "https://github.com/esxi-img/esxi-img/spdx/"
	// noAssertion is what SPDX has for what nobody looked into.
	noAssertion = "NOASSERTION"
)

// Purposes of packages (SPDX 2.3, 7.24).
const (
	purposeInstall = "INSTALL"
	purposeArchive = "ARCHIVE"
	purposeFile    = "FILE"
)

// SBOM makes an SPDX document (2.3, JSON) of the VIBs and files of an image. It
// is the same bytes for the same config and the same version of this program,
// tool, which may be empty.
//
// Files are packages whose purpose is to be a file: SPDX wants a SHA-1 of what
// it calls a file (8.4), and a config has SHA-256 only.
func SBOM(c *artifact.Config, tool string) (json.RawMessage, error) {
	b := &sbom{config: c}
	b.doc = v2_3.Document{
		SPDXVersion: v2_3.Version, DataLicense: v2_3.DataLicense, SPDXIdentifier: "DOCUMENT",
		DocumentName: "esxi-" + c.ESXi.Version + "-" + c.ESXi.Build,
		CreationInfo: &v2_3.CreationInfo{
			Creators: []common.Creator{{CreatorType: "Tool", Creator: toolName(tool)}},
			Created:  c.Disk.Time.UTC().Format(time.RFC3339),
		},
	}
	b.image()
	b.source()
	files := b.files()
	b.vibs(files)
	// Every document has a name of its own: by what stands in it.
	text, err := json.Marshal(&b.doc)
	if err != nil {
		return nil, fmt.Errorf("encode the SBOM: %w", err)
	}
	sum := sha256.Sum256(text)
	b.doc.DocumentNamespace = spdxNamespace + url.PathEscape(b.doc.DocumentName) + "-" + hex.EncodeToString(sum[:])
	if text, err = json.Marshal(&b.doc); err != nil {
		return nil, fmt.Errorf("encode the SBOM: %w", err)
	}
	return text, nil
}

// toolName is how SPDX writes a tool: its name and its version.
func toolName(version string) string {
	if version == "" {
		return program
	}
	return program + "-" + version
}

// sbom is an SPDX document that is being made.
type sbom struct {
	config *artifact.Config
	doc    v2_3.Document
}

// Identifiers of elements that there is one of.
const (
	idDocument common.ElementID = "DOCUMENT"
	idImage    common.ElementID = "Image"
	idISO      common.ElementID = "ISO"
	idBase     common.ElementID = "Base"
)

// add adds a package, of which nothing is known beyond what p says.
func (b *sbom) add(p *v2_3.Package) {
	p.PackageDownloadLocation = noAssertion
	p.PackageLicenseConcluded, p.PackageLicenseDeclared, p.PackageCopyrightText = noAssertion, noAssertion, noAssertion
	p.IsFilesAnalyzedTagPresent = true
	b.doc.Packages = append(b.doc.Packages, p)
}

func (b *sbom) relate(from common.ElementID, how string, to common.ElementID) {
	b.doc.Relationships = append(b.doc.Relationships, &v2_3.Relationship{
		RefA: common.DocElementID{ElementRefID: from}, RefB: common.DocElementID{ElementRefID: to}, Relationship: how,
	})
}

func sha256Checksum(digits string) []common.Checksum {
	return []common.Checksum{{Algorithm: common.SHA256, Value: digits}}
}

// supplier is an organization's name, if there is one.
func supplier(vendor string) *common.Supplier {
	if vendor == "" {
		return &common.Supplier{Supplier: noAssertion}
	}
	return &common.Supplier{SupplierType: "Organization", Supplier: vendor}
}

// image describes the disk.
func (b *sbom) image() {
	e := &b.config.ESXi
	b.add(&v2_3.Package{
		PackageName: "esxi-image", PackageSPDXIdentifier: idImage, PackageVersion: e.Version + "-" + e.Build,
		PackageSupplier: supplier(e.Vendor), PackageChecksums: sha256Checksum(b.config.Disk.SHA256.String()),
		PackageSummary:        "Disk image that installs " + strings.Join(strings.Fields("VMware ESXi "+e.Version+" "+e.Update+" build "+e.Build), " "),
		PackageComment:        labelled("image profile", e.Profile),
		PrimaryPackagePurpose: purposeInstall,
	})
	b.relate(idDocument, common.TypeRelationshipDescribe, idImage)
}

// labelled is a comment, empty where there is nothing to say.
func labelled(name, value string) string {
	if value == "" {
		return ""
	}
	return name + ": " + value
}

// source names what the image was made from.
func (b *sbom) source() {
	iso := &b.config.ISO
	b.add(&v2_3.Package{
		PackageName: iso.Name, PackageSPDXIdentifier: idISO, PackageFileName: iso.Name,
		PackageSupplier: supplier(b.config.ESXi.Vendor), PackageChecksums: sha256Checksum(iso.SHA256.String()),
		PackageComment: labelled("volume id", iso.VolumeID), PrimaryPackagePurpose: purposeArchive,
	})
	b.relate(idImage, common.TypeRelationshipGeneratedFrom, idISO)
	base := b.config.Base
	if base == nil {
		return
	}
	b.add(&v2_3.Package{
		PackageName: "esxi-image", PackageSPDXIdentifier: idBase, PackageSupplier: supplier(b.config.ESXi.Vendor),
		PackageChecksums: sha256Checksum(base.Disk.Encoded()), PackageComment: labelled("manifest", base.Manifest.String()),
		PrimaryPackagePurpose: purposeInstall,
	})
	b.relate(idImage, common.TypeRelationshipVariantOf, idBase)
}

// files describes the files on the disk, and returns their identifiers by path.
func (b *sbom) files() map[string]common.ElementID {
	ids := make(map[string]common.ElementID, len(b.config.Files))
	for i := range b.config.Files {
		f := &b.config.Files[i]
		p := &v2_3.Package{
			PackageName: "/" + f.Path, PackageSPDXIdentifier: common.ElementID(fmt.Sprintf("File-%d", i+1)), PackageFileName: "./" + f.Path,
			PackageSupplier: &common.Supplier{Supplier: noAssertion}, PackageChecksums: sha256Checksum(f.SHA256.String()),
			PrimaryPackagePurpose: purposeFile,
		}
		if f.Role != plan.RolePayload {
			p.PackageComment = labelled("role", string(f.Role))
		}
		b.add(p)
		b.relate(idImage, common.TypeRelationshipContains, p.PackageSPDXIdentifier)
		ids[f.Path] = p.PackageSPDXIdentifier
	}
	return ids
}

// vibs describes the software packages of the release, and which files are
// theirs.
func (b *sbom) vibs(files map[string]common.ElementID) {
	for i := range b.config.VIBs {
		v := &b.config.VIBs[i]
		id := common.ElementID(fmt.Sprintf("VIB-%d", i+1))
		b.add(&v2_3.Package{
			PackageName: v.Name, PackageSPDXIdentifier: id, PackageVersion: v.Version, PackageSupplier: supplier(v.Vendor),
			PackageComment:            labelled("acceptance level", v.Acceptance),
			PackageExternalReferences: packageURL(v),
		})
		b.relate(idImage, common.TypeRelationshipContains, id)
		for _, path := range v.Files {
			if file, ok := files[path]; ok {
				b.relate(id, common.TypeRelationshipContains, file)
			}
		}
	}
}

// packageURL names a VIB as a package URL: there is no type for VIBs, so it is
// "generic".
func packageURL(v *artifact.VIB) []*v2_3.PackageExternalReference {
	if v.Name == "" {
		return nil
	}
	locator := "pkg:generic/" + purlEscape(v.Name)
	if v.Version != "" {
		locator += "@" + purlEscape(v.Version)
	}
	return []*v2_3.PackageExternalReference{{Category: common.CategoryPackageManager, RefType: common.TypePackageManagerPURL, Locator: locator}}
}

// purlEscape encodes all but what a package URL leaves as it is.
func purlEscape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }
