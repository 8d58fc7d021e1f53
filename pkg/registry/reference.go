package registry

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"strings"

	// The digests that a reference may have.
	_ "crypto/sha256"
	_ "crypto/sha512"

	"github.com/opencontainers/go-digest"
	orasregistry "oras.land/oras-go/v2/registry"
)

// Schemes of references that are no registry's.
const (
	SchemeLayout  = "oci"         // an OCI image layout in a folder
	SchemeArchive = "oci-archive" // a tar archive of a layout
)

// maxReference bounds the text of a reference, in bytes: a path may be long.
const maxReference = 4096

// maxRepository bounds a repository's name, in bytes, as registries do.
const maxRepository = 255

// tagRegexp is a tag (OCI distribution-spec 1.1, "Pulling manifests").
var tagRegexp = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)

// Reference names a repository, or a manifest in it:
//
//	host[:port]/repository[:tag][@digest]
//	oci:DIR[:tag][@digest]
//	oci-archive:FILE[:tag][@digest]
type Reference struct {
	Scheme     string // "", SchemeLayout or SchemeArchive
	Registry   string // host[:port]; an IPv6 address in brackets
	Repository string
	Path       string // of the folder or archive
	Tag        string
	Digest     digest.Digest
}

// ReferenceError says why a text is no reference.
type ReferenceError struct {
	Text   string
	Err    error
	Advice string // may be empty
}

func (e *ReferenceError) Error() string { return fmt.Sprintf("%q is no reference: %v", e.Text, e.Err) }
func (e *ReferenceError) Unwrap() error { return e.Err }

// Parse reads a reference. What it does not like is a *ReferenceError.
//
// The tag of a layout or archive is what follows the last colon, if that could
// be a tag; a folder with a colon in its last name is written with a slash
// after it.
func Parse(text string) (Reference, error) {
	ref, err := parse(text)
	if err != nil {
		e := &ReferenceError{Text: text, Err: err}
		e.Advice = "write host[:port]/repository[:tag][@digest], oci:DIR[:tag] or oci-archive:FILE[:tag]"
		if scheme, rest, ok := strings.Cut(text, "://"); ok {
			e.Advice = fmt.Sprintf("leave out %q: %s", scheme+"://", rest)
		}
		return Reference{}, e
	}
	return ref, nil
}

func parse(text string) (Reference, error) {
	if len(text) > maxReference {
		return Reference{}, fmt.Errorf("%d bytes are over the limit of %d", len(text), maxReference)
	}
	if strings.Contains(text, "://") {
		return Reference{}, errors.New("it is written as a URL")
	}
	for _, scheme := range []string{SchemeLayout, SchemeArchive} {
		if rest, ok := strings.CutPrefix(text, scheme+":"); ok {
			return parseLocal(scheme, rest)
		}
	}
	return parseRemote(text)
}

func parseLocal(scheme, rest string) (Reference, error) {
	ref := Reference{Scheme: scheme, Path: rest}
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		if d, err := parseDigest(rest[i+1:]); err == nil {
			ref.Path, ref.Digest = rest[:i], d
		}
	}
	if i := strings.LastIndexByte(ref.Path, ':'); i >= 0 {
		switch tag := ref.Path[i+1:]; {
		case tag == "":
			return Reference{}, errors.New("nothing follows the last colon")
		case tagRegexp.MatchString(tag):
			ref.Path, ref.Tag = ref.Path[:i], tag
		}
	}
	if ref.Path == "" {
		return Reference{}, fmt.Errorf("no path follows %q", scheme+":")
	}
	if strings.ContainsRune(ref.Path, 0) {
		return Reference{}, errors.New("the path has a NUL in it")
	}
	return ref, nil
}

func parseRemote(text string) (Reference, error) {
	name, text, hasDigest := strings.Cut(text, "@")
	var ref Reference
	if hasDigest {
		d, err := parseDigest(text)
		if err != nil {
			return Reference{}, err
		}
		ref.Digest = d
	}
	host, path, ok := strings.Cut(name, "/")
	if !ok {
		return Reference{}, errors.New("it has no registry or no repository")
	}
	if path, tag, ok := strings.Cut(path, ":"); ok {
		if err := checkTag(tag); err != nil {
			return Reference{}, err
		}
		ref.Registry, ref.Repository, ref.Tag = host, path, tag
	} else {
		ref.Registry, ref.Repository = host, path
	}
	if len(ref.Repository) > maxRepository {
		return Reference{}, fmt.Errorf("the repository's name has %d bytes, over the limit of %d", len(ref.Repository), maxRepository)
	}
	o := orasregistry.Reference{Registry: ref.Registry, Repository: ref.Repository}
	if err := checkHost(ref.Registry); err != nil {
		return Reference{}, err
	}
	if err := errors.Join(o.ValidateRegistry(), o.ValidateRepository()); err != nil {
		return Reference{}, err
	}
	return ref, nil
}

// checkHost refuses what a URL's authority may hold and a registry's name may not.
func checkHost(host string) error {
	if host == "" || strings.ContainsAny(host, "@?#%\\ \t\r\n") {
		return fmt.Errorf("%q is no host name", host)
	}
	return nil
}

// parseDigest reads a digest of a kind that is computed here.
func parseDigest(text string) (digest.Digest, error) {
	d, err := digest.Parse(text)
	if err != nil {
		return "", fmt.Errorf("digest %.100q: %w", text, err)
	}
	return d, nil
}

func checkTag(tag string) error {
	if !tagRegexp.MatchString(tag) {
		return fmt.Errorf("%.200q cannot be a tag: letters, digits, '_', '.' and '-', at most 128", tag)
	}
	return nil
}

// String writes the reference so that Parse reads it.
func (r Reference) String() string {
	s := r.Locator()
	if r.Tag != "" {
		s += ":" + r.Tag
	}
	if r.Digest != "" {
		s += "@" + r.Digest.String()
	}
	return s
}

// Locator is the reference without tag and digest: where the repository is.
func (r Reference) Locator() string {
	if r.Scheme == "" {
		return r.Registry + "/" + r.Repository
	}
	return r.Scheme + ":" + r.Path
}

// Name is what the reference names in its repository: the digest, else the
// tag, else "latest".
func (r Reference) Name() string {
	switch {
	case r.Digest != "":
		return r.Digest.String()
	case r.Tag != "":
		return r.Tag
	default:
		return defaultTag
	}
}

// WithTag returns the reference with that tag instead of its tag and digest.
func (r Reference) WithTag(tag string) Reference {
	r.Tag, r.Digest = tag, ""
	return r
}

// WithDigest returns the reference with that digest and no tag.
func (r Reference) WithDigest(d digest.Digest) Reference {
	r.Tag, r.Digest = "", d
	return r
}

// SameRegistry says whether blobs can be mounted from one into the other.
func (r Reference) SameRegistry(other Reference) bool {
	return r.Scheme == "" && other.Scheme == "" && strings.EqualFold(r.Registry, other.Registry)
}

// SamePlace says whether both name the same repository, folder or archive.
func (r Reference) SamePlace(other Reference) bool {
	if r.Scheme != other.Scheme {
		return false
	}
	if r.Scheme == "" {
		return r.SameRegistry(other) && r.Repository == other.Repository
	}
	return filepath.Clean(r.Path) == filepath.Clean(other.Path)
}

// isLoopback says whether a registry's name is of this machine: where nobody
// can listen in, plain HTTP does.
func isLoopback(registry string) bool {
	host := registry
	if h, _, err := net.SplitHostPort(registry); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}
