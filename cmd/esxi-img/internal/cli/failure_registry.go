package cli

import (
	"errors"
	"io/fs"
	"net"
	"net/http"
	"strings"

	"github.com/esxi-img/esxi-img/pkg/registry"
)

// registryFailure finds the exit code and the advice for an error that has to
// do with a registry, a layout or an archive; nil if it has not.
func registryFailure(err error) *failure {
	var (
		reference *registry.ReferenceError
		config    *registry.ConfigError
		tag       *registry.TagError
		layout    *registry.LayoutError
		answer    *registry.Error
		mismatch  *registry.MismatchError
		limit     *registry.LimitError
		path      *fs.PathError
	)
	switch {
	case errors.As(err, &reference):
		return &failure{exitUsage, err, reference.Advice}
	case errors.As(err, &config):
		return &failure{exitInput, err, "put the file right, or name another"}
	case errors.As(err, &tag):
		return &failure{exitInput, err, "name one of the tags, or build or copy the image first"}
	case errors.Is(err, registry.ErrLocked):
		return &failure{exitIO, err, "wait for the other process to end, and run the command again"}
	case errors.As(err, &answer) && errors.As(answer, &mismatch):
		return wrongContent(answer)
	case errors.As(err, &answer):
		return &failure{exitRegistry, err, adviceForAnswer(answer)}
	case errors.As(err, &layout) && !errors.As(err, &path):
		return &failure{exitInput, err, adviceForLayout(layout)}
	case errors.As(err, &mismatch), errors.As(err, &limit):
		return &failure{exitInput, err, "the image is damaged: build or copy it again"}
	default:
		return nil
	}
}

// wrongContent is the failure for content that is not what its digest says: a
// registry's, or what was to be pushed.
func wrongContent(err *registry.Error) *failure {
	if strings.HasPrefix(err.Op, registry.OpPush) {
		return &failure{exitInput, err, "the image is damaged: build or copy it again"}
	}
	return &failure{exitVerification, err, "the registry, or something before it, sends wrong content: do not use it"}
}

func adviceForLayout(err *registry.LayoutError) string {
	if errors.Is(err, registry.ErrMismatch) {
		return "the layout is damaged: remove the file, and build or copy the image again"
	}
	return "name a folder that holds an OCI image layout, or one that is empty"
}

func adviceForAnswer(err *registry.Error) string {
	var (
		limit *registry.LimitError
		name  *net.DNSError
	)
	switch {
	case err.Status == http.StatusUnauthorized && err.Op == registry.OpLogin:
		return "check the user name and the password"
	case err.Status == http.StatusUnauthorized:
		return "log in: esxi-img login REGISTRY"
	case err.Status == http.StatusForbidden:
		return "log in as somebody who may do this: esxi-img login REGISTRY"
	case err.Status == http.StatusNotFound:
		return "check the name and the tag; a private repository is not found without a login"
	case err.Status == http.StatusTooManyRequests:
		return "the registry limits requests: wait a while, or log in"
	case errors.Is(err, registry.ErrNoHTTPS):
		return "the registry speaks HTTP: give --plain-http if the network can be trusted"
	case registry.IsUntrusted(err):
		return "give the certificate of the registry's authority with --ca-file"
	case err.Status >= http.StatusInternalServerError:
		return "the registry is busy or broken: run the command again later"
	case errors.Is(err, registry.ErrBadRange), errors.Is(err, registry.ErrRedirects), errors.As(err, &limit):
		return "the registry, or something before it, does not do what it is asked for: tell who runs it, or use another one"
	case err.Status == 0 && (err.Temporary() || errors.As(err, &name)):
		return "check the registry's name and the network, and run the command again"
	default:
		return "the registry refuses this: ask who runs it"
	}
}
