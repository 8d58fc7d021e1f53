package cli

import (
	"errors"
	"fmt"

	"github.com/esxi-img/esxi-img/artifact"
	"github.com/esxi-img/esxi-img/pkg/blockdev"
	"github.com/esxi-img/esxi-img/pkg/outfile"
	"github.com/esxi-img/esxi-img/pkg/registry"
)

// exitVerification is the exit code where nobody vouches for an image.
const exitVerification = 10

// artifactFailure finds the exit code and the advice for an error that has to
// do with an image in a registry or a layout; nil if it has not.
func artifactFailure(err error) *failure {
	var (
		content      *artifact.ContentError
		expectation  *artifact.ExpectationError
		plan         *artifact.PlanError
		seed         *artifact.SeedError
		target       *artifact.TargetError
		check        *artifact.CheckError
		device       *blockdev.Error
		verification *artifact.VerificationError
		secrets      *artifact.SecretsError
		tag          *artifact.TagMoveError
		promotion    *artifact.PromotionError
		variant      *artifact.VariantError
		format       *artifact.FormatError
		custom       *artifact.CustomizeError
	)
	switch {
	case errors.As(err, &custom) && errors.Is(err, registry.ErrRangeIgnored):
		return &failure{exitRegistry, err, "pull the image as it is, and then use \"esxi-img customize\""}
	case errors.As(err, &verification):
		return &failure{exitVerification, err, "do not use the image, unless you know where it comes from"}
	case errors.As(err, &content):
		return &failure{exitVerification, err, "the registry, or something before it, sends wrong content: do not use it"}
	case errors.As(err, &expectation):
		return &failure{exitInput, err, "make sure that image and disk are the right ones; nothing was written"}
	case errors.As(err, &plan):
		return &failure{exitInput, err, plan.Advice}
	case errors.As(err, &seed):
		return &failure{exitInput, err, "name a raw disk image, an installer ISO or a device, or leave the seed out"}
	case errors.As(err, &target):
		return &failure{exitIO, err, target.Advice}
	case errors.As(err, &check):
		return &failure{exitIO, err, "do not use the disk: it does not keep what is written to it"}
	case errors.As(err, &device):
		return &failure{exitIO, err, device.Advice}
	case errors.Is(err, outfile.ErrBusy):
		return &failure{exitIO, err, "wait for the other pull to end, or choose another --output"}
	case errors.As(err, &secrets):
		f := secrets.Findings[0]
		return &failure{exitInput, err, fmt.Sprintf("%s; or --allow-secrets to publish it: %s", f.Cure, f.Reason)}
	case errors.As(err, &promotion):
		return &failure{exitRegistry, err, "promote a later build, or --force to go back to this one"}
	case errors.As(err, &tag):
		return &failure{exitRegistry, err, "choose another tag, or --force to move this one"}
	case errors.As(err, &variant):
		return &failure{exitInput, err, variant.Advice}
	case errors.Is(err, artifact.ErrVersion):
		return &failure{exitInput, err, "use a later version of esxi-img"}
	case errors.Is(err, artifact.ErrNotImage):
		return &failure{exitInput, err, "name an image that esxi-img pushed"}
	case errors.As(err, &format):
		return &failure{exitInput, err, "the image is damaged or was not made by esxi-img: build or copy it again"}
	default:
		return nil
	}
}
