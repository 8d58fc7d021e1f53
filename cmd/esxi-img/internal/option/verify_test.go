package option_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/option"
	"github.com/esxi-img/esxi-img/signing"
)

const policyText = `version: 1
scopes:
  registry.example: {reject: true}
`

// verifyDir is a folder with a key and policies in it, in which the test runs.
func verifyDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Chdir(dir)
	key, err := signing.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{
		"cosign.pub": key.Public().PEM(), "policy.yaml": []byte(policyText), "bad.yaml": []byte("version: 2\n"),
		"config/esxi-img/policy.yaml": []byte(policyText), "home/.config/esxi-img/policy.yaml": []byte(policyText),
		"broken/esxi-img/policy.yaml": []byte("version: 2\n"),
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// verifier parses flags, in an environment.
func verifier(t *testing.T, environment map[string]string, args ...string) (artifact.Verifier, error) {
	t.Helper()
	var v option.Verify
	f := pflag.NewFlagSet("test", pflag.ContinueOnError)
	v.AddFlags(f)
	if err := f.Parse(args); err != nil {
		t.Fatal(err)
	}
	return v.Verifier(option.Environment{Getenv: func(name string) string { return environment[name] }, Stdin: &bytes.Buffer{}})
}

func TestVerifyFlags(t *testing.T) {
	verifyDir(t)
	id, issuer := "--certificate-identity=a@b", "--certificate-oidc-issuer=https://i"
	for name, c := range map[string]struct {
		args string
		want string // of the error
	}{
		"key":                       {"--key cosign.pub", ""},
		"key, offline":              {"--key cosign.pub --offline", ""},
		"identity":                  {id + " " + issuer, ""},
		"patterns":                  {"--certificate-identity-regexp=.*@b --certificate-oidc-issuer-regexp=https://.*", ""},
		"policy":                    {"--policy policy.yaml", ""},
		"skip":                      {"--insecure-skip-verify", ""},
		"key and identity":          {"--key cosign.pub " + id + " " + issuer, "--key and --certificate-…: either"},
		"key and issuer":            {"--key cosign.pub " + issuer, "--key and --certificate-…: either"},
		"identity and pattern":      {id + " --certificate-identity-regexp=.* " + issuer, "give one of them"},
		"issuer and pattern":        {id + " " + issuer + " --certificate-oidc-issuer-regexp=.*", "give one of them"},
		"no issuer":                 {id, "who vouches for the name says --certificate-oidc-issuer"},
		"no identity":               {issuer, "for whom says --certificate-identity"},
		"policy and key":            {"--policy policy.yaml --key cosign.pub", "--policy and flags that say whom to trust"},
		"policy and identity":       {"--policy policy.yaml " + id + " " + issuer, "--policy and flags that say whom to trust"},
		"skip and key":              {"--insecure-skip-verify --key cosign.pub", "--insecure-skip-verify and --key"},
		"skip and policy":           {"--insecure-skip-verify --policy policy.yaml", "--insecure-skip-verify and --policy"},
		"skip and trust root":       {"--insecure-skip-verify --trusted-root x", "--insecure-skip-verify and --trusted-root"},
		"key and trust root":        {"--key cosign.pub --trusted-root x", "nothing of a trust root is looked at for a key"},
		"key of a service":          {"--key awskms://x", "is no file"},
		"empty key":                 {"--key=", "--key: is empty"},
		"empty identity":            {"--certificate-identity= " + issuer, "--certificate-identity: is empty"},
		"empty policy":              {"--policy=", "--policy: is empty"},
		"bad pattern":               {"--certificate-identity-regexp=( " + issuer, "missing closing"},
		"pattern that breaks out":   {"--certificate-identity-regexp=a)|(?:.* " + issuer, "unexpected )"},
		"no such key":               {"--key none.pub", "none.pub: "},
		"bad key":                   {"--key policy.yaml", "policy.yaml: is no PEM file"},
		"no such policy":            {"--policy none.yaml", "none.yaml: "},
		"bad policy":                {"--policy bad.yaml", "bad.yaml: version: 2 is not 1"},
		"no such trust root":        {"--trusted-root none.json " + id + " " + issuer, "none.json: "},
		"bad trust root":            {"--trusted-root policy.yaml " + id + " " + issuer, "is no Sigstore trust root"},
		"bad trust root, no signer": {"--trusted-root policy.yaml --policy policy.yaml", "is no Sigstore trust root"},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := verifier(t, nil, strings.Fields(c.args)...)
			if c.want == "" {
				if err != nil || v == nil {
					t.Errorf("%v, %v", v, err)
				}
				return
			}
			// Not even one that is nil inside.
			if v != nil || err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, %v, want %q", v, err, c.want)
			}
			var input *signing.InputError
			if of := strings.HasPrefix(name, "no such") || strings.HasPrefix(name, "bad ") && name != "bad pattern"; errors.As(err, &input) != of {
				t.Errorf("%v is of a file: %v", err, !of)
			}
		})
	}
}

