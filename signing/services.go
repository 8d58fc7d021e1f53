package signing

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"github.com/sigstore/sigstore-go/pkg/tuf"
)

// maxSigningConfig bounds a file with a signing config, in bytes. The public
// instance's has 2 KiB.
const maxSigningConfig = 1 << 20

// Services are where a signature gets its certificate, its time stamps and its
// log entries. What is not there is not asked.
type Services struct {
	Fulcio      string   // URL of the certificate authority
	Timestamps  []string // URLs, with the path, of time stamp authorities (RFC 3161)
	Logs        []Log
	TokenIssuer string // URL of the OpenID Connect provider that people log in at
}

// Log is a transparency log, Rekor.
type Log struct {
	URL     string
	Version uint32 // of its API: 1 or 2
}

// ParseSigningConfig reads a Sigstore signing config (signing_config.json,
// version 0.2) and chooses the services to use at a time.
func ParseSigningConfig(text []byte, now time.Time) (*Services, error) {
	if len(text) > maxSigningConfig {
		return nil, fmt.Errorf("%d bytes are over the limit of %d", len(text), maxSigningConfig)
	}
	c, err := root.NewSigningConfigFromJSON(text)
	if err != nil {
		return nil, fmt.Errorf("is no Sigstore signing config: %w", err)
	}
	return servicesOf(c, now)
}

// LoadSigningConfig reads a file with a signing config. The error is an
// *InputError.
func LoadSigningConfig(file string, now time.Time) (*Services, error) {
	text, err := readInput(file, maxSigningConfig)
	if err != nil {
		return nil, err
	}
	s, err := ParseSigningConfig(text, now)
	if err != nil {
		return nil, &InputError{file, err}
	}
	return s, nil
}

// Services returns the services of the instance. The error is a *TrustError,
// unless the context ended.
func (p *PublicInstance) Services(ctx context.Context, now time.Time) (*Services, error) {
	var s *Services
	err := p.get(ctx, func(c *tuf.Client) error {
		config, err := root.GetSigningConfig(c)
		if err != nil {
			return err
		}
		s, err = servicesOf(config, now)
		return err
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

func servicesOf(c *root.SigningConfig, now time.Time) (*Services, error) {
	s := &Services{}
	if all := c.FulcioCertificateAuthorityURLs(); len(all) > 0 {
		one, err := root.SelectService(all, sign.FulcioAPIVersions, now)
		if err != nil {
			return nil, fmt.Errorf("certificate authority: %w", err)
		}
		s.Fulcio = one.URL
	}
	if all := c.OIDCProviderURLs(); len(all) > 0 {
		one, err := root.SelectService(all, []uint32{1}, now)
		if err != nil {
			return nil, fmt.Errorf("token issuer: %w", err)
		}
		s.TokenIssuer = one.URL
	}
	if all := c.TimestampAuthorityURLs(); len(all) > 0 {
		some, err := root.SelectServices(all, c.TimestampAuthorityURLsConfig(), sign.TimestampAuthorityAPIVersions, now)
		if err != nil {
			return nil, fmt.Errorf("time stamp authorities: %w", err)
		}
		for _, one := range some {
			s.Timestamps = append(s.Timestamps, one.URL)
		}
	}
	if all := c.RekorLogURLs(); len(all) > 0 {
		some, err := root.SelectServices(all, c.RekorLogURLsConfig(), sign.RekorAPIVersions, now)
		if err != nil {
			return nil, fmt.Errorf("logs: %w", err)
		}
		for _, one := range some {
			s.Logs = append(s.Logs, Log{one.URL, one.MajorAPIVersion})
		}
	}
	return s, nil
}

// maxServices is the most of one kind that are asked.
const maxServices = 8

// check holds that the services can be asked, and that what they give can be
// verified later.
func (s *Services) check(keyless bool) error {
	if len(s.Timestamps) > maxServices || len(s.Logs) > maxServices {
		return fmt.Errorf("over %d services of one kind", maxServices)
	}
	if keyless {
		if s.Fulcio == "" {
			return errors.New("signing without a key needs a certificate authority, and none is named")
		}
		if _, err := serviceURL(s.Fulcio, true); err != nil {
			return fmt.Errorf("certificate authority: %w", err)
		}
		if !s.tellsTime() {
			return errors.New("a certificate is valid for some minutes only: without a key a time stamp authority is needed (a log with API version 2 tells no time)")
		}
	}
	for _, u := range s.Timestamps {
		if _, err := serviceURL(u, false); err != nil {
			return fmt.Errorf("time stamp authority: %w", err)
		}
	}
	for _, l := range s.Logs {
		if l.Version != 1 && l.Version != 2 {
			return fmt.Errorf("log %s: API version %d is neither 1 nor 2", l.URL, l.Version)
		}
		if _, err := serviceURL(l.URL, false); err != nil {
			return fmt.Errorf("log: %w", err)
		}
	}
	return nil
}

// tellsTime says whether the services prove when a signature was made.
func (s *Services) tellsTime() bool {
	for _, l := range s.Logs {
		if l.Version == 1 {
			return true
		}
	}
	return len(s.Timestamps) > 0
}

// serviceURL reads the URL of a service. A token goes to secret ones only: to
// HTTPS, or to this host.
func serviceURL(text string, secret bool) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, errors.New("its URL cannot be read") // it may hold a password
	case u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		return nil, fmt.Errorf("%q is no URL with http or https and a host", short(u.Redacted()))
	case secret && u.Scheme == "http" && !loopback(u.Hostname()):
		return nil, fmt.Errorf("%s: a token is sent over HTTPS only", short(u.Redacted()))
	default:
		return u, nil
	}
}

func loopback(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.IsLoopback()
	}
	return host == "localhost" || net.ParseIP(host).IsLoopback()
}

// redacted is a service's URL for messages.
func redacted(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "a service"
	}
	return short(u.Redacted())
}
