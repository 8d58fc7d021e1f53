package registry

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"
)

var (
	// ErrNotFound says that there is no such repository, manifest or blob. It
	// is what oras's functions look for too.
	ErrNotFound = errdef.ErrNotFound
	// ErrRangeIgnored says that the server sent, or would send, the whole blob
	// where a part was asked for.
	ErrRangeIgnored = errors.New("the server ignores ranges")
	// ErrBadRange says that the server sent another part than was asked for.
	ErrBadRange = errors.New("the server sent another range")
	// ErrMismatch says that content is not what its descriptor says.
	ErrMismatch = errors.New("content does not match its descriptor")
	// ErrLocked says that another process is busy in the layout.
	ErrLocked = errors.New("the layout is in use by another process")
	// ErrNoHTTPS says that HTTPS was tried and the other side speaks HTTP.
	ErrNoHTTPS = http.ErrSchemeMismatch
	// ErrReadOnly says that the place cannot be written to.
	ErrReadOnly = errors.New("is opened for reading only")
)

const (
	// maxBody bounds what of an error's body is kept, in bytes.
	maxBody = 512
	// maxBodyRead bounds what of an error's body is looked at, in bytes.
	maxBodyRead = 8 << 10
)

// Error is what a registry answered, or why it could not be asked.
type Error struct {
	Op     string // what was tried: "fetch sha256:…", "push …"
	Ref    string // on which repository
	Status int    // HTTP status; 0 if there was no answer
	Body   string // what the answer said: bounded, printable, without secrets
	Err    error  // what lies below; may be nil

	redact func(string) string
	after  time.Duration // the pause that the server asks for
}

func (e *Error) Error() string {
	s := e.Op + ": " + e.Ref
	if e.Status != 0 {
		s += fmt.Sprintf(": %d %s", e.Status, http.StatusText(e.Status))
	}
	if e.Body != "" {
		s += ": " + e.Body
	} else if e.Err != nil && (e.Status == 0 || !errors.Is(e.Err, ErrNotFound)) {
		s += ": " + e.clean(e.Err.Error())
	}
	return s
}

func (e *Error) clean(s string) string {
	if e.redact != nil {
		return e.redact(s)
	}
	return redact(s, nil)
}

func (e *Error) Unwrap() error { return e.Err }

// Temporary says whether the same request may work later.
func (e *Error) Temporary() bool {
	if e.Status != 0 {
		return temporaryStatus(e.Status)
	}
	return temporaryError(e.Err)
}

// IsUntrusted says whether a connection failed because of the registry's
// certificate.
func IsUntrusted(err error) bool {
	var certificate *tls.CertificateVerificationError
	return errors.As(err, &certificate)
}

// LimitError says that something is over a limit.
type LimitError struct {
	What         string
	Value, Limit int64 // Value 0: not known, only over
}

func (e *LimitError) Error() string {
	if e.Value == 0 {
		return fmt.Sprintf("%s: over the limit of %d", e.What, e.Limit)
	}
	return fmt.Sprintf("%s: %d is over the limit of %d", e.What, e.Value, e.Limit)
}

// MismatchError says how content differs from its descriptor.
type MismatchError struct {
	Descriptor ocispec.Descriptor
	Reason     string
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("%s (%d bytes): %s", e.Descriptor.Digest, e.Descriptor.Size, e.Reason)
}

// Is makes errors.Is(err, ErrMismatch) hold.
func (e *MismatchError) Is(target error) bool { return target == ErrMismatch }

// mismatch turns what a VerifyReader says into a *MismatchError.
func mismatch(desc ocispec.Descriptor, err error) error {
	var broken *Error
	switch {
	case errors.As(err, &broken):
		return err
	case errors.Is(err, content.ErrMismatchedDigest):
		return &MismatchError{desc, "the content has another digest"}
	case errors.Is(err, content.ErrTrailingData):
		return &MismatchError{desc, "the content is longer"}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return &MismatchError{desc, "the content is shorter"}
	default:
		return err
	}
}

