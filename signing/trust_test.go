package signing

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// rootJSON is the instance's trust root as it stands in a file.
func (i *instance) rootJSON() []byte {
	t := must(root.NewTrustedRoot(root.TrustedRootMediaType01, i.FulcioCertificateAuthorities(), map[string]*root.TransparencyLog{
		"x": {BaseURL: "https://ct.test", ID: keyID(&i.ctLog.PublicKey), PublicKey: &i.ctLog.PublicKey, HashFunc: crypto.SHA256, SignatureHashFunc: crypto.SHA256, ValidityPeriodStart: time.Unix(1, 0)},
	}, i.TimestampingAuthorities(), map[string]*root.TransparencyLog{
		"x": {BaseURL: "https://" + logHost, ID: keyID(&i.log.PublicKey), PublicKey: &i.log.PublicKey, HashFunc: crypto.SHA256, SignatureHashFunc: crypto.SHA256, ValidityPeriodStart: time.Unix(1, 0)},
	}))
	return must(t.MarshalJSON())
}

func TestParseTrustedRoot(t *testing.T) {
	i := newInstance(t)
	good := i.rootJSON()
	trust, err := ParseTrustedRoot(good)
	if err != nil {
		t.Fatal(err)
	}
	bundle := i.signs(someone(), signed(theClaims)).logged(i).stamped(i, time.Now()).json()
	if _, err := only(bundle).verify(t, Rule{AnyOf: []Authority{theIdentity()}}, trust); err != nil {
		t.Error(err)
	}
	for name, c := range map[string]struct{ text, want string }{
		"empty":    {"", "is no Sigstore trust root"},
		"not JSON": {"{", "is no Sigstore trust root"},
		"another":  {`{"mediaType":"text/plain"}`, "is no Sigstore trust root"},
		"too long": {string(good) + strings.Repeat(" ", maxTrustedRoot), "over the limit"},
	} {
		if _, err := ParseTrustedRoot([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var input *InputError
	if _, err := LoadTrustedRoot(filepath.Join(t.TempDir(), "root.json")); !errors.As(err, &input) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	if _, err := LoadTrustedRoot(t.TempDir()); !errors.As(err, &input) {
		t.Errorf("a folder: %v", err)
	}
}

// part is a trust root that lacks something.
type part struct {
	root.BaseTrustedMaterial
	*instance
	ca, ct, log, stamps bool
}

func (p part) FulcioCertificateAuthorities() []root.CertificateAuthority {
	if !p.ca {
		return nil
	}
	return p.instance.FulcioCertificateAuthorities()
}

func (p part) CTLogs() map[string]*root.TransparencyLog {
	if !p.ct {
		return nil
	}
	return p.instance.CTLogs()
}

func (p part) RekorLogs() map[string]*root.TransparencyLog {
	if !p.log {
		return nil
	}
	return p.instance.RekorLogs()
}

func (p part) TimestampingAuthorities() []root.TimestampingAuthority {
	if !p.stamps {
		return nil
	}
	return p.instance.TimestampingAuthorities()
}

func (p part) PublicKeyVerifier(id string) (root.TimeConstrainedVerifier, error) {
	return p.instance.PublicKeyVerifier(id)
}

// TestNewVerifierFailsClosed: what can verify nothing is not made.
func TestNewVerifierFailsClosed(t *testing.T) {
	i := newInstance(t)
	key := publicKey(i.signs(who{}, nil))
	id := theIdentity().Identity
	for name, c := range map[string]struct {
		authority *Authority
		trust     Trust
		want      string
	}{
		"nobody":                     {nil, i, "trusts nobody"},
		"an authority of nothing":    {&Authority{}, i, "either a key or an identity"},
		"a key and an identity":      {&Authority{Key: key, Identity: id}, i, "either a key or an identity"},
		"identity, no trust root":    {&Authority{Identity: id, Log: true}, nil, "needs a trust root"},
		"log, no trust root":         {&Authority{Key: key, Log: true}, nil, "needs a trust root"},
		"time stamp, no trust root":  {&Authority{Key: key, Timestamp: true}, nil, "needs a trust root"},
		"no certificate authority":   {&Authority{Identity: id, Log: true}, part{instance: i, ct: true, log: true, stamps: true}, "has no certificate authority"},
		"no CT log":                  {&Authority{Identity: id, Log: true}, part{instance: i, ca: true, log: true, stamps: true}, "has no certificate transparency log"},
		"no log":                     {&Authority{Identity: id, Log: true}, part{instance: i, ca: true, ct: true, stamps: true}, "has no transparency log"},
		"no log for a key":           {&Authority{Key: key, Log: true}, part{instance: i}, "has no transparency log"},
		"no time stamps":             {&Authority{Key: key, Timestamp: true}, part{instance: i}, "has no time stamp authority"},
		"nothing that proves a time": {&Authority{Identity: id}, part{instance: i, ca: true, ct: true, log: true}, "nothing else proves the time"},
		"an identity of nobody":      {&Authority{Identity: &Identity{Issuer: "https://i"}, Log: true}, i, "either a subject or a pattern"},
		"a pattern that is none":     {&Authority{Identity: &Identity{Issuer: "https://i", SubjectPattern: "("}, Log: true}, i, "missing closing"},
	} {
		var r Rule
		if c.authority != nil {
			r.AnyOf = []Authority{*c.authority}
		}
		if v, err := NewVerifier(r, c.trust); v != nil || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, %v", name, v, err)
		}
	}
}

// repository is a TUF repository with one target.
type repository struct {
	root                         *metadata.Metadata[metadata.RootType]
	targets, snapshot, timestamp []byte
	target                       []byte
	asked                        int
	down                         error
}

func newTUF(name string, target []byte, expires time.Time) *repository {
	later := time.Now().AddDate(1, 0, 0)
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	signer := must(signature.LoadSigner(key, crypto.Hash(0)))
	r := &repository{root: metadata.Root(later), target: target}
	for _, role := range []string{metadata.ROOT, metadata.TARGETS, metadata.SNAPSHOT, metadata.TIMESTAMP} {
		if err := r.root.Signed.AddKey(must(metadata.KeyFromPublicKey(key.Public())), role); err != nil {
			panic(err)
		}
	}
	must(r.root.Sign(signer))
	targets := metadata.Targets(later)
	targets.Signed.Targets[name] = must(metadata.TargetFile().FromBytes(name, target, "sha256"))
	must(targets.Sign(signer))
	snapshot := metadata.Snapshot(later)
	must(snapshot.Sign(signer))
	timestamp := metadata.Timestamp(expires)
	must(timestamp.Sign(signer))
	r.targets, r.snapshot, r.timestamp = must(targets.ToBytes(false)), must(snapshot.ToBytes(false)), must(timestamp.ToBytes(false))
	return r
}

func (r *repository) RoundTrip(req *http.Request) (*http.Response, error) {
	r.asked++
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	if r.down != nil {
		return nil, r.down
	}
	answer := func(status int, b []byte) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(string(b))), Request: req}, nil
	}
	switch p := req.URL.Path; {
	case p == "/timestamp.json":
		return answer(http.StatusOK, r.timestamp)
	case p == "/1.snapshot.json":
		return answer(http.StatusOK, r.snapshot)
	case p == "/1.targets.json":
		return answer(http.StatusOK, r.targets)
	case strings.HasPrefix(p, "/targets/"):
		return answer(http.StatusOK, r.target)
	default:
		return answer(http.StatusNotFound, nil)
	}
}

