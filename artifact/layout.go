package artifact

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/outfile"
	"github.com/esxi-img/esxi-img/pkg/progress"
	"github.com/esxi-img/esxi-img/pkg/registry"
)

// LatestTag is the tag of a layout that a build sets and a push takes.
const LatestTag = "latest"

// BuildOptions say what a build leaves behind.
type BuildOptions struct {
	// Tag is set beside LatestTag; "" for that alone.
	Tag string
	// Output is a file that becomes the same disk, "" for none. Replace allows
	// it to be there.
	Output  string
	Replace bool
	// Format is how the disk lies in Output, Compress disk.WriteOptions'.
	Format   disk.Format
	Compress bool

	Workers  int // 0 for as many as help
	Progress progress.Reporter
}

// Build packs an image into the layout in a folder, which is made if it is not
// there, tags it, and removes what no tag reaches any more.
func Build(ctx context.Context, s *Source, dir string, opts BuildOptions) (*Packed, error) {
	layout, err := registry.NewLayout(dir) //nolint:contextcheck // making a folder waits for nobody
	if err != nil {
		return nil, err
	}
	// 1. Until the tags reach the blobs nobody may take them for garbage.
	release, err := layout.Hold(ctx)
	if err != nil {
		return nil, err
	}
	p, err := buildHeld(ctx, s, layout, opts)
	if err = errors.Join(err, release()); err != nil {
		return nil, err
	}
	// 2. What the tags named before.
	if _, err := layout.GC(ctx); err != nil {
		return nil, fmt.Errorf("the image is in the layout and tagged, but what no tag needs could not be removed: %w", err)
	}
	return p, nil
}

func buildHeld(ctx context.Context, s *Source, layout *registry.Layout, opts BuildOptions) (*Packed, error) {
	// The output first: one that must not be replaced is told of before work.
	var out *outfile.File
	if opts.Output != "" {
		var err error
		if out, err = outfile.Create(opts.Output, opts.Replace); err != nil {
			return nil, err
		}
	}
	p, err := Pack(ctx, s, layout, PackOptions{Workers: opts.Workers, Progress: opts.Progress})
	if err == nil && out != nil {
		err = copyDisk(ctx, out, layout, p, opts)
	}
	if err == nil {
		err = tagAll(ctx, layout, p, opts.Tag)
	}
	if out == nil {
		return p, err
	}
	if err == nil {
		err = out.Commit()
	}
	if err != nil {
		return nil, out.Discard(err)
	}
	return p, nil
}

// copyDisk makes the output the disk that lies in the layout: the same bytes on
// the disk where that can be, but never the same file, for a blob must not
// change.
func copyDisk(ctx context.Context, out *outfile.File, layout *registry.Layout, p *Packed, opts BuildOptions) (err error) {
	path, ok := layout.LocalPath(p.Disk)
	if !ok {
		return malformed("layer", "the disk that was packed is not there")
	}
	raw, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, raw.Close()) }()
	plan, err := p.Config.BlobPlan(raw)
	if err != nil {
		return err
	}
	return disk.CopyFile(ctx, out.File, raw, plan, disk.WriteOptions{
		Format: opts.Format, Compress: opts.Compress, Name: filepath.Base(opts.Output), Workers: opts.Workers, Progress: opts.Progress,
	}, "write "+filepath.Base(opts.Output))
}

// tagAll gives an image its tags, LatestTag last.
func tagAll(ctx context.Context, layout *registry.Layout, p *Packed, tag string) error {
	for _, t := range []string{tag, LatestTag} {
		if t == "" {
			continue
		}
		if err := registry.NewRepository(layout).Tag(ctx, plain(p.Index), t); err != nil {
			return err
		}
	}
	return nil
}
