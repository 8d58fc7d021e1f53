package artifact

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/pkg/registry"
)

// Limits on what is copied at once.
const (
	// maxGraphManifests bounds the manifests: an image has three, each
	// signature is another.
	maxGraphManifests = 4096
	// maxGraphBytes bounds all of them together, in bytes: they are kept in
	// memory.
	maxGraphBytes = 32 << 20
	// maxGraphBlobs bounds the blobs that they list.
	maxGraphBlobs = 16384
)

// graph is what a manifest reaches, and what refers to any manifest of it, to
// those that refer to it, and so on.
type graph struct {
	from *registry.Repository
	// mountFrom is the repository for a registry that has the blobs already in
	// another, or "".
	mountFrom string

	nodes   []node
	loads   []load
	missing []digest.Digest
	bytes   int64
	seen    map[digest.Digest]bool // manifests
	blobs   map[digest.Digest]bool
}

// node is a manifest. It comes after those that it lists.
type node struct {
	blob
	artifactType string
	// subject is what it refers to, nil for one that was reached otherwise.
	subject *ocispec.Descriptor
}

// links is what a manifest or an index names.
type links struct {
	ArtifactType string               `json:"artifactType"`
	Config       *ocispec.Descriptor  `json:"config"`
	Layers       []ocispec.Descriptor `json:"layers"`
	Manifests    []ocispec.Descriptor `json:"manifests"`
	Subject      *ocispec.Descriptor  `json:"subject"`
}

// kind is what a list of referrers says of a manifest (OCI distribution-spec
// 1.1, "Listing Referrers").
func (m *links) kind() string {
	if m.ArtifactType == "" && m.Config != nil {
		return m.Config.MediaType
	}
	return m.ArtifactType
}

// graphOf finds all that belongs to a manifest.
func graphOf(ctx context.Context, from *registry.Repository, d ocispec.Descriptor, mountFrom string) (*graph, error) {
	g := &graph{from: from, mountFrom: mountFrom, seen: map[digest.Digest]bool{}, blobs: map[digest.Digest]bool{}}
	if err := g.walk(ctx, d, nil); err != nil {
		return nil, err
	}
	for i := 0; i < len(g.nodes); i++ { // it grows
		if err := g.addReferrers(ctx, g.nodes[i].Descriptor); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// addReferrers adds what refers to a manifest, in an order that does not
// depend on where that is listed.
func (g *graph) addReferrers(ctx context.Context, subject ocispec.Descriptor) error {
	found, err := g.from.Referrers(ctx, subject, "")
	if err != nil {
		return err
	}
	slices.SortFunc(found, func(a, b ocispec.Descriptor) int { return cmp.Compare(a.Digest, b.Digest) })
	for _, d := range found {
		err := g.walk(ctx, d, &subject)
		switch {
		case errors.Is(err, errGone):
			g.missing = append(g.missing, d.Digest)
		case err != nil:
			return err
		}
	}
	return nil
}

// errGone says that a referrer is listed and not there.
var errGone = errors.New("is listed as a referrer but not there")

// walk adds a manifest after all that it lists.
func (g *graph) walk(ctx context.Context, d ocispec.Descriptor, subject *ocispec.Descriptor) error {
	if g.seen[d.Digest] {
		return nil
	}
	g.bytes += max(d.Size, 0)
	if len(g.seen) == maxGraphManifests || g.bytes > maxGraphBytes {
		return malformed(d.Digest.String(), "more than %d manifests, or %d MiB of them, belong together", maxGraphManifests, maxGraphBytes>>20)
	}
	raw, err := g.from.FetchBytes(ctx, plain(d), MaxManifest)
	if subject != nil && errors.Is(err, registry.ErrNotFound) {
		return errGone
	}
	if err != nil {
		return err
	}
	var m links
	if err := decode(raw, &m, "manifest "+d.Digest.String()); err != nil {
		return err
	}
	if subject != nil && (m.Subject == nil || m.Subject.Digest != subject.Digest) {
		return nil // is no referrer of it, whoever says so
	}
	g.seen[d.Digest] = true
	for _, child := range m.Manifests {
		if !registry.IsManifest(child.MediaType) {
			err = g.addBlob(child)
		} else {
			err = g.walk(ctx, child, nil)
		}
		if err != nil {
			return err
		}
	}
	if m.Config != nil {
		m.Layers = append(m.Layers, *m.Config)
	}
	for _, b := range m.Layers {
		if err := g.addBlob(b); err != nil {
			return err
		}
	}
	g.nodes = append(g.nodes, node{blob{plain(d), raw}, m.kind(), subject})
	return nil
}

// addBlob adds a blob once.
func (g *graph) addBlob(d ocispec.Descriptor) error {
	if g.blobs[d.Digest] {
		return nil
	}
	if d.Size < 0 || d.Size > MaxDisk {
		return malformed("manifest", "%s has a size of %d bytes", cut(string(d.Digest)), d.Size)
	}
	if len(g.loads) == maxGraphBlobs {
		return malformed("manifest", "more than %d blobs belong together", maxGraphBlobs)
	}
	d = plain(d)
	if registry.IsManifest(d.MediaType) {
		d.MediaType = "application/octet-stream" // a layer lies among the blobs, whatever it is called
	}
	g.blobs[d.Digest] = true
	g.loads = append(g.loads, load{desc: d, open: rereader(g.from, d), mountFrom: g.mountFrom})
	return nil
}

// ReferrerCount is how many manifests of one artifact type refer to something.
type ReferrerCount struct {
	ArtifactType string `json:"artifactType"`
	Count        int    `json:"count"`
}

// countTypes counts artifact types, in order of their names.
func countTypes(artifactTypes []string) []ReferrerCount {
	slices.Sort(artifactTypes)
	out := []ReferrerCount{}
	for _, t := range artifactTypes {
		if n := len(out); n > 0 && out[n-1].ArtifactType == t {
			out[n-1].Count++
		} else {
			out = append(out, ReferrerCount{t, 1})
		}
	}
	return out
}

// rereader opens a blob so that an upload that broke can begin again: as a
// file where it is one, else by fetching it anew.
func rereader(from *registry.Repository, d ocispec.Descriptor) func(context.Context) (io.ReadCloser, error) {
	return func(ctx context.Context) (io.ReadCloser, error) {
		if path, ok := from.LocalPath(d); ok {
			return os.Open(path)
		}
		return &refetched{ctx: ctx, from: from, desc: d}, nil
	}
}

// refetched is a blob that is fetched when it is read, again after each Seek
// to its beginning.
type refetched struct {
	ctx  context.Context //nolint:containedctx // of the upload that reads
	from *registry.Repository
	desc ocispec.Descriptor
	body io.ReadCloser
}

// Read implements io.Reader.
func (r *refetched) Read(b []byte) (int, error) {
	if r.body == nil {
		body, err := r.from.Fetch(r.ctx, r.desc)
		if err != nil {
			return 0, err
		}
		r.body = body
	}
	return r.body.Read(b)
}

// Seek goes to the beginning, and nowhere else.
func (r *refetched) Seek(offset int64, whence int) (int64, error) {
	if offset != 0 || whence != io.SeekStart && (whence != io.SeekCurrent || r.body != nil) {
		return 0, fmt.Errorf("artifact: seek to %d (%d) in a blob that is fetched", offset, whence)
	}
	return 0, r.Close()
}

// Close ends the fetching.
func (r *refetched) Close() error {
	if r.body == nil {
		return nil
	}
	err := r.body.Close()
	r.body = nil
	return err
}
