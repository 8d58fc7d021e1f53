package option

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/spf13/pflag"

	"github.com/esxi-img/esxi-img/pkg/catalog"
)

// Catalog says which images of repositories are listed, and how.
type Catalog struct {
	release string
	filter  catalog.Filter
	// Sort is the order, Format table or markdown.
	Sort, Format string
	// HTML is a folder for pages, or empty.
	HTML      string
	noSigners bool
	cache     string
	noCache   bool
}

// AddFlags adds the group's flags.
func (o *Catalog) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&o.release, "release", "", "list releases that `CONSTRAINT` takes: 8.0, '>=8.0.3', '>=8 <9'")
	f.StringVar(&o.filter.SignedBy, "signed-by", "", "list what `NAME` is verified to have signed: an identity, a key's fingerprint, or a name in the policy")
	f.BoolVar(&o.filter.Newest, "newest", false, "list the newest build of each release only")
	f.StringVar(&o.Sort, "sort", catalog.Orders[0], "sort by `KEY`: release, created or size, the newest or largest first, or tag")
	f.StringVar(&o.Format, "format", "table", "print a table or `markdown`")
	f.StringVar(&o.HTML, "html", "", "write pages for a browser to the folder `DIR`, which is replaced as a whole")
	f.BoolVar(&o.noSigners, "no-signers", false, "do not look who signed what, which takes most of the requests")
	f.StringVar(&o.cache, "cache", "", "keep what was read in the folder `DIR` (default: esxi-img/catalog where the user's caches are)")
	f.BoolVar(&o.noCache, "no-cache", false, "keep nothing, and read everything")
}

// SetConcurrency makes n what --concurrency is unless it is given.
func SetConcurrency(f *pflag.FlagSet, n int, usage string) {
	flag := f.Lookup("concurrency")
	flag.DefValue, flag.Usage = strconv.Itoa(n), usage
	_ = flag.Value.Set(flag.DefValue) // a number
}

// Signers is whether to find out who signed what.
func (o *Catalog) Signers() bool { return !o.noSigners }

// SignedBy is whether a verified signature is asked for.
func (o *Catalog) SignedBy() bool { return o.filter.SignedBy != "" }

// Filter returns which images are wanted. An error is one of usage.
func (o *Catalog) Filter() (catalog.Filter, error) {
	switch {
	case o.noSigners && o.SignedBy():
		return o.filter, errors.New("--no-signers and --signed-by: one of them wants to know who signed")
	case o.noCache && o.cache != "":
		return o.filter, errors.New("--no-cache and --cache: give one of them")
	case o.HTML != "" && o.Format != "table":
		return o.filter, errors.New("--html and --format: give one of them")
	case o.Format != "table" && o.Format != "markdown":
		return o.filter, fmt.Errorf("--format %q: is neither table nor markdown", o.Format)
	}
	if err := catalog.Sort(nil, o.Sort); err != nil {
		return o.filter, fmt.Errorf("--sort %w", err)
	}
	if o.release == "" {
		return o.filter, nil
	}
	c, err := catalog.ParseConstraint(o.release)
	if err != nil {
		return o.filter, fmt.Errorf("--release %q: %w", o.release, err)
	}
	o.filter.Release = c
	return o.filter, nil
}

// Cache is the folder for what was read; empty where there is no place for one.
func (o *Catalog) Cache(env Environment) string {
	switch {
	case o.noCache:
		return ""
	case o.cache != "":
		return o.cache
	}
	dir := xdg(env.Getenv, "XDG_CACHE_HOME", ".cache", "LOCALAPPDATA")
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, "catalog")
}
