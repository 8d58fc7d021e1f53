package cli

import (
	"github.com/spf13/cobra"

	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/option"
	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/imager"
)

// The commands of the Python tool that this one succeeds, so that scripts
// which call it go on working.

func newGenImg(a *app) *cobra.Command {
	var (
		profile option.Profile
		helper  string
	)
	cmd := &cobra.Command{
		Use:   "gen-img ISO DISKIMG",
		Short: "Build a disk image, with the Python esxi-img's arguments",
		Long: `Gen-img is "esxi-img build" with the arguments of the Python tool of the same
name. A helper tarball of that tool's carries its own kickstart, which is used.

` + exitCodeHelp,
		Example: "  esxi-img gen-img --ks-template my.cfg esxi.iso esxi.img",
		Args:    exactArgs("ISO", "DISKIMG"),
		RunE: func(c *cobra.Command, args []string) error {
			profile.Output = args[1]
			return a.genImg(c, args[0], profile, helper)
		},
	}
	f := cmd.Flags()
	f.StringVar(&profile.Kickstart, "ks-template", "", "use the commands of this kickstart `FILE`")
	f.StringVar(&helper, "esxiimg", "", "use this installer helper `FILE` instead of the built-in module")
	f.StringVar(&profile.Format, "format", string(disk.Raw), "`FORMAT` of the image: raw, qcow2, vmdk or vmdk-sparse")
	return cmd
}

func (a *app) genImg(c *cobra.Command, isoPath string, p option.Profile, helper string) error {
	d := option.Defaults()
	p.SectorSize, p.Headroom, p.Metadata, p.VerifyPayloads = d.SectorSize, d.Headroom, d.Metadata, true
	if err := checkFormat(p, "use raw, qcow2, vmdk or vmdk-sparse"); err != nil {
		return err
	}
	profile, err := loadProfile(p)
	if err != nil {
		return err
	}
	if helper != "" {
		if profile.Helper, err = readInput(helper, imager.MaxModule); err != nil {
			return err
		}
	}
	return a.buildImage(c.Context(), isoPath, outputs{file: p.Output, format: disk.Format(p.Format)}, profile)
}

func newKSTemplate(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "ks-template FILE",
		Short:   "Write the built-in kickstart to a file, as the Python esxi-img does",
		Long:    "Ks-template is \"esxi-img kickstart render --output FILE\".\n\n" + exitCodeHelp,
		Example: "  esxi-img ks-template my.cfg",
		Args:    exactArgs("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			text, err := a.renderKickstart(option.Content{})
			if err != nil {
				return err
			}
			return a.writeOutput(args[0], text, false)
		},
	}
}

func newInstallerHelper(a *app) *cobra.Command {
	var content option.Content
	cmd := &cobra.Command{
		Use:   "installer-helper FILE",
		Short: "Write host scripts and kickstart as one module, as the Python esxi-img does",
		Long: `Installer-helper writes a module with both the host scripts and the kickstart.
"esxi-img installer-module" writes the one without a kickstart.

` + exitCodeHelp,
		Example: "  esxi-img installer-helper --ks-template my.cfg esxiimg.tgz",
		Args:    exactArgs("FILE"),
		RunE: func(_ *cobra.Command, args []string) error {
			text, err := a.renderKickstart(content)
			if err != nil {
				return err
			}
			data, err := imager.InstallerHelper(text)
			if err != nil {
				return err
			}
			return a.writeOutput(args[0], data, false)
		},
	}
	cmd.Flags().StringVar(&content.Kickstart, "ks-template", "", "use the commands of this kickstart `FILE`")
	return cmd
}

func newInstallerModule(a *app) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "installer-module FILE.tgz",
		Short: "Write the module with the host scripts",
		Long: `Installer-module writes the module that build puts on every disk: the host
scripts, without a kickstart. It is the same for every ISO.

` + exitCodeHelp,
		Example: "  esxi-img installer-module esxiimg.tgz",
		Args:    exactArgs("FILE.tgz"),
		RunE: func(_ *cobra.Command, args []string) error {
			data, err := imager.InstallerModule()
			if err != nil {
				return err
			}
			return a.writeOutput(args[0], data, force)
		},
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "replace the output if it is there")
	return cmd
}
