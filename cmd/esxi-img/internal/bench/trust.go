package main

import (
	"context"
	"path/filepath"
	"time"
)

func trustFigures() []Figure {
	return []Figure{{
		Name: "verification, added to a pull", Unit: "ms",
		Ours: verificationTime, Limit: 30,
		Peer: "the limit", Target: 1,
	}}
}

// verificationTime is how much longer a pull takes that verifies a signature
// with a key than one that does not. Both pull the kickstart, so that the disk
// does not drown it.
func verificationTime(ctx context.Context, b *bench) (float64, error) {
	a, err := b.prepareArtifact(ctx)
	if err != nil {
		return 0, err
	}
	public, err := b.sign(ctx, a)
	if err != nil {
		return 0, err
	}
	verified, err := b.pullKickstart(ctx, a, "--key", public)
	if err != nil {
		return 0, err
	}
	skipped, err := b.pullKickstart(ctx, a, "--insecure-skip-verify")
	if err != nil {
		return 0, err
	}
	return (verified - skipped).Seconds() * 1000, nil
}

// sign signs the image with a new key, once, and returns the public key's file.
func (b *bench) sign(ctx context.Context, a *artifact) (string, error) {
	if a.publicKey != "" {
		return a.publicKey, nil
	}
	prefix := filepath.Join(b.dir, "bench")
	remove(prefix+".key", prefix+".pub")
	if err := b.command(ctx, b.program, "sign", "--generate-key", prefix, "--quiet").run(); err != nil {
		return "", err
	}
	if err := b.command(ctx, b.program, "sign", a.ref, "--key", prefix+".key", "--quiet").run(); err != nil {
		return "", err
	}
	a.publicKey = prefix + ".pub"
	return a.publicKey, nil
}

func (b *bench) pullKickstart(ctx context.Context, a *artifact, trust ...string) (time.Duration, error) {
	out := filepath.Join(b.dir, "KS.CFG")
	defer remove(out)
	c := b.command(ctx, b.program, append([]string{"pull", a.ref, "--only", "kickstart", "--output", out, "--quiet"}, trust...)...)
	err := c.run()
	return c.took, err
}
