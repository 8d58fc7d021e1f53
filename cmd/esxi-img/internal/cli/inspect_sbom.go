package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/signing"
)

// showSBOM prints the SBOM that is attached to an image, else one that is made
// of what the image says of itself.
func (a *app) showSBOM(ctx context.Context, ref registry.Reference, opts registry.Options) (err error) {
	from, d, release, err := openResolved(ctx, ref, opts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	img, err := artifact.Load(ctx, from, d)
	if err != nil {
		return err
	}
	status := a.status()
	text, referrer, err := signing.Attached(ctx, artifact.Subject{Ref: ref.String(), Target: from, Descriptor: d}, signing.PredicateSPDX)
	switch {
	case errors.Is(err, signing.ErrNotAttached):
		status.Note("no SBOM is attached: this one is made of what the image says of itself")
		if text, err = signing.SBOM(img.Config, a.Build.Version); err != nil {
			return err
		}
	case err != nil:
		return err
	default:
		status.Note("this is what %s says; nothing of it was verified, see \"esxi-img verify\"", referrer)
	}
	var b bytes.Buffer
	if err := json.Indent(&b, text, "", "  "); err != nil {
		return fmt.Errorf("the SBOM is not JSON: %w", err)
	}
	_, err = io.WriteString(a.Stdout, plainJSON(b.String())+"\n")
	return err
}

// plainJSON escapes what a terminal might obey: such characters stand within
// strings only.
func plainJSON(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == '\n' || r != unicode.ReplacementChar && unicode.IsPrint(r):
			b.WriteRune(r)
		case r > 0xFFFF:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}
