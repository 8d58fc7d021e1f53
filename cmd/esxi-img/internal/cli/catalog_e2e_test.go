//go:build e2e

package cli_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/pkg/catalog"
	"github.com/esxi-img/esxi-img/pkg/esxitest"
	"github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/pkg/registry/registrytest"
	"github.com/esxi-img/esxi-img/signing/fakesigstore"
)

// TestCatalogOfRegistries lists three releases with a variant each, two of them
// signed by a person and by a key and one by nobody, beside an artifact of
// somebody else and a broken image, whoever wrote the registry: as a table, as
// JSON, as Markdown and as pages; and tells what differs.
func TestCatalogOfRegistries(t *testing.T) {
	dir := t.TempDir()
	run := func(args ...string) string {
		t.Helper()
		r := command(t.Context(), args...)
		r.ended(t, done, "")
		return r.stdout
	}
	layouts := map[string]string{}
	for _, name := range []string{"6.7U2", "8.0.2", "9.0"} {
		release, ok := esxitest.FindRelease(name)
		if !ok {
			t.Fatal(name)
		}
		medium := filepath.Join(dir, name+".iso")
		if err := os.WriteFile(medium, esxitest.Bytes(esxitest.WithRelease(release)), 0o600); err != nil {
			t.Fatal(err)
		}
		layouts[name] = filepath.Join(dir, name+".oci")
		run("build", "-q", medium, "--layout", layouts[name])
	}
	alice := person(t, dir, "alice@example.com")
	run("sign", "--generate-key", filepath.Join(dir, "bob"))
	policy := filepath.Join(dir, "policy.yaml")
	text := "version: 1\nscopes:\n  \"*\":\n    anyOf:\n" +
		"      - {name: alice, identity: {subject: alice@example.com, issuerPattern: .*}, trustedRoot: trusted_root.json}\n      - {name: bob, key: bob.pub}\n"
	if err := os.WriteFile(policy, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	snippet := post(t)
	for _, kind := range registrytest.Kinds {
		t.Run(string(kind), func(t *testing.T) {
			repo := registrytest.Start(t, kind, registrytest.Options{}).Host + "/org/esxi"
			for name, layout := range layouts {
				run("push", "-q", repo+":"+name, "--layout", layout)
				run("push", "-q", repo+":"+name+"-lab", "--base", repo+":"+name, "--post", snippet, "--insecure-skip-verify")
			}
			run(append([]string{"sign", "-q", repo + ":8.0.2"}, alice...)...)
			run("sign", "-q", repo+":9.0", "--key", filepath.Join(dir, "bob.key"))
			run("sign", "-q", repo+":9.0-lab", "--key", filepath.Join(dir, "bob.key"), "--policy", policy)
			pushOthers(t, repo)
			cache := filepath.Join(t.TempDir(), "cache")
			for _, state := range []string{"cold", "warm"} {
				checkCatalog(t, state, run("catalog", "--json", "--policy", policy, "--cache", cache, repo))
			}
			table := run("catalog", "--policy", policy, "--newest", "--release", ">=8", repo)
			if !strings.Contains(table, " 2 of 10 in "+repo+"\n") || strings.Count(table, " verified ") != 2 || !strings.Contains(table, ": 1 other artifact") {
				t.Error(table)
			}
			checkMarkdown(t, run("catalog", "--format", "markdown", "--policy", policy, "--sort", "tag", repo))
			checkPages(t, repo, func(dir string) { run("catalog", "--html", dir, "--policy", policy, repo) })
			checkDifferences(t, run, repo)
		})
	}
}

// person starts a Sigstore instance in which somebody can sign, and returns the
// flags to sign with.
func person(t *testing.T, dir, who string) []string {
	t.Helper()
	s, err := fakesigstore.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	root, err := s.TrustedRoot()
	if err != nil {
		t.Fatal(err)
	}
	config, err := s.SigningConfig()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{
		"trusted_root.json": root, "signing_config.json": config, "token": []byte(s.Token(who, time.Now().Add(time.Hour))),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return []string{
		"--identity-token", filepath.Join(dir, "token"), "--signing-config", filepath.Join(dir, "signing_config.json"),
		"--trusted-root", filepath.Join(dir, "trusted_root.json"),
	}
}

func checkMarkdown(t *testing.T, text string) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(lines) != 12 || strings.Count(lines[1], "---") != 9 {
		t.Errorf("%d lines:\n%s", len(lines), text)
	}
	for _, want := range []string{
		"| 6.7U2 | 6.7.0 | U2 | 13006603 | ", "| 9.0-lab | 9.0.0 |  | 24755229 | ", "|  | verified alice |\n", " | 9.0 | verified bob |\n",
		" | 6.7.0-13006603 | none |\n", "| broken | broken: index: has 2 image manifests, not 1 |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
}

// checkPages looks for what a reader would, whatever the pages look like.
func checkPages(t *testing.T, repo string, write func(dir string)) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "pages")
	write(dir)
	first, err := os.ReadFile(filepath.Join(dir, "index.html"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"6.7U2-lab", "8.0.2-22380479", "24755229", "alice", "bob", "has 2 image manifests, not 1", "Content-Security-Policy", repo} {
		if !strings.Contains(string(first), want) {
			t.Errorf("%q is not on the first page", want)
		}
	}
	again := filepath.Join(t.TempDir(), "again")
	write(again)
	same := exec.CommandContext(t.Context(), "diff", "-r", dir, again)
	if out, err := same.CombinedOutput(); err != nil {
		t.Errorf("the same registry gives other pages: %v\n%s", err, out)
	}
}

// checkDifferences compares two releases, and a variant with its base.
func checkDifferences(t *testing.T, run func(...string) string, repo string) {
	t.Helper()
	var d struct {
		Different  bool `json:"different"`
		Properties []struct{ Name, A, B string }
		VIBs       []struct{ Name, Change string }
		Kickstart  string
		Fetch      struct{ Size, Fetched int64 }
	}
	read := func(text string) {
		t.Helper()
		d.Properties, d.VIBs, d.Kickstart = nil, nil, ""
		if err := json.Unmarshal([]byte(text), &d); err != nil {
			t.Fatal(err)
		}
	}
	read(run("diff", "--json", repo+":8.0.2", repo+":9.0"))
	changes := map[string]int{}
	for _, v := range d.VIBs {
		changes[v.Change]++
	}
	if !d.Different || changes["added"] != 5 || changes["upgraded"] != 90 || len(changes) != 2 || d.Kickstart != "" {
		t.Errorf("8.0.2 and 9.0: %v, %+v", changes, d.Properties)
	}
	if p := d.Properties; len(p) < 2 || p[0].A != "8.0.2 U2" || p[0].B != "9.0.0" || p[1].B != "24755229" {
		t.Errorf("8.0.2 and 9.0: %+v", p)
	}
	read(run("diff", "--json", repo+":8.0.2", repo+":8.0.2-lab"))
	if len(d.VIBs) > 0 || !strings.HasPrefix(d.Kickstart, "---") || d.Fetch.Fetched >= d.Fetch.Size/100 {
		t.Errorf("8.0.2 and its variant: %+v", d)
	}
	read(run("diff", "--json", repo+":8.0.2", repo+":8.0.2-22380479"))
	if d.Different {
		t.Errorf("8.0.2 and itself: %+v", d)
	}
}

// pushOthers pushes an artifact of somebody else, and a broken image.
func pushOthers(t *testing.T, repo string) {
	t.Helper()
	to := registrytest.Create(t, repo+":8.0.2", registry.Options{})
	push := func(mediaType string, b []byte, tag string) {
		t.Helper()
		d := registrytest.Push(t, to, mediaType, b)
		if tag == "" {
			return
		}
		if err := to.Tag(t.Context(), d, tag); err != nil {
			t.Fatal(err)
		}
	}
	push("application/x", []byte("{}"), "")
	push(ocispec.MediaTypeImageManifest, fmt.Appendf(nil,
		`{"schemaVersion":2,"mediaType":%q,"artifactType":"application/x","config":{"mediaType":"application/x","digest":%q,"size":2},"layers":[{"mediaType":"application/x","digest":%q,"size":2}]}`,
		ocispec.MediaTypeImageManifest, digest.FromString("{}"), digest.FromString("{}")), "foreign")
	_, raw, err := to.FetchNamed(t.Context(), "8.0.2")
	if err != nil {
		t.Fatal(err)
	}
	var x ocispec.Index
	if err := json.Unmarshal(raw, &x); err != nil || x.ArtifactType != artifact.TypeIndex {
		t.Fatal(x.ArtifactType, err)
	}
	x.Manifests = append(x.Manifests, x.Manifests[0])
	if raw, err = json.Marshal(x); err != nil {
		t.Fatal(err)
	}
	push(ocispec.MediaTypeImageIndex, raw, "broken")
}

func checkCatalog(t *testing.T, state, text string) {
	t.Helper()
	var got struct {
		Images       []catalog.Entry `json:"images"`
		Repositories []struct {
			Foreign int `json:"foreign"`
		} `json:"repositories"`
	}
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	lines := map[string]string{}
	for i := range got.Images {
		e := &got.Images[i]
		line := e.Release + " " + e.Build + " " + string(e.Signed)
		for _, s := range e.Signers {
			line += " " + s.Name
		}
		if e.Variant {
			line += " of " + strings.Join(e.Base.Tags, ",")
		}
		if e.Problem != "" {
			line = e.Problem
		}
		lines[e.Tag] = line
	}
	want := map[string]string{
		"6.7U2":          "6.7.0 13006603 none",
		"6.7.0-13006603": "6.7.0 13006603 none",
		"6.7U2-lab":      "6.7.0 13006603 none of 6.7.0-13006603,6.7U2",
		"8.0.2":          "8.0.2 22380479 verified alice",
		"8.0.2-22380479": "8.0.2 22380479 verified alice",
		"8.0.2-lab":      "8.0.2 22380479 none of 8.0.2,8.0.2-22380479",
		"9.0":            "9.0.0 24755229 verified bob",
		"9.0.0-24755229": "9.0.0 24755229 verified bob",
		"9.0-lab":        "9.0.0 24755229 verified bob of 9.0,9.0.0-24755229",
		"broken":         "index: has 2 image manifests, not 1",
	}
	for tag, line := range want {
		if lines[tag] != line {
			t.Errorf("%s: %s: %q, want %q", state, tag, lines[tag], line)
		}
	}
	if len(lines) != len(want) || got.Repositories[0].Foreign != 1 {
		t.Errorf("%s: %v, %+v", state, lines, got.Repositories)
	}
}
