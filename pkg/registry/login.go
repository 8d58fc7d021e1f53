package registry

import (
	"context"
	"errors"
	"fmt"

	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	orascredentials "oras.land/oras-go/v2/registry/remote/credentials"
)

// OpLogin is the Op of an *Error of Login.
const OpLogin = "log in"

// ErrNoCredentialFile says that there is no file to keep credentials in.
var ErrNoCredentialFile = errors.New("there is no file to keep credentials in")

// Login shows the options' Username and Password to a registry, host[:port],
// and keeps them in the first of CredentialFiles, or in the helper that this
// file names. It returns the file.
func Login(ctx context.Context, host string, opts Options) (string, error) {
	if err := checkRegistry(host); err != nil {
		return "", err
	}
	if len(opts.CredentialFiles) == 0 {
		return "", ErrNoCredentialFile
	}
	path := opts.CredentialFiles[0]
	c, err := newClient(host, "", opts)
	if err != nil {
		return "", err
	}
	defer c.close()
	c.secrets.add(opts.Password)
	reg, err := remote.NewRegistry(host)
	if err != nil {
		return "", &ReferenceError{Text: host, Err: err}
	}
	reg.Client, reg.PlainHTTP = c.auth, opts.plainHTTP(host)
	store, err := openCredentials(path, true)
	if err != nil {
		return "", err
	}
	reached := &keeper{Store: store}
	err = orascredentials.Login(ctx, reached, reg, auth.Credential{Username: opts.Username, Password: opts.Password})
	switch {
	case err == nil:
		return path, nil
	case reached.asked:
		return "", &ConfigError{path, errors.New(c.secrets.redact(err.Error()))}
	default:
		return "", failure(OpLogin, host, err, c.secrets)
	}
}

// keeper remembers whether credentials were to be kept, that is, whether the
// registry took them.
type keeper struct {
	orascredentials.Store
	asked bool
}

func (k *keeper) Put(ctx context.Context, server string, cred auth.Credential) error {
	k.asked = true
	return k.Store.Put(ctx, server, cred)
}

// Logout removes a registry's credentials from every file that has them, and
// from their helpers. It returns the files; none, if none had any.
func Logout(ctx context.Context, host string, opts Options) ([]string, error) {
	if err := checkRegistry(host); err != nil {
		return nil, err
	}
	var changed []string
	for _, path := range opts.CredentialFiles {
		cred, err := credentialsIn(ctx, path, apiHost(host), "")
		if err != nil {
			return changed, &ConfigError{path, err}
		}
		if cred == auth.EmptyCredential {
			continue
		}
		store, err := openCredentials(path, false)
		if err != nil {
			return changed, err
		}
		if err := orascredentials.Logout(ctx, store, host); err != nil {
			return changed, &ConfigError{path, err}
		}
		if cred, err = credentialsIn(ctx, path, apiHost(host), ""); err != nil || cred != auth.EmptyCredential {
			return changed, &ConfigError{path, errors.Join(err, fmt.Errorf("still has credentials for %s, in an old form", host))}
		}
		changed = append(changed, path)
	}
	return changed, nil
}

func openCredentials(path string, detect bool) (orascredentials.Store, error) {
	store, err := orascredentials.NewStore(path, orascredentials.StoreOptions{
		AllowPlaintextPut:        true,
		DetectDefaultNativeStore: detect,
	})
	if err != nil {
		return nil, &ConfigError{path, withoutContent(err)}
	}
	return store, nil
}

// checkRegistry checks a registry's name.
func checkRegistry(host string) error {
	_, err := parseRemote(host + "/x")
	if err != nil {
		return &ReferenceError{Text: host, Err: err, Advice: "write host[:port]"}
	}
	return nil
}
