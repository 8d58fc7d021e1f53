//go:build e2e

package cli_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/pkg/esxitest"
	"github.com/esxi-img/esxi-img/pkg/foreigntest"
	"github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/pkg/registry/registrytest"
)

// evil runs if it is not escaped, wherever it stands.
const evil = `"><script>alert(1)</script><img src="http://attacker.invalid/x" onerror="window.pwned=1">'); window.pwned=1; //`

// pagesFixture is what the pages are of: three releases with a variant each,
// signed by one, by another and by nobody, an artifact of somebody else, a
// broken image, and one whose texts are hostile.
type pagesFixture struct {
	served string // URL of the pages
	folder string // URL of the same as files
	repo   string
	policy string
	hostis string // digest of the hostile image
}

func newPages(t *testing.T) pagesFixture {
	t.Helper()
	dir := t.TempDir()
	run := func(args ...string) string {
		t.Helper()
		r := command(t.Context(), args...)
		r.ended(t, done, "")
		return r.stdout
	}
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, who := range []string{"alice", "bob"} {
		run("sign", "--generate-key", filepath.Join(dir, who))
	}
	f := pagesFixture{policy: write("policy.yaml", "version: 1\nscopes:\n  \"*\":\n    anyOf:\n      - {name: alice, key: alice.pub}\n      - {name: bob, key: bob.pub}\n")}
	kickstart := write("ks.cfg", "vmaccepteula\n# "+evil+"\ninstall --firstdisk --overwritevmfs\nrootpw --iscrypted $6$saltsalt$"+strings.Repeat("a", 86)+"\nnetwork --bootproto=dhcp\nreboot\n")
	s := serve(t, filepath.Join(dir, "store"), "--ui", "--policy", f.policy)
	f.served, f.repo = s.url+"/ui/", s.host+"/org/esxi"
	for _, name := range []string{"6.7U2", "8.0.2", "9.0"} {
		release, ok := esxitest.FindRelease(name)
		if !ok {
			t.Fatal(name)
		}
		medium, layout := filepath.Join(dir, name+".iso"), filepath.Join(dir, name+".oci")
		if err := os.WriteFile(medium, esxitest.Bytes(esxitest.WithRelease(release)), 0o600); err != nil {
			t.Fatal(err)
		}
		run("build", "-q", medium, "--layout", layout)
		run("push", "-q", f.repo+":"+name, "--layout", layout)
		run("push", "-q", f.repo+":"+name+"-lab", "--base", f.repo+":"+name, "--kickstart", kickstart, "--allow-secrets", "--insecure-skip-verify")
	}
	run("sign", "-q", f.repo+":8.0.2", "--key", filepath.Join(dir, "alice.key"))
	run("sign", "-q", f.repo+":9.0", "--key", filepath.Join(dir, "bob.key"))
	run("attest", "-q", f.repo+":9.0", "--key", filepath.Join(dir, "bob.key"), "--sbom", "--provenance")
	pushOthers(t, f.repo)
	f.hostis = pushHostile(t, f.repo)
	site := filepath.Join(dir, "a site")
	run("catalog", "--html", site, "--policy", f.policy, "--no-cache", f.repo)
	f.folder = "file://" + strings.ReplaceAll(site, " ", "%20") + "/"
	return f
}

