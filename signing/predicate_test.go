package signing_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	provenancev1 "github.com/in-toto/attestation/go/predicates/provenance/v1"
	"github.com/opencontainers/go-digest"
	"github.com/spdx/tools-golang/spdx/v2/common"
	"github.com/spdx/tools-golang/spdx/v2/v2_3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/pkg/plan"
	"github.com/esxi-img/esxi-img/signing"
)

var update = flag.Bool("update", false, "rewrite what is expected in testdata")

func sum(text string) artifact.SHA256 { return sha256.Sum256([]byte(text)) }

// sampleConfig is what our predicates are made from, as far as they look.
func sampleConfig() *artifact.Config {
	return &artifact.Config{
		ESXi: artifact.ESXi{Version: "8.0.2", Update: "U2", Build: "22380479", Profile: "ESXi-8.0U2-22380479-standard", Vendor: "VMware, Inc.", Architecture: "amd64"},
		ISO:  artifact.ISO{Name: "esxi <8.0> & more.iso", Size: 1 << 20, SHA256: sum("iso"), VolumeID: "ESXI-8.0U2-22380479-STANDARD"},
		Disk: artifact.Disk{Size: 2 << 20, SectorSize: 512, SHA256: sum("disk"), Time: time.Date(2023, 9, 4, 14, 59, 10, 0, time.UTC)},
		Files: []artifact.File{
			{Path: "B.B00", Size: 10, SHA256: sum("b"), Role: plan.RolePayload},
			{Path: "EFI/BOOT/BOOT.CFG", Size: 10, SHA256: sum("cfg"), Role: plan.RoleBootCfg},
			{Path: "ESXIIMG.TGZ", Size: 10, SHA256: sum("module"), Role: plan.RoleModule},
		},
		Planner:    artifact.Planner{Name: "planner", Version: 1},
		Kickstart:  artifact.Kickstart{Size: 3, SHA256: sum("ks"), Settings: "{}\n"},
		Modules:    []artifact.Module{{Path: "ESXIIMG.TGZ", Size: 10, SHA256: sum("module")}},
		KernelOpts: []string{"systemMediaSize=small"},
		VIBs: []artifact.VIB{
			{Name: "esx-base", Version: "8.0.2-0.0.22380479", Vendor: "VMware", Acceptance: "VMwareCertified", Files: []string{"B.B00"}},
			{Name: "tool s+", Version: "1.0:2", Files: []string{}},
		},
		Builder: artifact.Builder{Version: "v1.2.3"},
	}
}

func variantConfig() *artifact.Config {
	c := sampleConfig()
	c.Base = &artifact.Base{
		Index: digest.FromString("index"), Manifest: digest.FromString("manifest"), Disk: digest.FromString("base"), DiskSize: 2 << 20,
	}
	return c
}

// makers of our predicates.
var makers = map[string]func(*artifact.Config) (json.RawMessage, error){
	"sbom":       func(c *artifact.Config) (json.RawMessage, error) { return signing.SBOM(c, "v1.2.3") },
	"provenance": func(c *artifact.Config) (json.RawMessage, error) { return signing.Provenance(c, "") },
}

