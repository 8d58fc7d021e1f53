package artifact

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/esxi-img/esxi-img/pkg/blockdev"
)

// device is a block device that nobody else uses.
type device interface {
	ReadAt(b []byte, off int64) (int, error)
	WriteAt(b []byte, off int64) (int, error)
	Zero(off, n int64) error
	Sync() error
	FlushRead() error
	Reread() error
	Info() blockdev.Info
	Close() error
}

// DeviceOptions say which device may be written to.
type DeviceOptions struct {
	// Serial and WWN are what the device has to have; "" for any.
	Serial, WWN string
	// Force overwrites what is no image of ours.
	Force bool
	// Opened, if it is not nil, hears of the device before anything is read
	// from it.
	Opened func(blockdev.Info)
}

// toDevice is a block device. It does not boot from before its content is
// touched until all of it is there.
type toDevice struct {
	device
	info blockdev.Info
}

// ToDevice is a block device as a destination. It is opened alone; one that is
// in use is a *blockdev.Error, one that is another than expected an
// *ExpectationError, one that holds other data than ours a *TargetError.
func ToDevice(path string, opts DeviceOptions) (Destination, error) {
	d, err := blockdev.Open(path)
	if err != nil {
		return nil, err
	}
	to, err := newToDevice(d, opts)
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return to, nil
}

func newToDevice(d device, opts DeviceOptions) (*toDevice, error) {
	info := d.Info()
	if opts.Opened != nil {
		opts.Opened(info)
	}
	if opts.Serial != "" && !info.HasSerial(opts.Serial) {
		return nil, &ExpectationError{"the serial number of " + info.Path, opts.Serial, info.Serial}
	}
	if opts.WWN != "" && !info.HasWWN(opts.WWN) {
		return nil, &ExpectationError{"the world wide name of " + info.Path, opts.WWN, info.WWN}
	}
	if !opts.Force {
		content, err := blockdev.Probe(d, info.Size, info.SectorSize)
		if err != nil {
			return nil, err
		}
		if content.Kind == blockdev.Foreign {
			return nil, &TargetError{info.Path, fmt.Errorf("holds data: %s", content.Description), "make sure that it is the right disk; --force overwrites it"}
		}
	}
	return &toDevice{d, info}, nil
}

func (t *toDevice) demand() demand {
	return demand{size: t.info.Size, sectorSize: t.info.SectorSize}
}

// fill implements Destination.
func (t *toDevice) fill(ctx context.Context, p *puller) error {
	// 1. What is in its place already: that alone stays where it is.
	dirty, err := p.scan(ctx, t)
	if err != nil {
		return err
	}
	// 2. If anything is not, what the disk boots by goes first.
	touched, err := t.unboot(p.goal, dirty)
	if err != nil {
		return err
	}
	// 3. What is missing, by stages.
	if err := t.write(ctx, p, p.missing(), dirty); err != nil {
		if p.written.Load() > 0 {
			err = &KeptError{Err: err}
		}
		return err
	}
	// 4. Whether the medium holds it.
	if p.check {
		if err := t.FlushRead(); err != nil {
			return err
		}
		if err := p.verify(ctx, t, t.info.Path); err != nil {
			return err
		}
	}
	if !touched {
		return nil
	}
	return t.Reread()
}

// unboot zeroes all that the disk is booted by, unless nothing else than that
// is missing and it does not boot as it is. It says whether anything is missing
// at all.
func (t *toDevice) unboot(g *goal, dirty []span) (missing bool, err error) {
	var absent [stages]bool
	for i := range g.chunks {
		if c := &g.chunks[i]; !c.there {
			absent[c.stage], missing = true, true
		}
	}
	missing = missing || len(dirty) > 0
	if len(dirty) == 0 && !absent[stagePayload] && !absent[stageMetadata] && (!absent[stageEntries] && !absent[stageTables] || t.allZero(g.bootSectors[0])) {
		return missing, nil
	}
	// Entries without a header tell whose disk it was, so they go last.
	for _, spans := range [][]span{append(slices.Clone(g.headers), g.bootSectors...), g.entries} {
		for _, s := range spans {
			if t.allZero(s) {
				continue
			}
			if err := t.Zero(s.offset, s.length); err != nil {
				return true, err
			}
		}
		if err := t.Sync(); err != nil {
			return true, err
		}
	}
	for i := range g.chunks {
		if c := &g.chunks[i]; c.stage >= stageEntries {
			c.there = false
		}
	}
	return true, nil
}

// allZero says whether a small run of the device is zeros for sure.
func (t *toDevice) allZero(s span) bool {
	b := make([]byte, s.length)
	n, _ := t.ReadAt(b, s.offset)
	return n == len(b) && allZero(b)
}

// write writes what is missing, by stages.
func (t *toDevice) write(ctx context.Context, p *puller, missing []*chunk, dirty []span) error {
	for _, s := range dirty {
		if err := t.Zero(s.offset, s.length); err != nil {
			return err
		}
		p.written.Add(s.length)
	}
	var byStage [stages][]*chunk
	for _, c := range missing {
		byStage[c.stage] = append(byStage[c.stage], c)
	}
	for s, chunks := range byStage {
		if len(chunks) == 0 && (stage(s) != stagePayload || len(dirty) == 0) {
			continue
		}
		if err := p.bring(ctx, t, chunks); err != nil {
			return err
		}
		if err := t.Sync(); err != nil {
			return err
		}
	}
	return nil
}
