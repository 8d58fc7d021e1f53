package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/esxi-img/esxi-img/pkg/iso"
)

// pullFigures are about images in registries. All but the last are against
// distribution on a loopback address.
func pullFigures() []Figure {
	return []Figure{
		{
			Name: "pull to a file, against oras", Unit: "s",
			Ours: pullTime, Theirs: orasPullTime,
			Peer: "oras pull && sync", Target: 0.75,
		},
		{
			Name: "push, against oras", Unit: "s",
			Ours: pushTime, Theirs: orasPushTime,
			Peer: "oras push of the same files", Target: 1,
		},
		{
			Name: "pull, peak memory", Unit: "MiB",
			Ours: pullMemory, Limit: 96,
			Peer: "the limit", Target: 1,
		},
		{
			Name: "push, peak memory", Unit: "MiB",
			Ours: pushMemory, Limit: 96,
			Peer: "the limit", Target: 1,
		},
		{
			Name: "push a variant", Unit: "s",
			Ours: variantTime, Limit: 0.5,
			Peer: "the limit", Target: 1,
		},
		{
			Name: "push a variant, bytes sent", Unit: "KiB",
			Ours: variantSent, Limit: 100,
			Peer: "the limit", Target: 1,
		},
		{
			Name: "pull over 80 % of it, fetched", Unit: "%",
			Ours: releaseFetched, Limit: 22,
			Peer: "the limit", Target: 1,
		},
		{
			Name: "pull with the ISO, fetched", Unit: "%",
			Ours: seedFetched, Limit: 2,
			Peer: "the limit", Target: 1,
		},
		{
			Name: "pull over 1 Gbit/s, 30 ms", Unit: "s",
			Ours: farPullTime, Theirs: farCurlTime,
			Peer: "1.05 * four ranged curls + 0.5 s", Target: 1,
		},
	}
}

// pull runs "esxi-img pull" of the image to a file and deletes that.
func (b *bench) pull(ctx context.Context, host func(*artifact) string) (command, error) {
	a, err := b.prepareArtifact(ctx)
	if err != nil {
		return command{}, err
	}
	out := filepath.Join(b.dir, "pulled.img")
	defer remove(out)
	c := b.command(ctx, b.program, "pull", host(a)+"/esxi:8.0", "--output", out, "--insecure-skip-verify", "--quiet")
	return *c, c.run()
}

func near(a *artifact) string { return a.host }

func pullTime(ctx context.Context, b *bench) (float64, error) {
	c, err := b.pull(ctx, near)
	return c.took.Seconds(), err
}

func pullMemory(ctx context.Context, b *bench) (float64, error) {
	c, err := b.pull(ctx, near)
	return float64(c.maxRSS) / (1 << 20), err
}

// orasPullTime pulls the disk's blob with what else belongs to it.
func orasPullTime(ctx context.Context, b *bench) (float64, error) {
	a, err := b.prepareArtifact(ctx)
	if err != nil {
		return 0, err
	}
	oras, err := b.tool(ctx, orasModule)
	if err != nil {
		return 0, err
	}
	dir := filepath.Join(b.dir, "oras")
	defer remove(dir)
	c := b.command(ctx, "sh", "-c", `mkdir -p "$3" && cd "$3" && "$1" pull --plain-http "$2" && sync ./*`, "sh", oras, a.ref, dir)
	return c.timed("sh")
}

// push sends the image to a registry that has nothing yet.
func (b *bench) push(ctx context.Context, args func(a *artifact, host string) (*command, error)) (_ command, err error) {
	a, err := b.prepareArtifact(ctx)
	if err != nil {
		return command{}, err
	}
	r, err := b.startRegistry(ctx, "empty")
	if err != nil {
		return command{}, err
	}
	defer func() { err = errors.Join(err, r.stop()) }()
	c, err := args(a, r.host)
	if err != nil {
		return command{}, err
	}
	return *c, c.run()
}

func (b *bench) ownPush(ctx context.Context) (command, error) {
	return b.push(ctx, func(a *artifact, host string) (*command, error) {
		return b.command(ctx, b.program, "push", host+"/esxi:8.0", "--layout", a.layout, "--quiet"), nil
	})
}

func pushTime(ctx context.Context, b *bench) (float64, error) {
	c, err := b.ownPush(ctx)
	return c.took.Seconds(), err
}

func pushMemory(ctx context.Context, b *bench) (float64, error) {
	c, err := b.ownPush(ctx)
	return float64(c.maxRSS) / (1 << 20), err
}

func orasPushTime(ctx context.Context, b *bench) (float64, error) {
	oras, err := b.tool(ctx, orasModule)
	if err != nil {
		return 0, err
	}
	c, err := b.push(ctx, func(a *artifact, host string) (*command, error) {
		return b.command(ctx, oras, "push", "--plain-http", "--disable-path-validation", host+"/esxi:8.0", a.disk), nil
	})
	return c.took.Seconds(), err
}