// failure is the *Error for anything that went wrong on the way to a registry.
func failure(op, ref string, err error, secrets *secrets) error {
	if err == nil {
		return nil
	}
	out := &Error{Op: op, Ref: ref, redact: secrets.redact}
	var (
		known    *Error
		response *errcode.ErrorResponse
		limit    *LimitError
		wrong    *MismatchError
		source   *sourceError
	)
	switch {
	case errors.As(err, &source):
		return source.err // has nothing to do with this registry
	case errors.As(err, &limit):
		out.Err = limit
	case errors.As(err, &wrong):
		out.Err = wrong
	case errors.As(err, &known):
		out.Status, out.Body, out.Err, out.after = known.Status, known.Body, known.Err, known.after
	case errors.As(err, &response):
		out.Status = response.StatusCode
		if len(response.Errors) > 0 {
			out.Body = bounded(secrets.redact(response.Errors.Error()))
		}
		if response.StatusCode == http.StatusNotFound {
			out.Err = ErrNotFound
		}
	case errors.Is(err, auth.ErrBasicCredentialNotFound):
		out.Status, out.Body = http.StatusUnauthorized, "it wants a user name and a password"
	case errors.Is(err, ErrNotFound):
		out.Status, out.Err = http.StatusNotFound, ErrNotFound
	default:
		out.Err = withoutURL(err)
	}
	return out
}

// withoutURL takes the URL out of an error of net/http: behind a redirect it
// may carry a signature, and the reference is said already.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// temporaryStatus says which answers are worth another try (RFC 9110 and, for
// 429, RFC 6585).
func temporaryStatus(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests:
		return true
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported:
		return false
	default:
		return status >= 500
	}
}

// secrets remembers what must not appear in a message.
type secrets struct {
	mu     sync.Mutex
	values []string
}

// maxSecrets bounds the memory: tokens are renewed for as long as we run.
const maxSecrets = 64

func (s *secrets) add(values ...string) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, v := range values {
		// Shorter ones would blank out half of any message.
		if len(v) < 4 || slices.Contains(s.values, v) {
			continue
		}
		if len(s.values) == maxSecrets {
			s.values = slices.Delete(s.values, 0, 1)
		}
		s.values = append(s.values, v)
	}
}

func (s *secrets) redact(text string) string {
	if s == nil {
		return redact(text, nil)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return redact(text, s.values)
}

// What looks like a secret, whoever's it may be.
var secretPatterns = []struct {
	re *regexp.Regexp
	by string
}{
	{regexp.MustCompile(`\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{8,}`), "$1 ***"},
	// A JSON Web Token (RFC 7519).
	{regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}(\.[A-Za-z0-9_-]*){0,2}`), "***"},
	{regexp.MustCompile(`(?i)((?:token|passw(?:or)?d|secret|signature|credential|sig|authorization|key)"?\s*[=:]\s*"?)[^&"\s,;}]+`), "$1***"},
	{regexp.MustCompile(`://[^/@\s]+@`), "://***@"},
}

func redact(text string, values []string) string {
	for _, v := range values {
		text = strings.ReplaceAll(text, v, "***")
	}
	for _, p := range secretPatterns {
		text = p.re.ReplaceAllString(text, p.by)
	}
	return text
}

// bounded makes a server's words fit for a line of ours.
func bounded(text string) string {
	text = strings.ToValidUTF8(text, "?")
	text = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, text)
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > maxBody {
		text = text[:maxBody]
		for !utf8.ValidString(text) {
			text = text[:len(text)-1]
		}
		text += "…"
	}
	return text
}

// checkDescriptor refuses a descriptor that nothing can match.
func checkDescriptor(desc ocispec.Descriptor) error {
	if _, err := parseDigest(desc.Digest.String()); err != nil {
		return err
	}
	if desc.Size < 0 {
		return fmt.Errorf("%s: a size of %d bytes", desc.Digest, desc.Size)
	}
	return nil
}