func (r *repository) instance(cache string) *PublicInstance {
	return &PublicInstance{Cache: cache, Transport: r, URL: "https://tuf.test", Root: must(r.root.ToBytes(false))}
}

func TestPublicInstance(t *testing.T) {
	i := newInstance(t)
	tomorrow := time.Now().AddDate(0, 0, 1)
	fresh := func() *repository { return newTUF("trusted_root.json", i.rootJSON(), tomorrow) }
	works := func(t *testing.T, p *PublicInstance) {
		t.Helper()
		trust, err := p.Trust(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(trust.FulcioCertificateAuthorities()) != 1 || len(trust.RekorLogs()) != 1 {
			t.Errorf("%+v", trust)
		}
	}
	fails := func(t *testing.T, ctx context.Context, p *PublicInstance, offline bool, want string) {
		t.Helper()
		trust, err := p.Trust(ctx)
		var failed *TrustError
		if trust != nil || !errors.As(err, &failed) || failed.Offline != offline || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, %v, want %q", trust, err, want)
		}
	}
	t.Run("cached", func(t *testing.T) {
		r, cache := fresh(), filepath.Join(t.TempDir(), "a", "b")
		works(t, r.instance(cache))
		if r.asked == 0 {
			t.Error("nothing was fetched")
		}
		r.asked = 0
		works(t, r.instance(cache))
		if r.asked > 0 {
			t.Errorf("%d requests though there is a copy of today", r.asked)
		}
		r.down = errors.New("unplugged")
		works(t, r.instance(cache))
		p := r.instance(cache)
		p.Offline = true
		works(t, p)
		if r.asked > 0 {
			t.Errorf("%d requests offline", r.asked)
		}
		if info := must(os.Stat(cache)); runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("others may read or write the cache: %v", info.Mode())
		}
	})
	t.Run("no cache", func(t *testing.T) {
		r := fresh()
		works(t, r.instance(""))
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		works(t, r.instance(filepath.Join(file, "cache")))
	})
	t.Run("offline without a copy", func(t *testing.T) {
		r := fresh()
		p := r.instance(t.TempDir())
		p.Offline = true
		fails(t, t.Context(), p, true, "missing, expired or damaged")
		p.Cache = ""
		fails(t, t.Context(), p, true, "there is no cache")
		if r.asked > 0 {
			t.Errorf("%d requests offline", r.asked)
		}
	})
	t.Run("offline with a damaged copy", func(t *testing.T) {
		r, cache := fresh(), t.TempDir()
		works(t, r.instance(cache))
		if err := filepath.WalkDir(cache, func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.Name() != "trusted_root.json" {
				return err
			}
			return os.WriteFile(p, []byte("{}"), 0o600)
		}); err != nil {
			t.Fatal(err)
		}
		p := r.instance(cache)
		p.Offline = true
		fails(t, t.Context(), p, true, "missing, expired or damaged")
	})
	t.Run("down", func(t *testing.T) {
		r := fresh()
		r.down = errors.New("unplugged")
		fails(t, t.Context(), r.instance(t.TempDir()), false, "unplugged")
	})
	t.Run("of another root", func(t *testing.T) {
		p := fresh().instance(t.TempDir())
		p.Transport = fresh()
		fails(t, t.Context(), p, false, "")
	})
	t.Run("expired", func(t *testing.T) {
		fails(t, t.Context(), newTUF("trusted_root.json", i.rootJSON(), time.Now().Add(-time.Hour)).instance(t.TempDir()), false, "this host's clock says that it is "+time.Now().UTC().Format("2006-01-02"))
	})
	t.Run("other bytes", func(t *testing.T) {
		r := fresh()
		r.target = []byte(strings.Replace(string(r.target), "1970", "1971", 1))
		fails(t, t.Context(), r.instance(t.TempDir()), false, "")
	})
	t.Run("no trust root in it", func(t *testing.T) {
		fails(t, t.Context(), newTUF("other.json", i.rootJSON(), tomorrow).instance(t.TempDir()), false, "trusted_root.json")
	})
	t.Run("interrupted", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := fresh().instance(t.TempDir()).Trust(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	t.Run("the public one's key", func(t *testing.T) {
		r := fresh()
		p := &PublicInstance{Cache: t.TempDir(), Transport: r}
		fails(t, t.Context(), p, false, "")
		if r.asked == 0 {
			t.Error("nobody was asked")
		}
	})
}
