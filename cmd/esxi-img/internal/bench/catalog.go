package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	oci "github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/pkg/registry/server"
)

const (
	catalogTags = 500
	// catalogDelay is before each answer.
	catalogDelay = 20 * time.Millisecond
)

// catalogFigures are about a repository with many tags, each of an image of its
// own that is signed, and far away.
func catalogFigures() []Figure {
	return []Figure{
		{
			Name: "list 500 tags, cold", Unit: "s",
			Ours: coldListTime, Limit: 3,
			Peer: "the limit, at 20 ms", Target: 1,
		},
		{
			Name: "list 500 tags, warm", Unit: "s",
			Ours: warmListTime, Limit: 1,
			Peer: "the limit, at 20 ms", Target: 1,
		},
		{
			Name: "list 500 tags of serve, cold", Unit: "s",
			Ours: coldServeTime, Limit: 3,
			Peer: "the limit, at 20 ms", Target: 1,
		},
		{
			Name: "list 500 tags of serve, warm", Unit: "s",
			Ours: warmServeTime, Limit: 1,
			Peer: "the limit, at 20 ms", Target: 1,
		},
	}
}

// tagged is a registry with many tags.
type tagged struct {
	server *server.Server
	http   *httptest.Server
	repo   string
	key    string // the public one
	images string // the folder of layouts
	cache  string // a warm one, once it is
	// frozen says that nothing changes any more.
	frozen  atomic.Bool
	answers sync.Map // requests → *httptest.ResponseRecorder
}

// ServeHTTP answers late, and from memory: what is measured is the program, not
// the registry. The warm-up fills the memory.
func (t *tagged) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !t.frozen.Load() {
		t.server.ServeHTTP(w, r)
		return
	}
	began := time.Now()
	key := r.Method + " " + r.URL.RequestURI()
	known, ok := t.answers.Load(key)
	if !ok {
		rec := httptest.NewRecorder()
		t.server.ServeHTTP(rec, r)
		known, _ = t.answers.LoadOrStore(key, rec)
	}
	a, _ := known.(*httptest.ResponseRecorder) // nothing else is stored
	time.Sleep(catalogDelay - time.Since(began))
	for name, values := range a.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(a.Code)
	_, _ = w.Write(a.Body.Bytes()) // the client tells
}

func coldListTime(ctx context.Context, b *bench) (float64, error) {
	t, err := b.prepareTags(ctx)
	if err != nil {
		return 0, err
	}
	cache := filepath.Join(b.dir, "catalog-cold")
	defer remove(cache)
	return b.list(ctx, t, cache)
}

func warmListTime(ctx context.Context, b *bench) (float64, error) {
	t, err := b.prepareTags(ctx)
	if err != nil {
		return 0, err
	}
	if t.cache == "" {
		t.cache = filepath.Join(b.dir, "catalog-warm")
		remove(t.cache)
		if _, err := b.list(ctx, t, t.cache); err != nil {
			return 0, err
		}
	}
	return b.list(ctx, t, t.cache)
}

// coldServeTime is for a list of what serve serves, when both have just begun.
func coldServeTime(ctx context.Context, b *bench) (float64, error) {
	t, err := b.prepareTags(ctx)
	if err != nil {
		return 0, err
	}
	cache := filepath.Join(b.dir, "catalog-served")
	defer remove(cache)
	return b.listServed(ctx, t, cache, 1)
}

// warmServeTime is for the second such list.
func warmServeTime(ctx context.Context, b *bench) (float64, error) {
	t, err := b.prepareTags(ctx)
	if err != nil {
		return 0, err
	}
	cache := filepath.Join(b.dir, "catalog-served")
	remove(cache)
	defer remove(cache)
	return b.listServed(ctx, t, cache, 2)
}

