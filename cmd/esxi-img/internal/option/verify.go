package option

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/pflag"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/signing"
)

// Verify says who has to vouch for an image before it is used.
type Verify struct {
	key                      string
	identity, identityRegexp string
	issuer, issuerRegexp     string
	trustedRoot              string
	policy                   string
	offline                  bool
	insecureSkip             bool

	flags  *pflag.FlagSet
	prefix string // of the flags that a command has twice
}

// NoPolicyError says that neither flags nor a policy file tell whom to trust.
type NoPolicyError struct {
	Searched []string // names of files that are not there
}

func (e *NoPolicyError) Error() string {
	text := signing.ErrNoRule.Error() + ": no flag does, and there is no policy file"
	if len(e.Searched) > 0 {
		text += " (" + strings.Join(e.Searched, ", ") + ")"
	}
	return text
}
func (e *NoPolicyError) Unwrap() error { return signing.ErrNoRule }

// AddFlags adds the group's flags.
func (v *Verify) AddFlags(f *pflag.FlagSet) {
	v.add(f, "", "")
	v.addSkip(f)
}

// AddBaseFlags adds the group's flags to a command that signs, and verifies what
// it builds on: those that signing has too begin with "base-".
func (v *Verify) AddBaseFlags(f *pflag.FlagSet) {
	v.add(f, "base-", "the base: ")
	v.addSkip(f)
}

// AddCheckFlags adds the group's flags to a command that does nothing but
// verify.
func (v *Verify) AddCheckFlags(f *pflag.FlagSet) { v.add(f, "", "") }

func (v *Verify) add(f *pflag.FlagSet, prefix, of string) {
	v.flags, v.prefix = f, prefix
	f.StringVar(&v.key, prefix+"key", "", of+"trust the public key in `FILE` (PEM)")
	f.StringVar(&v.identity, prefix+"certificate-identity", "", of+"trust signatures of `NAME`, an e-mail address or a URI")
	f.StringVar(&v.identityRegexp, prefix+"certificate-identity-regexp", "", of+"trust names all of which `REGEXP` matches")
	f.StringVar(&v.issuer, prefix+"certificate-oidc-issuer", "", of+"the name has to be vouched for by `URL`")
	f.StringVar(&v.issuerRegexp, prefix+"certificate-oidc-issuer-regexp", "", of+"the name has to be vouched for by a URL all of which `REGEXP` matches")
	f.StringVar(&v.trustedRoot, prefix+"trusted-root", "", of+"trust the Sigstore instance of `FILE` (trusted_root.json) instead of the public one")
	f.StringVar(&v.policy, "policy", "", of+"trust whom the policy in `FILE` names")
	f.BoolVar(&v.offline, "offline", false, "fetch no trust root; use the copy that was fetched before")
}

func (v *Verify) addSkip(f *pflag.FlagSet) {
	f.BoolVar(&v.insecureSkip, "insecure-skip-verify", false, "use the image whoever made it")
}

// Verifier returns what the flags ask for, else what the first policy file says
// that is there. The error is a *NoPolicyError if there is none, a
// *signing.InputError for a file that cannot be used, else one of usage.
func (v *Verify) Verifier(env Environment) (artifact.Verifier, error) {
	if !v.insecureSkip {
		p, err := v.Policy(env)
		if err != nil {
			return nil, err
		}
		return p, nil
	}
	for _, name := range append(v.signerFlags(), v.prefix+"trusted-root", "policy") {
		if v.given(name) {
			return nil, fmt.Errorf("--insecure-skip-verify and --%s: one of them says that nothing is verified", name)
		}
	}
	return artifact.InsecureSkip{}, nil
}

// Policy is Verifier where something has to be verified.
func (v *Verify) Policy(env Environment) (*signing.PolicyVerifier, error) {
	if err := v.check(); err != nil {
		return nil, err
	}
	trust, err := v.trust(env)
	if err != nil {
		return nil, err
	}
	policy, err := v.find(env)
	if err != nil {
		return nil, err
	}
	return signing.NewPolicyVerifier(policy, trust)
}

// Skips says whether nothing is to be verified.
func (v *Verify) Skips() bool { return v.insecureSkip }

// signerFlags are the flags that say whom to trust.
func (v *Verify) signerFlags() []string {
	var out []string
	for _, name := range []string{"key", "certificate-identity", "certificate-identity-regexp", "certificate-oidc-issuer", "certificate-oidc-issuer-regexp"} {
		out = append(out, v.prefix+name)
	}
	return out
}

func (v *Verify) given(name string) bool { return v.flags != nil && v.flags.Changed(name) }

// Given says whether any of the flags is.
func (v *Verify) Given() bool {
	for _, name := range append(v.signerFlags(), v.prefix+"trusted-root", "policy", "offline") {
		if v.given(name) {
			return true
		}
	}
	return false
}

