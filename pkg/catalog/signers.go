package catalog

import (
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/pkg/parallel"
	"github.com/esxi-img/esxi-img/pkg/registry"
)

// maxAttached bounds what is read of the signatures and attestations of one
// image, in bytes: a signature has some 10 KiB, and many images are looked at
// at once.
const maxAttached = 4 << 20

// verdict is who vouches for a digest.
type verdict struct {
	state   State
	signers []Signer
	refused string
}

// signers finds out who vouches for the images: once for each digest, since
// several tags may name the same one.
func (l *lister) signers(ctx context.Context, found []named, entries []Entry) error {
	var subjects []ocispec.Descriptor
	at := map[digest.Digest]int{}
	for i := range found {
		n := &found[i]
		if n.entry == nil || n.entry.Problem != "" {
			continue
		}
		if _, seen := at[n.desc.Digest]; !seen {
			at[n.desc.Digest] = len(subjects)
			subjects = append(subjects, n.desc)
		}
	}
	verdicts := make([]verdict, len(subjects))
	err := parallel.Do(ctx, l.workers*lookFactor, len(subjects), func(ctx context.Context, i int) (err error) {
		verdicts[i], err = l.judge(ctx, subjects[i])
		return err
	})
	if err != nil {
		return err
	}
	for i := range entries {
		if e := &entries[i]; e.Problem == "" {
			v := &verdicts[at[e.Digest]]
			e.Signed, e.Signers, e.Refused = v.state, v.signers, v.refused
		}
	}
	return nil
}

// judge asks the policy, and where it does not accept the image, looks who says
// that they signed it. Whatever leaves the question open is an error.
func (l *lister) judge(ctx context.Context, d ocispec.Descriptor) (verdict, error) {
	as := l.opts.As
	if as == (registry.Reference{}) {
		as = l.repo.Reference()
	}
	s := artifact.Subject{
		Ref:        as.WithDigest(d.Digest).String(),
		Target:     &subject{repo: l.repo, cache: l.cache, left: maxAttached},
		Descriptor: d,
	}
	out := verdict{state: StateNone}
	if l.opts.Verifier != nil {
		v, err := artifact.Verify(ctx, l.opts.Verifier, s)
		var refused *artifact.VerificationError
		switch {
		case err == nil && !v.Skipped:
			return verifiedBy(v), nil
		case errors.As(err, &refused):
			out.refused = text(refused.Err.Error())
		case err != nil:
			return out, err
		}
	}
	if l.opts.Claims == nil {
		return out, nil
	}
	claims, err := l.opts.Claims(ctx, s)
	if err != nil || len(claims) == 0 {
		return out, err
	}
	out.state = StateClaimed
	for i := range claims[:min(len(claims), maxSigners)] {
		c := &claims[i]
		out.signers = append(out.signers, Signer{text(c.Identity), text(c.Issuer), text(c.Key), text(c.Name), c.Time})
	}
	return out, nil
}

// verifiedBy is the verdict of a verifier that accepted an image.
func verifiedBy(v *artifact.Verification) verdict {
	out := verdict{state: StateVerified}
	for i := range v.Signers[:min(len(v.Signers), maxSigners)] {
		s := &v.Signers[i]
		out.signers = append(out.signers, Signer{text(s.Identity), text(s.Issuer), text(s.Key), text(s.Authority), s.Time})
	}
	return out
}

// subject is where one image lies, for a verifier: what has a digest comes from
// the cache, what refers to the image is asked for once, and no more than left
// bytes are read. It is for one goroutine.
type subject struct {
	repo  *registry.Repository
	cache cache
	left  int64

	listed    bool
	referrers []ocispec.Descriptor
	of        digest.Digest
}

var _ artifact.Target = (*subject)(nil)

// Referrers implements artifact.Target.
func (s *subject) Referrers(ctx context.Context, d ocispec.Descriptor, artifactType string) ([]ocispec.Descriptor, error) {
	if artifactType != "" {
		return s.repo.Referrers(ctx, d, artifactType)
	}
	if !s.listed || s.of != d.Digest {
		found, err := s.repo.Referrers(ctx, d, "")
		if err != nil {
			return nil, err
		}
		s.listed, s.referrers, s.of = true, found, d.Digest
	}
	return s.referrers, nil
}

// Fetch implements artifact.Target.
func (s *subject) Fetch(ctx context.Context, d ocispec.Descriptor) (io.ReadCloser, error) {
	if _, raw, ok := s.cache.get(d.Digest); ok && int64(len(raw)) == d.Size {
		return io.NopCloser(bytes.NewReader(raw)), nil
	}
	if d.Size > s.left {
		return nil, &registry.LimitError{What: "size of what is attached to an image", Value: maxAttached - s.left + d.Size, Limit: maxAttached}
	}
	raw, err := s.repo.FetchBytes(ctx, d, maxAttached)
	if err != nil {
		return nil, err
	}
	s.left -= d.Size
	s.cache.put(d.MediaType, d.Digest, raw)
	return io.NopCloser(bytes.NewReader(raw)), nil
}
