package main

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/esxi-img/esxi-img/pkg/esxitest"
	"github.com/esxi-img/esxi-img/pkg/fat32"
	"github.com/esxi-img/esxi-img/pkg/plan"
)

// figures are what "make bench" measures, in this order. Those of catalogs and of
// planning, which make this process large, come after those of memory: see
// command.maxRSS.
func figures() []Figure {
	return append(slices.Concat(buildFigures(), pullFigures(), trustFigures(), customizeFigures(), formatFigures(), hostsFigures(), catalogFigures()), Figure{
		Name: "plan a volume of 170 files", Unit: "ms",
		Ours: planTime, Limit: 5,
		Peer: "the limit", Target: 1,
	})
}

func buildFigures() []Figure {
	return []Figure{
		{
			Name: "build, against cp", Unit: "s",
			Ours: buildTime, Theirs: copyTime,
			Peer: "cp --reflink=never ISO OUT && sync OUT", Target: 1.15,
		},
		{
			Name: "build to a layout, against cp", Unit: "s",
			Ours: layoutTime, Theirs: copyTime,
			Peer: "cp --reflink=never ISO OUT && sync OUT", Target: 1.4,
		},
		{
			Name: "build, against the tools", Unit: "s",
			Ours: buildTime, Theirs: pipelineTime,
			Peer: "xorriso, sgdisk, mkfs.vfat, mcopy, sync", Target: 1.0 / 8,
		},
		{
			Name: "build, peak memory", Unit: "MiB",
			Ours: buildMemory, Limit: 48,
			Peer: "the limit", Target: 1,
		},
		{
			Name: "build to a layout, peak memory", Unit: "MiB",
			Ours: layoutMemory, Limit: 96,
			Peer: "the limit", Target: 1,
		},
	}
}

func fileSize(path string) (int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// remove deletes outputs. A leftover is noticed by the next run.
func remove(paths ...string) {
	for _, p := range paths {
		_ = os.RemoveAll(p)
	}
}

// build runs "esxi-img build" with payload checks on, and deletes the image.
func (b *bench) build(ctx context.Context) (command, error) {
	out := filepath.Join(b.dir, "ours.img")
	defer remove(out)
	c := b.command(ctx, b.program, "build", b.iso, "--output", out, "--force", "--quiet")
	return *c, c.run()
}

func buildTime(ctx context.Context, b *bench) (float64, error) {
	c, err := b.build(ctx)
	return c.took.Seconds(), err
}

func buildMemory(ctx context.Context, b *bench) (float64, error) {
	c, err := b.build(ctx)
	return float64(c.maxRSS) / (1 << 20), err
}

// layout runs "esxi-img build" into a layout, and deletes that.
func (b *bench) layout(ctx context.Context) (command, error) {
	out := filepath.Join(b.dir, "ours.oci")
	defer remove(out)
	c := b.command(ctx, b.program, "build", b.iso, "--layout", out, "--quiet")
	return *c, c.run()
}

func layoutTime(ctx context.Context, b *bench) (float64, error) {
	c, err := b.layout(ctx)
	return c.took.Seconds(), err
}

func layoutMemory(ctx context.Context, b *bench) (float64, error) {
	c, err := b.layout(ctx)
	return float64(c.maxRSS) / (1 << 20), err
}

func copyTime(ctx context.Context, b *bench) (float64, error) {
	out := filepath.Join(b.dir, "copy.img")
	defer remove(out)
	c := b.command(ctx, "sh", "-c", `cp --reflink=never "$1" "$2" && sync "$2"`, "sh", b.iso, out)
	return c.timed("cp", "sync")
}

// pipeline is how one makes such an image without us, in as few passes as
// those tools allow: the volume is made inside the disk image, not copied in.
const pipeline = `set -e
iso=$1 tree=$2 out=$3
PATH=$PATH:/usr/sbin:/sbin
xorriso -osirrox on -indev "$iso" -extract / "$tree" 2>/dev/null
chmod -R u+w "$tree"
sectors=$(($(du -sk "$tree" | cut -f1) * 2 + 65536))
truncate -s $(((sectors + 4096) * 512)) "$out"
sgdisk -n 1:2048:$((sectors + 2047)) -t 1:ef00 "$out" >/dev/null
mkfs.vfat -F 32 --offset 2048 -h 2048 "$out" $((sectors / 2)) >/dev/null
mcopy -s -i "$out@@1M" "$tree"/* ::/
sync "$out"
`

func pipelineTime(ctx context.Context, b *bench) (float64, error) {
	tree, out := filepath.Join(b.dir, "tree"), filepath.Join(b.dir, "theirs.img")
	defer remove(tree, out)
	c := b.command(ctx, "sh", "-c", pipeline, "sh", b.iso, tree, out)
	return c.timed("xorriso", "sgdisk", "mkfs.vfat", "mcopy", "sync")
}

// planTime plans the volume of a full-size medium, in memory.
func planTime(_ context.Context, _ *bench) (float64, error) {
	var files []plan.File
	for _, f := range esxitest.Tree(esxitest.WithSize(esxitest.Full)) {
		files = append(files, plan.File{Path: f.Path, Size: f.Size, Content: f.Content})
	}
	start := time.Now()
	_, err := fat32.New(files, nil, fat32.Options{SectorSize: 512, HiddenSectors: 2048, Headroom: 16 << 20})
	return time.Since(start).Seconds() * 1000, err
}