// pushHostile pushes an image all of whose texts are hostile.
func pushHostile(t *testing.T, repo string) string {
	t.Helper()
	to := registrytest.Open(t, repo+":6.7U2", registry.Options{})
	top, err := to.Resolve(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	img, err := artifact.Load(t.Context(), to, top)
	if err != nil {
		t.Fatal(err)
	}
	c := img.Config
	c.ESXi.Profile, c.ESXi.Vendor, c.ISO.Name, c.Builder.Version = evil, evil, "evil.iso", evil
	for i := range c.VIBs {
		c.VIBs[i].Vendor, c.VIBs[i].Acceptance, c.VIBs[i].Version = evil, evil, evil
	}
	raw, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	config := registrytest.Push(t, to, artifact.MediaTypeConfig, raw)
	raw, err = to.FetchBytes(t.Context(), img.Manifest, 0)
	if err != nil {
		t.Fatal(err)
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	m.Config = config
	if m.Annotations == nil {
		m.Annotations = map[string]string{}
	}
	m.Annotations[artifact.AnnotationProfile] = evil
	if raw, err = json.Marshal(m); err != nil {
		t.Fatal(err)
	}
	manifest := registrytest.Push(t, to, ocispec.MediaTypeImageManifest, raw)
	raw, err = to.FetchBytes(t.Context(), top, 0)
	if err != nil {
		t.Fatal(err)
	}
	var x ocispec.Index
	if err := json.Unmarshal(raw, &x); err != nil {
		t.Fatal(err)
	}
	for i := range x.Manifests {
		if x.Manifests[i].Digest == img.Manifest.Digest {
			x.Manifests[i].Digest, x.Manifests[i].Size = manifest.Digest, manifest.Size
		}
	}
	for _, name := range []string{ocispec.AnnotationTitle, ocispec.AnnotationVersion, artifact.AnnotationRelease, artifact.AnnotationUpdate, artifact.AnnotationBuild, artifact.AnnotationProfile} {
		x.Annotations[name] = evil
	}
	if raw, err = json.Marshal(x); err != nil {
		t.Fatal(err)
	}
	index := registrytest.Push(t, to, ocispec.MediaTypeImageIndex, raw)
	if err := to.Tag(t.Context(), index, "hostile"); err != nil {
		t.Fatal(err)
	}
	return index.Digest.String()
}

// links are the addresses that a page has in its content, by their texts.
func (p *tab) links(selector string) []string {
	p.t.Helper()
	var out []string
	p.decode(json.RawMessage(p.eval(`JSON.stringify([...document.querySelectorAll(`+quoted(selector)+`)].map(a => a.href))`)), &out)
	return out
}

func quoted(s string) string {
	b, _ := json.Marshal(s) // a string
	return string(b)
}

// TestPagesInABrowser uses the pages as people do, as files and from serve.
func TestPagesInABrowser(t *testing.T) {
	f := newPages(t)
	b := startBrowser(t)
	for name, root := range map[string]string{"files": f.folder, "served": f.served} {
		t.Run(name, func(t *testing.T) {
			p := b.open(t)
			p.look(1280, "light")
			t.Run("table", func(t *testing.T) { p.t = t; useTable(p, root) })
			t.Run("image", func(t *testing.T) { p.t = t; useImage(p, root) })
			t.Run("compare", func(t *testing.T) { p.t = t; useCompare(p, root, name == "files") })
			t.Run("keyboard", func(t *testing.T) { p.t = t; useKeyboard(p, root) })
			t.Run("hostile", func(t *testing.T) { p.t = t; visitHostile(p, root, f.hostis) })
			t.Run("without JavaScript", func(t *testing.T) {
				p.t = t
				p.must("Emulation.setScriptExecutionDisabled", map[string]any{"value": true})
				readOnly(p, root, name == "files")
			})
		})
	}
}

const shownTags = `[...document.querySelectorAll("#images tbody tr:not([hidden]) .tag > :first-child, #images tbody tr[data-kind=broken]:not([hidden]) .tag")].map(e => e.textContent.trim()).join(" ")`

func useTable(p *tab, root string) {
	p.load(root + "index.html")
	tags := func(program, want string) {
		p.t.Helper()
		p.eval(program)
		if got := p.eval(shownTags); got != want {
			p.t.Errorf("after %q: %q, want %q", program, got, want)
		}
	}
	input := func(id, value string) string {
		return fmt.Sprintf(`{ const e = document.getElementById(%q); e.value = %q; e.dispatchEvent(new Event("input", {bubbles: true})); 0 }`, id, value)
	}
	all := strings.Fields(p.eval(shownTags))
	if len(all) != 8 || all[0] != "9.0.0-24755229" || all[7] != "broken" {
		p.t.Errorf("the table has %q", all)
	}
	tags(input("q", "8.0.2 LAB"), "8.0.2-lab")
	tags(input("q", ""), strings.Join(all, " "))
	tags(input("release", "8.0.2"), "8.0.2-22380479 8.0.2-lab")
	tags(input("kind", "image"), "8.0.2-22380479")
	tags(input("release", ""), "9.0.0-24755229 8.0.2-22380479 6.7.0-13006603 hostile")
	tags(input("signer", "verified"), "9.0.0-24755229 8.0.2-22380479")
	tags(input("signer", "name:alice"), "8.0.2-22380479")
	if got := p.eval(`document.getElementById("shown").textContent`); got != "1 of 8 shown" {
		p.t.Errorf("it says %q", got)
	}
	tags(input("q", "nothing is like this"), "")
	tags(`document.getElementById("reset").click(); 0`, strings.Join(all, " "))
	tags(`document.querySelector("th[data-key=release] button").click(); 0`, "hostile 6.7U2-lab 6.7.0-13006603 8.0.2-lab 8.0.2-22380479 9.0-lab 9.0.0-24755229 broken")
	if got := p.eval(`document.querySelector("th[data-key=release]").ariaSort`); got != "ascending" {
		p.t.Errorf("it is sorted %q", got)
	}
	p.eval(`document.querySelector("th[data-key=tag] button").click(); 0`)
	if got := strings.Fields(p.eval(shownTags)); !slices.IsSortedFunc(got[:7], strings.Compare) {
		p.t.Errorf("by tag: %q", got)
	}
	p.eval(input("release", "9.0.0"))
	p.load(p.eval("location.href"))
	if got := p.eval(shownTags); got != "9.0-lab 9.0.0-24755229" && got != "9.0.0-24755229 9.0-lab" {
		p.t.Errorf("the address does not remember: %q", got)
	}
	p.clean(root)
}

func useImage(p *tab, root string) {
	p.load(root + "index.html")
	p.load(p.eval(`[...document.querySelectorAll(".tag a")].find(a => a.textContent === "9.0.0-24755229").href`))
	text := p.eval("document.body.innerText")
	for _, want := range []string{"ESXi 9.0.0", "Verified.", "bob", "esxi-img pull ", "@sha256:", "cosign verify --key", "image_source=oci://", "Provenance", "24755229", "esx-base"} {
		if !strings.Contains(text, want) {
			p.t.Errorf("the page of an image lacks %q", want)
		}
	}
	if n := p.eval(`document.querySelectorAll(".bar rect").length`); n != "4" {
		p.t.Errorf("the bar has %s parts", n)
	}
	p.eval(`{ const e = document.getElementById("vq"); e.value = "esx-base"; e.dispatchEvent(new Event("input")); 0 }`)
	if n := p.eval(`document.querySelectorAll("#viblist tbody tr:not([hidden])").length`); n != "1" {
		p.t.Errorf("%s VIBs are found", n)
	}
	p.eval(`document.querySelector(".copy button").click(); 0`)
	p.until(`/Copied|Marked/.test(document.querySelector(".copy button").textContent)`)
	p.clean(root)
}

func useCompare(p *tab, root string, files bool) {
	p.load(root + "compare.html")
	pairs := p.links(".links a")
	if len(pairs) != 6 { // four images in a row, and three variants
		p.t.Fatalf("there are the pairs %q", pairs)
	}
	for _, pair := range pairs {
		p.load(pair)
		there := p.eval(`document.getElementById("result").innerText.replace(/\s+/g, " ").trim()`)
		if !strings.Contains(there, "What changes") {
			p.t.Errorf("%s: %q", pair, there)
		}
		if !files {
			continue
		}
		// Our program finds the same as the browser's.
		name := strings.TrimSuffix(filepath.Base(pair), ".html")
		a, b, _ := strings.Cut(name, "-")
		p.load(root + "compare.html?a=" + a + "&b=" + b)
		p.until(`document.querySelector("#result .difference")`)
		if here := p.eval(`document.getElementById("result").innerText.replace(/\s+/g, " ").trim()`); here != there {
			p.t.Errorf("%s: the browser finds\n%s\nand we\n%s", pair, here, there)
		}
	}
	p.load(root + "compare.html")
	p.eval(`document.getElementById("choose-a").selectedIndex = 2; document.getElementById("choose-b").selectedIndex = 0; document.querySelector("#choose button").click(); 0`)
	if !files {
		p.wait()
	}
	p.until(`document.querySelector("#result .difference")`)
	if text := p.eval(`document.querySelector("#result .difference").innerText`); !strings.Contains(text, "upgraded") || strings.Contains(text, "$6$") {
		p.t.Errorf("two of them: %s", text)
	}
	p.clean(root)
}

// useKeyboard reaches the content with the first key.
func useKeyboard(p *tab, root string) {
	p.load(root + "index.html")
	key := func(name string, code int) {
		for _, kind := range []string{"keyDown", "keyUp"} {
			params := map[string]any{"type": kind, "key": name, "code": name, "windowsVirtualKeyCode": code}
			if name == "Enter" {
				params["text"] = "\r"
			}
			p.must("Input.dispatchKeyEvent", params)
		}
	}
	key("Tab", 9)
	if got := p.eval("document.activeElement.className"); got != "skip" {
		p.t.Errorf("the first key leads to %q", got)
	}
	key("Enter", 13)
	p.until(`document.activeElement.id === "main"`)
	for range 6 {
		key("Tab", 9)
	}
	p.until(`document.activeElement.closest("th")`)
	before := p.eval(shownTags)
	key("Enter", 13)
	if p.eval(shownTags) == before {
		p.t.Error("a key does not sort")
	}
	p.clean(root)
}

// visitHostile looks at all that a hostile registry could say.
func visitHostile(p *tab, root, hostile string) {
	p.load(root + "index.html")
	pages := append(p.links(".tag a"), root+"index.html", root+"compare.html")
	p.load(root + "compare.html")
	pages = append(pages, p.links(".links a")...)
	seen := false
	for _, url := range pages {
		p.load(url)
		var scripts []string
		p.decode(json.RawMessage(p.eval("JSON.stringify([...document.scripts].map(s => s.src))")), &scripts)
		for _, s := range scripts {
			if !strings.HasPrefix(s, root) {
				p.t.Errorf("%s has the script %q", url, s)
			}
		}
		if got := p.eval("String(window.pwned) + document.images.length"); got != "undefined0" {
			p.t.Errorf("%s: %s", url, got)
		}
		seen = seen || strings.Contains(p.eval("document.body.innerText"), hostile)
	}
	if !seen {
		p.t.Error("the hostile image was not looked at")
	}
	p.clean(root)
}

// readOnly reads everything with programs turned off.
func readOnly(p *tab, root string, files bool) {
	defer p.must("Emulation.setScriptExecutionDisabled", map[string]any{"value": false})
	text := func(url string) string {
		p.t.Helper()
		p.load(url)
		return p.eval("document.body.innerText")
	}
	index := text(root + "index.html")
	for _, want := range []string{"9.0.0-24755229", "8.0.2-lab", "verified", "alice", "not signed", "broken"} {
		if !strings.Contains(index, want) {
			p.t.Errorf("the table lacks %q", want)
		}
	}
	if p.eval(`String(document.getElementById("filters").checkVisibility())`) != "false" {
		p.t.Error("there is a form that does nothing")
	}
	image := p.links(".tag a")[0]
	if got := text(image); !strings.Contains(got, "esxi-img pull") || !strings.Contains(got, "esx-base") {
		p.t.Errorf("the page of an image: %.300s", got)
	}
	compare := text(root + "compare.html")
	if files && !strings.Contains(compare, "takes JavaScript") {
		p.t.Errorf("the page to compare does not say what it lacks: %s", compare)
	}
	if got := text(p.links(".links a")[0]); !strings.Contains(got, "What changes") || !strings.Contains(got, "+rootpw [not shown: a hashed root password]") {
		p.t.Errorf("a difference: %.300s", got)
	}
	p.clean(root)
}

// TestPagesAreAccessible asks axe-core, of every kind of page, light and dark,
// wide and narrow.
func TestPagesAreAccessible(t *testing.T) {
	axe := axeCore(t)
	f := newPages(t)
	p := startBrowser(t).open(t)
	for name, root := range map[string]string{"files": f.folder, "served": f.served} {
		p.load(root + "index.html")
		image := p.eval(`[...document.querySelectorAll(".tag a")].find(a => a.textContent === "9.0.0-24755229").href`)
		variant := p.eval(`[...document.querySelectorAll(".tag a")].find(a => a.textContent === "8.0.2-lab").href`)
		p.load(root + "compare.html")
		pairs := p.links(".links a")
		for kind, url := range map[string]string{
			"table": root + "index.html", "image": image, "variant": variant, "compare": root + "compare.html", "difference": pairs[1],
		} {
			for _, scheme := range []string{"light", "dark"} {
				for _, width := range []int{1280, 360} {
					p.look(width, scheme)
					p.load(url)
					p.shoot(fmt.Sprintf("%s-%s-%s-%d", name, kind, scheme, width))
					if over := p.eval(`String(document.documentElement.scrollWidth - document.documentElement.clientWidth)`); over != "0" {
						t.Errorf("%s: %s, %d: the page is %s pixels too wide", name, kind, width, over)
					}
					p.eval(`document.querySelectorAll("details").forEach(d => d.open = true); 0`)
					p.eval(axe + "; 0")
					got := p.eval(`axe.run(document, {preload: false, resultTypes: ["violations"]}).then(r => r.violations.map(v => v.id + ": " + v.nodes.map(n => n.html + " " + n.failureSummary).join("; ")).join("\n"))`)
					if got != "" {
						t.Errorf("%s: %s, %s, %d:\n%s", name, kind, scheme, width, got)
					}
				}
			}
		}
	}
	// The page of an answer that there is none.
	p.load(f.served + "image/nothing.html")
	p.eval(axe + "; 0")
	if got := p.eval(`axe.run(document, {preload: false}).then(r => r.violations.map(v => v.id).join())`); got != "" {
		t.Error(got)
	}
}

// TestServedPages looks at what goes around the pages.
func TestServedPages(t *testing.T) {
	f := newPages(t)
	status, body := get(t, f.served, `evil"><script>`)
	if strings.Contains(body, "evil") || status != http.StatusOK && status != http.StatusBadRequest {
		t.Errorf("a hostile host is answered with %d: %s", status, body)
	}
	if _, body = get(t, f.served, "registry.lab:5000"); !strings.Contains(body, "registry.lab:5000/org/esxi") {
		t.Error("the registry is not called as whoever asks calls it")
	}
}

const (
	axeVersion = "4.14.1"
	axeSHA256  = "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745"
)

// axeCore is axe-core's program, from where npm is set to get packages.
func axeCore(t *testing.T) string {
	t.Helper()
	name := "axe-core-" + axeVersion + ".tgz"
	dir := filepath.Join(foreigntest.Folder(), "axe-core-"+axeVersion)
	packed, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil || hexSHA256(packed) != axeSHA256 {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := runIn(t.Context(), dir, "npm", "pack", "--ignore-scripts", "axe-core@"+axeVersion); err != nil {
			t.Fatalf("%v: npm is in Debian's package npm", err)
		}
		if packed, err = os.ReadFile(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if sum := hexSHA256(packed); sum != axeSHA256 {
		t.Fatalf("%s has the SHA-256 %s, not %s", name, sum, axeSHA256)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			t.Fatal("it has no axe.min.js")
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Name == "package/axe.min.js" {
			b, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		}
	}
}

func hexSHA256(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
