package server

import (
	"crypto/rand"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/pkg/registry"
)

// uploads are the blobs that are on their way in.
type uploads struct {
	mu   sync.Mutex
	open map[string]*upload
}

// upload is one of them. It is hashed as it comes.
type upload struct {
	id   string
	repo *repository
	done func() // the repository is not used any more

	busy sync.Mutex // one request at a time; guards what follows
	blob *registry.Blob
	algo digest.Algorithm
	hash hash.Hash
	size int64

	used time.Time // guarded by uploads.mu
}

func newUploads() *uploads { return &uploads{open: map[string]*upload{}} }

// begin makes a new upload.
func (u *uploads) begin(repo *repository, done func()) (*upload, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.open) >= MaxUploads {
		done()
		return nil, fail(http.StatusTooManyRequests, codeTooManyRequests, "%d uploads are under way", len(u.open))
	}
	blob, err := repo.layout.CreateBlob()
	if err != nil {
		done()
		return nil, err
	}
	up := &upload{id: rand.Text(), repo: repo, done: done, blob: blob, used: time.Now()}
	u.open[up.id] = up
	return up, nil
}

// find returns an upload for one request alone.
func (u *uploads) find(rt route) (up *upload, release func(), err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	up = u.open[rt.reference]
	if up == nil || up.repo.name != rt.name {
		return nil, nil, fail(http.StatusNotFound, codeBlobUploadUnknown, "there is no such upload")
	}
	if !up.busy.TryLock() {
		return nil, nil, fail(http.StatusConflict, codeBlobUploadInvalid, "another request is writing to this upload")
	}
	return up, func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		up.used = time.Now()
		up.busy.Unlock()
	}, nil
}

// forget takes an upload off the list: it became a blob, or nothing. The
// caller has it for itself.
func (u *uploads) forget(up *upload) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.open, up.id)
	up.done()
}

// errEnded is why an upload that nobody ended was removed.
var errEnded = errors.New("the upload was ended")

// discard removes an upload and what came of it.
func (u *uploads) discard(up *upload) error {
	u.forget(up)
	if err := up.blob.Discard(errEnded); !isOnly(err, errEnded) {
		return err
	}
	return nil
}

// isOnly says whether err is that error and nothing joined to it.
func isOnly(err, target error) bool { return err == target } //nolint:errorlint // a joined error is another

// expire removes the uploads that were not used since.
func (u *uploads) expire(since time.Time) error {
	u.mu.Lock()
	var old []*upload
	for _, up := range u.open {
		if up.used.Before(since) && up.busy.TryLock() {
			old = append(old, up)
		}
	}
	u.mu.Unlock()
	var err error
	for _, up := range old {
		err = errors.Join(err, u.discard(up))
	}
	return err
}

func (u *uploads) close() error { return u.expire(time.Now().Add(time.Hour)) }

// beginUpload begins an upload, takes a whole blob, or mounts one (OCI
// distribution-spec 1.1, "Pushing blobs" and "Mounting a blob from another
// repository").
func (s *Server) beginUpload(w http.ResponseWriter, r *http.Request, rt route) error {
	query := r.URL.Query()
	var d digest.Digest
	for _, name := range []string{"digest", "mount"} {
		if text := query.Get(name); text != "" && d == "" {
			var err error
			if d, err = parseDigest(text); err != nil {
				return err
			}
		}
	}
	repo, done, err := s.store.use(r.Context(), rt.name, true)
	if err != nil {
		return err
	}
	if query.Has("mount") && d != "" {
		ok, err := s.mount(r, repo, d, query.Get("from"))
		if err != nil || ok {
			done()
		}
		if err != nil {
			return err
		}
		if ok {
			created(w, rt, d)
			return nil
		}
	}
	up, err := s.uploads.begin(repo, done)
	if err != nil {
		return err
	}
	if !query.Has("digest") {
		up.tell(w, http.StatusAccepted)
		return nil
	}
	up.busy.Lock()
	return s.finish(w, r, rt, up, d)
}

