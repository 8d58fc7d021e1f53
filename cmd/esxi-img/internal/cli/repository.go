package cli

import (
	"context"
	"errors"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/pkg/registry"
)

// openResolved opens the repository of a reference as openHeld does, and finds out
// what the reference names.
func openResolved(ctx context.Context, ref registry.Reference, opts registry.Options) (
	r *registry.Repository, d ocispec.Descriptor, release func() error, err error,
) {
	if r, release, err = openHeld(ctx, ref, opts, registry.Open); err != nil {
		return nil, d, nil, err
	}
	if d, err = r.Resolve(ctx, ""); err != nil {
		return nil, d, nil, errors.Join(err, release())
	}
	return r, d, release, nil
}

// openHeld opens a repository, and keeps others from removing what is in it if
// it is a layout. release closes it.
func openHeld(ctx context.Context, ref registry.Reference, opts registry.Options,
	open func(context.Context, registry.Reference, registry.Options) (*registry.Repository, error),
) (_ *registry.Repository, release func() error, err error) {
	r, err := open(ctx, ref, opts)
	if err != nil {
		return nil, nil, err
	}
	letGo, err := hold(ctx, r)
	if err != nil {
		return nil, nil, errors.Join(err, r.Close())
	}
	return r, func() error { return errors.Join(letGo(), r.Close()) }, nil
}

// hold keeps others from removing blobs of a layout while it is used.
func hold(ctx context.Context, r *registry.Repository) (release func() error, err error) {
	if l, ok := r.Layout(); ok {
		return l.Hold(ctx)
	}
	return func() error { return nil }, nil
}
