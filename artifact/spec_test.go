package artifact_test

import (
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/esxi-img/esxi-img/artifact"
)

const (
	specFile   = "../docs/artifact-spec.md"
	schemaFile = "../docs/schema/config.v1.json"
)

// The kickstarts of the specification's image and of its variant.
const (
	specKickstart    = "vmaccepteula\ninstall --firstdisk\n%include /tmp/rootpw\nreboot\n"
	variantKickstart = "vmaccepteula\ninstall --firstdisk=local\n%include /tmp/rootpw\nreboot\n"
)

// examples returns the JSON examples of the specification without white space.
func examples(tb testing.TB) (index, manifest, disk, config, variant []byte) {
	tb.Helper()
	text, err := os.ReadFile(specFile)
	if err != nil {
		tb.Fatal(err)
	}
	var found [][]byte
	for _, m := range regexp.MustCompile("(?s)```json\n(.*?)```").FindAllSubmatch(text, -1) {
		var b bytes.Buffer
		if err := json.Compact(&b, m[1]); err != nil {
			tb.Fatal(err)
		}
		found = append(found, b.Bytes())
	}
	if len(found) != 5 {
		tb.Fatalf("the specification has %d JSON examples, not 5", len(found))
	}
	return found[0], found[1], found[2], found[3], found[4]
}

func TestTheSpecificationsExamplesAreAnImage(t *testing.T) {
	index, manifest, disk, config, variant := examples(t)
	m := memory{}
	for _, b := range [][]byte{index, manifest, disk, config} {
		m[digest.FromBytes(b)] = b
	}
	d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: digest.FromBytes(index), Size: int64(len(index))}
	img, err := artifact.Load(t.Context(), m, d)
	if err != nil {
		t.Fatal(err)
	}
	if err := img.Config.CheckKickstart([]byte(specKickstart)); err != nil {
		t.Error(err)
	}
	if again, err := img.Config.Encode(); err != nil || !bytes.Equal(again, config) {
		t.Errorf("the config is written as\n%s\nand not as in the example (%v)", again, err)
	}
	var raw ocispec.Manifest
	unmarshal(t, disk, &raw)
	if raw.ArtifactType != artifact.TypeDisk || img.Entries[1].Digest != digest.FromBytes(disk) || raw.Layers[0].Digest != img.Disk.Digest {
		t.Errorf("the disk manifest is %s, the index has %s", digest.FromBytes(disk), img.Entries[1].Digest)
	}

	c, err := artifact.ParseConfig(variant)
	if err != nil {
		t.Fatal(err)
	}
	if c.Base == nil || c.Base.Index != d.Digest || c.Base.Manifest != img.Manifest.Digest || c.Base.Disk != img.Disk.Digest {
		t.Errorf("the variant's base is %+v, the image is %s, %s", c.Base, d.Digest, img.Manifest.Digest)
	}
	if err := c.CheckKickstart([]byte(variantKickstart)); err != nil {
		t.Error(err)
	}
	if again, err := c.Encode(); err != nil || !bytes.Equal(again, variant) {
		t.Errorf("the variant's config is written as\n%s\nand not as in the example (%v)", again, err)
	}
}

func TestTheSpecificationStatesTheLimits(t *testing.T) {
	text, err := os.ReadFile(specFile)
	if err != nil {
		t.Fatal(err)
	}
	_, limits, _ := strings.Cut(string(text), "## Limits")
	for row, values := range map[string][]int{
		"index, manifest":            {artifact.MaxManifest >> 20},
		"entries of an index":        {artifact.MaxIndexEntries},
		"config":                     {artifact.MaxConfig >> 20},
		"disk":                       {artifact.MaxDisk >> 30},
		"extents":                    {artifact.MaxExtents},
		"bytes of a piece":           {artifact.PieceSize >> 20},
		"bytes that are given":       {artifact.MaxGiven >> 20},
		"files; directories":         {artifact.MaxFiles},
		"VIBs; files of all of them": {artifact.MaxVIBs, artifact.MaxVIBFiles},
		"modules; kernel options":    {artifact.MaxModules},
		"the settings":               {artifact.MaxSettings >> 10},
		"a text":                     {artifact.MaxText},
		"layer 1; layer 2":           {artifact.MaxModule >> 20, artifact.MaxKickstart >> 20},
	} {
		_, line, ok := strings.Cut(limits, "| "+row+" | ")
		line, _, _ = strings.Cut(line, "\n")
		line = strings.ReplaceAll(line, ",", "")
		for _, v := range values {
			if !ok || !regexp.MustCompile(`\b`+strconv.Itoa(v)+`\b`).MatchString(line) {
				t.Errorf("%s: the specification says %q, the code %d", row, line, v)
			}
		}
	}
	if artifact.MaxFiles != artifact.MaxDirectories || artifact.MaxModules != artifact.MaxKernelOpts {
		t.Error("the specification has one number for two limits that differ")
	}
}

func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	s, err := jsonschema.NewCompiler().Compile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func judge(t *testing.T, s *jsonschema.Schema, b []byte) error {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(v)
}

func TestConfigsFollowTheSchema(t *testing.T) {
	s := schema(t)
	_, _, _, config, variant := examples(t)
	for name, b := range map[string][]byte{"example": config, "example of a variant": variant, "packed": encoded(t), "tiny": tiny()} {
		if err := judge(t, s, b); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What the schema refuses we refuse too, and it refuses something.
	for name, c := range map[string]struct{ old, by string }{
		"later version":  {`"version":"1.0"`, `"version":"2.0"`},
		"no files":       {`"files":[{"path"`, `"feils":[{"path"`},
		"sector size":    {`"sectorSize":512`, `"sectorSize":2048`},
		"short digest":   {`"sha256":["5eb545`, `"sha256":["5eb54`},
		"role":           {`"role":"bootcfg"`, `"role":"king"`},
		"negative size":  {`"size":412,`, `"size":-412,`},
		"absolute path":  {`"path":"EFI/`, `"path":"/EFI/`},
		"control":        {`"vendor":"VMware, Inc."`, `"vendor":"\u001b[2J"`},
		"empty digests":  {`{"offset":17408,"length":1031168}`, `{"offset":17408,"length":1031168,"sha256":null}`},
		"unknown origin": {`{"offset":17408,"length":1031168}`, `{"offset":17408,"length":1031168,"from":"given"}`},
	} {
		b := bytes.Replace(config, []byte(c.old), []byte(c.by), 1)
		if bytes.Equal(b, config) {
			t.Fatalf("%s: the example has no %s", name, c.old)
		}
		if judge(t, s, b) == nil {
			t.Errorf("%s: the schema takes it", name)
		}
		if _, err := artifact.ParseConfig(b); err == nil {
			t.Errorf("%s: ParseConfig takes it", name)
		}
	}
}
