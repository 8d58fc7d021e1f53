package signing

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// MediaTypeBundle is a Sigstore bundle's: of the layer that holds one, and the
// artifact type of the manifest around it.
const MediaTypeBundle = "application/vnd.dev.sigstore.bundle.v0.3+json"

// Annotations of that manifest, as cosign 3 writes them.
const (
	annotationContent   = "dev.sigstore.bundle.content"
	annotationPredicate = "dev.sigstore.bundle.predicateType"
	contentDSSE         = "dsse-envelope"
)

// Store takes what is attached to a subject. *registry.Repository is one.
type Store interface {
	Push(ctx context.Context, d ocispec.Descriptor, r io.Reader) error
	PushReferrer(ctx context.Context, manifest []byte) (ocispec.Descriptor, error)
}

// attach pushes a bundle as a referrer of its subject.
func attach(ctx context.Context, to Store, subject ocispec.Descriptor, predicateType string, bundle []byte) (ocispec.Descriptor, error) {
	layer := ocispec.Descriptor{MediaType: MediaTypeBundle, Digest: digest.FromBytes(bundle), Size: int64(len(bundle))}
	for _, b := range []struct {
		d    ocispec.Descriptor
		data []byte
	}{{layer, bundle}, {plainEmpty(), ocispec.DescriptorEmptyJSON.Data}} {
		if err := to.Push(ctx, b.d, bytes.NewReader(b.data)); err != nil {
			return ocispec.Descriptor{}, err
		}
	}
	manifest, err := json.Marshal(ocispec.Manifest{
		Versioned:    specs.Versioned{SchemaVersion: 2},
		MediaType:    ocispec.MediaTypeImageManifest,
		ArtifactType: MediaTypeBundle,
		Config:       plainEmpty(),
		Layers:       []ocispec.Descriptor{layer},
		Subject:      &ocispec.Descriptor{MediaType: subject.MediaType, Digest: subject.Digest, Size: subject.Size},
		Annotations:  map[string]string{annotationContent: contentDSSE, annotationPredicate: predicateType},
	})
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("encode the signature's manifest: %w", err)
	}
	return to.PushReferrer(ctx, manifest)
}

// plainEmpty is the empty config's descriptor without its data (image-spec 1.1,
// "Guidance for an Empty Descriptor").
func plainEmpty() ocispec.Descriptor {
	d := ocispec.DescriptorEmptyJSON
	d.Data = nil
	return d
}
