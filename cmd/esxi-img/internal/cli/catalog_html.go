package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/display"
	"github.com/esxi-img/esxi-img/pkg/catalog"
	"github.com/esxi-img/esxi-img/pkg/catalog/page"
	"github.com/esxi-img/esxi-img/pkg/outfile"
	"github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/signing"
)

// pagesResult is what catalog --html prints.
type pagesResult struct {
	HTML  string `json:"html"`  // the folder
	Pages int    `json:"pages"` // files of HTML
	catalogResult
}

// errForeignPages says that a folder is not replaced.
var errForeignPages = errors.New("is not a folder of pages that esxi-img wrote")

// writePages writes a catalog as a folder of pages.
func (a *app) writePages(ctx context.Context, dir string, refs []registry.Reference, list catalog.Options, opts registry.Options, r *catalogResult) (err error) {
	// 1. Where the images are.
	from := &openRepositories{opts: opts}
	defer func() { err = errors.Join(err, from.close()) }()
	if err := from.open(ctx, refs); err != nil {
		return err
	}
	// 2. The folder, which appears when it is whole.
	out, err := outfile.CreateFolder(dir, replaceablePages)
	if err != nil {
		return pagesFailure(err)
	}
	files := newFileWriter(out.Path)
	site := newSite(r, list.Signers)
	workers := list.Concurrency
	if workers <= 0 {
		workers = catalog.DefaultConcurrency
	}
	err = page.Write(ctx, site, workers, from.load, files.write)
	if err = errors.Join(err, files.wait()); err == nil {
		err = out.Commit()
	}
	if err != nil {
		return pagesFailure(out.Discard(err))
	}
	return a.showPages(&pagesResult{dir, files.pages, *r})
}

func pagesFailure(err error) error {
	var many *page.TooManyError
	switch {
	case errors.As(err, &many):
		return inputError(err, "say which of them, with --release, --newest or --signed-by")
	case errors.Is(err, errForeignPages):
		return &failure{exitIO, err, "choose another folder for --html, or remove it yourself"}
	default:
		return err
	}
}

// checkPages objects early to a folder that would be refused at the end.
func checkPages(dir string) error {
	if dir == "" {
		return nil
	}
	info, err := os.Stat(dir)
	if err != nil || !info.IsDir() {
		return nil // not there yet; or no folder, which is told when it is made
	}
	if err := replaceablePages(dir); err != nil {
		return pagesFailure(&fs.PathError{Op: "replace", Path: dir, Err: err})
	}
	return nil
}

// newSite puts a list in the order of releases.
func newSite(r *catalogResult, signers bool) *page.Site {
	entries := slices.Clone(r.Images)
	_ = catalog.Sort(entries, catalog.Orders[0]) // one that it knows
	site := &page.Site{Rows: page.Rows(entries), Signers: signers}
	for _, repo := range r.Repositories {
		site.Repositories = append(site.Repositories, page.Repository{Name: repo.Repository, Foreign: repo.Foreign, Attached: repo.Attached, Gone: repo.Gone})
	}
	return site
}

// replaceablePages objects to a folder that holds anything else than pages:
// nobody's checkout is lost to a slip of the tongue.
func replaceablePages(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) == 0 {
		return err
	}
	marked := false
	for _, e := range entries {
		if !slices.Contains(page.TopNames(), e.Name()) {
			return fmt.Errorf("%w: %s is in it", errForeignPages, e.Name())
		}
		marked = marked || e.Name() == page.Mark
	}
	if !marked {
		return fmt.Errorf("%w: there is no %s in it", errForeignPages, page.Mark)
	}
	return nil
}

func (a *app) showPages(r *pagesResult) error {
	if a.output.JSON {
		return display.JSON(a.Stdout, r)
	}
	var f display.Fields
	f.Add("tags", catalogSummary(&r.catalogResult))
	f.Addf("pages", "%d, from %s on", r.Pages, filepath.Join(r.HTML, "index.html"))
	return f.Write(a.Stdout)
}

// fileWriter writes files of a folder, some at a time: each is synced, which
// takes a disk longer than to write it.
type fileWriter struct {
	dir   string
	slots chan struct{}
	pages int

	wg  sync.WaitGroup
	mu  sync.Mutex
	err error
}

func newFileWriter(dir string) *fileWriter {
	const atOnce = 8
	return &fileWriter{dir: dir, slots: make(chan struct{}, atOnce)}
}

