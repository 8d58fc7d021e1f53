package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/display"
	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/option"
	"github.com/esxi-img/esxi-img/pkg/outfile"
	"github.com/esxi-img/esxi-img/pkg/quantity"
	"github.com/esxi-img/esxi-img/pkg/registry"
)

// copyFlags are what copy is told.
type copyFlags struct {
	registry option.Registry
	verify   option.Verify
	sides    option.Sides
	force    bool
	promote  bool
	dryRun   bool
	secrets  bool
}

func newCopy(a *app) *cobra.Command {
	var flags copyFlags
	cmd := &cobra.Command{
		Use:   "copy SRC DST",
		Short: "Copy an image with its signatures and attestations",
		Long: `Copy copies an image between registries, layouts (oci:DIR) and archives
(oci-archive:FILE), with everything that refers to it or to a part of it. Its
bytes, and so its digests, stay what they are, and signatures keep their worth.
What is there already is not sent again; within one registry nothing is sent
that the registry can take from another repository.

DST without a tag gets the tag of SRC. A tag that names another image is moved
with --force only; an archive that exists is replaced with --force only. The tag
VERSION-BUILD goes along, unless it names another image on either side. From a
layout that is copied to, what nothing in it names any more is removed.

SRC is verified first, as pull does; of what nobody vouches for nothing is
copied, unless --insecure-skip-verify is given. Other artifacts than images are
copied likewise. What goes to a registry is looked through for secrets as push
does.

With --promote a tag is moved to an image of the same build or a later one: an
older one is refused, and so is what cannot be compared. The policy has to accept
the image in both places. Of two that promote to one tag at the same time the
later build stays. With --force the tag goes back, too.

With --dry-run nothing is copied; what would be is shown, once it was verified.

Credentials by flag or environment are for one registry: to copy from one to
another, log in to both.

` + exitCodeHelp,
		Example: `  esxi-img copy lab.example/esxi:8.0 registry.example/org/esxi --key esxi.pub
  esxi-img copy registry.example/esxi:8.0 oci-archive:esxi.tar --key esxi.pub
  esxi-img copy oci-archive:esxi.tar airgap.example/esxi:8.0 --key esxi.pub
  esxi-img copy --promote registry.example/staging/esxi:8.0 registry.example/prod/esxi \
    --policy policy.yaml
  esxi-img copy 10.0.0.5:5000/esxi:8.0 registry.example/esxi:8.0 --from-plain-http \
    --insecure-skip-verify`,
		Args: exactArgs("SRC", "DST"),
		RunE: func(c *cobra.Command, args []string) error {
			opts, err := a.registryOptions(&flags.registry, c.Flags())
			if err != nil {
				return err
			}
			src, dst, err := copyReferences(args[0], args[1])
			if err != nil {
				return err
			}
			if err := flags.check(dst); err != nil {
				return err
			}
			if err := a.copy(c, src, dst, &flags, opts); err != nil {
				return err
			}
			if !flags.dryRun {
				a.tidy(c.Context(), dst)
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&flags.force, "force", "f", false, "move the tag if it names another image; replace an archive")
	f.BoolVar(&flags.promote, "promote", false, "move the tag from an older build of an image to a later one")
	f.BoolVar(&flags.dryRun, "dry-run", false, "copy nothing, and show what would be")
	f.BoolVar(&flags.secrets, "allow-secrets", false, "copy kickstarts with secrets in plain text to a registry")
	flags.verify.AddFlags(f)
	flags.sides.AddFlags(f)
	flags.registry.AddFlags(f)
	flags.registry.AddMirrorFlag(f)
	return cmd
}

// check refuses what contradicts itself.
func (f *copyFlags) check(dst registry.Reference) error {
	switch {
	case !f.promote:
		return nil
	case f.verify.Skips():
		return usagef("say whom to trust, or leave --promote out", "--promote and --insecure-skip-verify: what is promoted is verified")
	case dst.Scheme == registry.SchemeArchive:
		return usagef("leave --promote out", "--promote: %s holds one copy, and no tag that moves", dst.Locator())
	default:
		return nil
	}
}

func (a *app) copy(c *cobra.Command, src, dst registry.Reference, flags *copyFlags, opts registry.Options) (err error) {
	ctx := c.Context()
	if err := oneRegistry(src, dst, opts); err != nil {
		return err
	}
	verifier, err := a.verifier(&flags.verify, src.String())
	if err != nil {
		return err
	}
	fromOpts, toOpts := flags.sides.Options(c.Flags(), opts)
	from, d, releaseFrom, err := openResolved(ctx, src, fromOpts)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, releaseFrom()) }()
	toOpts.Mirrors, toOpts.Replace = nil, flags.force
	create := registry.Create
	if flags.dryRun {
		create = registry.Preview
	}
	to, releaseTo, err := openHeld(ctx, dst, toOpts, create)
	if errors.Is(err, outfile.ErrExists) {
		return &failure{exitIO, err, "choose another DST, or --force to replace it"}
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, releaseTo()) }()
	status := a.status()
	if dst.Scheme == "" {
		status.Note("ESXi's licence does not allow to give its files away: keep %s private", dst.Locator())
	}
	copied, err := artifact.Copy(ctx, from, d, to, artifact.CopyOptions{
		Verifier: verifier, Tag: dst.Name(), Force: flags.force, Promote: flags.promote, DryRun: flags.dryRun,
		AllowSecrets: flags.secrets, Progress: status,
	})
	if err != nil {
		return err
	}
	tellFindings(status, copied.Findings)
	for _, d := range copied.Missing {
		status.Warn("%s: %s is listed as a referrer but not there", src, d)
	}
	return a.showCopy(src, dst, copied)
}

