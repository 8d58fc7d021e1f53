package main

import (
	"context"
	"path/filepath"
)

// formatFigures are about disks in files of virtual machines. The peers do not
// sync what they write by themselves.
func formatFigures() []Figure {
	return []Figure{
		{
			Name: "raw to qcow2", Unit: "s",
			Ours: convertTime("qcow2"), Theirs: qemuConvertTime("qcow2"),
			Peer: "qemu-img convert -O qcow2 && sync OUT", Target: 0.8,
		},
		{
			Name: "raw to compressed qcow2", Unit: "s",
			Ours: convertTime("qcow2", "--compress"), Theirs: qemuConvertTime("qcow2", "-c"),
			Peer: "qemu-img convert -c -O qcow2 && sync OUT", Target: 0.8,
		},
		{
			Name: "raw to vmdk", Unit: "s",
			Ours: convertTime("vmdk"), Theirs: qemuConvertTime("vmdk", "-o", "subformat=streamOptimized"),
			Peer: "qemu-img convert to streamOptimized, sync", Target: 1,
		},
		{
			Name: "raw to vmdk-sparse", Unit: "s",
			Ours: convertTime("vmdk-sparse"), Theirs: qemuConvertTime("vmdk"),
			Peer: "qemu-img convert -O vmdk && sync OUT", Target: 1,
		},
		{
			Name: "build to qcow2, against raw", Unit: "s",
			Ours: buildQCOW2Time, Theirs: buildTime,
			Peer: "build to raw", Target: 1.2,
		},
		{
			Name: "build compressed, peak memory", Unit: "MiB",
			Ours: compressedMemory, Limit: 96,
			Peer: "the limit", Target: 1,
		},
		{
			Name: "pull compressed, peak memory", Unit: "MiB",
			Ours: pullQCOW2Memory, Limit: 96,
			Peer: "the limit", Target: 1,
		},
	}
}

// convertTime turns a raw image into a file of another format, and deletes that.
func convertTime(format string, flags ...string) func(context.Context, *bench) (float64, error) {
	return func(ctx context.Context, b *bench) (float64, error) {
		image, err := b.image(ctx)
		if err != nil {
			return 0, err
		}
		out := filepath.Join(b.dir, "converted")
		defer remove(out)
		c := b.command(ctx, b.program, append([]string{"customize", image, "--output", out, "--format", format, "--quiet"}, flags...)...)
		err = c.run()
		return c.took.Seconds(), err
	}
}

func qemuConvertTime(format string, flags ...string) func(context.Context, *bench) (float64, error) {
	return func(ctx context.Context, b *bench) (float64, error) {
		image, err := b.image(ctx)
		if err != nil {
			return 0, err
		}
		out := filepath.Join(b.dir, "theirs")
		defer remove(out)
		args := append([]string{"-c", `image=$1 out=$2; shift 2; qemu-img convert -f raw -O "$@" "$image" "$out" && sync "$out"`, "sh", image, out, format}, flags...)
		return b.command(ctx, "sh", args...).timed("qemu-img", "sh")
	}
}

// buildQCOW2 runs "esxi-img build" to a qcow2 file, and deletes that.
func (b *bench) buildQCOW2(ctx context.Context, flags ...string) (command, error) {
	out := filepath.Join(b.dir, "ours.qcow2")
	defer remove(out)
	c := b.command(ctx, b.program, append([]string{"build", b.iso, "--output", out, "--format", "qcow2", "--force", "--quiet"}, flags...)...)
	return *c, c.run()
}

func buildQCOW2Time(ctx context.Context, b *bench) (float64, error) {
	c, err := b.buildQCOW2(ctx)
	return c.took.Seconds(), err
}

func compressedMemory(ctx context.Context, b *bench) (float64, error) {
	c, err := b.buildQCOW2(ctx, "--compress")
	return float64(c.maxRSS) / (1 << 20), err
}

func pullQCOW2Memory(ctx context.Context, b *bench) (float64, error) {
	a, err := b.prepareArtifact(ctx)
	if err != nil {
		return 0, err
	}
	out := filepath.Join(b.dir, "pulled.qcow2")
	defer remove(out)
	c := b.command(ctx, b.program, "pull", a.host+"/esxi:8.0", "--output", out, "--format", "qcow2", "--compress", "--insecure-skip-verify", "--quiet")
	err = c.run()
	return float64(c.maxRSS) / (1 << 20), err
}
