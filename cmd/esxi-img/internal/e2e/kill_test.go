//go:build e2e && linux

package e2e

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/esxi-img/esxi-img/pkg/blockdev/blockdevtest"
)

const (
	// kills is at how many moments a pull is killed.
	kills = 20
	// slack is what may be fetched beyond the pieces that are missing, in
	// bytes: gaps between them that are not worth a request.
	slack = 1 << 20
)

// course is how an undisturbed pull goes.
type course struct {
	whole time.Duration
	tail  time.Duration // after the last byte was sent
	sent  int64         // bytes
}

// undisturbed pulls to an output, which reset makes what it is before each
// pull.
func (p *published) undisturbed(t *testing.T, output string, reset func()) (c course) {
	t.Helper()
	reset()
	p.proxy.Forget()
	pull(t, p.new.ref, output)
	c.sent = p.proxy.Counts().Sent
	reset()
	p.slowly(func() {
		began := time.Now()
		cmd, ended := p.start(t, output)
		p.allSent(c.sent, ended)
		sent := time.Now()
		if err := <-ended; err != nil {
			t.Fatalf("pull: %v\n%s", err, cmd.Stderr)
		}
		c.whole, c.tail = time.Since(began), time.Since(sent)
	})
	return c
}

func (p *published) start(t *testing.T, output string) (*exec.Cmd, chan error) {
	t.Helper()
	cmd := pullCommand(p.new.ref, output, "--quiet")
	cmd.Stderr = new(bytes.Buffer)
	p.proxy.Forget()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	return cmd, ended
}

// allSent waits for so many bytes to be sent.
func (p *published) allSent(n int64, ended chan error) {
	for p.proxy.Counts().Sent < n && len(ended) == 0 {
		time.Sleep(100 * time.Microsecond)
	}
}

// kill starts a pull over what reset makes, and kills it at a random moment
// before its end. Every other moment lies in the tail.
func (p *published) kill(t *testing.T, n int, output string, c course, reset func()) {
	t.Helper()
	for try := range 20 {
		reset()
		killed := false
		p.slowly(func() {
			began := time.Now()
			cmd, ended := p.start(t, output)
			moment := rand.N(c.whole)
			if n%2 == 1 {
				p.allSent(c.sent, ended)
				moment = rand.N(c.tail) / time.Duration(1+try/4)
			}
			select {
			case err := <-ended:
				if err != nil {
					t.Fatalf("pull: %v\n%s", err, cmd.Stderr)
				}
			case <-time.After(moment):
				_ = cmd.Process.Kill()
				killed = <-ended != nil
				if killed {
					t.Logf("%d: killed after %v of %v (tail %v), %d of %d bytes were sent", n, time.Since(began), c.whole, c.tail, p.proxy.Counts().Sent, c.sent)
				}
			}
		})
		if killed {
			return
		}
	}
	t.Fatal("no pull lasted until it was killed")
}

// TestKilledFile kills pulls to a file. Its name has the older image or nothing
// until it has the newer one; the next pull fetches what is missing.
func TestKilledFile(t *testing.T) {
	t.Parallel()
	p := publish(t)
	oldSum, newSum := sum(t, p.old.img, fileSize(t, p.old.img)), sum(t, p.new.img, fileSize(t, p.new.img))
	dir := t.TempDir()
	out := filepath.Join(dir, "esxi.img")
	empty := func() {
		if err := os.RemoveAll(out); err != nil {
			t.Fatal(err)
		}
	}
	older := func() { copyFile(t, p.old.img, out, 0o644) }
	overNothing, overOlder := p.undisturbed(t, out, empty), p.undisturbed(t, out, older)
	p.proxy.Forget()
	if s := pull(t, p.new.ref, out); s.Written != 0 || s.Fetched != 0 {
		t.Errorf("a pull of what is there: %+v", s)
	}
	small := p.proxy.Counts().Sent // config and kickstart

	saved := int64(0)
	for n := range kills {
		before := n%4 < 2
		if before {
			p.kill(t, n, out, overOlder, older)
		} else {
			p.kill(t, n, out, overNothing, empty)
		}
		switch info, err := os.Stat(out); {
		case errors.Is(err, fs.ErrNotExist):
			if before {
				t.Error("the older image is gone")
			}
		case err != nil:
			t.Fatal(err)
		default:
			if got := sum(t, out, info.Size()); got != newSum && (!before || got != oldSum) {
				t.Errorf("kill %d: the name has neither image", n)
			}
		}

		partial := p.new.held(t, filepath.Join(dir, ".esxi.img.partial"))
		missing := p.new.without(partial, p.new.held(t, out))
		saved += p.new.without(p.new.held(t, out)) - missing
		p.proxy.Forget()
		pull(t, p.new.ref, out)
		if got := p.proxy.Counts().Sent; got > small+missing+slack {
			t.Errorf("kill %d: %d bytes were fetched for %d that were missing", n, got-small, missing)
		}
		if got := sum(t, out, fileSize(t, out)); got != newSum {
			t.Errorf("kill %d: the next pull made %s of it", n, got)
		}
		empty()
		wantEmpty(t, dir)
	}
	if saved == 0 {
		t.Error("no kill left anything to go on from: this test shows nothing")
	}
}

