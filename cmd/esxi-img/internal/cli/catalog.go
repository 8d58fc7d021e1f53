package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/display"
	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/option"
	"github.com/esxi-img/esxi-img/pkg/catalog"
	"github.com/esxi-img/esxi-img/pkg/quantity"
	"github.com/esxi-img/esxi-img/pkg/registry"
	"github.com/esxi-img/esxi-img/signing"
)

// catalogFlags are what catalog is told.
type catalogFlags struct {
	registry option.Registry
	verify   option.Verify
	catalog  option.Catalog
}

func newCatalog(a *app) *cobra.Command {
	var flags catalogFlags
	cmd := &cobra.Command{
		Use:   "catalog REGISTRY[/REPOSITORY]...",
		Short: "List the images of repositories, and who vouches for them",
		Long: `Catalog lists the images of repositories, layouts (oci:DIR) and archives
(oci-archive:FILE): release, build, size and date of each tag, what a variant is
one of, and who signed it. Without a repository it lists all of a registry, where
that allows it. Other artifacts are counted, not listed.

A signer is verified where the policy accepts the signature: as for verify, that
of the flags or of the policy file. One that is claimed stands in a signature
that nobody verified, or that does not count: anybody who may push can attach
one. Without flags and policy file nothing is verified.

With --html it writes pages for a browser instead: a table of the images, a page
for each of them, and what differs between any two. They are files, need no
server, and fetch nothing from anywhere.

All but the signers takes one request a tag. What was read is kept, by its
digest, and is not read again; the registry is asked each time what a tag names
now and who signed it.

` + exitCodeHelp,
		Example: `  esxi-img catalog registry.example/org/esxi
  esxi-img catalog --newest --release '>=8.0.3' --key esxi.pub registry.example/org/esxi
  esxi-img catalog --json --no-signers oci:esxi-img.oci
  esxi-img catalog --format markdown registry.example
  esxi-img catalog --html site --policy policy.yaml registry.example/org/esxi`,
		Args: minArgs("REGISTRY or REPOSITORY"),
		RunE: func(c *cobra.Command, args []string) error {
			opts, err := a.registryOptions(&flags.registry, c.Flags())
			if err != nil {
				return err
			}
			return a.catalog(c.Context(), args, &flags, opts)
		},
	}
	f := cmd.Flags()
	flags.catalog.AddFlags(f)
	flags.verify.AddCheckFlags(f)
	flags.registry.AddFlags(f)
	option.SetConcurrency(f, catalog.DefaultConcurrency, "ask for `N` images at once")
	return cmd
}

func (a *app) catalog(ctx context.Context, args []string, flags *catalogFlags, opts registry.Options) error {
	// 1. What is wanted.
	filter, err := flags.catalog.Filter()
	if err == nil && a.output.JSON && flags.catalog.Format == "markdown" {
		err = errors.New("--json and --format markdown: give one of them")
	}
	if err != nil {
		return usagef("see --help for what can be listed", "%w", err)
	}
	if err := checkPages(flags.catalog.HTML); err != nil {
		return err
	}
	list := catalog.Options{Concurrency: opts.Concurrency, Signers: flags.catalog.Signers(), Claims: claims, Cache: flags.catalog.Cache(a.environment())}
	if list.Signers {
		if list.Verifier, err = a.catalogVerifier(flags, args[0]); err != nil {
			return err
		}
	}
	// 2. Where.
	opts.Concurrency = catalog.Connections(list.Concurrency)
	repos, err := repositories(ctx, args, opts)
	if err != nil {
		return err
	}
	// 3. What is there.
	out := catalogResult{Images: []catalog.Entry{}, Repositories: []repositoryResult{}}
	for _, ref := range repos {
		if err := a.catalogOne(ctx, ref, list, opts, &out); err != nil {
			return err
		}
	}
	// 4. What of it is wanted, in order.
	out.Images = filter.Select(out.Images)
	if flags.catalog.HTML != "" {
		return a.writePages(ctx, flags.catalog.HTML, repos, list, opts, &out)
	}
	if err := catalog.Sort(out.Images, flags.catalog.Sort); err != nil {
		return err
	}
	return a.showCatalog(&out, flags.catalog.Format, list.Signers)
}

