package disk

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"github.com/esxi-img/esxi-img/pkg/outfile"
	"github.com/esxi-img/esxi-img/pkg/parallel"
	"github.com/esxi-img/esxi-img/pkg/plan"
	"github.com/esxi-img/esxi-img/pkg/progress"
)

// folderMark is a file that every folder for network boot has.
const folderMark = "boot.cfg"

// hostFolder is the name of a folder that belongs to one host.
var hostFolder = regexp.MustCompile(`^01(-[0-9a-f]{2}){6}$`)

// ErrForeignFolder says that a folder is not replaced, since it does not look
// like one that WriteFolder wrote.
var ErrForeignFolder = errors.New("is not a folder for network boot")

// WriteFolder writes the plan's files as files of a folder: what lies around
// them on a disk is not needed where a server hands them out. The folder
// appears under its name complete and synced, or not at all. With Replace one
// that is there is replaced if it looks like one that was written so. Errors
// are those of WriteFile; the format is not looked at.
func WriteFolder(ctx context.Context, path string, p *plan.Plan, opts WriteOptions) error {
	out, err := outfile.CreateFolder(path, replacing(opts.Replace))
	if err != nil {
		return err
	}
	if err := writeFiles(ctx, out.Path, p, opts, "write "+filepath.Base(path)); err != nil {
		return out.Discard(err)
	}
	if err := out.Commit(); err != nil {
		return out.Discard(err)
	}
	return nil
}

// replaceable objects to a folder that holds anything else than what is served
// for network boot: nobody's home is lost to a slip of the tongue.
func replaceable(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) == 0 {
		return err
	}
	marked := false
	for _, e := range entries {
		marked = marked || e.Name() == folderMark
		switch {
		case e.Type().IsRegular():
		case e.IsDir() && hostFolder.MatchString(e.Name()):
			if err := replaceable(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%w: %s is in it", ErrForeignFolder, e.Name())
		}
	}
	if !marked {
		return fmt.Errorf("%w: there is no %s in it", ErrForeignFolder, folderMark)
	}
	return nil
}

// CheckFolder says what WriteFolder would object to at that name, before there
// is a plan.
func CheckFolder(path string, replace bool) error {
	return outfile.CheckFolder(path, replacing(replace))
}

func replacing(allowed bool) func(dir string) error {
	if !allowed {
		return nil
	}
	return replaceable
}

func writeFiles(ctx context.Context, dir string, p *plan.Plan, opts WriteOptions, phase string) error {
	var total int64
	for _, f := range p.Files {
		total += f.Size
	}
	report := progress.Or(opts.Progress)
	report.Start(phase, total)
	defer report.Done()

	return parallel.DoEach(ctx, opts.workers(), len(p.Files), func() func(context.Context, int) error {
		buf := make([]byte, bufferSize)
		return func(ctx context.Context, i int) error { return writeOne(ctx, dir, &p.Files[i], buf, report) }
	})
}

// writeOne writes a file, checks it on the way, and syncs it.
func writeOne(ctx context.Context, dir string, f *plan.File, buf []byte, report progress.Reporter) (err error) {
	name, err := filepath.Localize(f.Path)
	if err != nil {
		return &plan.ReadError{Path: f.Path, Err: errors.New("can't be a file's name here")}
	}
	name = filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		return err
	}
	out, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	sum := sha256.New()
	for done := int64(0); done < f.Size; {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		b := buf[:min(int64(len(buf)), f.Size-done)]
		if err := f.ReadContent(b, done); err != nil {
			return err
		}
		sum.Write(b)
		if _, err := out.Write(b); err != nil {
			return err
		}
		report.Add(int64(len(b)))
		startWriteback(out, done, int64(len(b)))
		done += int64(len(b))
	}
	if err := f.Check(plan.Digest(sum.Sum(nil))); err != nil {
		return err
	}
	return out.Sync()
}
