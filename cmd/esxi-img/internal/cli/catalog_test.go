package cli_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/pkg/registry/registrytest"
)

// TestCatalogOfRegistry lists a whole registry, where it allows that.
func TestCatalogOfRegistry(t *testing.T) {
	l := liar(t)
	allow := func(truth http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v2/_catalog" {
				truth.ServeHTTP(w, r)
				return
			}
			fmt.Fprint(w, `{"repositories":["liar/esxi","LIAR\u001b[31m"]}`)
		})
	}
	l.Tell(allow)
	r := command(t.Context(), "catalog", l.Host, "--no-cache", "--retries", "0")
	r.ended(t, done, "")
	if !strings.Contains(r.stdout, "\n8.0 ") || !strings.Contains(r.stdout, "in "+l.Host+"/liar/esxi\n") {
		t.Error(r.stdout)
	}
	l.Tell(registrytest.Refuse(http.StatusForbidden, ""))
	r = command(t.Context(), "catalog", l.Host, "--no-cache", "--retries", "0")
	r.ended(t, badRegistry, "403")
	empty := func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"repositories":[]}`) })
	}
	l.Tell(empty)
	r = command(t.Context(), "catalog", l.Host, "--no-cache", "--retries", "0")
	r.ended(t, badRegistry, "lists no repositories")
}

// TestCatalogOfHostileTexts holds that what a registry sends never reaches the
// terminal raw, in none of the forms.
func TestCatalogOfHostileTexts(t *testing.T) {
	l := liar(t)
	evil := "\x1b]0;pwned\x07\u009b31m\u202e  9.9.9 | <script>alert(1)</script> [x](http://evil.example) @all"
	x := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, ArtifactType: artifact.TypeIndex, Annotations: map[string]string{}}
	x.SchemaVersion = 2
	x.Manifests = []ocispec.Descriptor{{MediaType: ocispec.MediaTypeImageManifest, ArtifactType: artifact.TypeImage, Digest: digest.FromString(""), Platform: &ocispec.Platform{Architecture: evil}}}
	for _, key := range []string{
		ocispec.AnnotationTitle, ocispec.AnnotationVersion, ocispec.AnnotationCreated, artifact.AnnotationRelease, artifact.AnnotationUpdate,
		artifact.AnnotationBuild, artifact.AnnotationProfile, artifact.AnnotationDiskSize,
	} {
		x.Annotations[key] = evil
	}
	body, err := json.Marshal(x)
	if err != nil {
		t.Fatal(err)
	}
	isTag := func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/manifests/8.0") }
	for name, lie := range map[string]registrytest.Lie{
		"annotations": registrytest.OtherManifest(ocispec.MediaTypeImageIndex, body),
		"media type":  registrytest.OtherManifest(`application/x; y="`+evil[:4]+`"`, body),
		"no manifest": registrytest.OtherManifest(ocispec.MediaTypeImageIndex, []byte(evil)),
	} {
		l.Tell(registrytest.Where(isTag, lie))
		for _, form := range []string{"--quiet", "--json", "--format=markdown"} {
			r := command(t.Context(), "catalog", l.Host+"/liar/esxi", "--no-cache", "--retries", "0", form)
			r.ended(t, done, "")
			for _, c := range r.stdout + r.stderr {
				if c != '\n' && !unicode.IsPrint(c) {
					t.Fatalf("%s, %s: %q in %q", name, form, c, r.stdout+r.stderr)
				}
			}
			if form == "--format=markdown" && strings.ContainsAny(r.stdout, "<>@") {
				t.Errorf("%s: %s", name, r.stdout)
			}
		}
	}
}

// TestPagesOfSilentRegistry holds that a registry that does not answer is no
// broken image: there are no pages then.
func TestPagesOfSilentRegistry(t *testing.T) {
	l := liar(t)
	dir := filepath.Join(t.TempDir(), "site")
	html := func() ran {
		return command(t.Context(), "catalog", l.Host+"/liar/esxi", "--html", dir, "--no-cache", "--retries", "0")
	}
	l.Tell(registrytest.On(http.MethodGet, registrytest.Blobs, registrytest.Refuse(http.StatusInternalServerError, "")))
	r := html()
	r.ended(t, badRegistry, "500")
	if _, err := os.Stat(dir); err == nil {
		t.Error("there are pages")
	}
	// One that has lost the image's config is.
	l.Tell(registrytest.On(http.MethodGet, registrytest.Blobs, registrytest.Refuse(http.StatusNotFound, "")))
	r = html()
	r.ended(t, done, "")
	if pages, err := filepath.Glob(filepath.Join(dir, "image", "*.html")); err != nil || len(pages) != 1 {
		t.Errorf("%v, %v", pages, err)
	}
}
