package page

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/esxi-img/esxi-img/pkg/catalog"
	"github.com/esxi-img/esxi-img/pkg/parallel"
)

// Mark is a file that each folder of pages has, and nothing else.
const Mark = "esxi-img-pages"

// TopNames are what a folder of pages has at its top.
func TopNames() []string {
	return []string{Mark, "index.html", "compare.html", "assets", "data", "diff", "image"}
}

// unreadable is why two images are not compared.
const unreadable = "One of the two images cannot be read: its page says why."

// TooManyError says that there are more images than a folder has.
type TooManyError struct{ Images int }

func (e *TooManyError) Error() string {
	return fmt.Sprintf("%d images are over the limit of %d for pages", e.Images, MaxImages)
}

// Write writes all pages: the same for the same images. load returns an image
// with all that its page shows, from several goroutines at once; an error of it
// ends the whole. write gets slash-separated names, one after the other. More
// than MaxImages are a *TooManyError.
func Write(ctx context.Context, s *Site, workers int, load func(ctx context.Context, r *Row) (*Image, error), write func(name string, data []byte) error) error {
	whole := slices.DeleteFunc(slices.Clone(s.Rows), func(r Row) bool { return r.Broken() })
	if len(whole) > MaxImages {
		return &TooManyError{len(whole)}
	}
	f := &folder{site: s, write: write, secrets: labels{}, contents: map[string]*catalog.Contents{}, kickstarts: map[string]string{}}
	// 1. What needs no image.
	if err := f.files(); err != nil {
		return err
	}
	// 2. The images, each of them once in memory.
	if err := f.images(ctx, whole, workers, load); err != nil {
		return err
	}
	// 3. What differs between neighbours.
	pairs := s.pairs()
	for _, p := range pairs {
		if err := f.difference(ctx, p, pairs); err != nil {
			return err
		}
	}
	// 4. The first page, and the one that compares any two.
	if err := f.page("index.html", "index", s.index()); err != nil {
		return err
	}
	return f.page("compare.html", "compare", s.comparison(nil, pairs))
}

// folder is one that is being written.
type folder struct {
	site    *Site
	write   func(name string, data []byte) error
	secrets labels
	// By ID.
	contents   map[string]*catalog.Contents
	kickstarts map[string]string // digests of the whole
}

func (f *folder) files() error {
	for _, name := range assets {
		b, err := asset(name)
		if err != nil {
			return err
		}
		if err := f.write("assets/"+name, b); err != nil {
			return err
		}
	}
	return f.write(Mark, []byte("esxi-img catalog --html wrote this folder, and replaces it as a whole.\n"))
}

func (f *folder) page(name, kind string, view any) error {
	var b bytes.Buffer
	if err := render(&b, kind, view); err != nil {
		return err
	}
	return f.write(name, b.Bytes())
}

// images loads some at a time, and writes them in their order: who is early waits
// with its image. One that turns out to be broken has a page that says so.
func (f *folder) images(ctx context.Context, rows []Row, workers int, load func(ctx context.Context, r *Row) (*Image, error)) error {
	pairs := f.site.pairs()
	turns := make([]chan struct{}, len(rows)+1)
	for i := range turns {
		turns[i] = make(chan struct{})
	}
	close(turns[0])
	return parallel.Do(ctx, workers, len(rows), func(ctx context.Context, i int) error {
		img, err := load(ctx, &rows[i])
		if err != nil {
			return err
		}
		img.prepare()
		select {
		case <-turns[i]:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := f.image(img, pairs); err != nil {
			return err
		}
		close(turns[i+1])
		return nil
	})
}

func (f *folder) image(img *Image, pairs []pair) error {
	v := f.site.image(img)
	v.Nearby = f.site.nearby(img.ID, pairs)
	if img.Loaded != nil {
		c := img.contents
		data, err := img.script(c, f.secrets)
		if err != nil {
			return err
		}
		f.contents[img.ID], f.kickstarts[img.ID] = c, digestOf(img.Kickstart)
		if err := f.write("data/"+img.ID+".js", data); err != nil {
			return err
		}
	}
	return f.page("image/"+img.ID+".html", "image", v)
}

// difference writes the page of a pair. Others link to it, so that it is there
// even if one of the two could not be read.
func (f *folder) difference(ctx context.Context, p pair, pairs []pair) error {
	a, b := f.contents[p.A.ID], f.contents[p.B.ID]
	if a == nil || b == nil {
		return f.page(p.href(false), "compare", f.site.difference(p, nil, pairs))
	}
	d, err := catalog.Compare(ctx, a, b)
	if err != nil {
		return err
	}
	veiled := d.Kickstart == "" && f.kickstarts[p.A.ID] != f.kickstarts[p.B.ID]
	return f.page(p.href(false), "compare", f.site.difference(p, &Difference{p.A, p.B, d, veiled}, pairs))
}
