//go:build e2e && linux

package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/pkg/blockdev/blockdevtest"
	"github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/pkg/registry/registrytest"
	"github.com/esxi-img/esxi-img/pkg/tardisk"
)

const (
	// moduleSize is what two images of one release differ in, in bytes: enough
	// for a dozen pieces.
	moduleSize = 40 << 20
	// slowRate is how fast the registry answers where a pull is to be stopped in
	// its middle, in bytes a second and answer. A pull asks for a handful of
	// ranges at once.
	slowRate = 24 << 20
)

// published are two images of one release in a registry, behind a proxy that
// counts.
type published struct {
	proxy    *registrytest.Liar
	old, new release
}

// release is an image and where it is.
type release struct {
	img, iso string
	ref      string // behind the proxy
	config   *artifact.Config
}

// building keeps two tests from building the same image, which they share.
var building sync.Mutex

// publish starts a registry with two images for as long as the test takes.
func publish(t *testing.T) *published {
	t.Helper()
	upstream, err := registrytest.Proxy(registrytest.Start(t, registrytest.Debian, registrytest.Options{}).URL)
	if err != nil {
		t.Fatal(err)
	}
	p := &published{proxy: registrytest.NewLiar(upstream)}
	t.Cleanup(p.proxy.Close)
	p.old, p.new = p.push(t, "old", 1), p.push(t, "new", 2)
	return p
}

func (p *published) push(t *testing.T, tag string, seed uint64) release {
	t.Helper()
	dir := filepath.Join(workDir, "published", tag)
	layout := filepath.Join(dir, "layout")
	r := release{iso: plain.iso(t, small, ""), img: filepath.Join(dir, "esxi.img"), ref: p.proxy.Host + "/org/esxi:" + tag}
	r.build(t, layout, seed)
	run(t, program, "push", r.ref, "--layout", layout, "--quiet")

	// Its pieces, for what a pull may fetch.
	repo := registrytest.Open(t, r.ref, registry.Options{})
	d, err := repo.Resolve(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	img, err := artifact.Load(t.Context(), repo, d)
	if err != nil {
		t.Fatal(err)
	}
	r.config = img.Config
	return r
}

// build makes the image and its layout, unless another test has.
func (r release) build(t *testing.T, layout string, seed uint64) {
	t.Helper()
	building.Lock()
	defer building.Unlock()
	if _, err := os.Stat(r.img); err == nil {
		return
	}
	if err := os.MkdirAll(filepath.Dir(r.img), 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, program, "build", r.iso, "--output", r.img, "--layout", layout, "--module", noiseModule(t, seed), "--quiet")
}

// noiseModule makes a module that does not get smaller.
func noiseModule(t *testing.T, seed uint64) string {
	t.Helper()
	noise := make([]byte, moduleSize)
	if _, err := rand.NewChaCha8([32]byte{byte(seed)}).Read(noise); err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	if err := tardisk.Write(&packed, []tardisk.Entry{{Path: "opt/noise", Data: noise}}, time.Unix(0, 0).UTC()); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "NOISE.TGZ")
	if err := os.WriteFile(file, packed.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// pullCommand is a pull that runs on its own.
func pullCommand(ref, output string, args ...string) *exec.Cmd {
	return exec.Command(program, append([]string{"pull", ref, "--output", output, "--insecure-skip-verify"}, args...)...)
}

// pullSummary is what pull --json prints.
type pullSummary struct {
	Fetched, Reused, Generated, Written int64
}

// pull pulls, and returns what that took.
func pull(t *testing.T, ref, output string, args ...string) pullSummary {
	t.Helper()
	var stderr bytes.Buffer
	cmd := pullCommand(ref, output, append(args, "--json", "--quiet")...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("pull %s: %v\n%s", ref, err, &stderr)
	}
	var s pullSummary
	if err := json.Unmarshal(out, &s); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return s
}

// slowly makes the registry slow for as long as do takes.
func (p *published) slowly(do func()) {
	p.proxy.Tell(registrytest.On("GET", registrytest.Blobs, registrytest.Slow(slowRate)))
	defer p.proxy.Tell()
	do()
}

// pieces are the pieces that have to come from somewhere: those of files.
func (r release) pieces() (list []artifact.Piece) {
	for _, p := range r.config.Pieces() {
		if p.File >= 0 && p.From == artifact.FromDisk {
			list = append(list, p)
		}
	}
	return list
}

// held are the pieces that a disk has at its offsets.
func (r release) held(t *testing.T, disk string) map[artifact.SHA256]bool {
	t.Helper()
	held := map[artifact.SHA256]bool{}
	f, err := os.Open(disk)
	if os.IsNotExist(err) {
		return held
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for _, p := range r.pieces() {
		b := make([]byte, p.Length)
		if n, _ := f.ReadAt(b, p.Offset); int64(n) == p.Length && sha256.Sum256(b) == p.SHA256 {
			held[p.SHA256] = true
		}
	}
	return held
}

// without is how many bytes the pieces have that are in none of these.
func (r release) without(held ...map[artifact.SHA256]bool) (n int64) {
next:
	for _, p := range r.pieces() {
		for _, h := range held {
			if h[p.SHA256] {
				continue next
			}
		}
		n += p.Length
	}
	return n
}

// sum hashes size bytes of a file or a device.
func sum(t *testing.T, path string, size int64) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	if n, err := io.Copy(h, io.LimitReader(f, size)); err != nil || n != size {
		t.Fatalf("%s: %d of %d bytes: %v", path, n, size, err)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

func fileSize(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// fill writes a file to the beginning of a loop device.
func fill(t *testing.T, loop *blockdevtest.Loop, from string) {
	t.Helper()
	run(t, "dd", "if="+from, "of="+loop.Path, "bs=1M", "conv=fsync", "status=none")
}
