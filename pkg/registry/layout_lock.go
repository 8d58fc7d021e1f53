package registry

import (
	"context"
	"errors"
	"io/fs"
	"syscall"
	"time"

	"github.com/gofrs/flock"
)

const (
	// lockFile is locked shared by whoever reads the layout or has written
	// blobs that no entry reaches yet, and exclusively to remove blobs.
	lockFile = ".lock"
	// indexLockFile is locked to replace index.json.
	indexLockFile = ".index.lock"
	// lockWait is for how long a lock is waited for: replacing index.json and
	// removing blobs take no longer.
	lockWait = 30 * time.Second
	lockPoll = 10 * time.Millisecond
)

// Hold keeps other processes (and other holders in this one) from removing
// blobs, until release is called: while reading, and from before a blob is
// written until an entry reaches it. Many may hold a layout at once. In a
// folder that cannot be written to nobody removes anything, and Hold has
// nothing to do.
func (l *Layout) Hold(ctx context.Context) (release func() error, err error) {
	lock := flock.New(l.path(lockFile))
	err = wait(ctx, lock.TryRLockContext)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) {
		return func() error { return nil }, nil
	}
	if err != nil {
		return nil, &LayoutError{l.dir, err}
	}
	return lock.Close, nil
}

// lockIndex makes this the only process that replaces index.json.
func (l *Layout) lockIndex(ctx context.Context) (unlock func() error, err error) {
	lock := flock.New(l.path(indexLockFile))
	if err := wait(ctx, lock.TryLockContext); err != nil {
		return nil, &LayoutError{l.dir, err}
	}
	return lock.Close, nil
}

// lockAll makes this the only process that uses the layout, or returns nil.
func (l *Layout) lockAll() (unlock func() error, err error) {
	lock := flock.New(l.path(lockFile))
	ok, err := lock.TryLock()
	if err != nil {
		return nil, &LayoutError{l.dir, err}
	}
	if !ok {
		return nil, lock.Close()
	}
	return lock.Close, nil
}

// wait locks, or says ErrLocked after lockWait.
func wait(ctx context.Context, lock func(context.Context, time.Duration) (bool, error)) error {
	limited, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	_, err := lock(limited, lockPoll)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return ErrLocked
	}
	return err
}
