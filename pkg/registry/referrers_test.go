package registry_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/pkg/registry"
)

const (
	bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"
	sbomType   = "application/spdx+json"
)

// digestsOf lists the digests of referrers, sorted.
func digestsOf(t *testing.T, r *registry.Repository, subject ocispec.Descriptor, artifactType string) []string {
	t.Helper()
	found, err := r.Referrers(t.Context(), subject, artifactType)
	if err != nil {
		t.Fatal(err)
	}
	out := []string{}
	for _, d := range found {
		out = append(out, d.Digest.String())
	}
	slices.Sort(out)
	return out
}

func sorted(s ...string) []string { slices.Sort(s); return s }

// In every place: what is attached is found, by type, and is fetched.
func TestReferrers(t *testing.T) {
	for _, place := range []string{"api", "no api", "layout"} {
		t.Run(place, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			f.api = place == "api"
			r := f.open(t)
			if place == "layout" {
				r = newLayoutRepository(t)
			}
			testReferrers(t, r)
			if place == "api" && f.count("PUT manifests") != 5 {
				t.Errorf("%d manifests were put", f.count("PUT manifests"))
			}
		})
	}
}

func testReferrers(t *testing.T, r *registry.Repository) {
	t.Helper()
	manifest, subject := manifestOf(t, "application/x", nil)
	push(t, r, ocispec.DescriptorEmptyJSON, []byte("{}"))
	push(t, r, subject, manifest)
	if err := r.Tag(t.Context(), subject, "a"); err != nil {
		t.Fatal(err)
	}
	if got := digestsOf(t, r, subject, ""); len(got) != 0 {
		t.Errorf("before: %v", got)
	}
	signature, sdesc := manifestOf(t, bundleType, &subject)
	sbom, bdesc := manifestOf(t, sbomType, &subject)
	for _, m := range [][]byte{signature, sbom} {
		desc, err := r.PushReferrer(t.Context(), m)
		if err != nil || desc.Digest != digest.FromBytes(m) {
			t.Fatalf("%v, %v", desc, err)
		}
	}
	// Once more does no harm.
	push(t, r, sdesc, signature)
	for artifactType, want := range map[string][]string{
		"":            sorted(sdesc.Digest.String(), bdesc.Digest.String()),
		bundleType:    {sdesc.Digest.String()},
		sbomType:      {bdesc.Digest.String()},
		"application": {},
	} {
		if got := digestsOf(t, r, subject, artifactType); !slices.Equal(got, want) {
			t.Errorf("of type %q: %v, want %v", artifactType, got, want)
		}
	}
	if got, err := r.FetchBytes(t.Context(), sdesc, 0); err != nil || !bytes.Equal(got, signature) {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := r.PushReferrer(t.Context(), manifest); err == nil {
		t.Error("a manifest without a subject was taken for a referrer")
	}
}

// Answers that mean that there is no API.
func TestNoReferrersAPI(t *testing.T) {
	manifest, subject := manifestOf(t, "application/x", nil)
	signature, sdesc := manifestOf(t, bundleType, &subject)
	for name, answer := range map[string]http.HandlerFunc{
		"303": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/page", http.StatusSeeOther) },
		"404": http.NotFound,
		"405": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(405) },
		"429": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(429) },
		"a page": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte("<html>"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			f.before = func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, "/referrers/") {
					// The registry says that it looks after referrers. It does not.
					w.Header().Set("OCI-Subject", subject.Digest.String())
					return false
				}
				answer(w, r)
				return true
			}
			r := f.open(t)
			push(t, r, subject, manifest)
			push(t, r, sdesc, signature)
			if got := digestsOf(t, r, subject, bundleType); !slices.Equal(got, []string{sdesc.Digest.String()}) {
				t.Errorf("got %v", got)
			}
			if _, ok := f.manifests[registry.ReferrersTag(subject.Digest)]; !ok {
				t.Error("there is no fall-back tag")
			}
			if f.count("GET /") != 0 {
				t.Error("the redirect was followed")
			}
		})
	}
	t.Run("500 is an error", func(t *testing.T) {
		f := newFake(t)
		f.before = func(w http.ResponseWriter, r *http.Request) bool {
			w.WriteHeader(500)
			return true
		}
		if _, err := f.open(t).Referrers(t.Context(), subject, ""); err == nil || !temporary(err) {
			t.Errorf("%v", err)
		}
	})
}

