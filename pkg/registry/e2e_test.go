//go:build e2e

package registry_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"

	"github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/pkg/registry/registrytest"
)

// Against registries that others wrote: everything.
func TestForeignRegistries(t *testing.T) {
	for _, kind := range registrytest.Kinds {
		for name, opts := range map[string]registrytest.Options{
			"plain":    {},
			"TLS":      {TLS: true},
			"htpasswd": {TLS: true, Htpasswd: true},
			"mTLS":     {TLS: true, ClientCert: true},
		} {
			t.Run(string(kind)+", "+name, func(t *testing.T) {
				server := registrytest.Start(t, kind, opts)
				with := registry.Options{CAFile: server.CAFile}
				if opts.ClientCert {
					with.CertFile, with.KeyFile = server.CAFile, server.KeyFile
				}
				if opts.Htpasswd {
					with.Username, with.Password = registrytest.Username, registrytest.Password
				}
				open := func(repository string) *registry.Repository {
					return openRepository(t, server.Host+"/"+repository, with)
				}
				t.Run("push and fetch", func(t *testing.T) { testPushAndFetch(t, open("a/b")) })
				t.Run("referrers", func(t *testing.T) { testReferrers(t, open("ref/err")) })
				t.Run("at once", func(t *testing.T) { testAttachForeign(t, open) })
				t.Run("copy and mount", func(t *testing.T) { testCopyForeign(t, open) })
				t.Run("refused", func(t *testing.T) { testRefused(t, server, opts) })
			})
		}
	}
}

// testAttachForeign attaches from many processes at once.
func testAttachForeign(t *testing.T, open func(string) *registry.Repository) {
	manifest, subject := manifestOf(t, "application/x", nil)
	push(t, open("many"), ocispec.DescriptorEmptyJSON, []byte("{}"))
	push(t, open("many"), subject, manifest)
	const many = 5
	var want []string
	var wg sync.WaitGroup
	errs := make([]error, many)
	for i := range many {
		b, desc := manifestOf(t, fmt.Sprintf("application/n%d", i), &subject)
		want = append(want, desc.Digest.String())
		r := open("many")
		wg.Go(func() { _, errs[i] = r.PushReferrer(t.Context(), b) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if got := digestsOf(t, open("many"), subject, ""); !slices.Equal(got, sorted(want...)) {
		t.Errorf("%d of %d are listed", len(got), many)
	}
}

// testCopyForeign copies from a layout, mounts elsewhere, copies back.
func testCopyForeign(t *testing.T, open func(string) *registry.Repository) {
	l := newLayout(t)
	index, all := artifact(t, l, "8.0")
	attach(t, l, bundleType, index)
	from, to := registry.NewRepository(l), open("copy/a")
	if _, err := oras.Copy(t.Context(), from.Target(), "8.0", to.Target(), "8.0", oras.DefaultCopyOptions); err != nil {
		t.Fatal(err)
	}
	if ok, err := open("copy/b").Mount(t.Context(), all[0], "copy/a"); !ok || err != nil {
		t.Errorf("mount: %v, %v", ok, err)
	}
	if ok, err := open("copy/b").Exists(t.Context(), all[0]); !ok || err != nil {
		t.Errorf("what was mounted: %v, %v", ok, err)
	}
	_, missing := random(t, 10)
	if ok, err := open("copy/b").Mount(t.Context(), missing, "copy/a"); ok || err != nil {
		t.Errorf("mount of nothing: %v, %v", ok, err)
	}
	back := createRepository(t, "oci:"+filepath.Join(t.TempDir(), "back"))
	if _, err := oras.Copy(t.Context(), to.Target(), "8.0", back.Target(), "", oras.DefaultCopyOptions); err != nil {
		t.Fatal(err)
	}
	for _, desc := range all {
		want, err := readAll(t.Context(), from, desc)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := readAll(t.Context(), back, desc); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v", desc.Digest, len(got), err)
		}
	}
	// Content that is wrong never arrives.
	blob, desc := random(t, 5<<20)
	blob[0] ^= 1
	if err := to.Push(t.Context(), desc, bytes.NewReader(blob)); !errors.Is(err, registry.ErrMismatch) {
		t.Errorf("%v", err)
	}
	if ok, err := to.Exists(t.Context(), desc); ok || err != nil {
		t.Errorf("it is there: %v, %v", ok, err)
	}
}

// testRefused tries without what is needed.
func testRefused(t *testing.T, server *registrytest.Registry, opts registrytest.Options) {
	if opts.TLS {
		no := false
		r := openRepository(t, server.Host+"/x", registry.Options{PlainHTTP: &no})
		if _, err := r.Resolve(t.Context(), "a"); !registry.IsUntrusted(err) {
			t.Errorf("without the certificate: %v", err)
		}
		r = openRepository(t, server.Host+"/x", registry.Options{InsecureSkipTLSVerify: true})
		_, err := r.Resolve(t.Context(), "a")
		if registry.IsUntrusted(err) || err == nil || errors.Is(err, registry.ErrNotFound) != (!opts.ClientCert && !opts.Htpasswd) {
			t.Errorf("any certificate: %v", err)
		}
	} else {
		no := false
		r := openRepository(t, server.Host+"/x", registry.Options{PlainHTTP: &no})
		if _, err := r.Resolve(t.Context(), "a"); !errors.Is(err, registry.ErrNoHTTPS) {
			t.Errorf("HTTPS to HTTP: %v", err)
		}
	}
	if !opts.Htpasswd {
		return
	}
	with := registry.Options{CAFile: server.CAFile, CredentialFiles: []string{filepath.Join(t.TempDir(), "config.json")}}
	r := openRepository(t, server.Host+"/x", with)
	var e *registry.Error
	if _, err := r.Resolve(t.Context(), "a"); !errors.As(err, &e) || e.Status != 401 {
		t.Errorf("without a password: %v", err)
	}
	with.Username, with.Password = registrytest.Username, "wrong"
	if _, err := registry.Login(t.Context(), server.Host, with); !errors.As(err, &e) || e.Status != 401 {
		t.Errorf("with a wrong password: %v", err)
	}
	with.Password = registrytest.Password
	t.Setenv("PATH", "/nonexistent") // no credential helper of this machine
	if _, err := registry.Login(t.Context(), server.Host, with); err != nil {
		t.Errorf("login: %v", err)
	}
	with.Username, with.Password = "", ""
	r = openRepository(t, server.Host+"/x", with)
	if _, err := r.Resolve(t.Context(), "a"); !errors.Is(err, registry.ErrNotFound) {
		t.Errorf("with the password that was kept: %v", err)
	}
}

// skopeo reads our layouts and archives.
func TestSkopeo(t *testing.T) {
	l := newLayout(t)
	index, all := artifact(t, l, "8.0")
	dir := t.TempDir()
	tarball := filepath.Join(dir, "a.tar")
	if err := archived(t, l, index, attach(t, l, bundleType, index), tarball); err != nil {
		t.Fatal(err)
	}
	for _, source := range []string{"oci:" + l.Dir() + ":8.0", "oci-archive:" + tarball + ":8.0"} {
		out := filepath.Join(dir, "copy")
		cmd := exec.Command("skopeo", "--insecure-policy", "copy", "--all", source, "oci:"+out+":x")
		if b, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", source, err, b)
		}
		copied, err := registry.OpenLayout(out)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := copied.Resolve(t.Context(), "x"); err != nil || got.Digest != index.Digest || there(t, copied, all...) != len(all) {
			t.Errorf("%s: %v, %v", source, got, err)
		}
		if err := os.RemoveAll(out); err != nil {
			t.Error(err)
		}
	}
}
