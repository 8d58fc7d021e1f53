package registry

import (
	"bytes"
	"net/http"
	"sync/atomic"
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

// CountManifestReads counts the manifests that a layout reads to find referrers.
func CountManifestReads(l *Layout) *atomic.Int64 {
	var n atomic.Int64
	l.readManifest = func(path string, limit int64) ([]byte, error) {
		n.Add(1)
		return readLimited(path, limit)
	}
	return &n
}

// KnownSubjects is of how many manifests a layout knows what they are about.
func KnownSubjects(l *Layout) int {
	l.subjects.mu.RLock()
	defer l.subjects.mu.RUnlock()
	return len(l.subjects.of)
}

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
