package artifact

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"sync"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/pkg/progress"
	"github.com/esxi-img/esxi-img/pkg/registry"
)

// transfer is all that has to be in a repository for an image to be there.
type transfer struct {
	loads     []load
	manifests []blob // those that the index lists
	top       blob   // the index
	phase     string // what to call it to who waits; empty: a push
}

// load is a blob that is read when it has to be sent.
type load struct {
	desc ocispec.Descriptor
	open func(context.Context) (io.ReadCloser, error)
	// mountFrom is a repository of the same registry that has the blob, or "".
	mountFrom string
}

// add adds a blob once.
func (t *transfer) add(l load) {
	if !slices.ContainsFunc(t.loads, func(have load) bool { return have.desc.Digest == l.desc.Digest }) {
		t.loads = append(t.loads, l)
	}
}

// addBlob adds a blob that is in memory.
func (t *transfer) addBlob(b blob) {
	t.add(load{desc: b.Descriptor, open: func(context.Context) (io.ReadCloser, error) {
		return nopCloser{bytes.NewReader(b.data)}, nil
	}})
}

type nopCloser struct{ *bytes.Reader }

func (nopCloser) Close() error { return nil }

// run sends everything and sets the tags.
func (t *transfer) run(ctx context.Context, to *registry.Repository, img *Image, opts PushOptions) (*Pushed, error) {
	// A tag that must not be moved is told of before half an hour of upload.
	if opts.Tag != "" {
		if _, err := checkTag(ctx, to, opts.Tag, t.top.Digest, opts.Force); err != nil {
			return nil, err
		}
	}
	out := &Pushed{Index: t.top.Digest, Manifest: img.Manifest.Digest}
	if err := t.sendBlobs(ctx, to, opts.Progress, out); err != nil {
		return nil, err
	}
	for _, m := range append(slices.Clip(t.manifests), t.top) {
		if err := sendManifest(ctx, to, m, out); err != nil {
			return nil, err
		}
	}
	if opts.BeforeTags != nil {
		if err := opts.BeforeTags(ctx, plain(t.top.Descriptor)); err != nil {
			return nil, err
		}
	}
	var err error
	if out.Tags, err = setTags(ctx, to, t.top.Descriptor, img, opts); err != nil {
		return nil, err
	}
	return out, to.Commit(ctx)
}

func sendManifest(ctx context.Context, to *registry.Repository, m blob, out *Pushed) error {
	there, err := to.Exists(ctx, m.Descriptor)
	switch {
	case err != nil:
		return err
	case there:
		out.Present += m.Size
		return nil
	default:
		out.Sent += m.Size
		return to.Push(ctx, plain(m.Descriptor), bytes.NewReader(m.data))
	}
}

// sendBlobs sends what is missing, the largest first.
func (t *transfer) sendBlobs(ctx context.Context, to *registry.Repository, reporter progress.Reporter, out *Pushed) error {
	queue := slices.Clone(t.loads)
	slices.SortStableFunc(queue, func(a, b load) int { return cmp.Compare(b.desc.Size, a.desc.Size) })
	var total int64
	for _, l := range queue {
		total += l.desc.Size
	}
	report := progress.Or(reporter)
	report.Start(cmp.Or(t.phase, "push to ")+to.Reference().Locator(), total)
	defer report.Done()

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex // of queue and out
		next = func() (load, bool) {
			mu.Lock()
			defer mu.Unlock()
			if len(queue) == 0 || ctx.Err() != nil {
				return load{}, false
			}
			l := queue[0]
			queue = queue[1:]
			return l, true
		}
	)
	workers := max(to.Concurrency(), 1)
	if to.Reference().Scheme == registry.SchemeArchive {
		workers = 1 // it takes one at a time, and the same copy makes the same archive
	}
	for range min(workers, len(queue)) {
		wg.Go(func() {
			for l, ok := next(); ok; l, ok = next() {
				how, err := l.send(ctx, to, report)
				if err != nil {
					cancel(err)
					return
				}
				mu.Lock()
				how.count(out, l.desc.Size)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// passage is how a blob came to be where it is.
type passage int

const (
	present passage = iota
	mounted
	sent
)

func (p passage) count(out *Pushed, size int64) {
	switch p {
	case present:
		out.Present += size
	case mounted:
		out.Mounted += size
	case sent:
		out.Sent += size
	}
}

// send brings one blob into a repository in the cheapest way.
func (l *load) send(ctx context.Context, to *registry.Repository, report progress.Reporter) (passage, error) {
	there, err := to.Exists(ctx, l.desc)
	if err != nil {
		return present, err
	}
	if there {
		report.Add(l.desc.Size)
		return present, nil
	}
	if l.mountFrom != "" {
		ok, err := to.Mount(ctx, l.desc, l.mountFrom)
		if err != nil {
			return mounted, err
		}
		if ok {
			report.Add(l.desc.Size)
			return mounted, nil
		}
	}
	return sent, l.push(ctx, to, report)
}

func (l *load) push(ctx context.Context, to *registry.Repository, report progress.Reporter) error {
	r, err := l.open(ctx)
	if err != nil {
		return err
	}
	m := &meter{r: r, report: report}
	var src io.Reader = m
	if s, ok := r.(io.Seeker); ok {
		src = &seekMeter{m, s}
	}
	err = to.Push(ctx, l.desc, src)
	return errors.Join(err, r.Close())
}

// meter tells how far a reader is. What is read again is not told again.
type meter struct {
	r            io.Reader
	report       progress.Reporter
	at, furthest int64
}

// Read reads and tells.
func (m *meter) Read(b []byte) (int, error) {
	n, err := m.r.Read(b)
	m.at += int64(n)
	if m.at > m.furthest {
		m.report.Add(m.at - m.furthest)
		m.furthest = m.at
	}
	return n, err
}

// seekMeter is a meter over what can be read again.
type seekMeter struct {
	*meter
	s io.Seeker
}

// Seek implements io.Seeker.
func (m *seekMeter) Seek(offset int64, whence int) (int64, error) {
	at, err := m.s.Seek(offset, whence)
	if err == nil {
		m.at = at
	}
	return at, err
}
