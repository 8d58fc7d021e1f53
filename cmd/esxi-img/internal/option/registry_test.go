package option_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/option"
	"github.com/esxi-img/esxi-img/pkg/registry"
)

// registryOptions parses flags in an environment.
func registryOptions(t *testing.T, env map[string]string, stdin string, args ...string) (registry.Options, error) {
	t.Helper()
	var r option.Registry
	f := pflag.NewFlagSet("test", pflag.ContinueOnError)
	r.AddFlags(f)
	r.AddMirrorFlag(f)
	if err := f.Parse(args); err != nil {
		t.Fatal(err)
	}
	return r.Options(f, option.Environment{
		Getenv: func(name string) string { return env[name] },
		Stdin:  strings.NewReader(stdin), Version: "1.2",
	})
}

func TestRegistryOptions(t *testing.T) {
	o, err := registryOptions(t, nil, "")
	if err != nil || o.PlainHTTP != nil || o.Retries != registry.DefaultRetries || o.Concurrency != registry.DefaultConcurrency || o.UserAgent != "esxi-img/1.2" || o.Proxy == nil {
		t.Errorf("%+v, %v", o, err)
	}
	o, err = registryOptions(t, nil, "pass word\r\n", "--plain-http=false", "--retries", "0", "-u", "me", "--password-stdin", "--mirror", "a", "--mirror", "b/c")
	if err != nil || o.PlainHTTP == nil || *o.PlainHTTP || o.Retries >= 0 || o.Username != "me" || o.Password != "pass word" || !slices.Equal(o.Mirrors, []string{"a", "b/c"}) {
		t.Errorf("%+v, %v", o, err)
	}
	env := map[string]string{"ESXI_IMG_USERNAME": "env", "ESXI_IMG_PASSWORD": "secret"}
	if o, err = registryOptions(t, env, ""); err != nil || o.Username != "env" || o.Password != "secret" {
		t.Errorf("%+v, %v", o, err)
	}
	if o, err = registryOptions(t, env, "other", "-u", "flag", "--password-stdin"); err != nil || o.Username != "flag" || o.Password != "other" {
		t.Errorf("%+v, %v", o, err)
	}
	for _, c := range []struct {
		stdin string
		args  []string
	}{
		{"x", []string{"--password-stdin"}},
		{"\n", []string{"-u", "me", "--password-stdin"}},
		{strings.Repeat("x", 70_000), []string{"-u", "me", "--password-stdin"}},
		{"", []string{"--concurrency", "0"}},
	} {
		if _, err := registryOptions(t, nil, c.stdin, c.args...); err == nil {
			t.Errorf("%q was taken", c.args)
		}
	}
}

func TestCredentialFiles(t *testing.T) {
	docker, podman := filepath.Join("h", ".docker", "config.json"), filepath.Join("h", ".config", "containers", "auth.json")
	for name, c := range map[string]struct {
		env       map[string]string
		want, not []string
	}{
		"one for all": {map[string]string{"REGISTRY_AUTH_FILE": "f", "HOME": "h", "USERPROFILE": "h"}, []string{"f"}, []string{docker, podman}},
		"home":        {map[string]string{"HOME": "h", "USERPROFILE": "h"}, []string{docker, podman}, nil},
		"no home":     {nil, nil, []string{docker, podman}},
		"others": {
			map[string]string{"HOME": "h", "USERPROFILE": "h", "DOCKER_CONFIG": "d", "XDG_RUNTIME_DIR": "r", "XDG_CONFIG_HOME": "c"},
			[]string{filepath.Join("d", "config.json"), filepath.Join("r", "containers", "auth.json"), filepath.Join("c", "containers", "auth.json")},
			[]string{docker, podman},
		},
	} {
		o, err := registryOptions(t, c.env, "")
		if err != nil {
			t.Fatal(err)
		}
		last := -1
		for _, w := range c.want {
			i := slices.Index(o.CredentialFiles, w)
			if i <= last {
				t.Errorf("%s: %q: no %q, or out of order", name, o.CredentialFiles, w)
			}
			last = i
		}
		for _, n := range c.not {
			if slices.Contains(o.CredentialFiles, n) {
				t.Errorf("%s: %q has %q", name, o.CredentialFiles, n)
			}
		}
	}
}
