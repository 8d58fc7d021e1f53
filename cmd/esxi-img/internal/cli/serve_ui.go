package cli

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/display"
	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/option"
	"github.com/esxi-img/esxi-img/pkg/catalog"
	"github.com/esxi-img/esxi-img/pkg/catalog/page"
	"github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/pkg/registry/server"
)

const (
	// pageTimeout is for how long a page may take to be made.
	pageTimeout = time.Minute
	// maxKeptEntries bounds the lists that are kept between two pages.
	maxKeptEntries = 20_000
)

// servedPages shows what serve serves.
type servedPages struct {
	layouts  func(ctx context.Context) ([]server.Served, error)
	verifier artifact.Verifier
	address  string // where it listens
	public   string // how clients name it, if that was told
	tls      bool

	mu   sync.Mutex
	kept map[string]keptList // by folder
	told map[string]string   // why a folder is not listed
	warn func(format string, args ...any)
}

// keptList is the list of a layout as long as its index.json stays the same:
// whatever changes a layout replaces that file. Its time may not tell, where a
// layout was unpacked or copied.
type keptList struct {
	index [sha256.Size]byte // digest
	list  *catalog.Listing
}

// pages is what serve answers outside the registry's API; nil without --ui.
func (a *app) pages(flags *serveFlags, status *display.Status) (http.Handler, *servedPages, error) {
	if !flags.ui {
		if flags.verify.Given() {
			return nil, nil, usagef("give --ui, or leave them out", "flags that say whom to trust are for --ui: a registry verifies nothing")
		}
		if flags.public != "" {
			return nil, nil, usagef("give --ui, or leave it out", "--public-name is for --ui: clients name a registry themselves")
		}
		return nil, nil, nil
	}
	if flags.public != "" && !plainHost.MatchString(flags.public) {
		return nil, nil, usagef("give a host, such as registry.example:5000, without a scheme and a path", "--public-name %q is no host", flags.public)
	}
	policy, err := flags.verify.Policy(a.environment())
	var none *option.NoPolicyError
	p := &servedPages{public: flags.public, tls: flags.cert != "", kept: map[string]keptList{}, told: map[string]string{}, warn: status.Warn}
	switch {
	case err == nil:
		p.verifier = policy
	case !errors.As(err, &none):
		return nil, nil, verifierFailure("", err)
	}
	return page.NewHandler(p, func(r *http.Request, err error) {
		if r == nil {
			status.Warn("pages: %v", err)
			return
		}
		status.Warn("%s %s: %v", r.Method, r.URL.Path, err)
	}), p, nil
}

// Site implements page.Source.
func (p *servedPages) Site(r *http.Request) (*page.Site, error) {
	ctx, cancel := context.WithTimeout(r.Context(), pageTimeout)
	defer cancel()
	layouts, err := p.layouts(ctx)
	if err != nil {
		return nil, err
	}
	p.forget(layouts)
	site := &page.Site{Signers: true, Answered: true}
	var entries []catalog.Entry
	for _, l := range layouts {
		name := p.host(r) + "/" + l.Name
		list, err := p.list(ctx, l)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			p.tell(l, err)
			site.Repositories = append(site.Repositories, page.Repository{Name: name, Problem: "cannot be read"})
			continue
		}
		site.Repositories = append(site.Repositories, page.Repository{Name: name, Foreign: list.Foreign, Attached: list.Attached, Gone: list.Gone})
		for i := range list.Entries {
			e := list.Entries[i]
			e.Repository = name
			entries = append(entries, e)
		}
	}
	_ = catalog.Sort(entries, catalog.Orders[0]) // one that it knows
	site.Rows = page.Rows(entries)
	return site, nil
}

