package registry_test

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/esxi-img/esxi-img/pkg/registry"
)

func TestFindCredentials(t *testing.T) {
	// base64: a:1, b:2, c:3, d:4
	file := `{"auths":{
		"ghcr.io/org/private":{"auth":"YTox"},
		"ghcr.io/org":{"auth":"Yjoy"},
		"https://quay.io/v1/":{"auth":"Yzoz"},
		"other.io/some/where":{"auth":"ZDo0"},
		"plain.io":{"username":"e","password":"5"},
		"bad.io":{"auth":"!"}}}`
	for key, want := range map[string]string{
		"ghcr.io org/private":     "a:1",
		"ghcr.io org/private/sub": "a:1",
		"ghcr.io org/public":      "b:2",
		"ghcr.io org":             "b:2",
		"ghcr.io organisation":    ":",
		"ghcr.io ":                ":",
		"quay.io org":             "c:3",
		"other.io some/where":     "d:4",
		"other.io some":           ":", // oras would take the other repository's
		"plain.io x":              "e:5",
		"nobody.io x":             ":",
	} {
		host, repository, _ := strings.Cut(key, " ")
		user, password, err := registry.FindCredentials([]byte(file), host, repository)
		if err != nil || user+":"+password != want {
			t.Errorf("%s: %s:%s, %v, want %s", key, user, password, err, want)
		}
	}
	if _, _, err := registry.FindCredentials([]byte(file), "bad.io", ""); err == nil {
		t.Error("a bad entry was taken")
	}
	for _, bad := range []string{"{", "[]", `{"auths":{"x":{"auth":7}}}`, `{"auths":["hunter2"]}`} {
		_, _, err := registry.FindCredentials([]byte(bad), "x", "")
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// basicRegistry takes one user's password.
func basicRegistry(t *testing.T, user, password string) *fake {
	t.Helper()
	f := newFake(t)
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		if u, p, _ := r.BasicAuth(); u == user && p == password {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		w.WriteHeader(401)
		return true
	}
	return f
}

func TestLogin(t *testing.T) {
	f := basicRegistry(t, "alice", "secret:1")
	t.Setenv("PATH", t.TempDir()) // no credential helper of this machine
	file := filepath.Join(t.TempDir(), "sub", "config.json")
	opts := registry.Options{Username: "alice", Password: "secret:1", CredentialFiles: []string{file}}
	addr := host(t, f.URL)
	if got, err := registry.Login(t.Context(), addr, opts); err != nil || got != file {
		t.Fatal(got, err)
	}
	info, err := os.Stat(file)
	if err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	f.have([]byte("x"))
	r := f.open(t, func(o *registry.Options) { o.CredentialFiles = opts.CredentialFiles })
	if _, err := readAll(t.Context(), r, describe("", []byte("x"))); err != nil {
		t.Error(err)
	}

	wrong := opts
	wrong.Password = "wrong one"
	before, _ := os.ReadFile(file)
	_, err = registry.Login(t.Context(), addr, wrong)
	var e *registry.Error
	if !errors.As(err, &e) || e.Status != 401 || e.Op != registry.OpLogin || strings.Contains(err.Error(), "wrong one") {
		t.Errorf("with a wrong password: %v", err)
	}
	if after, _ := os.ReadFile(file); !bytes.Equal(after, before) {
		t.Error("a wrong password was kept")
	}
	for range 2 {
		files, err := registry.Logout(t.Context(), addr, opts)
		if err != nil {
			t.Fatal(err)
		}
		t.Log(files)
	}
	if b, err := os.ReadFile(file); err != nil || strings.Contains(string(b), addr) {
		t.Errorf("after logout: %s, %v", b, err)
	}
	if _, err := registry.Login(t.Context(), addr, registry.Options{}); !errors.Is(err, registry.ErrNoCredentialFile) {
		t.Error(err)
	}
	if _, err := registry.Login(t.Context(), "https://x", opts); err == nil {
		t.Error("a URL is no registry")
	}
}

// A credential helper is asked; one that is not installed is not missed.
func TestCredentialHelper(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the helper here is a shell script")
	}
	f := basicRegistry(t, "bob", "from-helper")
	addr := host(t, f.URL)
	bin, dir := t.TempDir(), t.TempDir()
	helper := "#!/bin/sh\nread server\n[ \"$1 $server\" = \"get " + addr + "\" ] && printf '{\"ServerURL\":\"\",\"Username\":\"bob\",\"Secret\":\"from-helper\"}'\n"
	if err := os.WriteFile(filepath.Join(bin, "docker-credential-mine"), []byte(helper), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":/bin:/usr/bin")
	f.have([]byte("x"))
	fetch := func(config string) error {
		file := filepath.Join(dir, "config.json")
		write(t, file, config)
		r := f.open(t, func(o *registry.Options) { o.CredentialFiles = []string{file} })
		_, err := readAll(t.Context(), r, describe("", []byte("x")))
		return err
	}
	if err := fetch(`{"credHelpers":{"` + addr + `":"mine"}}`); err != nil {
		t.Error(err)
	}
	if err := fetch(`{"credsStore":"mine"}`); err != nil {
		t.Error(err)
	}
	err := fetch(`{"credsStore":"not-installed"}`)
	if err == nil || !strings.Contains(err.Error(), "401 Unauthorized") {
		t.Error(err)
	}
}

// A bearer token is fetched with the password, or is given in a file.
func TestBearerToken(t *testing.T) {
	f := newFake(t)
	const token = "tok-0123456789"
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/token" {
			if u, p, _ := r.BasicAuth(); u != "alice" || p != "secret" {
				w.WriteHeader(401)
			}
			_, _ = w.Write([]byte(`{"token":"` + token + `"}`))
			return true
		}
		if r.Header.Get("Authorization") == "Bearer "+token {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+f.URL+`/token",service="x",scope="repository:x/y:pull"`)
		w.WriteHeader(401)
		return true
	}
	f.have([]byte("x"))
	desc := describe("", []byte("x"))
	file := filepath.Join(t.TempDir(), "token")
	write(t, file, token+"\n")
	for name, change := range map[string]func(*registry.Options){
		"password": func(o *registry.Options) { o.Username, o.Password = "alice", "secret" },
		"file":     func(o *registry.Options) { o.TokenFile = file },
	} {
		if _, err := readAll(t.Context(), f.open(t, change), desc); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := readAll(t.Context(), f.open(t, func(o *registry.Options) { o.Username, o.Password = "alice", "mistyped" }), desc)
	if err == nil || !strings.Contains(err.Error(), "401") || strings.Contains(err.Error(), "mistyped") {
		t.Error(err)
	}
	write(t, file, "two words\n")
	ref, err := registry.Parse(f.ref())
	if err != nil {
		t.Fatal(err)
	}
	var config *registry.ConfigError
	if _, err := registry.Open(t.Context(), ref, registry.Options{TokenFile: file}); !errors.As(err, &config) {
		t.Errorf("a bad token file: %v", err)
	}
}

func FuzzCredentials(f *testing.F) {
	f.Add([]byte(`{"auths":{"https://x/v1/":{"auth":"YTox"}},"credHelpers":{"y":"z"},"credsStore":"q"}`), "x", "a/b")
	f.Add([]byte(`{"auths":{"x/a":{"username":"u","password":"p","identitytoken":"t"}}}`), "x", "a")
	f.Fuzz(func(_ *testing.T, b []byte, host, repository string) {
		_, _, _ = registry.FindCredentials(b, host, repository)
	})
}
