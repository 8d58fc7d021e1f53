package signing

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/esxi-img/esxi-img/artifact"
)

// SignerOptions say who signs, and what signatures get besides. Either Key or
// Token is given.
type SignerOptions struct {
	// Key signs. It needs no service, and gets what Services has of time stamps
	// and log entries.
	Key *PrivateKey
	// Token returns an identity token, for which Services.Fulcio gives a
	// certificate. It is asked once for everything that is signed at once, right
	// before that: tokens live for minutes.
	Token    func(context.Context) (string, error)
	Services Services
	// Trust, unless nil, checks each signature before any is attached.
	Trust Trust
	// Transport sends the requests to the certificate authority and the time
	// stamp authorities; nil for http.DefaultTransport, which logs are always
	// asked through.
	Transport http.RoundTripper
}

// Signer signs statements. NewSigner makes one.
type Signer struct {
	opts SignerOptions
	pair *keypair // nil where each session makes one
	now  func() time.Time
}

// NewSigner prepares signing. It asks nobody.
func NewSigner(opts SignerOptions) (*Signer, error) {
	if (opts.Key == nil) == (opts.Token == nil) {
		return nil, errors.New("signing: either a key or an identity token signs")
	}
	if err := opts.Services.check(opts.Key == nil); err != nil {
		return nil, err
	}
	s := &Signer{opts: opts, now: time.Now}
	if opts.Key == nil {
		return s, nil
	}
	var err error
	if s.pair, err = newKeypair(opts.Key); err != nil {
		return nil, err
	}
	if len(opts.Services.Logs) > 0 && s.pair.details.GetKeyType() == signature.ED25519 {
		return nil, errors.New("a log takes no signatures of Ed25519 keys: use an ECDSA key on P-256, or no log")
	}
	return s, nil
}

// Statement is what is signed of a subject.
type Statement struct {
	Subject       ocispec.Descriptor
	Claims        Claims
	PredicateType string          // PredicateSignature, or what an attestation says
	Predicate     json.RawMessage // JSON; nil for {}
}

// Signed is what Sign attached.
type Signed struct {
	Subject  ocispec.Descriptor
	Claims   Claims
	Referrer ocispec.Descriptor
	Bundle   []byte
	Signer   artifact.Signer
	// LogIndex is that of the log entry, -1 where there is none.
	LogIndex int64
	// Time is what a time stamp authority or the log says; zero where nothing
	// does, or it was not checked for lack of a trust root.
	Time time.Time
}

// Sign signs statements and then attaches them: where one can't be signed, none
// is attached. Errors are *TokenError, *ServiceError, *CheckError and those of
// the store; what was attached until then is returned too.
func (s *Signer) Sign(ctx context.Context, to Store, statements ...Statement) ([]Signed, error) {
	if len(statements) == 0 {
		return nil, errors.New("signing: there is nothing to sign")
	}
	session, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]Signed, len(statements))
	for i := range statements {
		signed, err := session.sign(ctx, &statements[i])
		if err != nil {
			return nil, err
		}
		out[i] = *signed
	}
	for i := range out {
		d, err := attach(ctx, to, out[i].Subject, statements[i].PredicateType, out[i].Bundle)
		if err != nil {
			return out[:i], err
		}
		out[i].Referrer = d
	}
	return out, nil
}

// session is what is the same for all that is signed at once: without a key,
// one that nobody keeps, its certificate, and the token.
type session struct {
	*Signer
	pair         *keypair
	token        string
	certificates sign.CertificateProvider // nil where a key signs
	timestamps   []*sign.TimestampAuthority
}

func (s *Signer) begin(ctx context.Context) (*session, error) {
	b := &session{Signer: s, pair: s.pair}
	rt := withContext(ctx, newRetries(s.opts.Transport))
	for _, u := range s.opts.Services.Timestamps {
		b.timestamps = append(b.timestamps, sign.NewTimestampAuthority(&sign.TimestampAuthorityOptions{URL: u, Transport: rt}))
	}
	if s.opts.Key != nil {
		return b, nil
	}
	var err error
	if b.token, err = s.opts.Token(ctx); err != nil {
		return nil, err
	}
	if _, err := ParseToken(b.token, s.now()); err != nil {
		return nil, err
	}
	key, err := GenerateKey()
	if err != nil {
		return nil, err
	}
	if b.pair, err = newKeypair(key); err != nil {
		return nil, err
	}
	b.certificates = &certificateOnce{url: s.opts.Services.Fulcio, transport: rt}
	return b, nil
}

// sign signs one statement.
func (b *session) sign(ctx context.Context, st *Statement) (*Signed, error) {
	predicate := st.Predicate
	if predicate == nil {
		predicate = json.RawMessage("{}")
	}
	data, err := newStatement(st.Subject, st.Claims, st.PredicateType, predicate)
	if err != nil {
		return nil, err
	}
	raw, err := b.bundle(ctx, data)
	if err != nil {
		return nil, err
	}
	if len(raw) > MaxBundle {
		return nil, fmt.Errorf("the bundle has %d bytes, over the limit of %d", len(raw), MaxBundle)
	}
	out := &Signed{Subject: st.Subject, Claims: st.Claims, Bundle: raw, LogIndex: -1}
	if err := b.look(out); err != nil {
		return nil, &CheckError{err}
	}
	return out, nil
}

