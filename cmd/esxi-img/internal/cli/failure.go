package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/display"
	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/outfile"
	"github.com/esxi-img/esxi-img/pkg/plan"
)

// Exit codes, as docs/exit-codes.md explains them.
const (
	exitOK          = 0
	exitOther       = 1
	exitUsage       = 2
	exitInput       = 3
	exitRegistry    = 4
	exitIO          = 5
	exitInterrupted = 130
)

// failure is how a command ends when it does not end well.
type failure struct {
	code   int
	err    error
	advice string
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// usagef is a failure of the command line itself.
func usagef(advice, format string, args ...any) error {
	return &failure{code: exitUsage, err: fmt.Errorf(format, args...), advice: advice}
}

// inputError says that what the user gave cannot be used.
func inputError(err error, advice string) error {
	return &failure{code: exitInput, err: err, advice: advice}
}

// classify finds the exit code and the advice for an error of any library.
func classify(ctx context.Context, err error) *failure {
	var (
		f        *failure
		input    *imager.InputError
		mismatch *plan.MismatchError
		read     *plan.ReadError
		path     *fs.PathError
		packed   *disk.QCOW2Error
	)
	signs, trust, remote, image := signFailure(err), verifyFailure(err), registryFailure(err), artifactFailure(err)
	switch {
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return &failure{exitInterrupted, errors.New("interrupted"), adviceAfterInterrupt(err)}
	case errors.As(err, &f):
		return f
	case signs != nil:
		return signs
	case trust != nil:
		return trust
	case image != nil:
		return image
	case remote != nil:
		return remote
	case errors.As(err, &packed):
		return &failure{exitInput, err, packed.Advice}
	case errors.As(err, &input):
		return &failure{exitInput, err, input.Advice}
	case errors.As(err, &mismatch):
		return &failure{exitInput, err, "the ISO is damaged: compare its SHA-256 with the vendor's and download it again"}
	case errors.As(err, &read):
		return &failure{exitInput, err, "the ISO is damaged or cut short: compare its size and SHA-256 with the vendor's"}
	case errors.Is(err, outfile.ErrExists):
		return &failure{exitIO, err, "choose another --output, or --force to replace it"}
	case errors.Is(err, outfile.ErrNotFile):
		return &failure{exitIO, err, "name a file"}
	case errors.Is(err, disk.ErrForeignFolder):
		return &failure{exitIO, err, "choose another --output, or remove it yourself"}
	case errors.As(err, &path):
		return &failure{exitIO, err, adviceForPath(path)}
	default:
		return &failure{exitOther, err, ""}
	}
}

func adviceAfterInterrupt(err error) string {
	var kept *artifact.KeptError
	if errors.As(err, &kept) {
		return "run the command again: it goes on from where it stopped"
	}
	return "nothing was left behind; run the command again"
}

func adviceForPath(err *fs.PathError) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "check the path"
	case errors.Is(err, fs.ErrPermission):
		return "check who may read and write there"
	case isNoSpace(err):
		return "free some space, or write somewhere else"
	case errors.Is(err, syscall.EROFS):
		return "write somewhere else"
	default:
		return ""
	}
}

// report tells of a failure on standard error.
func report(w io.Writer, f *failure, asJSON bool) {
	message := f.err.Error()
	if asJSON {
		type body struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
			Advice  string `json:"advice,omitempty"`
		}
		_ = display.JSON(w, map[string]body{"error": {f.code, message, f.advice}}) // nowhere left to tell
		return
	}
	fmt.Fprintf(w, "Error: %s\n", display.Printable(message))
	if f.advice != "" {
		fmt.Fprintf(w, "Advice: %s\n", display.Printable(f.advice))
	}
}