// listServed lists the images some times, as serve answers when it is far away,
// and returns how long the last time took.
func (b *bench) listServed(ctx context.Context, t *tagged, cache string, times int) (took float64, err error) {
	s, err := server.New(t.images, server.Options{})
	if err != nil {
		return 0, err
	}
	far := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(catalogDelay)
		s.ServeHTTP(w, r)
	}))
	defer func() {
		far.Close()
		err = errors.Join(err, s.Close())
	}()
	served := &tagged{repo: far.Listener.Addr().String() + "/esxi", key: t.key}
	for range times {
		if took, err = b.list(ctx, served, cache); err != nil {
			return 0, err
		}
	}
	return took, nil
}

// list lists all images, and verifies their signatures.
func (b *bench) list(ctx context.Context, t *tagged, cache string) (float64, error) {
	t.frozen.Store(true)
	c := b.command(ctx, b.program, "catalog", t.repo, "--key", t.key, "--cache", cache, "--newest", "--quiet")
	err := c.run()
	return c.took.Seconds(), err
}

// prepareTags makes the registry, once.
func (b *bench) prepareTags(ctx context.Context) (*tagged, error) {
	if b.tagged != nil {
		return b.tagged, nil
	}
	fmt.Fprintln(b.status, "signing", catalogTags, "images")
	dir := filepath.Join(b.dir, "catalog")
	if err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755)); err != nil {
		return nil, err
	}
	images := filepath.Join(dir, "images")
	s, err := server.New(images, server.Options{})
	if err != nil {
		return nil, err
	}
	t := &tagged{server: s, images: images, key: filepath.Join(dir, "key.pub")}
	t.http = httptest.NewServer(t)
	b.tagged = t // to be closed
	t.repo = t.http.Listener.Addr().String() + "/esxi"
	medium, layout := filepath.Join(dir, "small.iso"), filepath.Join(dir, "small.oci")
	for _, c := range []*command{
		b.command(ctx, "go", "run", "./pkg/esxitest/mkiso", medium),
		b.command(ctx, b.program, "build", medium, "--layout", layout, "--quiet"),
		b.command(ctx, b.program, "push", t.repo+":first", "--layout", layout, "--quiet"),
		b.command(ctx, b.program, "sign", "--generate-key", filepath.Join(dir, "key"), "--quiet"),
	} {
		if err := c.run(); err != nil {
			return nil, err
		}
	}
	if err := t.retag(ctx); err != nil {
		return nil, err
	}
	return t, b.signAll(ctx, t, filepath.Join(dir, "key.key"))
}

// retag pushes the image again and again, under other tags and titles. push has
// set two.
func (t *tagged) retag(ctx context.Context) (err error) {
	ref, err := oci.Parse(t.repo)
	if err != nil {
		return err
	}
	r, err := oci.Create(ctx, ref, oci.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	_, raw, err := r.FetchNamed(ctx, "first")
	if err != nil {
		return err
	}
	var x ocispec.Index
	if err := json.Unmarshal(raw, &x); err != nil {
		return err
	}
	for i := range catalogTags - 2 {
		tag := fmt.Sprintf("t%d", i)
		x.Annotations[ocispec.AnnotationTitle] = tag
		if raw, err = json.Marshal(x); err != nil {
			return err
		}
		d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageIndex, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
		if err := errors.Join(r.Push(ctx, d, bytes.NewReader(raw)), r.Tag(ctx, d, tag)); err != nil {
			return err
		}
	}
	return nil
}

// signAll signs each image, some at once.
func (b *bench) signAll(ctx context.Context, t *tagged, key string) error {
	var (
		wg   sync.WaitGroup
		next atomic.Int64
		mu   sync.Mutex
		errs []error
	)
	const workers = 4
	for range workers {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < catalogTags-1 && ctx.Err() == nil; i = next.Add(1) - 1 {
				tag := "first"
				if i < catalogTags-2 {
					tag = fmt.Sprintf("t%d", i)
				}
				c := b.command(ctx, b.program, "sign", t.repo+":"+tag, "--key", key, "--quiet")
				if out, err := c.cmd.CombinedOutput(); err != nil {
					mu.Lock()
					errs = append(errs, fmt.Errorf("sign %s: %w\n%s", tag, err, out))
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (t *tagged) close() error {
	t.http.Close()
	return t.server.Close()
}
