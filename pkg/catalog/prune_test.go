package catalog_test

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/pkg/catalog"
	"github.com/esxi-img/esxi-img/pkg/registry/registrytest"
)

// threeBuilds is a repository with builds 1, 2 and 3 of a release, the first with
// something attached.
func threeBuilds(t *testing.T) *fake {
	t.Helper()
	f := newFake(t)
	for _, b := range []string{"1", "2", "3"} {
		d := f.tag("8.0.2-"+b, image("8.0.2", b))
		f.attach(d, about(d, "a"))
	}
	return f
}

// about refers to a manifest.
func about(d digest.Digest, text string) string {
	return `{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageManifest + `","artifactType":"application/` + text +
		`","config":{"mediaType":"application/x","digest":"` + string(digest.FromString("{}")) + `","size":2},"layers":[],"subject":{"mediaType":"` +
		ocispec.MediaTypeImageIndex + `","digest":"` + string(d) + `","size":1}}`
}

func (f *fake) left() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(slices.Sorted(maps.Keys(f.tags)), " ")
}

func TestPrune(t *testing.T) {
	keep := catalog.PruneOptions{Keep: 1}
	for name, c := range map[string]struct {
		change func(*fake)
		left   string
		fails  error
		some   string // of the error
		gone   int
	}{
		"all":            {left: "8.0.2-3", gone: 2},
		"untold digests": {change: func(f *fake) { f.digestless = true }, left: "8.0.2-3", gone: 2},
		"dangling tags":  {change: func(f *fake) { f.leaveTags = true }, left: "8.0.2-3", gone: 2},
		"pages":          {change: func(f *fake) { f.page = 1 }, left: "8.0.2-3", gone: 2},
		"nothing deletes": {
			change: func(f *fake) { f.deletes = func(string) int { return http.StatusMethodNotAllowed } },
			left:   "8.0.2-1 8.0.2-2 8.0.2-3", fails: catalog.ErrNothingDeletes,
		},
		"tags only": {
			change: func(f *fake) {
				f.deletes = func(name string) int {
					if strings.HasPrefix(name, "sha256:") {
						return http.StatusMethodNotAllowed
					}
					return 0
				}
			},
			left: "8.0.2-3", gone: 2,
		},
		"forbidden": {
			change: func(f *fake) { f.deletes = func(string) int { return http.StatusForbidden } },
			left:   "8.0.2-1 8.0.2-2 8.0.2-3", some: "403",
		},
		"half-way": {
			change: func(f *fake) {
				n := 0
				f.deletes = func(string) int {
					if n++; n > 2 { // an image, and what is attached to it
						return http.StatusForbidden
					}
					return 0
				}
			},
			left: "8.0.2-1 8.0.2-3", some: "403", gone: 1,
		},
		"what is attached stays": {
			change: func(f *fake) {
				n := 0
				f.deletes = func(string) int {
					if n++; n > 1 {
						return http.StatusForbidden
					}
					return 0
				}
			},
			left: "8.0.2-1 8.0.2-3", some: "the image is gone, but what belonged to it is not", gone: 1,
		},
		"a tag is moved meanwhile": {
			change: func(f *fake) {
				f.deletes = func(string) int { // while the first goes
					f.tags["8.0.2-1"] = image("8.0.2", "4")
					return 0
				}
			},
			left: "8.0.2-1 8.0.2-3", gone: 1,
		},
		"a tag is moved in the moment of its removal": {
			change: func(f *fake) {
				f.deletes = func(name string) int {
					if name == string(digest.FromString(image("8.0.2", "2"))) {
						f.tags["8.0.2-2"] = image("8.0.2", "4")
					}
					return 0
				}
			},
			left: "8.0.2-2 8.0.2-3", gone: 2,
		},
		"a lie about what is attached": {
			change: func(f *fake) {
				other := f.blobs
				for d := range other {
					f.referrers[digest.FromString(f.tags["8.0.2-1"])] = append(f.referrers[digest.FromString(f.tags["8.0.2-1"])], ocispec.Descriptor{
						MediaType: ocispec.MediaTypeImageManifest, Digest: d, Size: int64(len(other[d])),
					})
				}
			},
			left: "8.0.2-3", gone: 2,
		},
		"a manifest that cannot be read": {
			change: func(f *fake) {
				all := indexOf(image("8.0.2", "1"))
				f.tags["all"] = indexOf(all)
				f.blobs[digest.FromString(all)] = all
				f.Tell(registrytest.Where(func(r *http.Request) bool {
					return strings.HasSuffix(r.URL.Path, digest.FromString(all).String())
				}, registrytest.Refuse(http.StatusForbidden, "")))
			},
			left: "8.0.2-1 8.0.2-2 8.0.2-3 all", some: "403",
		},
		"referrers that cannot be listed": {
			change: func(f *fake) {
				f.Tell(func(truth http.Handler) http.Handler {
					return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						if strings.Contains(r.URL.Path, "/referrers/") {
							w.WriteHeader(http.StatusForbidden)
							return
						}
						truth.ServeHTTP(w, r)
					})
				})
			},
			left: "8.0.2-1 8.0.2-2 8.0.2-3", some: "403",
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := threeBuilds(t)
			third := digest.FromString(about(digest.FromString(f.tags["8.0.2-3"]), "a"))
			if c.change != nil {
				c.change(f)
			}
			out, err := catalog.Prune(t.Context(), f.open(t), keep)
			if (err != nil) != (c.some != "" || c.fails != nil) || c.fails != nil && !errors.Is(err, c.fails) || err != nil && !strings.Contains(err.Error(), c.some) {
				t.Errorf("%v, want %q", err, c.some)
			}
			if f.left() != c.left {
				t.Errorf("left: %s, want %s", f.left(), c.left)
			}
			gone := 0
			if out != nil {
				for _, i := range out.Images {
					if i.Removed {
						gone++
					}
				}
			}
			if gone != c.gone || out != nil && out.Removed != c.gone {
				t.Errorf("%d gone, want %d", gone, c.gone)
			}
			if f.blobs[third] == "" {
				t.Error("what is attached to the newest is gone")
			}
		})
	}
}