// variant pushes the image with another kickstart, a new one each time, from
// where it was built.
func (b *bench) variant(ctx context.Context) (c *command, sent int64, err error) {
	a, err := b.prepareArtifact(ctx)
	if err != nil {
		return nil, 0, err
	}
	ks := filepath.Join(b.dir, "variant.cfg")
	defer remove(ks)
	text := fmt.Sprintf("# %d\nvmaccepteula\ninstall --firstdisk --overwritevmfs\nnetwork --bootproto=dhcp\n%%include /tmp/rootpw\nreboot\n", time.Now().UnixNano())
	if err := os.WriteFile(ks, []byte(text), 0o600); err != nil {
		return nil, 0, err
	}
	out := filepath.Join(b.dir, "variant.json")
	defer remove(out)
	c = b.command(ctx, "sh", "-c", `out=$1; shift; exec "$@" >"$out"`, "sh", out,
		b.program, "push", a.host+"/esxi:lab", "--base", a.ref, "--kickstart", ks, "--layout", a.layout, "--force", "--insecure-skip-verify", "--json", "--quiet")
	if err := c.run(); err != nil {
		return nil, 0, err
	}
	var pushed struct {
		Sent int64 `json:"sent"`
	}
	result, err := os.ReadFile(out)
	if err == nil {
		err = json.Unmarshal(result, &pushed)
	}
	return c, pushed.Sent, err
}

func variantTime(ctx context.Context, b *bench) (float64, error) {
	c, _, err := b.variant(ctx)
	if err != nil {
		return 0, err
	}
	return c.took.Seconds(), nil
}

func variantSent(ctx context.Context, b *bench) (float64, error) {
	_, sent, err := b.variant(ctx)
	return float64(sent) / (1 << 10), err
}

// fetched pulls and returns how much of the disk's size came from the registry,
// in percent.
func (b *bench) fetched(ctx context.Context, ref, out string, flags ...string) (float64, error) {
	args := append([]string{"pull", ref, "--output", out, "--insecure-skip-verify", "--json", "--quiet"}, flags...)
	text, err := exec.CommandContext(ctx, b.program, args...).Output()
	if err != nil {
		return 0, fmt.Errorf("pull %s: %w", ref, err)
	}
	var pulled struct {
		Fetched int64 `json:"fetched"`
		Reused  int64 `json:"reused"`
	}
	if err := json.Unmarshal(text, &pulled); err != nil {
		return 0, err
	}
	return 100 * float64(pulled.Fetched) / float64(pulled.Fetched+pulled.Reused), nil
}

// releaseFetched pulls a release over another one, of whose bytes a fifth are
// others, and all the rest lies elsewhere.
func releaseFetched(ctx context.Context, b *bench) (float64, error) {
	a, err := b.prepareArtifact(ctx)
	if err != nil {
		return 0, err
	}
	next := filepath.Join(b.dir, "next.iso")
	out, layout := filepath.Join(b.dir, "release.img"), filepath.Join(b.dir, "next.oci")
	defer remove(next, out, layout)
	if err := changeFifth(b.iso, next); err != nil {
		return 0, err
	}
	ref := a.host + "/esxi:next"
	newer := *a
	if err := b.buildAndPush(ctx, &newer, next, layout, ref, "--headroom", "256M", "--no-verify-payloads"); err != nil {
		return 0, err
	}
	if _, err := b.fetched(ctx, a.ref, out); err != nil {
		return 0, err
	}
	return b.fetched(ctx, ref, out)
}

// changeFifth copies an ISO and overwrites a fifth of its bytes, the largest
// files first.
func changeFifth(from, to string) (err error) {
	if err := copyFile(from, to); err != nil {
		return err
	}
	f, err := os.OpenFile(to, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	medium, err := iso.Open(f, info.Size())
	if err != nil {
		return err
	}
	left := info.Size() / 5
	random := rand.NewChaCha8([32]byte{1})
	buf := make([]byte, 1<<20)
	for _, x := range medium.Files() {
		// Whole files of payload: a release does not change a part of one.
		if x.Size > left || x.Size < 1<<20 || !x.Contiguous {
			continue
		}
		left -= x.Size
		for at := int64(0); at < x.Size; at += int64(len(buf)) {
			part := buf[:min(int64(len(buf)), x.Size-at)]
			_, _ = random.Read(part) // never fails
			if _, err := f.WriteAt(part, x.Offset+at); err != nil {
				return err
			}
		}
	}
	return nil
}

func copyFile(from, to string) (err error) {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	dst, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return errors.Join(err, dst.Close())
}

func seedFetched(ctx context.Context, b *bench) (float64, error) {
	a, err := b.prepareArtifact(ctx)
	if err != nil {
		return 0, err
	}
	out := filepath.Join(b.dir, "seeded.img")
	defer remove(out)
	return b.fetched(ctx, a.ref, out, "--seed", b.iso)
}
