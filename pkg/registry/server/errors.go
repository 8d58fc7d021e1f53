package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strconv"
	"syscall"

	"github.com/opencontainers/go-digest"

	"github.com/esxi-img/esxi-img/pkg/registry"
)

// Error codes (OCI distribution-spec 1.1, "Error Codes").
const (
	codeBlobUnknown         = "BLOB_UNKNOWN"
	codeBlobUploadInvalid   = "BLOB_UPLOAD_INVALID"
	codeBlobUploadUnknown   = "BLOB_UPLOAD_UNKNOWN"
	codeDigestInvalid       = "DIGEST_INVALID"
	codeManifestBlobUnknown = "MANIFEST_BLOB_UNKNOWN"
	codeManifestInvalid     = "MANIFEST_INVALID"
	codeManifestUnknown     = "MANIFEST_UNKNOWN"
	codeNameInvalid         = "NAME_INVALID"
	codeNameUnknown         = "NAME_UNKNOWN"
	codeSizeInvalid         = "SIZE_INVALID"
	codeDenied              = "DENIED"
	codeUnsupported         = "UNSUPPORTED"
	codeTooManyRequests     = "TOOMANYREQUESTS"
	codeUnknown             = "UNKNOWN"
)

// answer is an error as the client gets it.
type answer struct {
	status  int
	code    string
	message string
	err     error // what went wrong here; the client is not told
}

func (a *answer) Error() string { return a.code + ": " + a.message }
func (a *answer) Unwrap() error { return a.err }

// fail is what a client did wrong, or cannot have.
func fail(status int, code, format string, args ...any) *answer {
	return &answer{status: status, code: code, message: fmt.Sprintf(format, args...)}
}

func nameUnknown(name string) error {
	return fail(http.StatusNotFound, codeNameUnknown, "there is no repository %s", name)
}

func nameInvalid(name string) error {
	return fail(http.StatusBadRequest, codeNameInvalid, "%.300q cannot be a repository's name", name)
}

func blobUnknown(d digest.Digest) error {
	return fail(http.StatusNotFound, codeBlobUnknown, "there is no blob %s", d)
}

func manifestUnknown(reference string) error {
	return fail(http.StatusNotFound, codeManifestUnknown, "there is no manifest %s", reference)
}

// answerTo is the answer for an error of any kind.
func answerTo(err error) *answer {
	var known *answer
	switch {
	case errors.As(err, &known):
		return known
	case errors.Is(err, registry.ErrLocked):
		return &answer{http.StatusServiceUnavailable, codeTooManyRequests, "another program is busy in the repository: try again", err}
	case errors.Is(err, syscall.ENOSPC):
		return &answer{http.StatusInsufficientStorage, codeUnknown, "the registry's disk is full", err}
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return &answer{http.StatusForbidden, codeDenied, "the registry may not write there", err}
	default:
		// It may hold paths: the log has it.
		return &answer{http.StatusInternalServerError, codeUnknown, "the registry failed: its log says why", err}
	}
}

// write sends the answer.
func (a *answer) write(w http.ResponseWriter) {
	type one struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	body, err := json.Marshal(map[string][]one{"errors": {{a.code, a.message}}})
	if err != nil {
		body = nil
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if a.status == http.StatusServiceUnavailable || a.status == http.StatusTooManyRequests {
		h.Set("Retry-After", "5")
	}
	w.WriteHeader(a.status)
	_, _ = w.Write(body) // nobody is left to tell
}
