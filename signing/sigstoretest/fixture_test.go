//go:build e2e && linux

package sigstoretest_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/artifact/artifacttest"
	"github.com/esxi-img/esxi-img/pkg/esxitest"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/pkg/registry/registrytest"
	"github.com/esxi-img/esxi-img/signing"
	"github.com/esxi-img/esxi-img/signing/sigstoretest"
)

func TestMain(m *testing.M) {
	sigstoretest.Main(m, sigstoretest.Install(sigstoretest.Programs...), registrytest.Prepare)
}

// alice signs; so does the workflow of a repository.
const (
	alice      = "alice@example.com"
	repository = "org/esxi"
	mainBranch = "refs/heads/main"
)

// world is everything that a test needs: a Sigstore instance, a registry, and
// an image to push.
type world struct {
	*sigstoretest.Stack
	host  string // the registry's
	local *registry.Repository
	image *artifact.Packed
	// pushed is a repository that has the image.
	pushed string
	trust  signing.Trust
	home   string // where programs keep what they keep
	// program is esxi-img, where it was built.
	program string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{Stack: sigstoretest.Start(t), home: t.TempDir()}
	w.host = registrytest.Start(t, registrytest.Distribution, registrytest.Options{Delete: true}).Host
	w.local, w.image = pack(t)
	var err error
	if w.trust, err = signing.LoadTrustedRoot(w.TrustedRoot); err != nil {
		t.Fatal(err)
	}
	return w
}

// pack makes an image of a synthetic ISO, in a layout.
func pack(t *testing.T) (*registry.Repository, *artifact.Packed) {
	t.Helper()
	l, err := registry.NewLayout(filepath.Join(t.TempDir(), "layout"))
	if err != nil {
		t.Fatal(err)
	}
	return artifacttest.Pack(t, l, artifacttest.Source(t, esxitest.Bytes(), imager.Profile{Headroom: 1 << 20}))
}

// push pushes the image to a repository of the registry. The first push ends
// before others begin.
func (w *world) push(t *testing.T, name string) *registry.Repository {
	t.Helper()
	to := w.open(t, name)
	// The disk is large; from the second time on it is there.
	if w.pushed != "" {
		if ok, err := to.Mount(t.Context(), w.image.Disk, w.pushed); !ok || err != nil {
			t.Fatalf("mount: %v, %v", ok, err)
		}
	}
	if _, err := artifact.Push(t.Context(), w.local, w.image.Index, to, artifact.PushOptions{Tag: "8.0", AllowSecrets: true}); err != nil {
		t.Fatal(err)
	}
	if w.pushed == "" {
		w.pushed = name
	}
	return to
}

// open opens a repository anew: who pushes and who verifies are two.
func (w *world) open(t *testing.T, name string) *registry.Repository {
	t.Helper()
	return registrytest.Create(t, w.host+"/"+name, registry.Options{})
}

// subjects are the index and the manifests of the image, with what is signed of
// them in a repository.
func (w *world) subjects(t *testing.T, name string) []signing.Statement {
	t.Helper()
	s, err := signing.FindSubjects(t.Context(), w.local, w.image.Index, w.host+"/"+name)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Statements) < 3 || s.Statements[0].Subject.MediaType != ocispec.MediaTypeImageIndex {
		t.Fatalf("%d statements: the image is not an index of two manifests", len(s.Statements))
	}
	return s.Statements
}

// form is one of the ways to sign.
type form struct {
	name    string
	keyless bool
	log     bool
	time    bool
}

var forms = []form{
	{name: "key"},
	{name: "key-log-time", log: true, time: true},
	{name: "keyless-log-time", keyless: true, log: true, time: true},
	{name: "keyless-time", keyless: true, time: true},
}

// keys are a key pair, and its files in cosign's form.
type keys struct {
	private             *signing.PrivateKey
	privateFile, public string
}

// password encrypts the files of keys.
const password = "correct horse"