// Many who attach at once, each from a process of its own, all succeed.
func TestAttachAtOnce(t *testing.T) {
	f := newFake(t)
	manifest, subject := manifestOf(t, "application/x", nil)
	push(t, f.open(t), subject, manifest)
	const many = 6
	var want []string
	var wg sync.WaitGroup
	errs := make([]error, many)
	for i := range many {
		signature, desc := manifestOf(t, fmt.Sprintf("application/n%d", i), &subject)
		want = append(want, desc.Digest.String())
		r := f.open(t)
		wg.Go(func() { _, errs[i] = r.PushReferrer(t.Context(), signature) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if got := digestsOf(t, f.open(t), subject, ""); !slices.Equal(got, sorted(want...)) {
		t.Errorf("%d of %d are listed", len(got), many)
	}
}

// A registry that has an API and lists nothing there.
func TestAttachIsNotListed(t *testing.T) {
	f := newFake(t)
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/referrers/") {
			w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
			_, _ = w.Write([]byte(`{"schemaVersion":2,"manifests":[]}`))
			return true
		}
		return false
	}
	_, subject := manifestOf(t, "application/x", nil)
	signature, _ := manifestOf(t, bundleType, &subject)
	if _, err := f.open(t).PushReferrer(t.Context(), signature); err == nil || !strings.Contains(err.Error(), "does not list it") {
		t.Errorf("%v", err)
	}
}

// A list may hold anything; what cannot be a referrer is passed over, and too
// many are an error.
func TestHostileReferrers(t *testing.T) {
	_, subject := manifestOf(t, "application/x", nil)
	_, good := manifestOf(t, bundleType, &subject)
	good.ArtifactType = bundleType
	list := func(descs ...ocispec.Descriptor) []byte {
		b, err := json.Marshal(ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: descs})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	many := make([]ocispec.Descriptor, registry.MaxReferrers+1)
	for i := range many {
		many[i] = good
		many[i].Digest = digest.FromString(fmt.Sprint(i))
	}
	for _, api := range []bool{true, false} {
		for name, c := range map[string]struct {
			body []byte
			want int
			text string
		}{
			"bad ones": {list(
				ocispec.Descriptor{}, good, good,
				ocispec.Descriptor{MediaType: good.MediaType, Digest: "sha256:../../x", Size: 1},
				ocispec.Descriptor{MediaType: good.MediaType, Digest: digest.FromString("y"), Size: -1},
				ocispec.Descriptor{MediaType: "text/plain", Digest: digest.FromString("z"), Size: 1},
			), 1, ""},
			"too many":  {list(many...), 0, "number of referrers: over the limit of 2000"},
			"no JSON":   {[]byte("{"), 0, "invalid"},
			"too large": {append(list(), make([]byte, 5<<20)...), 0, "over the limit of 4194304"},
		} {
			t.Run(fmt.Sprintf("%s, api %v", name, api), func(t *testing.T) {
				f := newFake(t)
				f.before = func(w http.ResponseWriter, r *http.Request) bool {
					if !api && strings.Contains(r.URL.Path, "/referrers/") {
						return false
					}
					w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
					_, _ = w.Write(c.body)
					return true
				}
				found, err := f.open(t).Referrers(t.Context(), subject, bundleType)
				if len(found) != c.want || (err == nil) != (c.text == "") || c.text != "" && name != "no JSON" && !strings.Contains(err.Error(), c.text) {
					t.Errorf("%d, %v", len(found), err)
				}
			})
		}
	}
}

// A list that is full takes no more.
func TestFullFallback(t *testing.T) {
	manifest, subject := manifestOf(t, "application/x", nil)
	signature, _ := manifestOf(t, bundleType, &subject)
	many := make([]ocispec.Descriptor, registry.MaxReferrers)
	for i := range many {
		many[i] = describe(ocispec.MediaTypeImageManifest, fmt.Append(nil, i))
	}
	list, ldesc := indexOf(t, many...)
	f := newFake(t)
	r := f.open(t)
	push(t, r, subject, manifest)
	push(t, r, ldesc, list)
	if err := r.Tag(t.Context(), ldesc, registry.ReferrersTag(subject.Digest)); err != nil {
		t.Fatal(err)
	}
	var limit *registry.LimitError
	if _, err := r.PushReferrer(t.Context(), signature); !errors.As(err, &limit) || limit.Limit != registry.MaxReferrers {
		t.Errorf("%v", err)
	}
}
