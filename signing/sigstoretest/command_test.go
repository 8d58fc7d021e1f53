//go:build e2e && linux

package sigstoretest_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/esxi-img/esxi-img/signing"
)

// Exit codes (docs/exit-codes.md).
const (
	exitService = 4
	exitRefused = 10
)

// buildProgram builds esxi-img.
func (w *world) buildProgram(t *testing.T) {
	t.Helper()
	w.program = filepath.Join(t.TempDir(), "esxi-img")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", w.program, "../../cmd/esxi-img")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
}

// answer is how a run of esxi-img ended.
type answer struct {
	stdout, stderr string
	code           int
}

// esxiImg runs esxi-img with nothing in its environment but env.
func (w *world) esxiImg(t *testing.T, env []string, args ...string) answer {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), w.program, args...)
	cmd.Env = append([]string{"HOME=" + w.home}, env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return answer{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

func (w *world) mustRun(t *testing.T, env []string, args ...string) string {
	t.Helper()
	a := w.esxiImg(t, env, args...)
	if a.code != 0 {
		t.Fatalf("esxi-img %s: exit code %d\n%s%s", strings.Join(args, " "), a.code, a.stdout, a.stderr)
	}
	return a.stdout
}

// mustRefuse runs esxi-img, which has to end with exit code 10 and a message.
func (w *world) mustRefuse(t *testing.T, message string, args ...string) {
	t.Helper()
	a := w.esxiImg(t, nil, args...)
	if a.code != exitRefused || a.stdout != "" || !strings.Contains(a.stderr, message) {
		t.Errorf("esxi-img %s: exit code %d, want %d and %q\n%s%s", strings.Join(args, " "), a.code, exitRefused, message, a.stdout, a.stderr)
	}
}

// mustNotPull holds that a pull is refused, and touches nothing of its target.
func (w *world) mustNotPull(t *testing.T, message string, args ...string) {
	t.Helper()
	const letter = "Dear disk,"
	target := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(target, []byte(letter), 0o600); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(target)
	if err != nil {
		t.Fatal(err)
	}
	w.mustRefuse(t, message, append([]string{"pull", "--output", target, "--force"}, args...)...)
	after, err := os.Stat(target)
	if err != nil || !after.ModTime().Equal(before.ModTime()) || !os.SameFile(before, after) {
		t.Errorf("the target was touched (%v)", err)
	}
	if b, err := os.ReadFile(target); err != nil || string(b) != letter {
		t.Errorf("the target holds something else (%v)", err)
	}
}

// tokenFile is a file with a token of alice's.
func (w *world) tokenFile(t *testing.T, token string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// policyFile is a policy for the whole registry, which trusts one authority.
func (w *world) policyFile(t *testing.T, a *signing.Authority, trustedRoot string) string {
	t.Helper()
	entry := map[string]any{"timestamp": a.Timestamp, "trustedRoot": trustedRoot, "log": a.Log}
	if a.Key != nil {
		entry["key"] = string(a.Key.PEM())
	} else {
		identity := map[string]any{"ci": a.Identity.CI}
		for name, value := range map[string]string{
			"issuer": a.Identity.Issuer, "issuerPattern": a.Identity.IssuerPattern,
			"subject": a.Identity.Subject, "subjectPattern": a.Identity.SubjectPattern,
		} {
			if value != "" {
				identity[name] = value
			}
		}
		entry["identity"] = identity
	}
	// JSON is YAML.
	text, err := json.Marshal(map[string]any{"version": 1, "scopes": map[string]any{w.host: map[string]any{"anyOf": []any{entry}}}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "policy.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func (w *world) aliceFlags() []string {
	return []string{"--certificate-identity", alice, "--certificate-oidc-issuer", w.Issuer.URL, "--trusted-root", w.TrustedRoot}
}

// verifyAll lets cosign verify the index and each manifest in a repository.
func (w *world) verifyAll(t *testing.T, name string, args []string) {
	t.Helper()
	for _, s := range w.subjects(t, name) {
		w.mustCosign(t, with("verify", args, w.host+"/"+name+"@"+s.Subject.Digest.String())...)
	}
}

func TestCommands(t *testing.T) {
	w := newWorld(t)
	w.buildProgram(t)
	t.Run("keyless", w.keylessCommands)
	t.Run("key", w.keyCommands)
	t.Run("workflow", w.workflowCommands)
	t.Run("attested only", w.attestedOnly)
	t.Run("failed", w.failedSigning)
}

// What a user does without a key: sign, verify, attest, and what is refused.
func (w *world) keylessCommands(t *testing.T) {
	w.push(t, "cli/keyless")
	ref := w.host + "/cli/keyless:8.0"
	services := []string{"--identity-token", w.tokenFile(t, w.Issuer.Person(t, alice)), "--signing-config", w.SigningConfig, "--trusted-root", w.TrustedRoot}
	w.mustRefuse(t, "no signature", with("verify", w.aliceFlags(), ref)...)

	var signed struct {
		Signatures []struct {
			Digest, Role string
			LogIndex     *int64
			Time         *time.Time
			Signer       struct{ Identity, Issuer string }
		}
	}
	if err := json.Unmarshal([]byte(w.mustRun(t, nil, with("sign", "--json", services, ref)...)), &signed); err != nil {
		t.Fatal(err)
	}
	if len(signed.Signatures) != len(w.subjects(t, "cli/keyless")) {
		t.Errorf("%d signatures", len(signed.Signatures))
	}
	for _, s := range signed.Signatures {
		if s.LogIndex == nil || s.Time == nil || time.Since(*s.Time) > time.Hour || s.Signer.Identity != alice || s.Signer.Issuer != w.Issuer.URL {
			t.Errorf("%+v", s)
		}
	}
	w.verifyAll(t, "cli/keyless", w.verifyArgs(forms[2], nil))

	out := w.mustRun(t, nil, with("verify", w.aliceFlags(), ref)...)
	for _, want := range []string{alice, w.Issuer.URL} {
		if !strings.Contains(out, want) {
			t.Errorf("verify does not tell %s:\n%s", want, out)
		}
	}
	w.mustRun(t, nil, with("verify", "--deep", "--explain", w.aliceFlags(), ref)...)
	for _, s := range w.subjects(t, "cli/keyless") {
		w.mustRun(t, nil, with("verify", w.aliceFlags(), w.host+"/cli/keyless@"+s.Subject.Digest.String())...)
	}
	w.mustRefuse(t, "bob@example.com", "verify", "--certificate-identity", "bob@example.com", "--certificate-oidc-issuer", w.Issuer.URL, "--trusted-root", w.TrustedRoot, ref)
	w.mustRefuse(t, "its certificate is for", "verify", "--certificate-identity-regexp", "lice@example", "--certificate-oidc-issuer", w.Issuer.URL, "--trusted-root", w.TrustedRoot, ref)

	w.mustRun(t, nil, with("attest", "--sbom", "--provenance", services, ref)...)
	for _, kind := range []string{"spdxjson", "slsaprovenance1"} {
		for _, s := range w.subjects(t, "cli/keyless") {
			w.mustCosign(t, with("verify-attestation", w.verifyArgs(forms[2], nil), "--type", kind, w.host+"/cli/keyless@"+s.Subject.Digest.String())...)
		}
	}
	if a := w.esxiImg(t, nil, with("verify", w.aliceFlags(), "127.0.0.1:1/x", "--retries", "0")...); a.code != exitService {
		t.Errorf("a registry that is not there: exit code %d\n%s", a.code, a.stderr)
	}
}

// An attestation is no signature.
func (w *world) attestedOnly(t *testing.T) {
	w.push(t, "cli/attested")
	ref := w.host + "/cli/attested:8.0"
	w.mustRun(t, nil, "attest", "--sbom", "--identity-token", w.tokenFile(t, w.Issuer.Person(t, alice)), "--signing-config", w.SigningConfig, ref)
	w.mustRefuse(t, "SBOM", with("verify", w.aliceFlags(), ref)...)
}

// With a key: generate, push and sign at once, in a registry and in a layout.
func (w *world) keyCommands(t *testing.T) {
	env := []string{"COSIGN_PASSWORD=" + password}
	prefix := filepath.Join(t.TempDir(), "fresh")
	w.mustRun(t, env, "sign", "--generate-key", prefix)
	layout, _ := w.local.Layout()
	ref := w.host + "/cli/key:8.0"
	w.mustRun(t, env, "push", ref, "--layout", layout.Dir(), "--allow-secrets", "--sign", "--key", prefix+".key")
	args := []string{"--key", prefix + ".pub", "--insecure-ignore-tlog"}
	w.verifyAll(t, "cli/key", args)
	w.mustCosign(t, with("verify-attestation", args, "--type", "spdxjson", ref)...)
	w.mustRun(t, nil, "verify", "--key", prefix+".pub", ref)
	w.mustRefuse(t, "another key", "verify", "--key", newKeys(t).public, ref)

	w.mustRun(t, env, "sign", "oci:"+layout.Dir(), "--key", prefix+".key")
	w.mustCosign(t, with("verify", "--local-image", args, layout.Dir())...)
	w.mustRun(t, nil, "verify", "--key", prefix+".pub", "oci:"+layout.Dir())

	// cosign signs with our key, too.
	w.push(t, "cli/theirs")
	theirs := w.host + "/cli/theirs:8.0"
	w.mustCosign(t, "sign", "--yes", "--key", prefix+".key", "--use-signing-config=false", "--tlog-upload=false", theirs)
	w.mustRun(t, nil, "verify", "--key", prefix+".pub", theirs)
}

// In GitHub Actions a job asks for its token; a policy wants the workflow.
func (w *world) workflowCommands(t *testing.T) {
	const secret = "the job's secret"
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+secret || r.URL.Query().Get("audience") != "sigstore" {
			rw.WriteHeader(http.StatusUnauthorized)
			return
		}
		_ = json.NewEncoder(rw).Encode(map[string]string{"value": w.Actions.Workflow(t, repository, mainBranch)})
	}))
	t.Cleanup(server.Close)
	env := []string{"ACTIONS_ID_TOKEN_REQUEST_URL=" + server.URL + "/?api-version=2.0", "ACTIONS_ID_TOKEN_REQUEST_TOKEN=" + secret}
	w.push(t, "cli/actions")
	ref := w.host + "/cli/actions:8.0"
	w.mustRun(t, env, "sign", "--signing-config", w.SigningConfig, "--trusted-root", w.TrustedRoot, ref)
	workflow := "https://github.com/" + repository + "/.github/workflows/release.yml@" + mainBranch
	good := &signing.Authority{Log: true, Identity: &signing.Identity{
		Issuer: w.Actions.URL, Subject: workflow,
		CI: signing.CIClaims{Repository: "https://github.com/" + repository, Workflow: workflow, Ref: mainBranch, Trigger: "push"},
	}}
	w.mustRun(t, nil, "verify", "--explain", "--policy", w.policyFile(t, good, w.TrustedRoot), ref)
	good.Identity.CI.Ref = "refs/tags/v1"
	w.mustRefuse(t, "the CI's ref", "verify", "--policy", w.policyFile(t, good, w.TrustedRoot), ref)
	w.mustCosign(t, "verify", "--trusted-root", w.TrustedRoot, "--use-signed-timestamps", "--certificate-identity", workflow,
		"--certificate-oidc-issuer", w.Actions.URL, "--certificate-github-workflow-repository", repository, ref)
}

// A token that has expired fails before anything is attached; a service that is
// not there is exit code 4.
func (w *world) failedSigning(t *testing.T) {
	w.push(t, "cli/failed")
	ref := w.host + "/cli/failed:8.0"
	expired := w.Issuer.Token(t, map[string]any{"email": alice, "email_verified": true, "exp": time.Now().Add(-time.Minute).Unix()})
	foreign := w.Issuer.Token(t, map[string]any{"email": alice, "email_verified": true, "aud": "other"})
	fresh := w.tokenFile(t, w.Issuer.Person(t, alice))
	for name, c := range map[string]struct {
		args []string
		code int // 0: any but success
		say  string
	}{
		"expired token":    {[]string{"--identity-token", w.tokenFile(t, expired), "--signing-config", w.SigningConfig}, 0, "expired"},
		"token of another": {[]string{"--identity-token", w.tokenFile(t, foreign), "--signing-config", w.SigningConfig}, exitService, "certificate authority"},
		"no Fulcio": {
			[]string{"--identity-token", fresh, "--fulcio-url", "http://127.0.0.1:1", "--timestamp-url", w.Timestamp}, exitService, "certificate authority",
		},
		"no TSA": {[]string{"--identity-token", fresh, "--fulcio-url", w.Fulcio, "--timestamp-url", "http://127.0.0.1:1"}, exitService, "time stamp"},
		"no log": {
			[]string{"--identity-token", fresh, "--fulcio-url", w.Fulcio, "--timestamp-url", w.Timestamp, "--rekor-url", "http://127.0.0.1:1"}, exitService, "log",
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := w.esxiImg(t, nil, with("sign", c.args, ref)...)
			if a.code == 0 || c.code != 0 && a.code != c.code || !strings.Contains(a.stderr, c.say) {
				t.Errorf("exit code %d\n%s", a.code, a.stderr)
			}
			for _, secret := range []string{expired, foreign} {
				if strings.Contains(a.stdout+a.stderr, secret) {
					t.Error("the token is shown")
				}
			}
			for _, s := range w.subjects(t, "cli/failed") {
				if found, err := w.open(t, "cli/failed").Referrers(t.Context(), s.Subject, ""); err != nil || len(found) > 0 {
					t.Errorf("%d are attached, %v", len(found), err)
				}
			}
		})
	}
}
