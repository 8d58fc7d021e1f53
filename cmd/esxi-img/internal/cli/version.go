package cli

import (
	"runtime"

	"github.com/spf13/cobra"

	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/display"
)

func newVersion(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print which build of the program this is",
		Example: "  esxi-img version --json",
		Args:    maxArgs(0),
		RunE: func(*cobra.Command, []string) error {
			platform := runtime.GOOS + "/" + runtime.GOARCH
			if a.output.JSON {
				return display.JSON(a.Stdout, map[string]string{
					"version": a.Build.Version, "commit": a.Build.Commit, "date": a.Build.Date,
					"go": runtime.Version(), "platform": platform,
				})
			}
			var f display.Fields
			f.Add("esxi-img", a.Build.Version)
			f.Add("commit", a.Build.Commit)
			f.Add("date", a.Build.Date)
			f.Add("go", runtime.Version())
			f.Add("platform", platform)
			return f.Write(a.Stdout)
		},
	}
}
