// Package option holds the flag groups that commands share: each is a struct
// with an AddFlags method.
package option

import "github.com/spf13/pflag"

// Output says how results and progress are shown.
type Output struct {
	JSON  bool
	Quiet bool
}

// AddFlags adds the group's flags.
func (o *Output) AddFlags(f *pflag.FlagSet) {
	f.BoolVar(&o.JSON, "json", false, "print the result, and errors, as JSON")
	f.BoolVarP(&o.Quiet, "quiet", "q", false, "print no progress, notes or warnings")
}