// mount takes a blob from another repository.
func (s *Server) mount(r *http.Request, repo *repository, d digest.Digest, from string) (bool, error) {
	source := repo
	if from != "" && from != repo.name {
		if !isName(from) {
			return false, nil
		}
		other, done, err := s.store.use(r.Context(), from, false)
		if a := (*answer)(nil); errors.As(err, &a) && a.status == http.StatusNotFound {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		defer done()
		source = other
	}
	f, size, err := source.layout.FindBlob(d)
	if errors.Is(err, registry.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := f.Close(); err != nil {
		return false, err
	}
	return repo.layout.Adopt(r.Context(), ocispec.Descriptor{MediaType: octetStream, Digest: d, Size: size}, source.layout)
}

const octetStream = "application/octet-stream"

func created(w http.ResponseWriter, rt route, d digest.Digest) {
	w.Header().Set("Location", "/v2/"+rt.name+"/blobs/"+d.String())
	w.Header().Set("Docker-Content-Digest", d.String())
	w.WriteHeader(http.StatusCreated)
}

// tell says how far an upload is. The caller has it for itself.
func (up *upload) tell(w http.ResponseWriter, status int) {
	h := w.Header()
	h.Set("Location", "/v2/"+up.repo.name+"/blobs/uploads/"+up.id)
	h.Set("Docker-Upload-Uuid", up.id)
	h.Set("Range", fmt.Sprintf("0-%d", max(up.size-1, 0)))
	w.WriteHeader(status)
}

func (s *Server) uploadStatus(w http.ResponseWriter, _ *http.Request, rt route) error {
	up, release, err := s.uploads.find(rt)
	if err != nil {
		return err
	}
	defer release()
	up.tell(w, http.StatusNoContent)
	return nil
}

func (s *Server) cancelUpload(w http.ResponseWriter, _ *http.Request, rt route) error {
	up, _, err := s.uploads.find(rt)
	if err != nil {
		return err
	}
	if err := s.uploads.discard(up); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// continueUpload takes the next bytes.
func (s *Server) continueUpload(w http.ResponseWriter, r *http.Request, rt route) error {
	up, release, err := s.uploads.find(rt)
	if err != nil {
		return err
	}
	defer release()
	length, err := up.expect(w, r)
	if err != nil {
		return err
	}
	if err := up.receive(r.Body, length, ""); err != nil {
		return err
	}
	up.tell(w, http.StatusAccepted)
	return nil
}

// endUpload takes the last bytes, or all, and makes a blob of them.
func (s *Server) endUpload(w http.ResponseWriter, r *http.Request, rt route) error {
	d, err := parseDigest(r.URL.Query().Get("digest"))
	if err != nil {
		return err
	}
	up, release, err := s.uploads.find(rt)
	if err != nil {
		return err
	}
	if r.Header.Get("Content-Range") != "" {
		if _, err := up.expect(w, r); err != nil {
			release()
			return err
		}
	}
	return s.finish(w, r, rt, up, d)
}

// finish takes the rest of an upload, which ends in any case: a client whose
// request broke begins anew.
func (s *Server) finish(w http.ResponseWriter, r *http.Request, rt route, up *upload, d digest.Digest) error {
	length := int64(-1)
	if r.ContentLength > 0 {
		length = r.ContentLength
	}
	err := up.receive(r.Body, length, d.Algorithm())
	if err == nil {
		err = up.check(d)
	}
	if err != nil {
		return errors.Join(err, s.uploads.discard(up))
	}
	defer s.uploads.forget(up)
	// What fails here has removed the file.
	if err := up.blob.Commit(ocispec.Descriptor{MediaType: octetStream, Digest: d, Size: up.size}); err != nil {
		return err
	}
	created(w, rt, d)
	return nil
}

// expect says how many bytes the request brings, -1 if it does not say, after
// checking that they are the next ones.
func (up *upload) expect(w http.ResponseWriter, r *http.Request) (int64, error) {
	value := r.Header.Get("Content-Range")
	if value == "" {
		return r.ContentLength, nil
	}
	first, last, ok := strings.Cut(strings.TrimPrefix(value, "bytes "), "-")
	begin, err1 := strconv.ParseInt(first, 10, 64)
	end, err2 := strconv.ParseInt(last, 10, 64)
	if !ok || err1 != nil || err2 != nil || begin < 0 || end < begin {
		return 0, fail(http.StatusBadRequest, codeBlobUploadInvalid, "Content-Range %.100q is not BEGIN-END", value)
	}
	length := end - begin + 1
	if r.ContentLength >= 0 && r.ContentLength != length {
		return 0, fail(http.StatusBadRequest, codeSizeInvalid, "%d bytes are no %.100q", r.ContentLength, value)
	}
	if begin != up.size {
		w.Header().Set("Location", r.URL.Path)
		w.Header().Set("Range", fmt.Sprintf("0-%d", max(up.size-1, 0)))
		return 0, fail(http.StatusRequestedRangeNotSatisfiable, codeBlobUploadInvalid, "the next byte is %d", up.size)
	}
	return length, nil
}

// buffers are what bodies are read into.
var buffers = sync.Pool{New: func() any { b := make([]byte, bufferSize); return &b }}

// bufferSize is a multiple of what a hole in a file has at least.
const bufferSize = 256 << 10

// receive appends a body of length bytes, or of any length if that is
// negative. algorithm is the digest's, if it is known.
func (up *upload) receive(body io.Reader, length int64, algorithm digest.Algorithm) error {
	if up.hash == nil {
		if up.algo = algorithm; algorithm == "" {
			up.algo = digest.Canonical
		}
		up.hash = up.algo.Hash()
	}
	limit := int64(MaxBlob) - up.size
	if length > limit {
		return fail(http.StatusRequestEntityTooLarge, codeSizeInvalid, "a blob may have %d bytes", int64(MaxBlob))
	}
	if length >= 0 {
		limit = length
	}
	pooled, ok := buffers.Get().(*[]byte)
	if !ok {
		return errors.New("server: no buffer")
	}
	defer buffers.Put(pooled)
	r := io.LimitReader(body, limit+1)
	var got int64
	for {
		n, err := fill(r, *pooled)
		if got += int64(n); got > limit {
			return fail(http.StatusRequestEntityTooLarge, codeSizeInvalid, "there are more than %d bytes", limit)
		}
		if writeErr := up.append((*pooled)[:n]); writeErr != nil {
			return writeErr
		}
		switch {
		case err == nil:
		case !errors.Is(err, io.EOF):
			return fail(http.StatusBadRequest, codeBlobUploadInvalid, "the request broke off: %v", err)
		case length >= 0 && got != length:
			return fail(http.StatusBadRequest, codeSizeInvalid, "%d bytes came of %d", got, length)
		default:
			return nil
		}
	}
}

// fill reads until p is full or r ends. Other than io.ReadFull it keeps apart
// a body that ends and one that breaks off.
func fill(r io.Reader, p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = r.Read(p[n:])
		n += m
	}
	return n, err
}

func (up *upload) append(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	if err := up.blob.WriteSparse(p, up.size); err != nil {
		return err
	}
	up.size += int64(len(p))
	_, _ = up.hash.Write(p) // a hash takes everything
	return nil
}

// check ends the file and says whether it has that digest.
func (up *upload) check(d digest.Digest) error {
	if err := up.blob.Truncate(up.size); err != nil {
		return err
	}
	got := digest.NewDigest(up.algo, up.hash)
	if up.algo != d.Algorithm() {
		// The digest came with the last request only.
		verifier := d.Verifier()
		if _, err := io.Copy(verifier, io.NewSectionReader(up.blob, 0, up.size)); err != nil {
			return err
		}
		if verifier.Verified() {
			got = d
		}
	}
	if got != d {
		return fail(http.StatusBadRequest, codeDigestInvalid, "the content's digest is %s", got)
	}
	return nil
}
