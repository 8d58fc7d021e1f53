//go:build e2e

package foreigntest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// Program is a package of a Go module with its version: path@version.
type Program string

// Programs that read what registries hold.
const (
	ORAS  Program = "oras.land/oras/cmd/oras@v1.3.6"
	Crane Program = "github.com/google/go-containerregistry/cmd/crane@v0.22.1"
)

// majorVersion is the last element of a module's path that names no program.
var majorVersion = regexp.MustCompile(`^v[0-9]+$`)

// names returns what the program is called, and its version.
func (p Program) names() (name, version string) {
	module, version, _ := strings.Cut(string(p), "@")
	if majorVersion.MatchString(path.Base(module)) {
		module = path.Dir(module)
	}
	return path.Base(module), version
}

var built sync.Map // Program → func() (string, error)

// Path builds the program, unless an earlier run did, and returns its file.
func (p Program) Path(ctx context.Context) (string, error) {
	once, _ := built.LoadOrStore(p, sync.OnceValues(func() (string, error) { return p.install(ctx) }))
	return once.(func() (string, error))()
}

// Find is Path for a test.
func (p Program) Find(t testing.TB) string {
	t.Helper()
	file, err := p.Path(context.WithoutCancel(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// Folder is where later runs find what earlier ones built or fetched.
func Folder() string { return filepath.Join(os.TempDir(), fmt.Sprintf("esxi-img-e2e-%d", os.Getuid())) }

func (p Program) install(ctx context.Context) (string, error) {
	name, version := p.names()
	dir := filepath.Join(Folder(), name+"-"+version)
	file := filepath.Join(dir, name)
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	if err := os.MkdirAll(Folder(), 0o700); err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(Folder(), "build-")
	if err != nil {
		return "", err
	}
	// Without debug information they link faster, without cgo they need no
	// compiler for C.
	cmd := exec.CommandContext(ctx, "env", "GOBIN="+tmp, "GOFLAGS=", "CGO_ENABLED=0", "go", "install", "-ldflags=-s -w", string(p)) //nolint:gosec // into our own folder
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", errors.Join(fmt.Errorf("go install %s: %w\n%s", p, err, out), os.RemoveAll(tmp))
	}
	// Another test process may have been faster.
	if err := os.Rename(tmp, dir); err != nil {
		return file, os.RemoveAll(tmp)
	}
	return file, nil
}
