package registrytest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// On tells a lie to requests with that method and of that kind only.
func On(method string, kind RequestKind, lie Lie) Lie {
	return Where(func(r *http.Request) bool { return r.Method == method && KindOf(r) == kind }, lie)
}

// Where tells a lie to some requests only.
func Where(some func(*http.Request) bool, lie Lie) Lie {
	return func(truth http.Handler) http.Handler {
		lying := lie(truth)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if some(r) {
				lying.ServeHTTP(w, r)
			} else {
				truth.ServeHTTP(w, r)
			}
		})
	}
}

// First tells a lie n times, counted from each Tell. Put it inside On, so that
// only those requests count.
func First(n int64, lie Lie) Lie {
	return func(truth http.Handler) http.Handler {
		var told atomic.Int64
		return Where(func(*http.Request) bool { return told.Add(1) <= n }, lie)(truth)
	}
}

// Refuse answers with a status, and with a Retry-After header unless that is "".
func Refuse(status int, retryAfter string) Lie {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if retryAfter != "" {
				w.Header().Set("Retry-After", retryAfter)
			}
			http.Error(w, `{"errors":[{"code":"UNKNOWN","message":"a lie"}]}`, status)
		})
	}
}

// Break resets the connection after that many bytes of the answer's body.
func Break(after int64) Lie {
	return edited(edit{body: func(p []byte, off int64) ([]byte, error) {
		if left := after - off; left < int64(len(p)) {
			return p[:max(left, 0)], errBreak
		}
		return p, nil
	}})
}

// BreakUpload resets the connection after that many bytes of the request's body.
func BreakUpload(after int64) Lie {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.CopyN(io.Discard, r.Body, after) // it ends here in any case
			panic(http.ErrAbortHandler)
		})
	}
}

// Damage changes one byte of the answer's body.
func Damage(at int64) Lie {
	return edited(edit{body: func(p []byte, off int64) ([]byte, error) {
		if i := at - off; i >= 0 && i < int64(len(p)) {
			p = bytes.Clone(p)
			p[i] ^= 0x10
		}
		return p, nil
	}})
}

// Longer sends one byte more. Announced: Content-Length says so too; else the
// answer has none.
func Longer(announced bool) Lie {
	return edited(edit{
		header: func(h http.Header) { addLength(h, 1, announced) },
		end:    []byte{0},
	})
}

// Shorter sends one byte less.
func Shorter(announced bool) Lie {
	return func(truth http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			length := int64(-1)
			e := edit{
				header: func(h http.Header) {
					if n, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64); err == nil {
						length = n
					}
					addLength(h, -1, announced)
				},
				body: func(p []byte, off int64) ([]byte, error) {
					if length >= 0 && off+int64(len(p)) >= length {
						p = p[:max(length-1-off, 0)]
					}
					return p, nil
				},
			}
			edited(e)(truth).ServeHTTP(w, r)
		})
	}
}

func addLength(h http.Header, n int64, announced bool) {
	length, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64)
	h.Del("Content-Length")
	if announced && err == nil {
		h.Set("Content-Length", strconv.FormatInt(length+n, 10))
	}
}

// IgnoreRange sends the whole blob whatever was asked for.
func IgnoreRange() Lie {
	return func(truth http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Header.Del("Range")
			truth.ServeHTTP(w, r)
		})
	}
}

// RangeOffByOne sends the range that begins and ends one byte later. Hidden:
// its header says that it is the one that was asked for.
func RangeOffByOne(hidden bool) Lie {
	return func(truth http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var first, last int64
			asked := r.Header.Get("Range")
			if _, err := fmt.Sscanf(asked, "bytes=%d-%d", &first, &last); err != nil {
				truth.ServeHTTP(w, r)
				return
			}
			// One earlier where there is none later.
			shift := int64(1)
			if first > 0 {
				shift = -1
			}
			r.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", first+shift, last+shift))
			edited(edit{header: func(h http.Header) {
				if _, size, ok := strings.Cut(h.Get("Content-Range"), "/"); ok && hidden {
					h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%s", first, last, size))
				}
			}})(truth).ServeHTTP(w, r)
		})
	}
}

