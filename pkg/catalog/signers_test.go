package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/pkg/catalog"
	"github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/pkg/registry/registrytest"
)

// listReferrers claims a signer for each referrer that it can read.
func listReferrers(ctx context.Context, s artifact.Subject) ([]catalog.Signer, error) {
	found, err := s.Target.Referrers(ctx, s.Descriptor, "")
	if err != nil {
		return nil, err
	}
	var out []catalog.Signer
	for _, d := range found {
		raw, err := artifact.FetchBytes(ctx, s.Target, d, registry.MaxManifest)
		var limit *registry.LimitError
		if errors.As(err, &limit) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, catalog.Signer{Identity: fmt.Sprintf("\x1b[1mmallory %d", len(raw))})
	}
	return out, nil
}

// judge accepts one digest, lets another pass unchecked, and refuses the rest.
type judge struct {
	good, unchecked digest.Digest
	asked           atomic.Int64
	err             error
}

func (j *judge) Verify(ctx context.Context, s artifact.Subject) (*artifact.Verification, error) {
	j.asked.Add(1)
	if j.err != nil {
		return nil, j.err
	}
	if !strings.HasSuffix(s.Ref, "/fake/esxi@"+s.Descriptor.Digest.String()) {
		return nil, &artifact.UndecidedError{Err: errors.New(s.Ref)}
	}
	// As a verifier does, which costs the list no second request.
	if _, err := s.Target.Referrers(ctx, s.Descriptor, ""); err != nil {
		return nil, err
	}
	v := &artifact.Verification{Digest: s.Descriptor.Digest.String()}
	switch s.Descriptor.Digest {
	case j.good:
		v.Signers = []artifact.Signer{{Identity: "alice@example.com", Authority: "the lab"}}
		return v, nil
	case j.unchecked:
		v.Skipped = true
		return v, nil
	default:
		return nil, errors.New("not by\x07 anybody")
	}
}

func TestSigners(t *testing.T) {
	f := newFake(t)
	good := f.tag("good", image("8.0.2", "1"))
	f.tag("good-too", image("8.0.2", "1"))
	f.attach(good, foreign)
	claimed := f.tag("claimed", image("8.0.2", "2"))
	f.attach(claimed, foreign)
	f.tag("none", image("8.0.2", "3"))
	unchecked := f.tag("unchecked", image("8.0.2", "4"))
	f.attach(unchecked, foreign)
	f.tag("broken", image("8.0.2", "5", annotated("x", "y"))+"}")
	j := &judge{good: good, unchecked: unchecked}
	opts := catalog.Options{Signers: true, Verifier: j, Claims: listReferrers, Cache: t.TempDir()}
	l := f.listing(t, opts)

	for _, tag := range []string{"good", "good-too"} {
		if e := find(t, l, tag); e.Signed != catalog.StateVerified || len(e.Signers) != 1 || e.Signers[0].Name != "the lab" || e.Refused != "" {
			t.Errorf("%+v", e)
		}
	}
	if e := find(t, l, "claimed"); e.Signed != catalog.StateClaimed || len(e.Signers) != 1 ||
		!strings.HasPrefix(e.Signers[0].Identity, "\uFFFD[1mmallory") || e.Refused != "not by\uFFFD anybody" {
		t.Errorf("%+v", e)
	}
	if e := find(t, l, "none"); e.Signed != catalog.StateNone || e.Signers != nil || e.Refused == "" {
		t.Errorf("%+v", e)
	}
	// What a policy lets pass is not verified.
	if e := find(t, l, "unchecked"); e.Signed != catalog.StateClaimed || e.Refused != "" {
		t.Errorf("%+v", e)
	}
	if e := find(t, l, "broken"); e.Signed != "" || e.Problem == "" {
		t.Errorf("%+v", e)
	}
	// Each digest once, and its referrers once; the one that refers to all of them
	// may be asked for by two at once, but not the next time.
	if n := j.asked.Load(); n != 4 {
		t.Errorf("the verifier was asked %d times", n)
	}
	f.asked(t, map[registrytest.RequestKind]int{registrytest.Referrers: 4}, 0)
	f.listing(t, opts)
	f.asked(t, map[registrytest.RequestKind]int{registrytest.Referrers: 4, registrytest.Manifests: 1}, 5)

	// Without a policy nothing is verified; without Signers nothing is asked.
	if e := find(t, f.listing(t, catalog.Options{Signers: true, Claims: listReferrers}), "good"); e.Signed != catalog.StateClaimed {
		t.Errorf("%+v", e)
	}
	if e := find(t, f.listing(t, catalog.Options{Claims: listReferrers}), "good"); e.Signed != "" {
		t.Errorf("%+v", e)
	}
	f.asked(t, map[registrytest.RequestKind]int{registrytest.Referrers: 0}, 0)
}

// TestUndecided holds that a question that stays open is an error.
func TestUndecided(t *testing.T) {
	f := many(t, 3)
	j := &judge{err: &artifact.UndecidedError{Err: errors.New("no trust root")}}
	l, err := catalog.List(t.Context(), f.open(t), catalog.Options{Signers: true, Verifier: j, Claims: listReferrers})
	var undecided *artifact.UndecidedError
	if l != nil || !errors.As(err, &undecided) {
		t.Errorf("%v, %v", l, err)
	}
}

// crowd accepts everything, in many names.
type crowd struct{}

func (crowd) Verify(_ context.Context, s artifact.Subject) (*artifact.Verification, error) {
	return &artifact.Verification{Digest: s.Descriptor.Digest.String(), Signers: make([]artifact.Signer, 1000)}, nil
}

// TestManySigners holds that a list stays one, whoever signs how often.
func TestManySigners(t *testing.T) {
	f := newFake(t)
	f.tag("8.0", image("8.0.2", "1"))
	claims := func(context.Context, artifact.Subject) ([]catalog.Signer, error) {
		return make([]catalog.Signer, 1000), nil
	}
	if e := find(t, f.listing(t, catalog.Options{Signers: true, Claims: claims}), "8.0"); len(e.Signers) != 20 {
		t.Errorf("%d claimed", len(e.Signers))
	}
	if e := find(t, f.listing(t, catalog.Options{Signers: true, Verifier: crowd{}}), "8.0"); len(e.Signers) != 20 {
		t.Errorf("%d verified", len(e.Signers))
	}
}

// TestMuchAttached holds that no more than a bound is read of what is attached.
func TestMuchAttached(t *testing.T) {
	f := newFake(t)
	d := f.tag("8.0", image("8.0.2", "1"))
	for i := range 20 {
		f.attach(d, fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","n":%d,"x":%q}`, i, strings.Repeat("x", 1<<20)))
	}
	e := find(t, f.listing(t, catalog.Options{Signers: true, Claims: listReferrers}), "8.0")
	if len(e.Signers) != 3 {
		t.Errorf("%d were read", len(e.Signers))
	}
}
