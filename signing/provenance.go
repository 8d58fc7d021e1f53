package signing

import (
	"encoding/json"
	"fmt"

	"github.com/opencontainers/go-digest"

	"github.com/esxi-img/esxi-img/artifact"
)

const (
	// BuildType says what the parameters of our provenance mean; docs/signing.md
	// tells.
	BuildType = "https://github.com/esxi-img/esxi-img/build/v1"
	// DefaultBuilder names the builder of an image that was built by hand, on a
	// machine of whoever attests.
	DefaultBuilder = "https://github.com/esxi-img/esxi-img/builder/unspecified"

	program = "esxi-img"
)

// provenance is a predicate of SLSA's provenance, version 1.
type provenance struct {
	BuildDefinition buildDefinition `json:"buildDefinition"`
	RunDetails      runDetails      `json:"runDetails"`
}

type buildDefinition struct {
	BuildType            string             `json:"buildType"`
	ExternalParameters   externalParameters `json:"externalParameters"`
	InternalParameters   internalParameters `json:"internalParameters"`
	ResolvedDependencies []resource         `json:"resolvedDependencies"`
}

// externalParameters are what whoever builds an image may choose.
type externalParameters struct {
	ISO        string         `json:"iso"` // name of the material
	KernelOpts []string       `json:"kernelopts"`
	Kickstart  kickstartInput `json:"kickstart"`
	Modules    []moduleInput  `json:"modules"`
	SectorSize int            `json:"sectorSize"`
	Base       digest.Digest  `json:"base,omitempty"` // of the manifest that a variant was made from
}

type kickstartInput struct {
	SHA256 artifact.SHA256 `json:"sha256"` // of the rendered text
	// Settings are what the host scripts are told besides.
	Settings string `json:"settings,omitempty"`
}

type moduleInput struct {
	Path   string          `json:"path"`
	SHA256 artifact.SHA256 `json:"sha256"`
}

// internalParameters are what the builder chose.
type internalParameters struct {
	Planner artifact.Planner `json:"planner"`
	Time    string           `json:"time"` // of every file of the image
}

// resource is a resource descriptor of in-toto.
type resource struct {
	Name        string            `json:"name,omitempty"`
	Digest      map[string]string `json:"digest"`
	MediaType   string            `json:"mediaType,omitempty"`
	Annotations map[string]any    `json:"annotations,omitempty"`
}

type runDetails struct {
	Builder builder `json:"builder"`
}

type builder struct {
	ID      string            `json:"id"`
	Version map[string]string `json:"version,omitempty"`
}

// Provenance makes a predicate of SLSA's provenance (version 1): from which ISO
// an image was built, with which parameters, by which version of this program.
// builderID is the URI of what ran the build; empty for DefaultBuilder. All of
// it is what the config says: who signs it stands for it.
func Provenance(c *artifact.Config, builderID string) (json.RawMessage, error) {
	if builderID == "" {
		builderID = DefaultBuilder
	}
	if err := CheckURI(builderID); err != nil {
		return nil, fmt.Errorf("builder: %w", err)
	}
	p := provenance{
		BuildDefinition: buildDefinition{
			BuildType: BuildType,
			ExternalParameters: externalParameters{
				ISO: c.ISO.Name, KernelOpts: append([]string{}, c.KernelOpts...),
				Kickstart: kickstartInput{c.Kickstart.SHA256, c.Kickstart.Settings},
				Modules:   modulesOf(c), SectorSize: c.Disk.SectorSize,
			},
			InternalParameters:   internalParameters{c.Planner, stamp(c.Disk.Time)},
			ResolvedDependencies: []resource{isoOf(c)},
		},
		RunDetails: runDetails{builder{ID: builderID, Version: map[string]string{program: c.Builder.Version}}},
	}
	if b := c.Base; b != nil {
		d := &p.BuildDefinition
		d.ExternalParameters.Base = b.Manifest
		d.ResolvedDependencies = append(d.ResolvedDependencies, material("base manifest", b.Manifest), material("base disk", b.Disk))
		if b.Index != "" {
			d.ResolvedDependencies = append(d.ResolvedDependencies, material("base index", b.Index))
		}
	}
	text, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encode the provenance: %w", err)
	}
	return text, nil
}

func material(name string, d digest.Digest) resource {
	return resource{Name: name, Digest: map[string]string{"sha256": d.Encoded()}}
}

// isoOf is the ISO as a material.
func isoOf(c *artifact.Config) resource {
	const mediaType = "application/vnd.efi.iso" // IANA's for ISO 9660 images
	return resource{
		Name: c.ISO.Name, Digest: map[string]string{"sha256": c.ISO.SHA256.String()}, MediaType: mediaType,
		Annotations: map[string]any{"size": c.ISO.Size, "volumeID": c.ISO.VolumeID},
	}
}

// modulesOf lists the modules that were chosen; that with the kickstart is a
// function of the other parameters.
func modulesOf(c *artifact.Config) []moduleInput {
	out := []moduleInput{}
	for i := range c.Modules {
		out = append(out, moduleInput{c.Modules[i].Path, c.Modules[i].SHA256})
	}
	return out
}
