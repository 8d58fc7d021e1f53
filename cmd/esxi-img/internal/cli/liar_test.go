package cli_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/cli"
	"github.com/esxi-img/esxi-img/pkg/esxitest"
	"github.com/esxi-img/esxi-img/pkg/registry/registrytest"
)

// Exit codes, as docs/exit-codes.md has them.
const (
	done         = 0
	badUsage     = 2
	badInput     = 3
	badRegistry  = 4
	notVerified  = 10
	secretOfOurs = "correct horse" // as package registrytest has it
)

// ran is how a command ended.
type ran struct {
	code           int
	stdout, stderr string
	took           time.Duration
	allocated      uint64 // bytes, over its life
}

// command runs a command line in this process.
func command(ctx context.Context, args ...string) ran {
	var stdout, stderr bytes.Buffer
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := time.Now()
	code := cli.Run(ctx, args, cli.System{
		Stdin: strings.NewReader(""), Stdout: &stdout, Stderr: &stderr,
		Getenv: func(name string) string {
			return map[string]string{"ESXI_IMG_USERNAME": "alice", "ESXI_IMG_PASSWORD": secretOfOurs}[name]
		},
		Build: cli.BuildInfo{Version: "test"},
	})
	runtime.ReadMemStats(&after)
	return ran{code, stdout.String(), stderr.String(), time.Since(began), after.TotalAlloc - before.TotalAlloc}
}

// image is an artifact in a layout, and the disk that it is of.
type image struct {
	layout string
	disk   []byte
	err    string
}

// built is an image with a file of 12 MiB, so that it takes several requests.
// The first test that needs it makes it, in a folder that outlives the test.
var built = sync.OnceValue(func() (out image) {
	dir, err := os.MkdirTemp("", "esxi-img-liar-")
	if err != nil {
		return image{err: err.Error()}
	}
	noise := make([]byte, 12<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise) // it never fails
	medium := filepath.Join(dir, "esxi.iso")
	if err := os.WriteFile(medium, esxitest.Bytes(esxitest.Add("NOISE.BIN", noise)), 0o600); err != nil {
		return image{err: err.Error()}
	}
	out.layout = filepath.Join(dir, "esxi-img.oci")
	raw := filepath.Join(dir, "esxi.img")
	if r := command(context.Background(), "build", medium, "--layout", out.layout, "--output", raw, "--quiet"); r.code != done {
		return image{err: r.stderr}
	}
	if out.disk, err = os.ReadFile(raw); err != nil {
		return image{err: err.Error()}
	}
	return out
})

func TestMain(m *testing.M) {
	code := m.Run()
	if i := built(); i.layout != "" {
		_ = os.RemoveAll(filepath.Dir(i.layout)) // a temporary folder
	}
	os.Exit(code)
}

func buildImage(t *testing.T) image {
	t.Helper()
	i := built()
	if i.err != "" {
		t.Fatal(i.err)
	}
	return i
}

// liar is a registry with the image in liar/esxi:8.0, behind a Liar.
func liar(t *testing.T) *registrytest.Liar {
	t.Helper()
	l := registrytest.ServeLiar(t)
	fill(t, l)
	return l
}

// fill pushes the image to liar/esxi:8.0.
func fill(t *testing.T, l *registrytest.Liar) {
	t.Helper()
	if r := command(t.Context(), "push", l.Host+"/liar/esxi:8.0", "--layout", buildImage(t).layout); r.code != done {
		t.Fatal(r.stderr)
	}
	l.Forget()
}

const (
	// maxTook is how long a lie may cost: two more tries with their pauses, and
	// a busy machine.
	maxTook = 20 * time.Second
	// maxAllocated is what a pull or a push may allocate over its life, in
	// bytes: it bounds what it may hold at once.
	maxAllocated = 256 << 20
)

// bounded holds that a command did not take much of anything, and did not tell
// the password.
func (r *ran) bounded(t *testing.T) {
	t.Helper()
	if r.took > maxTook || r.allocated > maxAllocated {
		t.Errorf("it took %s and %d MiB", r.took, r.allocated>>20)
	}
	if strings.Contains(r.stderr+r.stdout, secretOfOurs) {
		t.Errorf("it tells the password: %s", r.stderr)
	}
}

// ended holds that a command ended with that code, and said so.
func (r *ran) ended(t *testing.T, code int, says string) {
	t.Helper()
	if r.code != code || !strings.Contains(r.stderr, says) {
		t.Errorf("exit code %d, want %d with %q:\n%s", r.code, code, says, r.stderr)
	}
	if code != done && !strings.Contains(r.stderr, "\nAdvice: ") {
		t.Errorf("no advice:\n%s", r.stderr)
	}
	r.bounded(t)
}

// nothingWrong holds that all bytes in a folder that are not zeros are the
// disk's, at their place, and that nothing has the final name.
func nothingWrong(t *testing.T, dir string, disk []byte) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() == "got.img" {
			t.Error("the output is there")
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > len(disk) {
			t.Errorf("%s has %d bytes, the disk %d", e.Name(), len(b), len(disk))
			continue
		}
		const sector = 512
		for at := 0; at < len(b); at += sector {
			part := b[at:min(at+sector, len(b))]
			if !bytes.Equal(part, disk[at:at+len(part)]) && len(bytes.Trim(part, "\x00")) > 0 {
				t.Errorf("%s: what was written at %d is wrong", e.Name(), at)
				break
			}
		}
	}
}