// tidy removes from a layout what nothing in it reaches any more: an image whose
// tag was moved, and what copies that were killed have left.
func (a *app) tidy(ctx context.Context, ref registry.Reference) {
	if ref.Scheme != registry.SchemeLayout {
		return
	}
	l, err := registry.OpenLayout(ref.Path)
	if err == nil {
		_, err = l.GC(ctx)
	}
	if err != nil {
		a.status().Warn("%s is not tidied up: %v", ref.Locator(), err)
	}
}

// copyReferences reads both references and gives the second its tag.
func copyReferences(srcText, dstText string) (src, dst registry.Reference, err error) {
	if src, err = registry.Parse(srcText); err != nil {
		return src, dst, err
	}
	if dst, err = registry.Parse(dstText); err != nil {
		return src, dst, err
	}
	switch {
	case dst.Digest != "":
		return src, dst, usagef("name a tag, or none", "%s: a digest follows from what is copied", dstText)
	case dst.Tag == "" && src.Digest != "" && src.Tag == "":
		return src, dst, usagef(fmt.Sprintf("give DST a tag: %s:TAG", dstText), "%s is named by its digest, and %s has no tag", srcText, dstText)
	case dst.Scheme == registry.SchemeArchive && src.SamePlace(dst):
		return src, dst, usagef("name another file", "%s would be written while it is read", dstText)
	}
	if dst.Tag == "" {
		dst.Tag = src.Tag
	}
	return src, dst, nil
}

// oneRegistry refuses credentials that would go to two registries.
func oneRegistry(a, b registry.Reference, opts registry.Options) error {
	if a.Scheme != "" || b.Scheme != "" || a.SameRegistry(b) || opts.Username == "" && opts.TokenFile == "" {
		return nil
	}
	return usagef("log in to both: esxi-img login REGISTRY", "the credentials that were given would go to both %s and %s", a.Registry, b.Registry)
}

// copyResult is what copy prints.
type copyResult struct {
	From string `json:"from"`
	Ref  string `json:"ref"` // the repository
	*artifact.Copied
}

func (a *app) showCopy(src, dst registry.Reference, c *artifact.Copied) error {
	if a.output.JSON {
		return display.JSON(a.Stdout, copyResult{src.String(), dst.Locator(), c})
	}
	tags := a.tagsSet(c.Tags)
	var f display.Fields
	if c.DryRun {
		f.Add("would copy", dst.WithDigest(c.Digest).String())
	} else {
		f.Add("copied", dst.WithDigest(c.Digest).String())
	}
	f.Add("verified", vouchedText(c.Verification))
	f.Add("tags", tags)
	if r := c.Replaced; r != nil {
		f.Add("moved from", strings.TrimSpace(r.Version+" "+r.Digest.String()))
	}
	f.Add("manifests", fmt.Sprint(c.Manifests))
	f.Add("referrers", referrersText(c.Referrers))
	if c.DryRun {
		f.Addf("to send", "%s; already there %s", quantity.Bytes(c.Sent), quantity.Bytes(c.Present))
		return f.Write(a.Stdout)
	}
	f.Addf("sent", "%s; mounted %s, already there %s", quantity.Bytes(c.Sent), quantity.Bytes(c.Mounted), quantity.Bytes(c.Present))
	return f.Write(a.Stdout)
}

// tagsSet lists the tags that were set, and tells of those that others set
// first.
func (a *app) tagsSet(tags []artifact.PushedTag) string {
	status := a.status()
	var set []string
	for _, t := range tags {
		if t.Set {
			set = append(set, t.Tag)
		} else {
			status.Note("the tag %s stays with %s, which was there first", t.Tag, t.Digest)
		}
	}
	return strings.Join(set, ", ")
}

// referrersText lists what refers to something by type, a line each.
func referrersText(counts []artifact.ReferrerCount) string {
	if len(counts) == 0 {
		return "none"
	}
	lines := make([]string, len(counts))
	for i, c := range counts {
		name := c.ArtifactType
		if name == "" {
			name = "without a type"
		}
		lines[i] = fmt.Sprintf("%d %s", c.Count, name)
	}
	return strings.Join(lines, "\n")
}
