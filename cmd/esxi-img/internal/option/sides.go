package option

import (
	"github.com/spf13/pflag"

	"github.com/esxi-img/esxi-img/pkg/registry"
)

// Sides says how the two registries of a copy differ.
type Sides struct {
	fromPlain, toPlain bool
}

// Names of the flags.
const (
	fromPlainHTTP = "from-plain-http"
	toPlainHTTP   = "to-plain-http"
)

// AddFlags adds the group's flags.
func (s *Sides) AddFlags(f *pflag.FlagSet) {
	f.BoolVar(&s.fromPlain, fromPlainHTTP, false, "as --plain-http, for SRC only")
	f.BoolVar(&s.toPlain, toPlainHTTP, false, "as --plain-http, for DST only")
}

// Options returns what holds for either side, of what was said for both.
func (s *Sides) Options(f *pflag.FlagSet, both registry.Options) (from, to registry.Options) {
	from, to = both, both
	if f.Changed(fromPlainHTTP) {
		from.PlainHTTP = &s.fromPlain
	}
	if f.Changed(toPlainHTTP) {
		to.PlainHTTP = &s.toPlain
	}
	return from, to
}