// TestKilledDevice kills pulls to a device that held a bootable older image. It
// does not boot from anything but one whole image, neither as the kernel sees
// it nor as it is on the medium.
func TestKilledDevice(t *testing.T) {
	t.Parallel()
	p := publish(t)
	for _, c := range []struct {
		sector int
		more   int64 // bytes that the device is larger
		kills  int
	}{
		{512, 0, kills},
		{512, 5<<20 + 512*3, kills / 4},
		{4096, 240 << 20, kills / 4}, // planned again; FAT32 is larger there
	} {
		t.Run(strconv.Itoa(c.sector)+"+"+strconv.FormatInt(c.more, 10), func(t *testing.T) {
			d := device{published: p, sector: c.sector, size: max(fileSize(t, p.old.img), fileSize(t, p.new.img)) + c.more}
			d.killed(t, c.kills)
		})
	}
}

// device is a size and kind of device.
type device struct {
	*published
	sector int
	size   int64
}

func (d *device) killed(t *testing.T, kills int) {
	options := blockdevtest.Options{SectorSize: d.sector}
	oldImg, newImg := d.reference(t, d.old), d.reference(t, d.new)
	want, oldVolume, newVolume := sum(t, newImg, d.size), d.volume(t, oldImg), d.volume(t, newImg)
	if !d.boots(t, oldImg) || !d.boots(t, newImg) || oldVolume == newVolume {
		t.Fatal("the whole images do not boot: this test shows nothing")
	}

	loop := blockdevtest.New(t, d.size, options)
	older := func() { fill(t, loop, oldImg) }
	usual := d.undisturbed(t, loop.Path, older)
	d.proxy.Forget()
	if s := pull(t, d.new.ref, loop.Path, "--check"); s.Written != 0 || s.Fetched != 0 {
		t.Errorf("a pull of what is there: %+v", s)
	}
	small := d.proxy.Counts().Sent

	dead, saved := 0, int64(0)
	for n := range kills {
		d.kill(t, n, loop.Path, usual, older)
		// The medium first: it must not get better with time.
		for _, path := range []string{loop.Backing, loop.Path} {
			if !d.boots(t, path) {
				dead++
				continue
			}
			if got := d.volume(t, path); got != oldVolume && got != newVolume {
				t.Errorf("kill %d: %s boots from neither image", n, path)
			}
		}

		missing := d.new.without()
		if d.sector == 512 { // where the pieces lie where the config says
			before := missing
			missing = d.new.without(d.new.held(t, loop.Path))
			saved += before - missing
		}
		d.proxy.Forget()
		pull(t, d.new.ref, loop.Path)
		if got := d.proxy.Counts().Sent; got > small+missing+slack {
			t.Errorf("kill %d: %d bytes were fetched for %d that were missing", n, got-small, missing)
		}
		if got := sum(t, loop.Backing, d.size); got != want {
			t.Errorf("kill %d: the next pull made %s of it", n, got)
		}
	}
	if dead == 0 || d.sector == 512 && saved == 0 {
		t.Errorf("%d of %d looks found a device that does not boot, %d bytes were there: this test shows nothing", dead, 2*kills, saved)
	}
}

// reference pulls an image to an empty device, undisturbed, lets foreign
// programs judge it, and returns a copy.
func (d *device) reference(t *testing.T, r release) string {
	t.Helper()
	loop := blockdevtest.New(t, d.size, blockdevtest.Options{SectorSize: d.sector})
	pull(t, r.ref, loop.Path, "--check")
	img := judgeTable(t, loop.Backing, int64(d.sector))
	img.judgeVolume(t)
	compare(t, extract(t, r.iso), img.read(t))
	if d.sector == 512 && d.size == fileSize(t, r.img) {
		run(t, "cmp", r.img, loop.Backing)
	}
	return loop.Backing
}

// volume hashes all that lies between the partition tables. As long as it is
// that of one image, either table may be gone already.
func (d *device) volume(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	const start, table = 1 << 20, 16 << 10
	n := d.size - table - int64(d.sector) - start
	h := sha256.New()
	if got, err := io.Copy(h, io.NewSectionReader(f, start, n)); err != nil || got != n {
		t.Fatalf("%s: %d of %d bytes: %v", path, got, n, err)
	}
	return string(h.Sum(nil))
}

// boots says whether firmware would find something to boot: a GPT at either
// end, or the partitions of an MBR, and the boot sector of a FAT volume at 1
// MiB. It is more easily pleased than firmware: no checksums.
func (d *device) boots(t *testing.T, path string) bool {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	at := func(off int64, want string) bool {
		b := make([]byte, len(want))
		if _, err := f.ReadAt(b, off); err != nil {
			t.Fatal(err)
		}
		return string(b) == want
	}
	sector := int64(d.sector)
	table := at(sector, "EFI PART") || at(d.size/sector*sector-sector, "EFI PART") || at(510, "\x55\xaa")
	return table && at(1<<20+510, "\x55\xaa")
}
