package registry

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io/fs"
	"os/exec"
	"strings"

	"oras.land/oras-go/v2/registry/remote/auth"
	orascredentials "oras.land/oras-go/v2/registry/remote/credentials"
)

// maxCredentials bounds a file with credentials or a token, in bytes.
const maxCredentials = 1 << 20

// credentials says what to show to whom. What is given in options is for one
// host; files hold credentials for many.
func credentials(host, repository string, opts Options, hidden *secrets) (auth.CredentialFunc, error) {
	fixed := auth.Credential{Username: opts.Username, Password: opts.Password}
	if opts.TokenFile != "" {
		token, err := readToken(opts.TokenFile)
		if err != nil {
			return nil, err
		}
		fixed = auth.Credential{AccessToken: token}
	}
	host = apiHost(host)
	return func(ctx context.Context, asked string) (auth.Credential, error) {
		cred := auth.EmptyCredential
		var err error
		if asked == host && fixed != auth.EmptyCredential {
			cred = fixed
		} else {
			cred, err = searchCredentials(ctx, opts.CredentialFiles, asked, repository)
		}
		hidden.add(cred.Password, cred.RefreshToken, cred.AccessToken,
			base64.StdEncoding.EncodeToString([]byte(cred.Username+":"+cred.Password)))
		return cred, err
	}, nil
}

// apiHost is where a registry's API is: Docker Hub's is at another name.
func apiHost(registry string) string {
	if registry == "docker.io" {
		return "registry-1.docker.io"
	}
	return registry
}

// readToken reads a bearer token.
func readToken(path string) (string, error) {
	b, err := readLimited(path, maxCredentials)
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(b))
	if token == "" || strings.ContainsAny(token, " \t\r\n") {
		return "", &ConfigError{path, errors.New("holds no token: one word is expected")}
	}
	return token, nil
}

// searchCredentials takes the first file that has an answer.
func searchCredentials(ctx context.Context, files []string, host, repository string) (auth.Credential, error) {
	for _, path := range files {
		cred, err := credentialsIn(ctx, path, host, repository)
		if err != nil {
			return auth.EmptyCredential, &ConfigError{path, err}
		}
		if cred != auth.EmptyCredential {
			return cred, nil
		}
	}
	return auth.EmptyCredential, nil
}

// credentialsIn looks into one file: for the repository, then for what is above
// it, then for the registry (containers-auth.json(5)); then it asks the
// helpers that the file names.
func credentialsIn(ctx context.Context, path, host, repository string) (auth.Credential, error) {
	b, err := readLimited(path, maxCredentials)
	if errors.Is(err, fs.ErrNotExist) {
		return auth.EmptyCredential, nil
	}
	if err != nil {
		return auth.EmptyCredential, err
	}
	file, err := parseCredentials(b)
	if err != nil {
		return auth.EmptyCredential, err
	}
	server := orascredentials.ServerAddressFromHostname(host)
	if helper := file.helper(server, host); helper != "" {
		cred, err := orascredentials.NewNativeStore(helper).Get(ctx, server)
		if errors.Is(err, exec.ErrNotFound) {
			// A file that was made on another machine; the registry may be a
			// public one, and says so if not.
			err = nil
		}
		if err != nil || cred != auth.EmptyCredential {
			return cred, err
		}
	}
	return file.find(server, host, repository)
}

// credentialsFile is Docker's config.json and Podman's auth.json.
type credentialsFile struct {
	Auths       map[string]credentialsEntry `json:"auths"`
	CredHelpers map[string]string           `json:"credHelpers"`
	CredsStore  string                      `json:"credsStore"`
}

type credentialsEntry struct {
	Auth          string `json:"auth"` // base64 of user:password
	Username      string `json:"username"`
	Password      string `json:"password"`
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

func parseCredentials(b []byte) (credentialsFile, error) {
	var file credentialsFile
	if len(strings.TrimSpace(string(b))) == 0 {
		return file, nil
	}
	if err := json.Unmarshal(b, &file); err != nil {
		return file, withoutContent(err)
	}
	return file, nil
}

// withoutContent keeps what was being parsed out of an error: it may be a
// secret.
func withoutContent(err error) error {
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return errors.New("is not JSON")
	}
	return errors.New("is not in the form of Docker's config.json")
}

// helper names the program that keeps the credentials of a server.
func (f *credentialsFile) helper(server, host string) string {
	for _, key := range []string{server, host} {
		if h := f.CredHelpers[key]; h != "" {
			return h
		}
	}
	return f.CredsStore
}

// find returns the entry that is most about the repository.
func (f *credentialsFile) find(server, host, repository string) (auth.Credential, error) {
	keys := []string{}
	for name := host + "/" + repository; repository != "" && name != host; name = name[:strings.LastIndexByte(name, '/')] {
		keys = append(keys, name)
	}
	for _, key := range append(keys, host, server) {
		if entry, ok := f.Auths[key]; ok {
			return entry.credential()
		}
	}
	// Old files have "https://host/" or "https://host/v1/".
	for key, entry := range f.Auths {
		name, isURL := strings.CutPrefix(key, "https://")
		if !isURL {
			name, isURL = strings.CutPrefix(key, "http://")
		}
		name, path, _ := strings.Cut(name, "/")
		switch path {
		case "", "v1", "v1/", "v2", "v2/":
			if isURL && name == host {
				return entry.credential()
			}
		}
	}
	return auth.EmptyCredential, nil
}

func (e credentialsEntry) credential() (auth.Credential, error) {
	cred := auth.Credential{Username: e.Username, Password: e.Password, RefreshToken: e.IdentityToken, AccessToken: e.RegistryToken}
	if e.Auth == "" {
		return cred, nil
	}
	b, err := base64.StdEncoding.DecodeString(e.Auth)
	user, password, ok := strings.Cut(string(b), ":")
	if err != nil || !ok {
		return auth.EmptyCredential, errors.New("an entry's auth is not base64 of user:password")
	}
	cred.Username, cred.Password = user, strings.TrimRight(password, "\x00")
	return cred, nil
}
