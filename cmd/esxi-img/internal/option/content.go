package option

import (
	"path/filepath"

	"github.com/spf13/pflag"
)

// Content is what runs on the host: the kickstart and what stands beside it.
// Paths are those of files.
type Content struct {
	Kickstart  string   `yaml:"kickstart"`
	Pre        []string `yaml:"pre"`
	Post       []string `yaml:"post"`
	Firstboot  []string `yaml:"firstboot"`
	Modules    []string `yaml:"modules"`
	KernelOpts []string `yaml:"kernelopts"`
	Metadata   string   `yaml:"metadata"` // "" for as it is, in an image that is there
}

// addKickstartFlags adds the flags that make up the kickstart. Instead says of
// what --kickstart takes the place.
func (c *Content) addKickstartFlags(f *pflag.FlagSet, instead string) {
	f.StringVar(&c.Kickstart, "kickstart", "", "use the commands of this kickstart `FILE` instead of "+instead)
	f.StringArrayVar(&c.Pre, "pre", nil, "add a %pre script `FILE`, .sh or .py (repeatable)")
	f.StringArrayVar(&c.Post, "post", nil, "add a %post script `FILE`, .sh or .py (repeatable)")
	f.StringArrayVar(&c.Firstboot, "firstboot", nil, "add a %firstboot script `FILE`, .sh or .py (repeatable)")
}

func (c *Content) addKernelOptFlag(f *pflag.FlagSet) {
	f.StringArrayVar(&c.KernelOpts, "kernelopt", nil, "add or replace a kernel `OPTION` of the installer, NAME or NAME=VALUE; -NAME removes it (repeatable)")
}

// pathLists are the lists of files.
func (c *Content) pathLists() []*[]string {
	return []*[]string{&c.Pre, &c.Post, &c.Firstboot, &c.Modules}
}

// makeRelative makes paths that a file names relative to the folder of that
// file.
func makeRelative(dir string, paths []*string, lists []*[]string) {
	for _, list := range lists {
		for i := range *list {
			paths = append(paths, &(*list)[i])
		}
	}
	for _, path := range paths {
		if *path != "" && !filepath.IsAbs(*path) {
			*path = filepath.Join(dir, *path)
		}
	}
}
