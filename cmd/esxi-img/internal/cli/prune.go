package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/display"
	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/option"
	"github.com/esxi-img/esxi-img/pkg/catalog"
	"github.com/esxi-img/esxi-img/pkg/quantity"
	"github.com/esxi-img/esxi-img/pkg/registry"
)

// pruneFlags are what prune is told.
type pruneFlags struct {
	registry option.Registry
	keep     int
	tags     []string
	dryRun   bool
}

func newPrune(a *app) *cobra.Command {
	var flags pruneFlags
	cmd := &cobra.Command{
		Use:   "prune REPOSITORY --keep N",
		Short: "Remove old builds from a repository",
		Long: `Prune removes from a repository or a layout (oci:DIR) the images that are older
than the newest N builds of their release, with what is attached to them. Variants
are counted by themselves: those of one kickstart by what their tags have beside
release and build, "lab" of 8.0.2-22380479-lab.

Only images go all of whose tags have the build in them: any other tag, such as
8.0 or prod, is one that somebody moves, and keeps what it names. --remove-tag
lets more tags go. What a tag that stays needs is never removed: what it names,
what that lists or refers to, and the image that a variant is one of. Other
artifacts stay, and so do images that are broken or do not tell their build.

Each image is shown with what becomes of it, and why. Before one is removed the
tags are looked at again: what was moved meanwhile stays. Registries cannot
delete on a condition, so nobody should promote an old build at that moment.

A registry frees the room when it collects garbage. One that deletes nothing
says so, and nothing is changed. A layout is tidied up at once.

` + exitCodeHelp,
		Example: `  esxi-img prune registry.example/org/esxi --keep 2 --dry-run
  esxi-img prune registry.example/org/esxi --keep 2 --remove-tag '8.*'
  esxi-img prune oci:images.oci --keep 1`,
		Args: exactArgs("REPOSITORY"),
		RunE: func(c *cobra.Command, args []string) error {
			opts, err := a.registryOptions(&flags.registry, c.Flags())
			if err != nil {
				return err
			}
			return a.prune(c.Context(), args[0], &flags, opts)
		},
	}
	f := cmd.Flags()
	f.IntVar(&flags.keep, "keep", 0, "keep the newest `N` builds of each release, and of each line of variants (required)")
	f.StringArrayVar(&flags.tags, "remove-tag", nil, "let tags that match `PATTERN` go, too (*, ? and [a-z]; may be given again)")
	f.BoolVar(&flags.dryRun, "dry-run", false, "remove nothing, and show what would be")
	flags.registry.AddFlags(f)
	option.SetConcurrency(f, catalog.DefaultConcurrency, "ask for `N` images at once")
	return cmd
}

func (a *app) prune(ctx context.Context, arg string, flags *pruneFlags, opts registry.Options) error {
	ref, err := registry.Parse(arg)
	switch {
	case err != nil:
		return err
	case ref.Scheme == registry.SchemeArchive:
		return usagef("copy what you need to another archive", "%s: an archive is not changed", arg)
	case ref.Tag != "" || ref.Digest != "":
		return usagef("name the repository, "+ref.Locator(), "%s names one image", arg)
	case flags.keep < 1:
		return usagef("say how many builds of each release stay: --keep N", "--keep %d: at least 1 stays", flags.keep)
	}
	p := catalog.PruneOptions{Keep: flags.keep, RemoveTags: flags.tags, DryRun: flags.dryRun, Concurrency: opts.Concurrency}
	if err := p.Check(); err != nil {
		return usagef("see --help for what a pattern is", "--remove-tag %w", err)
	}
	opts.Concurrency = catalog.Connections(p.Concurrency)
	out, err := pruneHeld(ctx, ref, opts, p)
	if err == nil && !flags.dryRun {
		a.tidy(ctx, ref)
	}
	if out == nil || err != nil && out.Removed == 0 {
		return pruneFailure(err)
	}
	// What was removed is told, whatever came after.
	return errors.Join(pruneFailure(err), a.showPrune(ref, out))
}

// pruneHeld prunes a repository, and lets go of it.
func pruneHeld(ctx context.Context, ref registry.Reference, opts registry.Options, p catalog.PruneOptions) (_ *catalog.Pruned, err error) {
	repo, release, err := openHeld(ctx, ref, opts, registry.Open)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release()) }()
	return catalog.Prune(ctx, repo, p)
}

// pruneFailure says what to do about a registry that deletes nothing.
func pruneFailure(err error) error {
	if errors.Is(err, catalog.ErrNothingDeletes) {
		return &failure{exitRegistry, err, "nothing was changed; allow deletion in the registry (distribution and docker-registry: REGISTRY_STORAGE_DELETE_ENABLED=true), or remove images in its own way, as --dry-run lists them"}
	}
	return err
}

func (a *app) showPrune(ref registry.Reference, p *catalog.Pruned) error {
	if a.output.JSON {
		return display.JSON(a.Stdout, p)
	}
	status := a.status()
	for _, n := range p.Notes {
		status.Note("%s", n)
	}
	var f display.Fields
	remove, tagsOnly := 0, false
	t := display.Table{Header: []string{"TAGS", "RELEASE", "BUILD", "DIGEST", "", "WHY"}}
	for i := range p.Images {
		e := &p.Images[i]
		what := "keep"
		switch {
		case e.Remove && p.DryRun:
			what = "would remove"
		case e.Removed:
			what = "removed"
		case e.Remove:
			what = "not removed"
		}
		if e.Remove {
			remove++
		}
		tagsOnly = tagsOnly || e.TagsOnly
		t.Rows = append(t.Rows, []string{strings.Join(e.Tags, ", "), e.Release, e.Build, shortDigest(e.Digest), what, e.Reason})
	}
	if p.DryRun {
		f.Addf("would remove", "%d of %s in %s", remove, quantity.Count(len(p.Images), "image", "images"), ref.Locator())
	} else {
		f.Addf("removed", "%d of %s in %s", p.Removed, quantity.Count(len(p.Images), "image", "images"), ref.Locator())
	}
	if p.Foreign > 0 {
		f.Add("kept", fmt.Sprint(quantity.Count(p.Foreign, "other artifact", "other artifacts")))
	}
	if tagsOnly {
		status.Note("the registry removes tags only: what they named stays until the registry removes that")
	}
	if err := f.Write(a.Stdout); err != nil {
		return err
	}
	if len(t.Rows) == 0 {
		return nil
	}
	return t.Write(a.Stdout)
}