// TestPruneLooksAgain finds a tag that was set since the list was made.
func TestPruneLooksAgain(t *testing.T) {
	defer catalog.SetStale(0)()
	f := threeBuilds(t)
	f.deletes = func(string) int {
		time.Sleep(50 * time.Millisecond) // longer than a look takes
		f.tags["prod"] = image("8.0.2", "1")
		return 0
	}
	out, err := catalog.Prune(t.Context(), f.open(t), catalog.PruneOptions{Keep: 1})
	if err != nil {
		t.Fatal(err)
	}
	if f.left() != "8.0.2-1 8.0.2-3 prod" || out.Removed != 1 {
		t.Errorf("left: %s, %+v", f.left(), out)
	}
	if i := slices.IndexFunc(out.Images, func(f catalog.Fate) bool { return f.Build == "1" }); out.Images[i].Remove || out.Images[i].Reason != "meanwhile: the tag prod may have been moved here, and others may use it" {
		t.Errorf("%+v", out.Images[i])
	}
}

// TestPruneTakesWhatIsListed removes the manifests of an image, and not those of
// others that it lists.
func TestPruneTakesWhatIsListed(t *testing.T) {
	f := newFake(t)
	own := `{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageManifest + `","artifactType":"` + artifact.TypeImage + `"}`
	f.blobs[digest.FromString(own)] = own
	f.blobs[digest.FromString(foreign)] = foreign
	f.tag("8.0.2-1", image("8.0.2", "1", func(x *ocispec.Index) {
		x.Manifests[0].Digest, x.Manifests[0].Size = digest.FromString(own), int64(len(own))
		x.Manifests = append(x.Manifests, ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString(foreign), Size: int64(len(foreign))})
	}))
	f.tag("8.0.2-2", image("8.0.2", "2"))
	if _, err := catalog.Prune(t.Context(), f.open(t), catalog.PruneOptions{Keep: 1}); err != nil {
		t.Fatal(err)
	}
	if f.left() != "8.0.2-2" || f.blobs[digest.FromString(own)] != "" || f.blobs[digest.FromString(foreign)] == "" {
		t.Error(f.left(), len(f.blobs))
	}
}

