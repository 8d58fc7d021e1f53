package artifact

import (
	"context"
	"errors"

	"github.com/esxi-img/esxi-img/pkg/blockdev"
	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/outfile"
	"github.com/esxi-img/esxi-img/pkg/plan"
)

// MediaOptions say what becomes of a disk that a host is not to have as one.
type MediaOptions struct {
	// Force replaces what is there: a file, or a folder that disk.WriteFolder
	// wrote.
	Force bool
	// Folder says that the output is a folder.
	Folder bool
	// Make writes the output, under its name, from a disk that lies raw beside it
	// and takes that room for as long.
	Make func(ctx context.Context, disked *plan.Plan, opts disk.WriteOptions) error
}

// ToMedia is what Make makes of the disk as a destination, a file or a folder of
// that name. Errors are those of ToFile and of disk.CheckFolder.
func ToMedia(path string, opts MediaOptions) (Destination, error) {
	if blockdev.Meant(path) {
		return nil, &TargetError{path, blockdev.ErrNotDevice, "name a disk; a file cannot lie there"}
	}
	to := &toFile{make: func(ctx context.Context, disked *plan.Plan, w disk.WriteOptions) error {
		w.Replace = opts.Force
		return opts.Make(ctx, disked, w)
	}}
	var err error
	if opts.Folder {
		err = disk.CheckFolder(path, opts.Force)
	} else {
		err = outfile.CheckFile(path, opts.Force)
	}
	if err != nil {
		return nil, err
	}
	// An ISO that is there has much of what its successor needs.
	if !opts.Folder {
		if to.old, err = openOld(path, opts.Force); err != nil {
			return nil, err
		}
	}
	if to.partial, err = outfile.OpenBeside(path); err != nil {
		return nil, errors.Join(err, to.closeOld())
	}
	return to, nil
}