// catalogVerifier returns what decides whose signatures count; nil where nobody
// said anything about that, and nothing was asked for either.
func (a *app) catalogVerifier(flags *catalogFlags, ref string) (artifact.Verifier, error) {
	policy, err := flags.verify.Policy(a.environment())
	var none *option.NoPolicyError
	switch {
	case err == nil:
		return policy, nil
	case errors.As(err, &none) && !flags.catalog.SignedBy():
		a.status().Note("no signature is verified: no flag says whom to trust, and there is no policy file")
		return nil, nil
	default:
		return nil, verifierFailure(ref, err)
	}
}

// repositories reads what is to be listed. A name without a slash is a whole
// registry.
func repositories(ctx context.Context, args []string, opts registry.Options) ([]registry.Reference, error) {
	var out []registry.Reference
	for _, arg := range args {
		refs, err := repositoriesOf(ctx, arg, opts)
		if err != nil {
			return nil, err
		}
		for _, ref := range refs {
			if !slices.ContainsFunc(out, ref.SamePlace) {
				out = append(out, ref)
			}
		}
	}
	for _, ref := range out[1:] {
		if err := oneRegistry(out[0], ref, opts); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func repositoriesOf(ctx context.Context, arg string, opts registry.Options) ([]registry.Reference, error) {
	if ref, ok, err := imageReference(arg); ok && ref.Scheme != "" {
		return []registry.Reference{ref.WithTag("")}, listable(arg, ref)
	} else if err != nil {
		return nil, err
	}
	if !strings.Contains(arg, "/") {
		refs, err := registry.Repositories(ctx, arg, opts)
		var answer *registry.Error
		if errors.As(err, &answer) && answer.Status != 0 && !answer.Temporary() {
			return nil, &failure{exitRegistry, err, "name repositories: this registry does not list them, or not to you"}
		}
		if err == nil && len(refs) == 0 {
			return nil, &failure{exitRegistry, fmt.Errorf("%s lists no repositories", arg), "name repositories, or log in: a registry may list only what you may read"}
		}
		return refs, err
	}
	ref, err := registry.Parse(arg)
	if err != nil {
		return nil, err
	}
	return []registry.Reference{ref}, listable(arg, ref)
}

// listable refuses the name of one image.
func listable(arg string, ref registry.Reference) error {
	if ref.Tag == "" && ref.Digest == "" {
		return nil
	}
	return usagef(fmt.Sprintf("name the repository, %s; esxi-img inspect shows an image", ref.Locator()), "%s names one image", arg)
}

// catalogOne adds the images of one repository.
func (a *app) catalogOne(ctx context.Context, ref registry.Reference, list catalog.Options, opts registry.Options, out *catalogResult) (err error) {
	from, release, err := openHeld(ctx, ref, opts, registry.Open)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	l, err := catalog.List(ctx, from, list)
	if err != nil {
		return err
	}
	for _, note := range l.Notes {
		a.status().Note("%s", note)
	}
	out.Images = append(out.Images, l.Entries...)
	out.Repositories = append(out.Repositories, repositoryResult{l.Repository, len(l.Entries), l.Foreign, l.Attached, l.Gone})
	return nil
}

// claims lists who says that they signed an image.
func claims(ctx context.Context, s artifact.Subject) ([]catalog.Signer, error) {
	l, err := signing.List(ctx, s)
	if err != nil {
		return nil, err
	}
	var out []catalog.Signer
	for i := range l.Bundles {
		b := &l.Bundles[i]
		if b.Problem == "" && b.PredicateType == signing.PredicateSignature {
			out = append(out, catalog.Signer{Identity: b.Identity, Issuer: b.Issuer, Key: b.Key, Time: b.Time})
		}
	}
	return out, nil
}

// catalogResult is what catalog prints.
type catalogResult struct {
	Images       []catalog.Entry    `json:"images"`
	Repositories []repositoryResult `json:"repositories"`
}

// repositoryResult says what of a repository is images, and what is not.
type repositoryResult struct {
	Repository string `json:"repository"`
	Images     int    `json:"images"`   // before any was left out by a flag
	Foreign    int    `json:"foreign"`  // other artifacts
	Attached   int    `json:"attached"` // tags that hold signatures and the like
	Gone       int    `json:"gone"`     // listed, and then not there
}

func (a *app) showCatalog(r *catalogResult, format string, signers bool) error {
	if a.output.JSON {
		return display.JSON(a.Stdout, r)
	}
	t := catalogTable(r, signers)
	if format == "markdown" {
		return t.WriteMarkdown(a.Stdout)
	}
	var f display.Fields
	f.Add("tags", catalogSummary(r))
	for _, repo := range r.Repositories {
		var others []string
		for _, o := range []struct {
			n         int
			one, many string
		}{{repo.Foreign, "other artifact", "other artifacts"}, {repo.Attached, "tag of what is attached", "tags of what is attached"}, {repo.Gone, "tag that was gone", "tags that were gone"}} {
			if o.n > 0 {
				others = append(others, quantity.Count(o.n, o.one, o.many))
			}
		}
		if len(others) > 0 {
			f.Addf("not listed", "%s: %s", repo.Repository, strings.Join(others, ", "))
		}
	}
	if err := f.Write(a.Stdout); err != nil {
		return err
	}
	if len(r.Images) == 0 {
		return nil
	}
	return t.Write(a.Stdout)
}

// catalogSummary counts what is listed.
func catalogSummary(r *catalogResult) string {
	all := 0
	for _, repo := range r.Repositories {
		all += repo.Images
	}
	text := fmt.Sprint(len(r.Images))
	if len(r.Images) != all {
		text = fmt.Sprintf("%d of %d", len(r.Images), all)
	}
	if len(r.Repositories) == 1 {
		return text + " in " + r.Repositories[0].Repository
	}
	return fmt.Sprintf("%s in %d repositories", text, len(r.Repositories))
}

func catalogTable(r *catalogResult, signers bool) display.Table {
	many := len(r.Repositories) > 1
	row := func(repository, signer string, cells ...string) []string {
		if many {
			cells = append([]string{repository}, cells...)
		}
		if signers {
			cells = append(cells, signer)
		}
		return cells
	}
	t := display.Table{Header: row("REPOSITORY", "SIGNER", "TAG", "RELEASE", "UPDATE", "BUILD", "SIZE", "CREATED", "DIGEST", "VARIANT OF")}
	for i := range r.Images {
		e := &r.Images[i]
		if e.Problem != "" {
			t.Rows = append(t.Rows, row(e.Repository, "", e.Tag, "broken: "+e.Problem, "", "", "", "", shortDigest(e.Digest), ""))
			continue
		}
		created, size := "", ""
		if e.Created != nil {
			created = e.Created.Format("2006-01-02")
		}
		if e.Size > 0 {
			size = quantity.Bytes(e.Size)
		}
		t.Rows = append(t.Rows, row(e.Repository, signerCell(e), e.Tag, e.Release, e.Update, e.Build, size, created, shortDigest(e.Digest), baseCell(e)))
	}
	return t
}

func shortDigest(d digest.Digest) string {
	const most = len("sha256:") + 12
	return string(d[:min(len(d), most)])
}

// baseCell says what a variant is one of: a tag of it, else its digest.
func baseCell(e *catalog.Entry) string {
	switch {
	case !e.Variant:
		return ""
	case e.Base == nil:
		return "?"
	case len(e.Base.Tags) > 0:
		return e.Base.Tags[0]
	default:
		return shortDigest(e.Base.Digest)
	}
}

// signerCell says who vouches for an image.
func signerCell(e *catalog.Entry) string {
	var names []string
	for i := range e.Signers {
		if name := e.Signers[i].String(); name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if e.Signed == catalog.StateNone || len(names) == 0 {
		return string(e.Signed)
	}
	const most = 2
	text := strings.Join(names[:min(len(names), most)], ", ")
	if len(names) > most {
		text += fmt.Sprintf(" and %d more", len(names)-most)
	}
	return string(e.Signed) + " " + text
}
