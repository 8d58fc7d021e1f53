package signing

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

const policySchema = "../docs/schema/policy.v1.json"

// keyLines is a public key as it stands in a policy.
func keyLines() string {
	text := string(publicKey((&instance{}).signs(who{}, nil)).PEM())
	return "|\n" + strings.ReplaceAll("\n"+strings.TrimSpace(text), "\n", "\n          ")[1:] + "\n"
}

// scoped is a policy with one scope, whose lines are given.
func scoped(lines ...string) string { return scopedAt("registry.example", lines...) }

func scopedAt(prefix string, lines ...string) string {
	return "version: 1\nscopes:\n  " + prefix + ":\n    " + strings.Join(lines, "\n    ") + "\n"
}

const byKeyFile = "anyOf: [{key: cosign.pub}]"

// policies are files, and why they are refused: "" if they are not.
func policies() map[string]struct{ text, want string } {
	id := func(members string) string { return scoped("anyOf: [{identity: {" + members + "}}]") }
	return map[string]struct{ text, want string }{
		"key file":           {scoped(byKeyFile), ""},
		"key":                {scoped("anyOf:", "  - name: the lab", "    key: "+keyLines()), ""},
		"key, all of it":     {scoped("anyOf: [{key: cosign.pub, log: true, timestamp: true, trustedRoot: root.json}]"), ""},
		"identity":           {id("issuer: https://i, subject: a@b"), ""},
		"identity, patterns": {id(`issuerPattern: "https://.*", subjectPattern: ".*@b"`), ""},
		"identity, all":      {scoped("anyOf: [{name: CI, identity: {issuer: https://i, subject: a@b, ci: {repository: r, workflow: w, ref: f, trigger: t}}, log: false, timestamp: true, trustedRoot: root.json}]"), ""},
		"reject":             {scoped("reject: true"), ""},
		"anything":           {scoped("insecureAcceptAnything: true"), ""},
		"match":              {scoped(byKeyFile, "match: {repository: signed, minBuild: 22380479, release: 8.0.2}"), ""},
		"match, short":       {scoped(byKeyFile, "match: {repository: any, release: 8.0}"), ""},
		"attestations":       {scoped(byKeyFile, "attestations: [https://spdx.dev/Document, https://slsa.dev/provenance/v1]"), ""},
		"everywhere":         {scopedAt(`"*"`, byKeyFile), ""},
		"port":               {scopedAt("registry.example:5000", byKeyFile), ""},
		"path":               {scopedAt("registry.example/org/esxi", byKeyFile), ""},
		"IPv6":               {scopedAt(`"[::1]:5000/org"`, byKeyFile), ""},
		"layouts":            {scopedAt(`"oci:"`, byKeyFile), ""},
		"folder":             {scopedAt("oci:/srv/images", byKeyFile), ""},
		"anchors":            {"version: 1\nscopes:\n  a.example: &a\n    anyOf: [{key: k}]\n  b.example: *a\n", ""},

		"empty":                 {"", "is empty"},
		"comment":               {"# nothing\n", "is empty"},
		"not YAML":              {"version: [", "line 1: did not find"},
		"list":                  {"- version: 1\n", "line 1: cannot unmarshal !!seq"},
		"two documents":         {scoped(byKeyFile) + "---\n" + scoped(byKeyFile), "more than one YAML document"},
		"garbage behind":        {scoped(byKeyFile) + "---\n[", "more than one YAML document"},
		"no version":            {"scopes: {a.example: {reject: true}}", "version: is missing; this program knows version 1"},
		"version 2":             {"version: 2\nscopes: {a.example: {reject: true}}", "version: 2 is not 1"},
		"no scopes":             {"version: 1\n", "scopes: 0 are not from 1 to 1000"},
		"empty scopes":          {"version: 1\nscopes: {}\n", "scopes: 0 are not from 1 to 1000"},
		"too many scopes":       {manyScopes(1001), "scopes: 1001 are not from 1 to 1000"},
		"too long":              {scoped(byKeyFile) + strings.Repeat("#", maxPolicyFile), "over the limit of 1048576"},
		"unknown member":        {"version: 1\nscope: {a.example: {reject: true}}", "field scope not found"},
		"unknown in a scope":    {scoped("rejct: true"), "field rejct not found"},
		"unknown in authority":  {scoped("anyOf: [{key: k, tlog: true}]"), "field tlog not found"},
		"unknown in identity":   {id("issuer: https://i, subject: a@b, san: x"), "field san not found"},
		"unknown in ci":         {id("issuer: https://i, subject: a@b, ci: {sha: x}"), "field sha not found"},
		"unknown in match":      {scoped(byKeyFile, "match: {maxBuild: 1}"), "field maxBuild not found"},
		"scope twice":           {scoped(byKeyFile) + "  registry.example:\n    reject: true\n", "already defined"},
		"scope in two ways":     {scoped(byKeyFile) + "  Registry.Example:443:\n    reject: true\n", `"registry.example" stands there in two ways to write it`},
		"nothing said":          {scopedAt("a.example", "{}"), "exactly one of anyOf, reject and insecureAcceptAnything"},
		"reject false":          {scoped("reject: false"), "exactly one of anyOf, reject and insecureAcceptAnything"},
		"reject nothing":        {scoped("reject:"), "line 4: nothing stands there"},
		"no authorities":        {scoped("anyOf: []"), "exactly one of anyOf, reject and insecureAcceptAnything"},
		"reject and anyOf":      {scoped(byKeyFile, "reject: true"), "exactly one of anyOf, reject and insecureAcceptAnything"},
		"anything and anyOf":    {scoped(byKeyFile, "insecureAcceptAnything: true"), "exactly one of anyOf, reject and insecureAcceptAnything"},
		"anything and reject":   {scoped("reject: true", "insecureAcceptAnything: true"), "exactly one of anyOf, reject and insecureAcceptAnything"},
		"match and reject":      {scoped("reject: true", "match: {minBuild: 1}"), "attestations and match need anyOf"},
		"too many authorities":  {scoped("anyOf: [" + strings.Repeat("{key: k},", 101) + "]"), "101 are over the limit of 100"},
		"neither":               {scoped("anyOf: [{name: x}]"), "entry 1: has to have either a key or an identity"},
		"both":                  {scoped("anyOf: [{key: k, identity: {issuer: https://i, subject: a@b}}]"), "entry 1: has to have either a key or an identity"},
		"empty key":             {scoped(`anyOf: [{key: ""}]`), "has to have either a key or an identity"},
		"second is wrong":       {scoped("anyOf: [{key: k}, {}]"), "entry 2: has to have"},
		"bad key":               {scoped("anyOf:", "  - key: |", "      -----BEGIN PUBLIC KEY-----", "      AAAA", "      -----END PUBLIC KEY-----"), "key: "},
		"private key":           {scoped("anyOf:", "  - key: |", "      -----BEGIN PRIVATE KEY-----", "      AAAA", "      -----END PRIVATE KEY-----"), "key: holds a PRIVATE KEY"},
		"key that is no file":   {scoped("anyOf:", "  - key: |", "      one", "      two"), "neither a file's name nor a key"},
		"root for a key":        {scoped("anyOf: [{key: k, trustedRoot: r}]"), "nothing of it is needed"},
		"no issuer":             {id("subject: a@b"), "either an issuer or a pattern of issuers"},
		"no subject":            {id("issuer: https://i"), "either a subject or a pattern of subjects"},
		"issuer and pattern":    {id("issuer: https://i, issuerPattern: .*, subject: a@b"), "either an issuer or a pattern"},
		"subject and pattern":   {id("issuer: https://i, subject: a@b, subjectPattern: .*"), "either a subject or a pattern"},
		"bad pattern":           {id("issuer: https://i, subjectPattern: '('"), "missing closing )"},
		"breaking out":          {id("issuer: https://i, subjectPattern: 'a)|(?:.*'"), "unexpected )"},
		"long pattern":          {id("issuer: https://i, subjectPattern: '" + strings.Repeat("a", 5000) + "'"), "over the limit of 4096"},
		"attestation, no URI":   {scoped(byKeyFile, "attestations: [sbom]"), `"sbom" is not a URI`},
		"attestation twice":     {scoped(byKeyFile, "attestations: [https://a, https://a]"), "stands there twice"},
		"attestation: sign":     {scoped(byKeyFile, "attestations: [https://sigstore.dev/cosign/sign/v1]"), "they are looked for anyway"},
		"too many attestations": {scoped(byKeyFile, "attestations: ["+strings.Repeat("https://a,", 17)+"]"), "17 are over the limit of 16"},
		"match: repository":     {scoped(byKeyFile, "match: {repository: same}"), `"same" is neither signed nor any`},
		"match: negative":       {scoped(byKeyFile, "match: {minBuild: -1}"), "minBuild: -1 is negative"},
		"match: build as text":  {scoped(byKeyFile, "match: {minBuild: abc}"), "cannot unmarshal"},
		"match: release":        {scoped(byKeyFile, "match: {release: 8.0.*}"), `release: "8.0.*" is not numbers`},
		"match: dots":           {scoped(byKeyFile, "match: {release: 8..0}"), "is not numbers"},
		"match: in a layout":    {scopedAt("oci:/srv", byKeyFile, "match: {repository: signed}"), "is no repository"},
		"scope: URL":            {scopedAt("https://registry.example", byKeyFile), "a scope is a host"},
		"scope: tag":            {scopedAt("registry.example/esxi:8.0", byKeyFile), "a scope is a host"},
		"scope: digest":         {scopedAt("registry.example/esxi@sha256:00", byKeyFile), "a scope is a host"},
		"scope: star":           {scopedAt(`"*.example"`, byKeyFile), "a scope is a host"},
		"scope: slash":          {scopedAt("registry.example/", byKeyFile), "a scope is a host"},
		"scope: upper case":     {scopedAt("registry.example/Org", byKeyFile), "a scope is a host"},
		"scope: dots":           {scopedAt("registry.example/../x", byKeyFile), "a scope is a host"},
		"scope: nothing":        {scopedAt(`""`, byKeyFile), "a scope is a host"},
		"scope: archive":        {scopedAt("oci-archive:/srv", byKeyFile), "archives are covered by what begins with"},
		"scope: relative":       {scopedAt("oci:images", byKeyFile), "absolute path"},
		"scope: not clean":      {scopedAt("oci:/srv/../x", byKeyFile), "write it as oci:/x"},
		"scope: backslash":      {scopedAt(`oci:C:\images`, byKeyFile), "with slashes"},
	}
}

