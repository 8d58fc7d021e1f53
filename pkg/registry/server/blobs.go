package server

import (
	"errors"
	"net/http"
	"time"

	"github.com/esxi-img/esxi-img/pkg/registry"
)

// getBlob sends a blob, or ranges of it (OCI distribution-spec 1.1, "Pulling
// blobs"; RFC 9110, 14).
func (s *Server) getBlob(w http.ResponseWriter, r *http.Request, rt route) error {
	d, err := parseDigest(rt.reference)
	if err != nil {
		return err
	}
	repo, done, err := s.store.use(r.Context(), rt.name, false)
	if err != nil {
		return err
	}
	defer done()
	f, _, err := repo.layout.FindBlob(d)
	if errors.Is(err, registry.ErrNotFound) {
		return blobUnknown(d)
	}
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Docker-Content-Digest", d.String())
	h.Set("Etag", `"`+d.String()+`"`)
	h.Set("Cache-Control", "max-age=31536000, immutable")
	http.ServeContent(w, r, "", time.Time{}, f)
	return f.Close()
}
