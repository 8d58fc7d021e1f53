package registry

import (
	"context"

	orasregistry "oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
)

// MaxRepositories bounds the repositories of a registry.
const MaxRepositories = 10_000

// Repositories lists the repositories of a registry, host[:port]. Not all
// registries allow that, and many list only what the user may read.
func Repositories(ctx context.Context, host string, opts Options) ([]Reference, error) {
	if err := checkRegistry(host); err != nil {
		return nil, err
	}
	c, err := newClient(host, "", opts)
	if err != nil {
		return nil, err
	}
	defer c.close()
	r := &remote.Registry{RepositoryOptions: remote.RepositoryOptions{
		Client: c, Reference: orasregistry.Reference{Registry: host}, PlainHTTP: opts.plainHTTP(host), MaxMetadataBytes: MaxManifest,
	}}
	var out []Reference
	pages := 0
	err = r.Repositories(ctx, "", func(page []string) error {
		if pages++; pages > MaxPages {
			return &LimitError{What: "number of pages", Limit: MaxPages}
		}
		for _, name := range page {
			if len(out) == MaxRepositories {
				return &LimitError{What: "number of repositories", Limit: MaxRepositories}
			}
			ref := Reference{Registry: host, Repository: name}
			// What a registry says is not a name until it was looked at.
			if parsed, err := parseRemote(ref.Locator()); err != nil || parsed != ref {
				continue
			}
			out = append(out, ref)
		}
		return nil
	})
	return out, failure("list repositories", host, err, c.secrets)
}