func manyScopes(n int) string {
	var b strings.Builder
	b.WriteString("version: 1\nscopes:\n")
	for i := range n {
		fmt.Fprintf(&b, "  host%d.example: {reject: true}\n", i)
	}
	return b.String()
}

func TestParsePolicy(t *testing.T) {
	for name, c := range policies() {
		t.Run(name, func(t *testing.T) {
			p, err := ParsePolicy([]byte(c.text))
			switch {
			case c.want == "" && (err != nil || len(p.Scopes) == 0):
				t.Errorf("%v\n%s", err, c.text)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("%v, want %q", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %v", err)
			}
		})
	}
}

// TestPoliciesFollowTheSchema: what it takes, we take, but for what it cannot
// say; and what we take, it takes.
func TestPoliciesFollowTheSchema(t *testing.T) {
	s, err := jsonschema.NewCompiler().Compile(policySchema)
	if err != nil {
		t.Fatal(err)
	}
	beyond := map[string]bool{
		"scope in two ways": true, "bad key": true, "private key": true, "key that is no file": true, "root for a key": true,
		"bad pattern": true, "breaking out": true, "match: in a layout": true, "scope: dots": true, "scope: not clean": true,
		"too long": true, "two documents": true, "garbage behind": true, "scope twice": true,
	}
	for name, c := range policies() {
		var v any
		if yaml.Unmarshal([]byte(c.text), &v) != nil {
			continue
		}
		err := s.Validate(v)
		if c.want == "" && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c.want != "" && err == nil && !beyond[name] {
			t.Errorf("%s: the schema takes it", name)
		}
	}
}

func TestPolicyDefaults(t *testing.T) {
	p := must(ParsePolicy([]byte(scoped("anyOf: [{key: k}, {identity: {issuer: https://i, subject: a@b}}, {identity: {issuer: https://i, subject: a@b}, log: false}]"))))
	a := p.Scopes[0].AnyOf
	if a[0].Log || a[0].Timestamp || !a[1].Log || a[1].Timestamp || a[2].Log || p.Scopes[0].Match != (Match{}) {
		t.Errorf("%+v", a)
	}
}

func TestFor(t *testing.T) {
	p := must(ParsePolicy([]byte(`version: 1
scopes:
  "*": {reject: true}
  Registry.Example: {reject: true}
  registry.example/org: {reject: true}
  registry.example/org/esxi: {reject: true}
  registry.example:5000: {reject: true}
  "[::1]:5000": {reject: true}
  docker.io: {reject: true}
  x: {reject: true}
  "oci:": {reject: true}
  oci:/srv/images: {reject: true}
`)))
	for ref, want := range map[string]string{
		"registry.example/org/esxi:8.0":     "registry.example/org/esxi",
		"registry.example/org/esxi/lab":     "registry.example/org/esxi",
		"registry.example/org/esxi-lab:8.0": "registry.example/org",
		"registry.example/org2/esxi":        "registry.example",
		"registry.example/x":                "registry.example",
		"REGISTRY.example:443/org/esxi":     "registry.example/org/esxi",
		"registry.example./org/esxi":        "registry.example/org/esxi",
		"registry.example:5000/org/esxi":    "registry.example:5000",
		"registry.example:5001/org/esxi":    "*",
		"registry.example.evil.test/esxi":   "*",
		"evil.test/registry.example/org":    "*",
		"[::1]:5000/esxi":                   "[::1]:5000",
		"registry-1.docker.io/org/esxi":     "docker.io",
		"x/esxi":                            "x",
		"oci:/srv/images/a:8.0":             "oci:/srv/images",
		"oci-archive:/srv/images/a.tar":     "oci:/srv/images",
		"oci:/srv/images":                   "oci:/srv/images",
		"oci:/srv/images/../evil:8.0":       "oci:",
		"oci:/srv/images2:8.0":              "oci:",
		"oci:relative:8.0":                  "oci:",
	} {
		if runtime.GOOS == "windows" && strings.HasPrefix(ref, "oci") {
			continue // folders have drives
		}
		place, err := PlaceOf(ref)
		if err != nil {
			t.Errorf("%s: %v", ref, err)
			continue
		}
		if s := p.For(place); s == nil || s.Prefix != want {
			t.Errorf("%s (%s): %+v, want %s", ref, place, s, want)
		}
	}
	few := must(ParsePolicy([]byte(scopedAt("registry.example/org", "reject: true"))))
	for _, place := range []string{"registry.example/other", "registry.example", "oci:/registry.example/org"} {
		if s := few.For(place); s != nil {
			t.Errorf("%s: %+v", place, s)
		}
	}
	if place, err := PlaceOf("oci:a/b"); err != nil || place != "oci:"+filepath.ToSlash(filepath.Join(must(os.Getwd()), "a", "b")) {
		t.Errorf("%s, %v", place, err)
	}
	if _, err := PlaceOf("no reference"); err == nil {
		t.Error("what is no reference has a place")
	}
}

func FuzzParsePolicy(f *testing.F) {
	for _, c := range policies() {
		if len(c.text) < 4096 {
			f.Add([]byte(c.text))
		}
	}
	f.Add([]byte("a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := ParsePolicy(text)
		if err != nil {
			if p != nil {
				t.Error("a policy and an error")
			}
			return
		}
		for i := range p.Scopes {
			s := &p.Scopes[i]
			if (len(s.AnyOf) > 0) == (s.Reject || s.InsecureAcceptAnything) || s.Prefix == "" {
				t.Errorf("%+v", s)
			}
			for _, a := range s.AnyOf {
				if (a.Identity != nil) == (a.Key != nil || a.KeyFile != "") {
					t.Errorf("%+v", a)
				}
			}
			if s.Prefix != everywhere && p.For(strings.TrimSuffix(s.Prefix, "/")+"/x") == nil {
				t.Errorf("%q covers nothing", s.Prefix)
			}
		}
	})
}
