// Package interop says whether other tools take an image as it lies in a
// registry or a layout. Its rules are those of the tools' own sources; what
// they do with an image after they took it is not its business.
package interop

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/pkg/registry"
)

// Tools that have rules.
const (
	Self       = "esxi-img"
	Ironic     = "ironic"
	ORAS       = "oras"
	Skopeo     = "skopeo"
	Podman     = "podman"
	Cosign     = "cosign"
	Tinkerbell = "tinkerbell"
)

// Tools lists them all.
var Tools = []string{Self, Ironic, ORAS, Skopeo, Podman, Cosign, Tinkerbell}

// Verdict is what became of a rule.
type Verdict string

// Verdicts.
const (
	Holds  Verdict = "ok"
	Fails  Verdict = "fails"
	Remark Verdict = "note" // neither, but worth knowing
)

// Finding is one rule and what became of it.
type Finding struct {
	Tool    string  `json:"tool"`
	Rule    string  `json:"rule"`
	Verdict Verdict `json:"verdict"`
	Reason  string  `json:"reason"`
}

// Observer sees what a registry answers besides content. Its Observe goes into
// registry.Options.
type Observer struct {
	manifests, digests atomic.Int64
}

// Observe looks at an answer's headers.
func (o *Observer) Observe(resp *http.Response) {
	if resp.Request == nil || resp.StatusCode != http.StatusOK || !strings.Contains(resp.Request.URL.Path, "/manifests/") {
		return
	}
	o.manifests.Add(1)
	if resp.Header.Get("Docker-Content-Digest") != "" {
		o.digests.Add(1)
	}
}

// Options say what to examine for.
type Options struct {
	// Tools to examine for; none: all. Tinkerbell cannot take what the others
	// take, so that its rule is a remark unless it is named.
	Tools []string
	// Observer is the one that the repository was opened with; nil: none.
	Observer *Observer
}

// Examine holds a manifest or an index against the rules. Errors are those of
// reading it; that a part of it is not there is a finding.
func Examine(ctx context.Context, from *registry.Repository, d ocispec.Descriptor, opts Options) ([]Finding, error) {
	s, err := load(ctx, from, d)
	if err != nil {
		return nil, err
	}
	s.observer = opts.Observer
	var out []Finding
	for _, r := range rules {
		if len(opts.Tools) > 0 && !slices.Contains(opts.Tools, r.tool) {
			continue
		}
		verdict, reason, err := r.check(ctx, s)
		if err != nil {
			return nil, err
		}
		if verdict == "" {
			continue // does not apply
		}
		if r.tool == Tinkerbell && len(opts.Tools) == 0 && verdict == Fails {
			verdict = Remark
		}
		out = append(out, Finding{r.tool, r.name, verdict, reason})
	}
	return out, nil
}

// rule is what a tool wants. A verdict "" says that it does not apply.
type rule struct {
	tool, name string
	check      func(ctx context.Context, s *subject) (Verdict, string, error)
}

// rules in the order in which they are told.
var rules = slices.Concat(selfRules, ironicRules, orasRules, otherRules)

// subject is what is examined.
type subject struct {
	from     *registry.Repository
	top      ocispec.Descriptor
	index    *ocispec.Index // nil where a manifest is named
	entries  []entry
	observer *Observer
}

// entry is a manifest.
type entry struct {
	desc     ocispec.Descriptor // as the index has it
	manifest ocispec.Manifest
	missing  bool // is listed and not there
}

func (e *entry) diskType() string { return e.desc.Annotations[artifact.AnnotationDiskType] }

// name is how an entry is called in a reason.
func (e *entry) name() string {
	if t := e.diskType(); t != "" {
		return fmt.Sprintf("the entry %q", t)
	}
	return "the entry " + e.desc.Digest.String()
}

// load reads all manifests.
func load(ctx context.Context, from *registry.Repository, d ocispec.Descriptor) (*subject, error) {
	s := &subject{from: from, top: d}
	if d.MediaType != ocispec.MediaTypeImageIndex {
		e, err := s.loadEntry(ctx, d)
		if err != nil {
			return nil, err
		}
		s.entries = []entry{e}
		return s, nil
	}
	s.index = &ocispec.Index{}
	if _, err := artifact.FetchManifest(ctx, from, d, s.index); err != nil {
		return nil, err
	}
	if n := len(s.index.Manifests); n > artifact.MaxIndexEntries {
		return nil, &artifact.FormatError{What: "index", Err: fmt.Errorf("%d manifests are over the limit of %d", n, artifact.MaxIndexEntries)}
	}
	for _, m := range s.index.Manifests {
		e, err := s.loadEntry(ctx, m)
		if errors.Is(err, registry.ErrNotFound) {
			e, err = entry{desc: m, missing: true}, nil
		}
		if err != nil {
			return nil, err
		}
		s.entries = append(s.entries, e)
	}
	return s, nil
}

func (s *subject) loadEntry(ctx context.Context, d ocispec.Descriptor) (entry, error) {
	e := entry{desc: d}
	if d.MediaType != ocispec.MediaTypeImageManifest {
		return e, nil // a rule says so
	}
	if _, err := artifact.FetchManifest(ctx, s.from, d, &e.manifest); err != nil {
		return e, err
	}
	if n := len(e.manifest.Layers); n > artifact.MaxIndexEntries {
		return e, &artifact.FormatError{What: "manifest", Err: fmt.Errorf("%d layers are over the limit of %d", n, artifact.MaxIndexEntries)}
	}
	return e, nil
}

// remote says whether the subject is in a registry.
func (s *subject) remote() bool { return s.from.Reference().Scheme == "" }

// variant says whether the image has the disk of another.
func (s *subject) variant() bool {
	return slices.ContainsFunc(s.entries, func(e entry) bool { return e.manifest.ArtifactType == artifact.TypeVariant })
}

// ok, fails and note are how rules end.
func ok(format string, args ...any) (Verdict, string, error) {
	return Holds, fmt.Sprintf(format, args...), nil
}

func fails(format string, args ...any) (Verdict, string, error) {
	return Fails, fmt.Sprintf(format, args...), nil
}

func note(format string, args ...any) (Verdict, string, error) {
	return Remark, fmt.Sprintf(format, args...), nil
}

// skip is how a rule that does not apply ends.
func skip() (Verdict, string, error) { return "", "", nil }
