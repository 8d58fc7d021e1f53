package page

import (
	"slices"
	"strings"

	"github.com/esxi-img/esxi-img/pkg/catalog"
	"github.com/esxi-img/esxi-img/pkg/registry"
)

// commandView is something to copy.
type commandView struct {
	Title string
	Text  string
	Note  string
}

// commands says how to use an image. What a registry chose stands quoted in
// them, for the shell as for the page.
func (img *Image) commands() []commandView {
	name := img.Locator + "@" + string(img.Digest)
	ref := quote(clean(name))
	http := ""
	if img.PlainHTTP {
		http = " --plain-http"
	}
	out := []commandView{
		{"Pull to a file", "esxi-img pull " + ref + " --output esxi.img" + http, "The policy file, --key or --certificate-identity says whom to trust."},
		{"Pull to this host’s disk", "esxi-img pull " + ref + " --output /dev/disk/by-id/DISK" + http, "Only what the disk does not hold yet is fetched."},
	}
	if img.local() {
		return append(out, commandView{"Push", "esxi-img push registry.example/esxi --layout " + quote(clean(strings.TrimPrefix(img.Locator, registry.SchemeLayout+":")+tagOf(img.Tags))), ""})
	}
	out = append(out, img.verifying(ref)...)
	tag := img.fixedTag()
	switch {
	case img.Variant:
		out = append(out, commandView{"Ironic and Metal3", "", "A variant has no disk of its own, and Ironic cannot deploy it. Build an image with this kickstart, or put what differs on the config drive."})
	case tag != "":
		source := "oci://" + clean(img.Locator) + ":" + tag
		out = append(out,
			commandView{"Ironic", "baremetal node set NODE --instance-info image_source=" + quote(source) + "\nbaremetal node deploy NODE --config-drive config-drive/", "Ironic checks digests, and no signatures."},
			commandView{"Metal3", "spec:\n  bootMode: UEFI\n  image:\n    url: " + source, "In a BareMetalHost."},
		)
	}
	return out
}

func (img *Image) local() bool {
	return strings.HasPrefix(img.Locator, registry.SchemeLayout+":") || strings.HasPrefix(img.Locator, registry.SchemeArchive+":")
}

// tagOf is ":TAG" of the first tag that may stand there.
func tagOf(tags []string) string {
	for _, t := range tags {
		if plainTag.MatchString(t) {
			return ":" + t
		}
	}
	return ""
}

// fixedTag is the tag that never moves, else the first.
func (img *Image) fixedTag() string {
	if slices.Contains(img.Tags, img.Version) && plainTag.MatchString(img.Version) {
		return img.Version
	}
	return strings.TrimPrefix(tagOf(img.Tags), ":")
}

// verifying says how cosign checks who signed it: each signer that is told, and
// where none is, nothing.
func (img *Image) verifying(ref string) []commandView {
	verify := "cosign verify "
	if img.PlainHTTP {
		verify += "--allow-http-registry "
	}
	note := "Fill in the key or the identity that you trust: nobody verified the one that is named here."
	if img.Signed == catalog.StateVerified {
		note = ""
	}
	for i := range img.Signers {
		s := &img.Signers[i]
		if s.Identity != "" {
			return []commandView{{"Verify with cosign", verify + "--certificate-identity " + quote(clean(s.Identity)) + " --certificate-oidc-issuer " + quote(clean(s.Issuer)) + " " + ref, note}}
		}
		if s.Key != "" {
			return []commandView{{"Verify with cosign", verify + "--key cosign.pub --insecure-ignore-tlog " + ref, strings.TrimSpace("The key is " + clean(s.Key) + ". " + note)}}
		}
	}
	return nil
}
