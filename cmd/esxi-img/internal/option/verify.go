package option

import (
	"errors"

	"github.com/spf13/pflag"

	"github.com/esxi-img/esxi-img/artifact"
)

// Verify says who has to vouch for an image before it is used.
type Verify struct {
	insecureSkip bool
}

// ErrNoPolicy says that nothing tells whom to trust.
var ErrNoPolicy = errors.New("nothing says whose images to trust")

// AddFlags adds the group's flags.
func (v *Verify) AddFlags(f *pflag.FlagSet) {
	f.BoolVar(&v.insecureSkip, "insecure-skip-verify", false, "use the image whoever made it")
}

// Verifier returns what the flags ask for, or ErrNoPolicy.
func (v *Verify) Verifier() (artifact.Verifier, error) {
	if v.insecureSkip {
		return artifact.InsecureSkip{}, nil
	}
	return nil, ErrNoPolicy
}
