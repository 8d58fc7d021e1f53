package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// The peers are other people's programs, built from the Go proxy.
const (
	distributionModule = "github.com/distribution/distribution/v3/cmd/registry@v3.1.2"
	orasModule         = "oras.land/oras/cmd/oras@v1.3.6"
)

// tool returns a program that "go install" builds, once.
func (b *bench) tool(ctx context.Context, module string) (string, error) {
	dir := filepath.Join(b.dir, "tools")
	path, _, _ := strings.Cut(module, "@")
	program := filepath.Join(dir, filepath.Base(path))
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	fmt.Fprintln(b.status, "building", module)
	cmd := exec.CommandContext(ctx, "go", "install", module)
	cmd.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: go install %s: %w\n%s", exec.ErrNotFound, module, err, out)
	}
	return program, nil
}

// registry is distribution on a loopback address. What it holds is lost when
// it stops.
type registry struct {
	host string
	root string
	cmd  *exec.Cmd
}

const registryConfig = `version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: %s}}
http: {addr: %s}
`

// startRegistry starts one with nothing in it.
func (b *bench) startRegistry(ctx context.Context, name string) (*registry, error) {
	program, err := b.tool(ctx, distributionModule)
	if err != nil {
		return nil, err
	}
	host, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	r := &registry{host: host, root: filepath.Join(b.dir, name)}
	if err := os.RemoveAll(r.root); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(r.root, 0o755); err != nil {
		return nil, err
	}
	config := filepath.Join(r.root, "config.yml")
	if err := os.WriteFile(config, fmt.Appendf(nil, registryConfig, strconv.Quote(r.root), host), 0o644); err != nil {
		return nil, err
	}
	// It ends with stop, after whatever uses it.
	r.cmd = exec.CommandContext(context.WithoutCancel(ctx), program, "serve", config)
	r.cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	if err := listens(ctx, host); err != nil {
		return nil, errors.Join(err, r.stop())
	}
	return r, nil
}

// stop ends the registry and removes what it held.
func (r *registry) stop() error {
	_ = r.cmd.Process.Kill()
	_ = r.cmd.Wait() // says that it was killed
	return os.RemoveAll(r.root)
}

func freeAddress(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// listens waits until somebody listens there.
func listens(ctx context.Context, host string) error {
	for range 200 {
		if conn, err := new(net.Dialer).DialContext(ctx, "tcp", host); err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	return fmt.Errorf("nobody listens on %s", host)
}

// artifact is a full-size image in a layout and in a registry that runs for as
// long as we do.
type artifact struct {
	*registry
	ref    string
	layout string
	disk   string // path of the raw disk's blob
	digest string
	// publicKey is the file of the key that signed it, "" where it is unsigned.
	publicKey string
}

// prepareArtifact builds the image of full size and pushes it, once.
func (b *bench) prepareArtifact(ctx context.Context) (*artifact, error) {
	if b.artifact != nil {
		return b.artifact, nil
	}
	r, err := b.startRegistry(ctx, "registry")
	if err != nil {
		return nil, err
	}
	a := &artifact{registry: r, ref: r.host + "/esxi:8.0", layout: filepath.Join(b.dir, "full.oci")}
	if err := b.buildAndPush(ctx, a, b.iso, a.layout, a.ref); err != nil {
		return nil, errors.Join(err, r.stop())
	}
	b.artifact = a
	return a, nil
}

func (b *bench) buildAndPush(ctx context.Context, a *artifact, iso, layout, ref string, flags ...string) error {
	remove(layout)
	args := append([]string{"build", iso, "--layout", layout, "--json", "--quiet"}, flags...)
	out, err := exec.CommandContext(ctx, b.program, args...).Output()
	if err != nil {
		return fmt.Errorf("build %s: %w", iso, err)
	}
	var built struct {
		Layout struct {
			Disk string `json:"disk"`
		} `json:"layout"`
	}
	if err := json.Unmarshal(out, &built); err != nil {
		return err
	}
	a.digest = built.Layout.Disk
	a.disk = filepath.Join(layout, "blobs", "sha256", strings.TrimPrefix(built.Layout.Disk, "sha256:"))
	return b.command(ctx, b.program, "push", ref, "--layout", layout, "--quiet").run()
}

// close ends what was started.
func (b *bench) close() error {
	var err error
	if b.tagged != nil {
		err = b.tagged.close()
	}
	if b.artifact == nil {
		return err
	}
	remove(b.artifact.layout)
	return errors.Join(err, b.artifact.stop())
}