func TestPolicyFiles(t *testing.T) {
	if _, err := os.Stat("/etc/esxi-img/policy.yaml"); err == nil {
		t.Fatal("this machine has a policy in /etc/esxi-img: move it away for the tests")
	}
	dir := verifyDir(t)
	at := func(name string) string { return filepath.Join(dir, name) }
	origin := func(v artifact.Verifier) string {
		c, err := v.(*signing.PolicyVerifier).Choose("registry.example/esxi")
		if err != nil {
			t.Fatal(err)
		}
		return c.Policy
	}
	for name, c := range map[string]struct {
		environment map[string]string
		args        []string
		want        string
	}{
		"XDG":             {map[string]string{"XDG_CONFIG_HOME": at("config"), "HOME": at("home")}, nil, at("config/esxi-img/policy.yaml")},
		"flags before it": {map[string]string{"XDG_CONFIG_HOME": at("config")}, []string{"--key", "cosign.pub"}, "--key cosign.pub"},
		"--policy":        {map[string]string{"XDG_CONFIG_HOME": at("broken")}, []string{"--policy", "policy.yaml"}, "policy.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := verifier(t, c.environment, c.args...)
			if err != nil || origin(v) != filepath.FromSlash(c.want) {
				t.Errorf("%v, %v", v, err)
			}
		})
	}
	t.Run("home", func(t *testing.T) {
		if runtime.GOOS == "windows" {
			t.Skip("has none")
		}
		// A relative path does not count.
		v, err := verifier(t, map[string]string{"HOME": at("home"), "XDG_CONFIG_HOME": "config"})
		if err != nil || origin(v) != at("home/.config/esxi-img/policy.yaml") {
			t.Errorf("%v, %v", v, err)
		}
	})
	t.Run("broken", func(t *testing.T) {
		var input *signing.InputError
		if v, err := verifier(t, map[string]string{"XDG_CONFIG_HOME": at("broken")}); v != nil || !errors.As(err, &input) {
			t.Errorf("%v, %v", v, err)
		}
	})
	for name, environment := range map[string]map[string]string{
		"none":          {"XDG_CONFIG_HOME": at("none")},
		"not even HOME": nil,
	} {
		t.Run(name, func(t *testing.T) {
			v, err := verifier(t, environment)
			var missing *option.NoPolicyError
			if v != nil || !errors.As(err, &missing) || !errors.Is(err, signing.ErrNoRule) || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%v, %v", v, err)
			}
		})
	}
}

// TestBaseFlags: a command that signs has flags of the same names.
func TestBaseFlags(t *testing.T) {
	verifyDir(t)
	var v option.Verify
	f := pflag.NewFlagSet("test", pflag.ContinueOnError)
	f.String("key", "", "")
	f.String("trusted-root", "", "")
	v.AddBaseFlags(f)
	if err := f.Parse([]string{"--key", "cosign.key", "--base-key", "cosign.pub", "--base-certificate-identity", "x"}); err != nil {
		t.Fatal(err)
	}
	_, err := v.Verifier(option.Environment{Getenv: func(string) string { return "" }})
	if err == nil || !strings.Contains(err.Error(), "--base-key and --base-certificate-") {
		t.Error(err)
	}
}

func TestTrustCache(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("has other folders")
	}
	for want, environment := range map[string]map[string]string{
		"/x/esxi-img/sigstore":        {"XDG_CACHE_HOME": "/x", "HOME": "/h"},
		"/h/.cache/esxi-img/sigstore": {"HOME": "/h", "XDG_CACHE_HOME": "relative"},
		"":                            {},
	} {
		if got := option.TrustCache(func(name string) string { return environment[name] }); got != want {
			t.Errorf("%v: %q", environment, got)
		}
	}
}
