package registry

import (
	"bytes"
	"net/http"
	"time"
)

// WithIdle sets for how long a connection may be silent.
func WithIdle(o Options, d time.Duration) Options {
	o.idle = d
	return o
}

// RetryAfter reads the header of that name.
func RetryAfter(value string, now time.Time) time.Duration {
	return retryAfter(http.Header{"Retry-After": {value}}, now)
}

// Redact and Bounded are what errors' bodies go through.
var (
	Redact  = redact
	Bounded = bounded
)

// ReferrersTag is the fall-back tag of a digest.
var ReferrersTag = referrersTag

// ParseLayoutIndex parses an index.json.
func ParseLayoutIndex(b []byte) error {
	_, err := parseLayoutIndex(b)
	return err
}

// ScanArchive walks over a tar archive.
func ScanArchive(b []byte) (files int, err error) {
	a := archive{files: map[string]extent{}}
	err = a.scan(bytes.NewReader(b))
	return len(a.files), err
}

// FindCredentials looks into a credentials file.
func FindCredentials(b []byte, host, repository string) (user, password string, err error) {
	f, err := parseCredentials(b)
	if err != nil {
		return "", "", err
	}
	cred, err := f.find(host, host, repository)
	return cred.Username, cred.Password, err
}

// Scheme is the one of URLs that is chosen.
func Scheme(o Options, host string) string {
	if o.plainHTTP(host) {
		return "http"
	}
	return "https"
}
