package registry

import (
	"context"
	"maps"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Mark gives the entries of a manifest in index.json an annotation, and takes
// the same annotation with the same value from all others: what reads a layout
// by it takes the first that it finds. Nothing is marked where no entry names
// the manifest. A tag that is set anew loses the mark.
func (l *Layout) Mark(ctx context.Context, d digest.Digest, key, value string) error {
	return l.update(ctx, func(index *ocispec.Index) (bool, error) {
		named := slices.ContainsFunc(index.Manifests, func(e ocispec.Descriptor) bool { return e.Digest == d })
		changed := false
		for i := range index.Manifests {
			e := &index.Manifests[i]
			if has := e.Annotations[key] == value; !named || has == (e.Digest == d) {
				continue
			}
			e.Annotations = maps.Clone(e.Annotations)
			if e.Annotations == nil {
				e.Annotations = map[string]string{}
			}
			if e.Digest == d {
				e.Annotations[key] = value
			} else {
				delete(e.Annotations, key)
			}
			changed = true
		}
		return changed, nil
	})
}