func newKeys(t *testing.T) *keys {
	t.Helper()
	k, err := signing.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	encrypted, err := k.PEM([]byte(password))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	out := &keys{k, filepath.Join(dir, "k.key"), filepath.Join(dir, "k.pub")}
	for file, b := range map[string][]byte{out.privateFile: encrypted, out.public: k.Public().PEM()} {
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// signer signs in a form: with the key, or as alice.
func (w *world) signer(t *testing.T, f form, k *keys) *signing.Signer {
	t.Helper()
	opts := signing.SignerOptions{Trust: w.trust}
	if f.keyless {
		opts.Services.Fulcio = w.Fulcio
		opts.Token = func(context.Context) (string, error) { return w.Issuer.Person(t, alice), nil }
	} else {
		opts.Key = k.private
	}
	if f.time {
		opts.Services.Timestamps = []string{w.Timestamp}
	}
	if f.log {
		opts.Services.Logs = []signing.Log{{URL: w.Rekor, Version: 2}}
	}
	s, err := signing.NewSigner(opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// rule trusts who signs in a form, and wants all that the form has.
func (w *world) rule(f form, k *keys) signing.Rule {
	a := signing.Authority{Log: f.log, Timestamp: f.time}
	if f.keyless {
		a.Identity = &signing.Identity{Issuer: w.Issuer.URL, Subject: alice}
	} else {
		a.Key = k.private.Public()
	}
	return signing.Rule{Name: f.name, AnyOf: []signing.Authority{a}}
}

// verify verifies as a host does.
func (w *world) verify(t *testing.T, name string, d ocispec.Descriptor, rule signing.Rule) (*artifact.Verification, error) {
	t.Helper()
	return w.verifyWith(t, w.open(t, name), d, rule, w.trust)
}

func (w *world) verifyWith(t *testing.T, in *registry.Repository, d ocispec.Descriptor, rule signing.Rule, trust signing.Trust) (*artifact.Verification, error) {
	t.Helper()
	v, err := signing.NewVerifier(rule, trust)
	if err != nil {
		t.Fatal(err)
	}
	return artifact.Verify(t.Context(), v, artifact.Subject{Ref: in.Reference().String(), Target: in, Descriptor: d})
}

// cosign runs cosign and returns what it says.
func (w *world) cosign(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), sigstoretest.Cosign.Find(t), args...)
	cmd.Env = []string{"HOME=" + w.home, "COSIGN_PASSWORD=" + password, "PATH=" + os.Getenv("PATH")}
	cmd.Dir = w.home
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (w *world) mustCosign(t *testing.T, args ...string) string {
	t.Helper()
	out, err := w.cosign(t, args...)
	if err != nil {
		t.Errorf("cosign %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// verifyArgs are cosign's to verify what was signed in a form.
func (w *world) verifyArgs(f form, k *keys) []string {
	var args []string
	if f.keyless {
		args = append(args, "--certificate-identity", alice, "--certificate-oidc-issuer", w.Issuer.URL)
	} else {
		args = append(args, "--key", k.public)
	}
	if f.log || f.time {
		args = append(args, "--trusted-root", w.TrustedRoot)
	}
	if !f.log {
		args = append(args, "--insecure-ignore-tlog")
	}
	if f.time {
		args = append(args, "--use-signed-timestamps")
	}
	return args
}

// signArgs are cosign's to sign in a form.
func (w *world) signArgs(t *testing.T, f form, k *keys) []string {
	t.Helper()
	args := []string{"--yes"}
	if f.keyless {
		args = append(args, "--identity-token", w.tokenFile(t, w.Issuer.Person(t, alice)))
	} else {
		args = append(args, "--key", k.privateFile)
	}
	switch {
	case f.log:
		args = append(args, "--signing-config", w.SigningConfig, "--trusted-root", w.TrustedRoot)
	case f.time:
		args = append(args, "--signing-config", w.WithoutLog, "--trusted-root", w.TrustedRoot)
	default:
		args = append(args, "--use-signing-config=false", "--tlog-upload=false")
	}
	return args
}

// with puts arguments together.
func with(first string, rest ...any) []string {
	out := []string{first}
	for _, r := range rest {
		switch r := r.(type) {
		case string:
			out = append(out, r)
		case []string:
			out = append(out, r...)
		}
	}
	return slices.Clip(out)
}
