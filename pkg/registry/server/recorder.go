package server

import (
	"io"
	"net/http"
	"time"
)

// recorder remembers what was answered, and gives up on clients that stall. It
// hands files on as such, so that the system may send them by itself.
type recorder struct {
	http.ResponseWriter
	control *http.ResponseController
	stall   time.Duration
	status  int
	bytes   int64
}

func newRecorder(w http.ResponseWriter, stall time.Duration) *recorder {
	rec := &recorder{ResponseWriter: w, control: http.NewResponseController(w), stall: stall}
	rec.extend()
	return rec
}

// Unwrap lets http.ResponseController find the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// extend gives the client time for the next window. Tests have writers that
// know no deadlines.
func (r *recorder) extend() { _ = r.control.SetWriteDeadline(time.Now().Add(r.stall)) }

// end sets the deadlines for what net/http does behind a handler: it reads what
// is left of the request, and then sends what is left of the answer.
func (r *recorder) end() {
	now := time.Now()
	_ = r.control.SetReadDeadline(now.Add(r.stall)) // as extend
	_ = r.control.SetWriteDeadline(now.Add(2 * r.stall))
}

// WriteHeader implements http.ResponseWriter.
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 && status >= http.StatusOK {
		r.status = status
	}
	// Uploads may have taken a while.
	r.extend()
	r.ResponseWriter.WriteHeader(status)
}

// Write implements io.Writer.
func (r *recorder) Write(p []byte) (int, error) {
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	var done int
	for {
		part := p[done:min(len(p), done+window)]
		r.extend()
		n, err := r.ResponseWriter.Write(part)
		done += n
		r.bytes += int64(n)
		if err != nil || done == len(p) {
			return done, err
		}
	}
}

// ReadFrom implements io.ReaderFrom.
func (r *recorder) ReadFrom(src io.Reader) (int64, error) {
	if r.status == 0 {
		r.WriteHeader(http.StatusOK)
	}
	// net/http sends a file by itself if it is all, or a limited part, of the
	// source; limited twice it does not see it.
	left := int64(1) << 62
	limited, ok := src.(*io.LimitedReader)
	if ok {
		src, left = limited.R, limited.N
	}
	var total int64
	for total < left {
		part := &io.LimitedReader{R: src, N: min(window, left-total)}
		want := part.N
		r.extend()
		n, err := io.Copy(r.ResponseWriter, part)
		total += n
		r.bytes += n
		if ok {
			limited.N -= n
		}
		if err != nil || n < want {
			return total, err
		}
	}
	return total, nil
}

// watched is a request's body from a client that may stall.
type watched struct {
	io.ReadCloser
	control *http.ResponseController
	stall   time.Duration
}

// Read implements io.Reader.
func (w *watched) Read(p []byte) (int, error) {
	if len(p) > window {
		p = p[:window]
	}
	_ = w.control.SetReadDeadline(time.Now().Add(w.stall)) // as extend
	n, err := w.ReadCloser.Read(p)
	// A deadline that ends later would end the request.
	_ = w.control.SetReadDeadline(time.Time{})
	return n, err
}