// Redirect sends clients to the same path elsewhere; to the Liar itself if base
// is "".
func Redirect(base string) Lie {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, base+r.URL.RequestURI(), http.StatusTemporaryRedirect) //nolint:gosec // a redirect to where a test wants it
		})
	}
}

// OtherManifest answers with another manifest under the digest that was asked
// for.
func OtherManifest(mediaType string, body []byte) Lie {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			name := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
			if !strings.Contains(name, ":") {
				name = digest.FromBytes(body).String()
			}
			h := w.Header()
			h.Set("Content-Type", mediaType)
			h.Set("Content-Length", strconv.Itoa(len(body)))
			h.Set("Docker-Content-Digest", name)
			_, _ = w.Write(body) // nobody is left to tell
		})
	}
}

// LargeManifest answers with a manifest of so many bytes. Announced:
// Content-Length says how many.
func LargeManifest(size int, announced bool) Lie {
	body := []byte(`{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageIndex + `","manifests":[]`)
	body = append(append(body, bytes.Repeat([]byte{' '}, max(size-len(body)-1, 0))...), '}')
	lie := OtherManifest(ocispec.MediaTypeImageIndex, body)
	if announced {
		return lie
	}
	return func(truth http.Handler) http.Handler {
		return edited(edit{header: func(h http.Header) { h.Del("Content-Length") }})(lie(truth))
	}
}

// EndlessReferrers answers with page after page of referrers that nobody
// pushed.
func EndlessReferrers(artifactType string) Lie {
	var pages atomic.Int64
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			page := pages.Add(1)
			index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
			for i := range 50 {
				index.Manifests = append(index.Manifests, ocispec.Descriptor{
					MediaType: ocispec.MediaTypeImageManifest, ArtifactType: artifactType,
					Digest: digest.FromString(fmt.Sprint(page, " ", i)), Size: 1000,
				})
			}
			w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
			w.Header().Set("Link", fmt.Sprintf("<%s?page=%d>; rel=\"next\"", r.URL.Path, page))
			_ = json.NewEncoder(w).Encode(index) // nobody is left to tell
		})
	}
}

// Slow sends at most so many bytes a second of the answer's body, in small
// steps.
func Slow(bytesPerSecond int64) Lie {
	return edited(edit{body: func(p []byte, _ int64) ([]byte, error) {
		time.Sleep(time.Duration(int64(len(p)) * int64(time.Second) / bytesPerSecond))
		return p, nil
	}})
}

// edit is how an answer is changed.
type edit struct {
	header func(http.Header)
	// body changes what is written at an offset. With errBreak the connection is
	// reset behind it.
	body func(p []byte, off int64) ([]byte, error)
	end  []byte // comes after the body
}

var errBreak = errors.New("registrytest: break the connection")

func edited(e edit) Lie {
	return func(truth http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			a := &editedAnswer{ResponseWriter: w, edit: e}
			truth.ServeHTTP(a, r)
			if r.Method != http.MethodHead && a.off > 0 {
				_, _ = w.Write(e.end) // nobody is left to tell
			}
		})
	}
}

type editedAnswer struct {
	http.ResponseWriter
	edit
	began bool
	off   int64 // in the true body
}

func (a *editedAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

func (a *editedAnswer) WriteHeader(status int) {
	if a.header != nil && !a.began {
		a.header(a.Header())
	}
	a.began = true
	a.ResponseWriter.WriteHeader(status)
}

// step is how much is written at once.
const step = 32 << 10

func (a *editedAnswer) Write(p []byte) (int, error) {
	if !a.began {
		a.WriteHeader(http.StatusOK)
	}
	done := 0
	for done < len(p) {
		part := p[done:min(len(p), done+step)]
		send, err := part, error(nil)
		if a.body != nil {
			send, err = a.body(part, a.off)
		}
		if _, writeErr := a.ResponseWriter.Write(send); writeErr != nil {
			return done, writeErr
		}
		if err != nil {
			_ = http.NewResponseController(a.ResponseWriter).Flush() // the connection ends here
			panic(http.ErrAbortHandler)
		}
		a.off += int64(len(part))
		done += len(part)
	}
	return done, nil
}
