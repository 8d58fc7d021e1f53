package option

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/esxi-img/esxi-img/pkg/registry"
)

// Names of the environment's variables with credentials.
const (
	usernameVar = "ESXI_IMG_USERNAME"
	passwordVar = "ESXI_IMG_PASSWORD" //nolint:gosec // the name of one, not one
	authFileVar = "REGISTRY_AUTH_FILE"
)

// maxPassword bounds a password on standard input, in bytes.
const maxPassword = 64 << 10

// Registry says how registries are reached.
type Registry struct {
	plainHTTP     bool
	passwordStdin bool
	given         registry.Options
}

// AddFlags adds the group's flags.
func (r *Registry) AddFlags(f *pflag.FlagSet) {
	r.AddLoginFlags(f)
	g := &r.given
	f.StringVar(&g.TokenFile, "registry-token-file", "", "show the registry the bearer token in `FILE`")
	f.IntVar(&g.Concurrency, "concurrency", registry.DefaultConcurrency, "move `N` blobs or ranges at once")
}

// AddMirrorFlag adds the flag for commands that only read.
func (r *Registry) AddMirrorFlag(f *pflag.FlagSet) {
	f.StringArrayVar(&r.given.Mirrors, "mirror", nil, "ask `HOST[:PORT][/PREFIX]` before the registry (repeatable)")
}

// AddLoginFlags adds the flags of commands that deal with credentials only.
func (r *Registry) AddLoginFlags(f *pflag.FlagSet) {
	g := &r.given
	f.BoolVar(&r.plainHTTP, "plain-http", false, "speak HTTP instead of HTTPS (the default for loopback addresses)")
	f.StringVar(&g.CAFile, "ca-file", "", "trust the certificates in `FILE` (PEM) too")
	f.StringVar(&g.CertFile, "cert-file", "", "show the client certificate in `FILE` (PEM)")
	f.StringVar(&g.KeyFile, "key-file", "", "the client certificate's key is in `FILE` (PEM)")
	f.BoolVar(&g.InsecureSkipTLSVerify, "insecure-skip-tls-verify", false, "believe any certificate")
	f.IntVar(&g.Retries, "retries", registry.DefaultRetries, "try a request that failed up to `N` times again")
	f.StringVarP(&g.Username, "username", "u", "", "log in to the registry as `NAME` (or $"+usernameVar+")")
	f.BoolVar(&r.passwordStdin, "password-stdin", false, "read the password from standard input (or $"+passwordVar+")")
}

// Environment is what the options take from around the program.
type Environment struct {
	Getenv  func(string) string
	Stdin   io.Reader
	Version string
}

// Options returns what the flags and the environment say.
func (r *Registry) Options(f *pflag.FlagSet, env Environment) (registry.Options, error) {
	o := r.given
	if f.Changed("plain-http") {
		o.PlainHTTP = &r.plainHTTP
	}
	if o.Retries <= 0 {
		o.Retries = -1 // the library's 0 is the default
	}
	if f.Lookup("concurrency") != nil && o.Concurrency < 1 {
		return o, fmt.Errorf("--concurrency %d: at least one has to move", o.Concurrency)
	}
	if o.Username == "" {
		o.Username = env.Getenv(usernameVar)
	}
	if r.passwordStdin {
		password, err := readPassword(env.Stdin)
		if err != nil {
			return o, err
		}
		o.Password = password
	} else if o.Username != "" {
		o.Password = env.Getenv(passwordVar)
	}
	if o.Username == "" && r.passwordStdin {
		return o, errors.New("--password-stdin: whose password it is says --username")
	}
	o.CredentialFiles = credentialFiles(env.Getenv)
	o.UserAgent = "esxi-img/" + env.Version
	o.Proxy = http.ProxyFromEnvironment
	return o, nil
}

// readPassword reads all of standard input but its last line break.
func readPassword(r io.Reader) (string, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxPassword+1))
	if err != nil {
		return "", fmt.Errorf("--password-stdin: %w", err)
	}
	if len(b) > maxPassword {
		return "", fmt.Errorf("--password-stdin: over the limit of %d bytes", maxPassword)
	}
	password := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	if password == "" {
		return "", errors.New("--password-stdin: standard input is empty")
	}
	return password, nil
}

// credentialFiles lists where credentials may be: in the file that the
// environment names, else in Docker's, then in Podman's (containers-auth.json(5)).
// A ramdisk without a home has none.
func credentialFiles(getenv func(string) string) []string {
	if file := getenv(authFileVar); file != "" {
		return []string{file}
	}
	var files []string
	home := getenv("HOME")
	if runtime.GOOS == "windows" {
		home = getenv("USERPROFILE")
	}
	if dir := getenv("DOCKER_CONFIG"); dir != "" {
		files = append(files, filepath.Join(dir, "config.json"))
	} else if home != "" {
		files = append(files, filepath.Join(home, ".docker", "config.json"))
	}
	return append(files, podmanFiles(getenv, home)...)
}

func podmanFiles(getenv func(string) string, home string) []string {
	var files []string
	if dir := getenv("XDG_RUNTIME_DIR"); dir != "" {
		files = append(files, filepath.Join(dir, "containers", "auth.json"))
	} else if runtime.GOOS == "linux" {
		files = append(files, "/run/containers/"+strconv.Itoa(os.Getuid())+"/auth.json")
	}
	if dir := getenv("XDG_CONFIG_HOME"); dir != "" {
		files = append(files, filepath.Join(dir, "containers", "auth.json"))
	} else if home != "" {
		files = append(files, filepath.Join(home, ".config", "containers", "auth.json"))
	}
	return files
}