// write begins to write a file. An error may be that of another.
func (w *fileWriter) write(name string, data []byte) error {
	if filepath.Ext(name) == ".html" {
		w.pages++
	}
	path := filepath.Join(w.dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	w.slots <- struct{}{}
	w.wg.Go(func() {
		defer func() { <-w.slots }()
		if err := writeSynced(path, data); err != nil {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.err = errors.Join(w.err, err)
		}
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// wait waits for all of them.
func (w *fileWriter) wait() error {
	w.wg.Wait()
	return w.err
}

func writeSynced(path string, data []byte) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Sync()
}

// openRepositories are those that a list is of, while its images are read.
type openRepositories struct {
	opts registry.Options
	all  []openRepository
}

type openRepository struct {
	name    string // as a list has it
	repo    *registry.Repository
	release func() error
}

func (o *openRepositories) open(ctx context.Context, refs []registry.Reference) error {
	for _, ref := range refs {
		repo, release, err := openHeld(ctx, ref, o.opts, registry.Open)
		if err != nil {
			return err
		}
		o.all = append(o.all, openRepository{catalog.Shown(ref.Locator()), repo, release})
	}
	return nil
}

func (o *openRepositories) close() (err error) {
	for _, r := range o.all {
		err = errors.Join(err, r.release())
	}
	return err
}

// load reads what the page of an image shows.
func (o *openRepositories) load(ctx context.Context, row *page.Row) (*page.Image, error) {
	for _, r := range o.all {
		if r.name == row.Repository {
			return loadPage(ctx, r.repo, row)
		}
	}
	return nil, page.ErrNotFound
}

// loadPage reads what the page of an image shows. An image that is broken has a
// page that says so; a registry that does not answer is an error.
func loadPage(ctx context.Context, from *registry.Repository, row *page.Row) (*page.Image, error) {
	img := &page.Image{Row: *row, Locator: from.Reference().Locator()}
	d, err := from.Resolve(ctx, string(row.Digest))
	if err == nil {
		err = fillPage(ctx, from, d, img)
	}
	if err == nil {
		return img, nil
	}
	if !isImageProblem(ctx, err) {
		return nil, err
	}
	broken := &page.Image{Row: *row, Locator: img.Locator}
	broken.Problem = err.Error()
	return broken, nil
}

// isImageProblem tells what is wrong with an image from what is wrong with the
// registry, or with this machine.
func isImageProblem(ctx context.Context, err error) bool {
	var (
		answer *registry.Error
		path   *fs.PathError
	)
	switch {
	case ctx.Err() != nil:
		return false
	case errors.Is(err, registry.ErrNotFound):
		return true
	case errors.As(err, &answer):
		return answer.Status == 0 && !answer.Temporary()
	default:
		return !errors.As(err, &path)
	}
}

// fillPage reads what is attached beside what the image consists of.
func fillPage(ctx context.Context, from *registry.Repository, d ocispec.Descriptor, img *page.Image) error {
	var (
		wg       sync.WaitGroup
		attached error
	)
	s := artifact.Subject{Ref: from.Reference().WithDigest(d.Digest).String(), Target: from, Descriptor: d}
	wg.Go(func() { attached = fillStatements(ctx, s, img) })
	err := fillContents(ctx, from, d, img)
	wg.Wait()
	if err != nil {
		return err // always this one, so that the same image has the same page
	}
	return attached
}

func fillContents(ctx context.Context, from *registry.Repository, d ocispec.Descriptor, img *page.Image) error {
	loaded, err := artifact.Load(ctx, from, d)
	if err != nil {
		return err
	}
	kickstart, err := artifact.FetchBytes(ctx, from, loaded.Kickstart, artifact.MaxKickstart)
	if err != nil {
		return err
	}
	if err := loaded.Config.CheckKickstart(kickstart); err != nil {
		return err
	}
	// As inspect reads them.
	r := &imageReport{img: loaded}
	if err := r.readBootCfgs(ctx, from); err != nil {
		return err
	}
	if len(r.warnings) == 0 {
		img.Boot = []catalog.BootConfig{}
		for _, b := range r.boot {
			img.Boot = append(img.Boot, bootConfig(b))
		}
	}
	img.Loaded, img.Kickstart = loaded, kickstart
	return nil
}

// fillStatements adds what is attached, as it says of itself.
func fillStatements(ctx context.Context, s artifact.Subject, img *page.Image) error {
	l, err := signing.List(ctx, s)
	if err != nil {
		return err
	}
	img.More = l.More
	hasProvenance := false
	for i := range l.Bundles {
		b := &l.Bundles[i]
		img.Statements = append(img.Statements, page.Statement{
			Referrer: b.Referrer, Kind: b.Kind, Time: b.Time, Problem: b.Problem,
			Signer: catalog.Signer{Identity: b.Identity, Issuer: b.Issuer, Key: b.Key},
		})
		hasProvenance = hasProvenance || b.Problem == "" && b.PredicateType == signing.PredicateProvenance
	}
	if !hasProvenance {
		return nil
	}
	text, _, err := signing.Attached(ctx, s, signing.PredicateProvenance)
	if errors.Is(err, signing.ErrNotAttached) {
		return nil
	}
	img.Provenance = text
	return err
}