// list lists a layout, unless nothing has changed since the last time.
func (p *servedPages) list(ctx context.Context, l server.Served) (*catalog.Listing, error) {
	index, err := fingerprint(filepath.Join(l.Dir, ocispec.ImageIndexFile))
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	kept, ok := p.kept[l.Dir]
	p.mu.Unlock()
	if ok && kept.index == index {
		return kept.list, nil
	}
	repo, release, err := openHeld(ctx, registry.Reference{Scheme: registry.SchemeLayout, Path: l.Dir}, registry.Options{}, registry.Open)
	if err != nil {
		return nil, err
	}
	list, err := p.listOne(ctx, repo, l.Name)
	if err = errors.Join(err, release()); err != nil {
		return nil, err
	}
	p.keep(l.Dir, keptList{index, list})
	return list, nil
}

// listOne lists a layout, and has it verified under the name that clients use, if
// that was told: under a name that a request says whoever asks would choose the
// rule.
func (p *servedPages) listOne(ctx context.Context, repo *registry.Repository, name string) (*catalog.Listing, error) {
	opts := catalog.Options{Signers: true, Verifier: p.verifier, Claims: claims}
	if p.public != "" {
		var err error
		if opts.As, err = registry.Parse(p.public + "/" + name); err != nil {
			return nil, err
		}
	}
	return catalog.List(ctx, repo, opts)
}

// keep keeps a list, within bounds.
func (p *servedPages) keep(dir string, k keptList) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.told, dir)
	n := len(k.list.Entries)
	for d, other := range p.kept {
		if d != dir {
			n += len(other.list.Entries)
		}
	}
	if n <= maxKeptEntries {
		p.kept[dir] = k
	}
}

// tell tells the log why a layout is not listed, once.
func (p *servedPages) tell(l server.Served, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if why := err.Error(); p.told[l.Dir] != why {
		p.told[l.Dir] = why
		p.warn("pages: %s: %v", l.Name, err)
	}
}

// fingerprint is the digest of a file of at most registry.MaxManifest bytes.
func fingerprint(path string) (sum [sha256.Size]byte, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return sum, err
	}
	if !info.Mode().IsRegular() || info.Size() > registry.MaxManifest {
		return sum, fmt.Errorf("%s is no index of a layout", path)
	}
	b, err := os.ReadFile(path)
	return sha256.Sum256(b), err
}

// forget lets go of lists of what is not served any more.
func (p *servedPages) forget(layouts []server.Served) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for dir := range p.kept {
		if !slices.ContainsFunc(layouts, func(l server.Served) bool { return l.Dir == dir }) {
			delete(p.kept, dir)
		}
	}
	for dir := range p.told {
		if !slices.ContainsFunc(layouts, func(l server.Served) bool { return l.Dir == dir }) {
			delete(p.told, dir)
		}
	}
}

// Load implements page.Source.
func (p *servedPages) Load(r *http.Request, row *page.Row) (_ *page.Image, err error) {
	ctx, cancel := context.WithTimeout(r.Context(), pageTimeout)
	defer cancel()
	layouts, err := p.layouts(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(layouts, func(l server.Served) bool { return p.host(r)+"/"+l.Name == row.Repository })
	if i < 0 {
		return nil, page.ErrNotFound
	}
	repo, release, err := openHeld(ctx, registry.Reference{Scheme: registry.SchemeLayout, Path: layouts[i].Dir}, registry.Options{}, registry.Open)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release()) }()
	img, err := loadPage(ctx, repo, row)
	if err != nil {
		return nil, err
	}
	img.Locator, img.PlainHTTP = row.Repository, !p.tls && !isLocal(p.host(r))
	return img, nil
}

// plainHost is what a host's name may consist of, with a port.
var plainHost = regexp.MustCompile(`^(\[[0-9a-fA-F:.]{2,45}\]|[0-9A-Za-z][0-9A-Za-z.-]{0,252})(:[0-9]{1,5})?$`)

// host is how whoever asks names this registry.
func (p *servedPages) host(r *http.Request) string {
	if p.public != "" {
		return p.public
	}
	if plainHost.MatchString(r.Host) {
		return r.Host
	}
	return p.address
}

// isLocal says whether a host is this machine: registries there speak HTTP
// without being told.
func isLocal(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	ip := net.ParseIP(name)
	return name == "localhost" || ip != nil && ip.IsLoopback()
}