func makeOf(tb testing.TB, kind string, c *artifact.Config) json.RawMessage {
	tb.Helper()
	text, err := makers[kind](c)
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

// TestPredicates holds every byte: who attests the same again gets the same.
func TestPredicates(t *testing.T) {
	for kind := range makers {
		for name, config := range map[string]*artifact.Config{"image": sampleConfig(), "variant": variantConfig()} {
			t.Run(kind+" "+name, func(t *testing.T) {
				text := makeOf(t, kind, config)
				var shown bytes.Buffer
				if err := json.Indent(&shown, text, "", "  "); err != nil {
					t.Fatal(err)
				}
				shown.WriteByte('\n')
				file := filepath.Join("testdata", "predicate", kind+"-"+name+".json")
				if *update {
					if err := os.WriteFile(file, shown.Bytes(), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(want, shown.Bytes()) {
					t.Errorf("%s is not (if it is meant: go test -update):\n%s", file, shown.Bytes())
				}
			})
		}
	}
}

// TestSBOM reads the SBOM of an image with another program's code, and finds in
// it what the config says.
func TestSBOM(t *testing.T) {
	repo, index := packed(t)
	s, err := signing.FindSubjects(t.Context(), repo, index, "")
	if err != nil {
		t.Fatal(err)
	}
	c := s.Image.Config
	if len(c.VIBs) == 0 || len(c.Files) == 0 {
		t.Fatal("the image is no test: it has no VIBs or files")
	}
	text := makeOf(t, "sbom", c)
	var doc v2_3.Document
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	packages := map[common.ElementID]*v2_3.Package{}
	form := regexp.MustCompile(`^[A-Za-z0-9.-]+$`)
	for _, p := range doc.Packages {
		if packages[p.PackageSPDXIdentifier] != nil || !form.MatchString(string(p.PackageSPDXIdentifier)) {
			t.Errorf("identifier %q stands there twice, or is none", p.PackageSPDXIdentifier)
		}
		if p.FilesAnalyzed || p.PackageName == "" || p.PackageDownloadLocation == "" {
			t.Errorf("package %+v", p)
		}
		packages[p.PackageSPDXIdentifier] = p
	}
	related := map[string]bool{}
	name := func(id common.DocElementID) string {
		if id.ElementRefID == "DOCUMENT" {
			return "document"
		}
		p := packages[id.ElementRefID]
		if p == nil {
			t.Fatalf("%q is related and not there", id.ElementRefID)
		}
		return p.PackageName
	}
	for _, r := range doc.Relationships {
		related[name(r.RefA)+" "+r.Relationship+" "+name(r.RefB)] = true
	}
	want := []string{"document DESCRIBES esxi-image", "esxi-image GENERATED_FROM esxi.iso"}
	for i := range c.VIBs {
		v := &c.VIBs[i]
		want = append(want, "esxi-image CONTAINS "+v.Name)
		if !slices.ContainsFunc(doc.Packages, func(p *v2_3.Package) bool {
			return p.PackageName == v.Name && p.PackageVersion == v.Version && p.PackageSupplier.Supplier == v.Vendor && strings.HasSuffix(p.PackageComment, v.Acceptance)
		}) {
			t.Errorf("VIB %+v is not there", v)
		}
		for _, f := range v.Files {
			want = append(want, v.Name+" CONTAINS /"+f)
		}
	}
	for i := range c.Files {
		f := &c.Files[i]
		want = append(want, "esxi-image CONTAINS /"+f.Path)
		if !slices.ContainsFunc(doc.Packages, func(p *v2_3.Package) bool {
			return p.PackageName == "/"+f.Path && slices.Equal(p.PackageChecksums, []common.Checksum{{Algorithm: common.SHA256, Value: f.SHA256.String()}})
		}) {
			t.Errorf("file %+v is not there", f)
		}
	}
	for _, w := range want {
		if !related[w] {
			t.Errorf("it does not say %q", w)
		}
	}
	t.Logf("%d bytes for %d VIBs and %d files", len(text), len(c.VIBs), len(c.Files))
}

// TestSBOMNamespace gives documents that differ different names.
func TestSBOMNamespace(t *testing.T) {
	seen := map[string]bool{}
	other := sampleConfig()
	other.Files[0].SHA256 = sum("another")
	for _, tt := range []struct {
		config *artifact.Config
		tool   string
	}{{sampleConfig(), ""}, {sampleConfig(), "v2"}, {other, ""}, {variantConfig(), ""}} {
		text, err := signing.SBOM(tt.config, tt.tool)
		if err != nil {
			t.Fatal(err)
		}
		var doc struct {
			DocumentNamespace string `json:"documentNamespace"`
		}
		if err := json.Unmarshal(text, &doc); err != nil {
			t.Fatal(err)
		}
		if seen[doc.DocumentNamespace] || strings.ContainsAny(doc.DocumentNamespace, "# ") {
			t.Errorf("%q was there before, or is no URI", doc.DocumentNamespace)
		}
		seen[doc.DocumentNamespace] = true
	}
}

// TestProvenance reads it as in-toto's own library does.
func TestProvenance(t *testing.T) {
	repo, index := packed(t)
	s, err := signing.FindSubjects(t.Context(), repo, index, "")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*artifact.Config{"image": s.Image.Config, "variant": variantConfig()} {
		text, err := signing.Provenance(c, "https://ci.example/builder@v1")
		if err != nil {
			t.Fatal(err)
		}
		var p provenancev1.Provenance
		if err := protojson.Unmarshal(text, &p); err != nil {
			t.Fatal(err)
		}
		if err := p.Validate(); err != nil {
			t.Error(err)
		}
		if p.RunDetails.Builder.Id != "https://ci.example/builder@v1" || p.RunDetails.Builder.Version["esxi-img"] != c.Builder.Version {
			t.Errorf("%s: builder %v", name, p.RunDetails.Builder)
		}
		materials := map[string]string{}
		for _, m := range p.BuildDefinition.ResolvedDependencies {
			materials[m.Name] = m.Digest["sha256"]
		}
		want := map[string]string{c.ISO.Name: c.ISO.SHA256.String()}
		if b := c.Base; b != nil {
			want["base manifest"], want["base disk"], want["base index"] = b.Manifest.Encoded(), b.Disk.Encoded(), b.Index.Encoded()
		}
		if fmt.Sprint(materials) != fmt.Sprint(want) {
			t.Errorf("%s: materials %v, want %v", name, materials, want)
		}
		kickstart := p.BuildDefinition.ExternalParameters.Fields["kickstart"].GetStructValue().Fields["sha256"].GetStringValue()
		if kickstart != c.Kickstart.SHA256.String() {
			t.Errorf("%s: kickstart %q", name, kickstart)
		}
	}
	for _, id := range []string{"builder", "https://", "/x", "://"} {
		if _, err := signing.Provenance(sampleConfig(), id); err == nil {
			t.Errorf("builder %q is taken", id)
		}
	}
}

// TestLoadPredicate takes JSON objects only.
func TestLoadPredicate(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"object", ` {"a": 1}` + "\n", ""},
		{"array", `[1]`, "is no JSON object"},
		{"null", `null`, "is no JSON object"},
		{"two", `{}{}`, "is not JSON"},
		{"empty", ``, "is not JSON"},
		{"statement", `{"_type": "https://in-toto.io/Statement/v1", "predicateType": "x", "predicate": {}}`, "is an in-toto statement"},
		{"large", `{"a": "` + strings.Repeat("x", signing.MaxPredicate) + `"}`, "over the limit"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "p.json")
			if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := signing.LoadPredicate(file)
			if (tt.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