// bundle makes the bundle of a statement: version 0.3, JSON.
func (b *session) bundle(ctx context.Context, statement []byte) ([]byte, error) {
	opts := sign.BundleOptions{Context: ctx, CertificateProvider: b.certificates, TimestampAuthorities: b.timestamps}
	if b.certificates != nil {
		opts.CertificateProviderOptions = &sign.CertificateProviderOptions{IDToken: b.token}
	}
	for _, l := range b.opts.Services.Logs {
		opts.TransparencyLogs = append(opts.TransparencyLogs, &logWriter{log: l, rekor: sign.NewRekor(&sign.RekorOptions{BaseURL: l.URL, Version: l.Version})})
	}
	content := &sign.DSSEData{Data: statement, PayloadType: payloadType}
	made, err := sign.Bundle(content, b.pair, opts)
	// A log may have taken an entry whose answer was lost, and would call the
	// next try a double. Another signature is another entry.
	var failed *logError
	if errors.As(err, &failed) && ctx.Err() == nil {
		made, err = sign.Bundle(content, b.pair, opts)
	}
	if err != nil {
		return nil, b.failure(ctx, err)
	}
	raw, err := protojson.Marshal(made)
	if err != nil {
		return nil, fmt.Errorf("encode the bundle: %w", err)
	}
	return raw, nil
}

// failure tells which service failed.
func (b *session) failure(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var (
		service *ServiceError
		log     *logError
	)
	switch {
	case errors.As(err, &service):
	case errors.As(err, &log):
		service = &ServiceError{Service: "the log " + redacted(log.url), Err: log.err}
	case len(b.timestamps) > 0:
		service = &ServiceError{Service: "the time stamp authority", Err: err}
		if len(b.timestamps) == 1 {
			service.Service += " " + redacted(b.opts.Services.Timestamps[0])
		}
	default:
		return fmt.Errorf("sign: %w", err)
	}
	service.secrets = append(service.secrets, b.token)
	return service
}

// CheckError says that what was just signed does not verify, so that it was not
// attached: the services and the trust root do not belong together.
type CheckError struct{ Err error }

func (e *CheckError) Error() string {
	return "what was signed does not verify, and was not attached: " + e.Err.Error()
}
func (e *CheckError) Unwrap() error { return e.Err }

// look takes from a bundle who signed and where it is logged, and verifies it
// where there is a trust root.
func (b *session) look(out *Signed) error {
	var parsed bundle.Bundle
	if err := parsed.UnmarshalJSON(out.Bundle); err != nil {
		return err
	}
	if key := b.opts.Key; key != nil {
		out.Signer = artifact.Signer{Key: key.public.Fingerprint()}
	} else if t, err := parseToken(b.token); err == nil {
		out.Signer = artifact.Signer{Identity: t.Subject, Issuer: t.Issuer}
	}
	if entries, err := parsed.TlogEntries(); err == nil && len(entries) > 0 {
		out.LogIndex = entries[0].LogIndex()
	}
	bare := len(b.timestamps)+len(b.opts.Services.Logs) == 0
	if b.opts.Trust == nil && (b.opts.Key == nil || !bare) {
		return nil
	}
	result, err := b.verify(&parsed, out.Subject)
	if err != nil {
		return err
	}
	if c := result.Signature.Certificate; c != nil {
		out.Signer = artifact.Signer{Identity: c.SubjectAlternativeName, Issuer: c.Issuer}
	}
	for _, t := range result.VerifiedTimestamps {
		if t.Timestamp.After(out.Time) {
			out.Time = t.Timestamp
		}
	}
	return nil
}

// verify holds that a bundle has everything that the services were to give.
func (b *session) verify(parsed *bundle.Bundle, subject ocispec.Descriptor) (*verify.VerificationResult, error) {
	var (
		material root.TrustedMaterialCollection
		opts     []verify.VerifierOption
		policy   = verify.WithoutIdentitiesUnsafe()
	)
	if b.opts.Trust != nil {
		material = append(material, b.opts.Trust)
	}
	if b.opts.Key != nil {
		v, err := signature.LoadDefaultVerifier(b.opts.Key.public.key)
		if err != nil {
			return nil, err
		}
		key := root.NewExpiringKey(v, time.Time{}, time.Time{})
		material = append(material, root.NewTrustedPublicKeyMaterial(func(string) (root.TimeConstrainedVerifier, error) { return key, nil }))
		policy = verify.WithKey()
	} else {
		opts = append(opts, verify.WithSignedCertificateTimestamps(1))
	}
	if n := len(b.opts.Services.Logs); n > 0 {
		opts = append(opts, verify.WithTransparencyLog(n))
	}
	switch n := len(b.timestamps); {
	case n > 0:
		opts = append(opts, verify.WithSignedTimestamps(n))
	case b.opts.Key != nil:
		opts = append(opts, verify.WithNoObserverTimestamps())
	default:
		opts = append(opts, verify.WithObserverTimestamps(1))
	}
	v, err := verify.NewVerifier(material, opts...)
	if err != nil {
		return nil, err
	}
	sum, err := hex.DecodeString(subject.Digest.Encoded())
	if err != nil {
		return nil, err
	}
	return v.Verify(parsed, verify.NewPolicy(verify.WithArtifactDigest("sha256", sum), policy))
}
