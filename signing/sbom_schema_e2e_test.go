//go:build e2e

package signing_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/pkg/esxitest"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/signing"
)

// The official schema is published in a repository, and in no package. Syft's
// module has it with corrected descriptions, two more spellings of a category and
// one more required field. Without these it has the rules of the official one,
// schemas/spdx-schema.json of github.com/spdx/spdx-spec at v2.3, whose digest
// without descriptions this is.
const (
	syft          = "github.com/anchore/syft@v1.0.0"
	syftSum       = "h1:gREo7jCEo5Qrk3ras2Qh7A/hFSUrCUkUlPLEOfNy66k="
	officialRules = "d5cd42e90121fa4a416f3b2ca156a989af16eb564d4eb5e53d7fabe8cd408a1c"
)

// spdxSchema is the official schema of SPDX 2.3, without descriptions.
func spdxSchema(t *testing.T) any {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", syft)
	out, err := cmd.Output()
	var module struct{ Dir, Sum string }
	if err == nil {
		err = json.Unmarshal(out, &module)
	}
	if err != nil || module.Sum != syftSum {
		t.Fatalf("go mod download %s: %v, sum %q", syft, err, module.Sum)
	}
	text, err := os.ReadFile(filepath.Join(module.Dir, "schema", "spdx-json", "spdx-schema-2.3.json"))
	if err != nil {
		t.Fatal(err)
	}
	schema, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	rules := withoutDescriptions(schema).(map[string]any)
	rules["required"] = slices.DeleteFunc(rules["required"].([]any), func(v any) bool { return v == "documentNamespace" })
	canonical, err := json.Marshal(rules)
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(canonical); hex.EncodeToString(sum[:]) != officialRules {
		t.Fatalf("the schema has other rules than the official one: %x", sum)
	}
	return rules
}

// withoutDescriptions removes what does not bind, and what is not official.
func withoutDescriptions(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			if _, text := value.(string); text && key == "description" {
				delete(v, key)
			} else {
				v[key] = withoutDescriptions(value)
			}
		}
	case []any:
		for i := range v {
			v[i] = withoutDescriptions(v[i])
		}
		return slices.DeleteFunc(v, func(e any) bool { return e == "PERSISTENT_ID" || e == "PACKAGE_MANAGER" })
	}
	return v
}

// TestSBOMSchema holds every SBOM against the official schema.
func TestSBOMSchema(t *testing.T) {
	compiler := jsonschema.NewCompiler()
	const name = "http://spdx.org/rdf/terms/2.3"
	if err := compiler.AddResource(name, spdxSchema(t)); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile(name)
	if err != nil {
		t.Fatal(err)
	}
	valid := func(t *testing.T, text []byte) error {
		t.Helper()
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		return schema.Validate(v)
	}
	configs := map[string]*artifact.Config{"sample": sampleConfig(), "variant": variantConfig(), "nothing known": {}}
	for _, r := range esxitest.Releases() {
		configs[r.Version] = configOf(t, r)
	}
	for name, c := range configs {
		t.Run(name, func(t *testing.T) {
			text, err := signing.SBOM(c, "v1.2.3")
			if err != nil {
				t.Fatal(err)
			}
			if err := valid(t, text); err != nil {
				t.Error(err)
			}
			// The judge is awake.
			for old, bad := range map[string]string{
				`"SHA256"`: `"SHA-256"`, `"spdxVersion"`: `"version"`, `"CONTAINS"`: `"HAS"`, `"filesAnalyzed":false`: `"filesAnalyzed":"no"`,
				`"primaryPackagePurpose":"INSTALL"`: `"primaryPackagePurpose":"DISK"`, `"name":`: `"title":`,
			} {
				if changed := strings.Replace(string(text), old, bad, 1); changed != string(text) && valid(t, []byte(changed)) == nil {
					t.Errorf("%s instead of %s is valid", bad, old)
				}
			}
		})
	}
}

// configOf is the config of an image of a release.
func configOf(t *testing.T, r esxitest.Release) *artifact.Config {
	t.Helper()
	repo, index := packedOf(t, esxitest.Bytes(esxitest.WithRelease(r)), imager.Profile{Headroom: 1 << 20})
	s, err := signing.FindSubjects(t.Context(), repo, index, "")
	if err != nil {
		t.Fatal(err)
	}
	return s.Image.Config
}
