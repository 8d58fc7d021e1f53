package signing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/tuf"
	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/fetcher"
)

// Trust is a Sigstore instance's trust root: its certificate authorities, logs
// and time stamp authorities.
type Trust = root.TrustedMaterial

// maxTrustedRoot bounds a file with a trust root, in bytes. The public
// instance's has 10 KiB.
const maxTrustedRoot = 4 << 20

const (
	// trustCacheDays is for how long a copy of the public instance's trust root
	// is used without asking whether it changed, in days.
	trustCacheDays = 1
	// trustTimeout bounds one request to the public instance.
	trustTimeout = time.Minute
)

// ErrOffline says that something would have to be fetched, and may not be.
var ErrOffline = errors.New("nothing may be fetched")

// InputError says that a file that the user named cannot be used: a key, a
// trust root, a policy.
type InputError struct {
	File string
	Err  error
}

func (e *InputError) Error() string { return e.File + ": " + e.Err.Error() }
func (e *InputError) Unwrap() error { return e.Err }

// TrustError says that the trust root of the public instance is not to be had.
type TrustError struct {
	Err error
	// Offline says that it was not asked for, since nothing may be fetched.
	Offline bool
}

func (e *TrustError) Error() string {
	return "the trust root of the public Sigstore instance: " + e.Err.Error()
}
func (e *TrustError) Unwrap() error { return e.Err }

// ParseTrustedRoot reads a trust root: the JSON of a trusted_root.json.
func ParseTrustedRoot(text []byte) (Trust, error) {
	if len(text) > maxTrustedRoot {
		return nil, fmt.Errorf("%d bytes are over the limit of %d", len(text), maxTrustedRoot)
	}
	t, err := root.NewTrustedRootFromJSON(text)
	if err != nil {
		return nil, fmt.Errorf("is no Sigstore trust root: %w", err)
	}
	return t, nil
}

// LoadTrustedRoot reads a file with a trust root. The error is an *InputError.
func LoadTrustedRoot(file string) (Trust, error) {
	text, err := readInput(file, maxTrustedRoot)
	if err != nil {
		return nil, err
	}
	t, err := ParseTrustedRoot(text)
	if err != nil {
		return nil, &InputError{file, err}
	}
	return t, nil
}

// PublicInstance is the public Sigstore instance, whose trust root and services
// its TUF repository names. What comes from there is checked against a key that
// is part of this program.
type PublicInstance struct {
	// Cache is a folder for copies; empty for none.
	Cache string
	// Offline takes the copies, and fetches nothing.
	Offline bool
	// Transport sends the requests; nil for http.DefaultTransport.
	Transport http.RoundTripper
	// URL and Root are those of another TUF repository; empty for the public
	// one's.
	URL  string
	Root []byte
}

// Trust returns the trust root. The error is a *TrustError, unless the context
// ended.
func (p *PublicInstance) Trust(ctx context.Context) (Trust, error) {
	var t Trust
	err := p.get(ctx, func(c *tuf.Client) (err error) {
		t, err = root.GetTrustedRoot(c)
		return err
	})
	if err != nil {
		return nil, err
	}
	return t, nil
}

// get hands out the client of the TUF repository, brought up to date. use may
// fetch files with it.
func (p *PublicInstance) get(ctx context.Context, use func(*tuf.Client) error) error {
	opts := &tuf.Options{
		Root: p.Root, RepositoryBaseURL: p.URL, CachePath: p.Cache, CacheValidity: trustCacheDays,
		ForceCache: p.Offline, Fetcher: p.fetcher(ctx), Context: ctx,
	}
	if p.URL == "" {
		opts.RepositoryBaseURL = tuf.DefaultMirror
	}
	if p.Root == nil {
		opts.Root = tuf.DefaultRoot()
	}
	// A ramdisk may have no folder for it, or none that can be written to.
	if !writable(p.Cache) {
		if p.Offline {
			return &TrustError{fmt.Errorf("%w, and there is no cache", ErrOffline), true}
		}
		opts.DisableLocalCache = true
	}
	c, err := tuf.New(opts)
	if err == nil {
		err = use(c)
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case p.Offline:
		return &TrustError{fmt.Errorf("the copy in %s is missing, expired or damaged: %w", p.Cache, err), true}
	case errors.Is(err, &metadata.ErrExpiredMetadata{}):
		// Then its operators sleep, or this host's clock is wrong.
		return &TrustError{fmt.Errorf("%w (this host's clock says that it is %s)", err, stamp(time.Now())), false}
	default:
		return &TrustError{err, false}
	}
}

// writable says whether a folder can hold copies, and makes it.
func writable(dir string) bool {
	const mode = 0o700
	if dir == "" || os.MkdirAll(dir, mode) != nil {
		return false
	}
	f, err := os.CreateTemp(dir, ".try")
	if err != nil {
		return false
	}
	return errors.Join(f.Close(), os.Remove(f.Name())) == nil
}

// fetcher downloads for the TUF client, as long as the context lives.
func (p *PublicInstance) fetcher(ctx context.Context) fetcher.Fetcher {
	client := &http.Client{Transport: p.Transport, Timeout: trustTimeout}
	f := fetcher.NewDefaultFetcher()
	f.SetHTTPClient(doer(func(r *http.Request) (*http.Response, error) {
		if p.Offline {
			return nil, ErrOffline
		}
		return client.Do(r.WithContext(ctx)) //nolint:gosec // the repository is the public one, or the caller's
	}))
	return f
}

// doer is an HTTP client made of a function.
type doer func(*http.Request) (*http.Response, error)

func (d doer) Do(r *http.Request) (*http.Response, error) { return d(r) }

// readInput reads a file that the user named, up to a limit in bytes. The error
// is an *InputError.
func readInput(file string, limit int64) ([]byte, error) {
	f, err := os.Open(filepath.Clean(file))
	if err != nil {
		return nil, &InputError{file, reason(err)}
	}
	text, err := readLimited(f, limit)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, &InputError{file, reason(err)}
	}
	return text, nil
}

func readLimited(r io.Reader, limit int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = fmt.Errorf("is over the limit of %d bytes", limit)
	}
	return text, err
}

// reason leaves out of an error the file's name, which stands before it already.
func reason(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
