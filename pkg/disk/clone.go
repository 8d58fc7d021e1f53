package disk

import (
	"context"
	"os"

	"github.com/esxi-img/esxi-img/pkg/plan"
)

// FillFile makes to, an empty file, the planned disk. Phase names it for
// progress.
func FillFile(ctx context.Context, to *os.File, p *plan.Plan, opts WriteOptions, phase string) error {
	if err := p.Validate(); err != nil {
		return err
	}
	return fill(ctx, to, p, opts, phase)
}

// CopyFile makes to, an empty file, the same disk as from, a raw file that p
// reads. Where the file system can, both share their blocks until one of them is
// written to; else, and for other formats, what is not zero is copied. Phase
// names it for progress.
func CopyFile(ctx context.Context, to, from *os.File, p *plan.Plan, opts WriteOptions, phase string) error {
	if err := p.Validate(); err != nil {
		return err
	}
	if (opts.Format == "" || opts.Format == Raw) && clone(to, from) {
		return nil
	}
	return fill(ctx, to, p, opts, phase)
}
