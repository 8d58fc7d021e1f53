package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
)

// customizeFigures are about one image that becomes one host's.
func customizeFigures() []Figure {
	return []Figure{
		{
			Name: "customise, against cp", Unit: "s",
			Ours: customizeTime, Theirs: copyImageTime,
			Peer: "cp --reflink=never IMAGE OUT && sync OUT", Target: 1.2,
		},
		{
			Name: "customise in place", Unit: "s",
			Ours: inPlaceTime, Theirs: replaceTime,
			Peer: "cp --reflink=never IMAGE NEW, sync, mv NEW COPY", Target: 1.2,
		},
		{
			Name: "customise in place, against cp", Unit: "s",
			Ours: inPlaceTime, Theirs: copyImageTime,
			Peer: "cp --reflink=never IMAGE OUT && sync OUT", Target: 1.2,
		},
		{
			Name: "customise, what differs", Unit: "KiB",
			Ours: customizeDiffers, Limit: 1024,
			Peer: "the limit", Target: 1,
		},
		{
			Name: "customise, peak memory", Unit: "MiB",
			Ours: customizeMemory, Limit: 96,
			Peer: "the limit", Target: 1,
		},
		{
			Name: "pull and customise", Unit: "s",
			Ours: customPullTime, Theirs: pullTime,
			Peer: "pull", Target: 1.05,
		},
		{
			Name: "pull and customise, memory", Unit: "MiB",
			Ours: customPullMemory, Limit: 96,
			Peer: "the limit", Target: 1,
		},
	}
}

// customChanges are those of one host.
var customChanges = []string{"--hostname", "esx1.example.org", "--kernelopt", "allowLegacyCPU=true", "--serial-console", "--install-disk", "largest"}

// image builds the image that is customised, and keeps it for the next time.
func (b *bench) image(ctx context.Context) (string, error) {
	out := filepath.Join(b.dir, "image.img")
	if _, err := os.Stat(out); err == nil && b.imageBuilt {
		return out, nil
	}
	b.imageBuilt = true
	return out, b.command(ctx, b.program, "build", b.iso, "--output", out, "--force", "--quiet").run()
}

// customize runs "esxi-img customize" to another file, and looks at that before
// it is deleted.
func (b *bench) customize(ctx context.Context, look func(image, out string) error) (command, error) {
	image, err := b.image(ctx)
	if err != nil {
		return command{}, err
	}
	out := filepath.Join(b.dir, "custom.img")
	defer remove(out)
	c := b.command(ctx, b.program, append([]string{"customize", image, "--output", out, "--quiet"}, customChanges...)...)
	if err := c.run(); err != nil || look == nil {
		return *c, err
	}
	return *c, look(image, out)
}

func customizeTime(ctx context.Context, b *bench) (float64, error) {
	c, err := b.customize(ctx, nil)
	return c.took.Seconds(), err
}

func customizeMemory(ctx context.Context, b *bench) (float64, error) {
	c, err := b.customize(ctx, nil)
	return float64(c.maxRSS) / (1 << 20), err
}

// inPlaceTime customises a copy, whose making does not count.
func inPlaceTime(ctx context.Context, b *bench) (float64, error) {
	image, err := b.image(ctx)
	if err != nil {
		return 0, err
	}
	out := filepath.Join(b.dir, "inplace.img")
	defer remove(out)
	if err := b.command(ctx, "cp", "--reflink=never", image, out).run(); err != nil {
		return 0, err
	}
	c := b.command(ctx, b.program, append([]string{"customize", out, "--quiet"}, customChanges...)...)
	err = c.run()
	return c.took.Seconds(), err
}

// replaceTime replaces a copy as ours is replaced: the blocks of the old file
// have to be given back, too.
func replaceTime(ctx context.Context, b *bench) (float64, error) {
	image, err := b.image(ctx)
	if err != nil {
		return 0, err
	}
	old, out := filepath.Join(b.dir, "old.img"), filepath.Join(b.dir, "copy.img")
	defer remove(old, out)
	if err := b.command(ctx, "cp", "--reflink=never", image, old).run(); err != nil {
		return 0, err
	}
	c := b.command(ctx, "sh", "-c", `cp --reflink=never "$1" "$2" && sync "$2" && mv "$2" "$3" && sync "$(dirname "$3")"`, "sh", image, out, old)
	return c.timed("cp", "sync", "mv")
}

func copyImageTime(ctx context.Context, b *bench) (float64, error) {
	image, err := b.image(ctx)
	if err != nil {
		return 0, err
	}
	out := filepath.Join(b.dir, "copy.img")
	defer remove(out)
	c := b.command(ctx, "sh", "-c", `cp --reflink=never "$1" "$2" && sync "$2"`, "sh", image, out)
	return c.timed("cp", "sync")
}

// customizeDiffers compares both files, in KiB of blocks that are others.
func customizeDiffers(ctx context.Context, b *bench) (float64, error) {
	var differs int64
	_, err := b.customize(ctx, func(image, out string) (err error) {
		differs, err = differingBlocks(image, out)
		return err
	})
	return float64(differs) / (1 << 10), err
}

// differingBlocks is how many bytes lie in blocks of 4 KiB that differ.
func differingBlocks(one, other string) (n int64, err error) {
	first, err := os.Open(one)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, first.Close()) }()
	second, err := os.Open(other)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, second.Close()) }()
	const block = 4096
	a, b := make([]byte, 1<<20), make([]byte, 1<<20)
	for {
		na, errA := io.ReadFull(first, a)
		nb, errB := io.ReadFull(second, b)
		for at := 0; at < max(na, nb); at += block {
			if !bytes.Equal(a[min(at, na):min(at+block, na)], b[min(at, nb):min(at+block, nb)]) {
				n += block
			}
		}
		if errA != nil && errB != nil {
			return n, ended(errA, errB)
		}
	}
}

// ended is what is wrong but that files have an end.
func ended(errs ...error) error {
	for _, err := range errs {
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
	}
	return nil
}

// customPull is pull with changes.
func (b *bench) customPull(ctx context.Context) (command, error) {
	a, err := b.prepareArtifact(ctx)
	if err != nil {
		return command{}, err
	}
	out := filepath.Join(b.dir, "pulled.img")
	defer remove(out)
	c := b.command(ctx, b.program, append([]string{"pull", a.ref, "--output", out, "--insecure-skip-verify", "--quiet"}, customChanges...)...)
	return *c, c.run()
}

func customPullTime(ctx context.Context, b *bench) (float64, error) {
	c, err := b.customPull(ctx)
	return c.took.Seconds(), err
}

func customPullMemory(ctx context.Context, b *bench) (float64, error) {
	c, err := b.customPull(ctx)
	return float64(c.maxRSS) / (1 << 20), err
}