// check finds what contradicts itself, and what is missing.
func (v *Verify) check() error {
	p := "--" + v.prefix
	for _, name := range append(v.signerFlags(), v.prefix+"trusted-root", "policy") {
		if v.given(name) && v.flags.Lookup(name).Value.String() == "" {
			return fmt.Errorf("--%s: is empty", name)
		}
	}
	name, issuer := v.identity+v.identityRegexp != "", v.issuer+v.issuerRegexp != ""
	switch {
	case v.key != "" && (name || issuer):
		return fmt.Errorf("%skey and %scertificate-…: either a key or an identity is trusted; a policy file can name both", p, p)
	case v.identity != "" && v.identityRegexp != "":
		return fmt.Errorf("%scertificate-identity and %scertificate-identity-regexp: give one of them", p, p)
	case v.issuer != "" && v.issuerRegexp != "":
		return fmt.Errorf("%scertificate-oidc-issuer and %scertificate-oidc-issuer-regexp: give one of them", p, p)
	case name && !issuer:
		return fmt.Errorf("%scertificate-identity: who vouches for the name says %scertificate-oidc-issuer", p, p)
	case issuer && !name:
		return fmt.Errorf("%scertificate-oidc-issuer: for whom says %scertificate-identity", p, p)
	case v.policy != "" && (v.key != "" || name):
		return errors.New("--policy and flags that say whom to trust: give one of them")
	case v.key != "" && v.trustedRoot != "":
		return fmt.Errorf("%skey and %strusted-root: nothing of a trust root is looked at for a key; a policy file can ask for a log entry or a time stamp", p, p)
	case strings.Contains(v.key, "://"):
		return fmt.Errorf("%skey %s: is no file", p, v.key)
	default:
		return nil
	}
}

// trust returns where the trust root comes from.
func (v *Verify) trust(env Environment) (signing.TrustSource, error) {
	if v.trustedRoot == "" {
		public := &signing.PublicInstance{Cache: TrustCache(env.Getenv), Offline: v.offline}
		return public.Trust, nil
	}
	t, err := signing.LoadTrustedRoot(v.trustedRoot)
	if err != nil {
		return nil, err
	}
	return func(context.Context) (signing.Trust, error) { return t, nil }, nil
}

// find returns the policy that the flags make, else that of a file.
func (v *Verify) find(env Environment) (*signing.Policy, error) {
	switch {
	case v.key != "":
		key, err := signing.LoadPublicKey(v.key)
		if err != nil {
			return nil, err
		}
		return flagPolicy("--"+v.prefix+"key "+v.key, signing.Authority{Key: key}), nil
	case v.identity+v.identityRegexp != "":
		id := &signing.Identity{Issuer: v.issuer, IssuerPattern: v.issuerRegexp, Subject: v.identity, SubjectPattern: v.identityRegexp}
		if err := id.Validate(); err != nil {
			return nil, fmt.Errorf("--%scertificate-…: %w", v.prefix, err)
		}
		// As cosign does: a log entry is needed.
		return flagPolicy("--"+v.prefix+"certificate-identity "+v.identity+v.identityRegexp, signing.Authority{Identity: id, Log: true}), nil
	case v.policy != "":
		return signing.LoadPolicy(v.policy)
	}
	files := policyFiles(env.Getenv)
	for _, file := range files {
		p, err := signing.LoadPolicy(file)
		if !errors.Is(err, fs.ErrNotExist) {
			return p, err
		}
	}
	return nil, &NoPolicyError{files}
}

// flagPolicy trusts an authority wherever the image lies.
func flagPolicy(origin string, a signing.Authority) *signing.Policy {
	return &signing.Policy{Origin: origin, Scopes: []signing.Scope{{AnyOf: []signing.PolicyAuthority{{Authority: a}}}}}
}

// policyFiles lists where a policy file may be: the user's own comes before the
// machine's, which then says nothing. A ramdisk without a home has the latter.
func policyFiles(getenv func(string) string) []string {
	const name = "policy.yaml"
	var files []string
	if dir := xdg(getenv, "XDG_CONFIG_HOME", ".config", "APPDATA"); dir != "" {
		files = append(files, filepath.Join(dir, name))
	}
	if runtime.GOOS == "windows" {
		if dir := getenv("ProgramData"); dir != "" {
			files = append(files, filepath.Join(dir, program, name))
		}
		return files
	}
	return append(files, "/etc/"+program+"/"+name)
}

// TrustCache is the folder for copies of the public Sigstore instance's trust
// root; empty where there is no place for one.
func TrustCache(getenv func(string) string) string {
	dir := xdg(getenv, "XDG_CACHE_HOME", ".cache", "LOCALAPPDATA")
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, "sigstore")
}

// program is what our folders are called.
const program = "esxi-img"

// xdg is our folder in one of the user's base folders (XDG Base Directory
// Specification 0.8: a path there that is not absolute does not count).
func xdg(getenv func(string) string, variable, inHome, windows string) string {
	if dir := getenv(variable); filepath.IsAbs(dir) {
		return filepath.Join(dir, program)
	}
	if runtime.GOOS == "windows" {
		if dir := getenv(windows); dir != "" {
			return filepath.Join(dir, program)
		}
		return ""
	}
	if home := getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, inHome, program)
	}
	return ""
}
