package fakesigstore

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// PathTUF is where the instance's TUF repository is.
const PathTUF = "/tuf"

// tufLifetime is for how long a client may use what it has of it.
const tufLifetime = time.Hour

// tuf are the files of the instance's TUF repository: trusted_root.json and
// signing_config.v0.2.json, with one key for every role.
func (s *Sigstore) tuf() (files map[string][]byte, root []byte, err error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	signer, err := signature.LoadSigner(key, crypto.Hash(0))
	if err != nil {
		return nil, nil, err
	}
	files = map[string][]byte{}
	expires := time.Now().Add(tufLifetime).UTC().Truncate(time.Second)
	targets := metadata.Targets(expires)
	for name, make := range map[string]func() ([]byte, error){"trusted_root.json": s.TrustedRoot, "signing_config.v0.2.json": s.SigningConfig} {
		b, err := make()
		if err != nil {
			return nil, nil, err
		}
		if targets.Signed.Targets[name], err = metadata.TargetFile().FromBytes(name, b, "sha256"); err != nil {
			return nil, nil, err
		}
		sum := sha256.Sum256(b)
		files["/targets/"+hex.EncodeToString(sum[:])+"."+name] = b
	}
	top := metadata.Root(expires)
	public, err := metadata.KeyFromPublicKey(key.Public())
	if err != nil {
		return nil, nil, err
	}
	for _, role := range []string{metadata.ROOT, metadata.TARGETS, metadata.SNAPSHOT, metadata.TIMESTAMP} {
		if err := top.Signed.AddKey(public, role); err != nil {
			return nil, nil, err
		}
	}
	for name, write := range map[string]func() ([]byte, error){
		"/1.root.json":     signed(top, signer),
		"/1.targets.json":  signed(targets, signer),
		"/1.snapshot.json": signed(metadata.Snapshot(expires), signer),
		"/timestamp.json":  signed(metadata.Timestamp(expires), signer),
	} {
		if files[name], err = write(); err != nil {
			return nil, nil, err
		}
	}
	return files, files["/1.root.json"], nil
}

func signed[T metadata.Roles](m *metadata.Metadata[T], signer signature.Signer) func() ([]byte, error) {
	return func() ([]byte, error) {
		if _, err := m.Sign(signer); err != nil {
			return nil, err
		}
		return m.ToBytes(false)
	}
}

// serveTUF serves the files.
func serveTUF(files map[string][]byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if b, ok := files[r.URL.Path]; ok {
			_, _ = w.Write(b)
			return
		}
		http.NotFound(w, r)
	})
}