// TestPruneKeepsWhatIsShared keeps a manifest that an image that stays lists too,
// with what is attached to it.
func TestPruneKeepsWhatIsShared(t *testing.T) {
	f := newFake(t)
	shared := `{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageManifest + `","artifactType":"` + artifact.TypeImage + `"}`
	d := digest.FromString(shared)
	f.blobs[d] = shared
	f.attach(d, about(d, "a"))
	lists := func(x *ocispec.Index) { x.Manifests[0].Digest, x.Manifests[0].Size = d, int64(len(shared)) }
	f.tag("8.0.2-1", image("8.0.2", "1", lists))
	f.tag("8.0.2-2", image("8.0.2", "2", lists))
	if _, err := catalog.Prune(t.Context(), f.open(t), catalog.PruneOptions{Keep: 1}); err != nil {
		t.Fatal(err)
	}
	if f.left() != "8.0.2-2" || f.blobs[d] == "" || f.blobs[digest.FromString(about(d, "a"))] == "" {
		t.Error(f.left(), len(f.blobs))
	}
}

// indexOf is somebody's index of another one.
func indexOf(x string) string {
	return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%[1]q,"manifests":[{"mediaType":%[1]q,"digest":%[2]q,"size":%[3]d}]}`,
		ocispec.MediaTypeImageIndex, digest.FromString(x), len(x))
}

// TestPruneReadsAllLevels keeps what an index lists that another one lists.
func TestPruneReadsAllLevels(t *testing.T) {
	f := threeBuilds(t)
	below := image("8.0.2", "1")
	for range 3 {
		below = indexOf(below)
		f.blobs[digest.FromString(below)] = below
	}
	f.tag("all", indexOf(below))
	if _, err := catalog.Prune(t.Context(), f.open(t), catalog.PruneOptions{Keep: 1}); err != nil {
		t.Fatal(err)
	}
	if f.left() != "8.0.2-1 8.0.2-3 all" {
		t.Error(f.left())
	}
}

// TestPruneSharedList leaves the empty list of referrers that two images have
// until the second of them goes.
func TestPruneSharedList(t *testing.T) {
	f := threeBuilds(t)
	first, second := digest.FromString(image("8.0.2", "1")), digest.FromString(image("8.0.2", "2"))
	tagOf := func(d digest.Digest) string { return "sha256-" + d.Encoded() }
	const empty = `{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageIndex + `","manifests":[]}`
	f.tag(tagOf(first), empty)
	f.tag(tagOf(second), empty)
	f.deletes = func(name string) int { // the second goes first
		if name == string(first) {
			return http.StatusForbidden
		}
		return 0
	}
	if _, err := catalog.Prune(t.Context(), f.open(t), catalog.PruneOptions{Keep: 1}); err == nil {
		t.Error("no error")
	}
	if want := "8.0.2-1 8.0.2-3 " + tagOf(first); f.left() != want {
		t.Errorf("left: %s, want %s", f.left(), want)
	}
}

func TestPruneOptions(t *testing.T) {
	f := threeBuilds(t)
	for _, o := range []catalog.PruneOptions{{}, {Keep: -1}, {Keep: 1, RemoveTags: []string{"["}}} {
		if out, err := catalog.Prune(t.Context(), f.open(t), o); out != nil || err == nil || f.left() != "8.0.2-1 8.0.2-2 8.0.2-3" {
			t.Errorf("%+v: %v, %v", o, err, f.left())
		}
	}
}
