package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/display"
	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/option"
	"github.com/esxi-img/esxi-img/pkg/customize"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/quantity"
)

// maxTold is how many hosts are named in one message.
const maxTold = 5

// hostsResult is what customize prints of many hosts.
type hostsResult struct {
	Image   string           `json:"image"`
	Output  string           `json:"output"`
	Format  string           `json:"format"`
	Backing string           `json:"backing,omitempty"`
	DryRun  bool             `json:"dryRun,omitempty"`
	Source  customize.Source `json:"source"`
	Hosts   []hostImage      `json:"hosts"`
	// Files and Size are of a folder for network boot.
	Files   int     `json:"files,omitempty"`
	Size    int64   `json:"size,omitempty"`
	Seconds float64 `json:"seconds"`
}

// hostImage is what became of one of them.
type hostImage struct {
	Name    string                 `json:"name"`
	MACs    []string               `json:"macs,omitempty"`
	Output  string                 `json:"output"`
	Changes []customize.Edit       `json:"changes"`
	Inputs  []customize.Digest     `json:"inputs"`
	Files   []customize.FileChange `json:"files"`
	// Size and Grown are the disk's, FileSize is that of the files which are the
	// host's alone, Differs what differs from the image; all in bytes.
	Size     int64            `json:"size"`
	Grown    int64            `json:"grown"`
	FileSize int64            `json:"fileSize,omitempty"`
	Differs  int64            `json:"differs,omitempty"`
	Warnings []imager.Warning `json:"warnings,omitempty"`
	Error    *hostFailed      `json:"error,omitempty"`
}

// hostFailed is why a host has no image, as errors on standard error are.
type hostFailed struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Advice  string `json:"advice,omitempty"`
}

func newHostsResult(image string, flags *customizeFlags, hosts *option.Hosts) hostsResult {
	r := hostsResult{Image: image, Output: flags.output, Format: flags.format, DryRun: flags.dryRun}
	if b := flags.behind(image); b != nil {
		r.Backing = b.Path
	}
	for _, h := range hosts.List {
		r.Hosts = append(r.Hosts, hostImage{Name: h.Name, MACs: h.MACs, Changes: []customize.Edit{}, Inputs: []customize.Digest{}, Files: []customize.FileChange{}})
	}
	return r
}

// tell notes what was written.
func (h *hostImage) tell(r customize.HostResult) {
	h.Changes, h.Inputs, h.Files = append(h.Changes, r.Edits...), append(h.Inputs, r.Inputs...), append(h.Files, r.Files...)
	h.Size, h.Grown, h.FileSize, h.Differs, h.Warnings = r.Size, r.Grown, r.FileSize, r.Differs, r.Warnings
}

// plan notes what is the host's in a folder for network boot.
func (h *hostImage) plan(r *customize.Result, img *imager.Image) {
	h.Size, h.Grown, h.Files = r.Plan.Size, r.Grown, append(h.Files, r.Files...)
	if r.Record != nil {
		h.Changes, h.Inputs = append(h.Changes, r.Step().Edits...), append(h.Inputs, r.Step().Inputs...)
	}
	h.Warnings = append(slices.Clone(r.Warnings), img.Warnings...)
	if len(h.MACs) > 0 {
		h.Output = imager.NetbootFolder(h.MACs[0])
	}
}

// fail notes what went wrong with a host, if anything did.
func (r *hostsResult) fail(ctx context.Context, i int, err error) {
	if err == nil {
		return
	}
	f := classify(ctx, err)
	r.Hosts[i].Error = &hostFailed{f.code, f.err.Error(), f.advice}
}

// failure is how the command ends: with the highest exit code of any host.
func (r *hostsResult) failure() error {
	worst, failed := 0, 0
	var told []string
	advice := ""
	for _, h := range r.Hosts {
		if h.Error == nil {
			continue
		}
		failed++
		if len(told) < maxTold {
			told = append(told, h.Name+": "+h.Error.Message)
		}
		if h.Error.Code > worst {
			worst, advice = h.Error.Code, h.Error.Advice
		}
	}
	if failed == 0 {
		return nil
	}
	if failed > len(told) {
		told = append(told, "…")
	}
	what := "have no image"
	if r.Format == formatNetboot {
		what = "cannot be planned, so nothing is written"
	}
	return &failure{worst, fmt.Errorf("%d of %s %s: %s", failed, quantity.Count(len(r.Hosts), "host", "hosts"), what, strings.Join(told, "; ")), advice}
}

// warnOfHosts tells each warning once.
func (a *app) warnOfHosts(hosts []hostImage) {
	var order []string
	who := map[string][]string{}
	for _, h := range hosts {
		for _, warning := range h.Warnings {
			w := warning.String()
			if who[w] == nil {
				order = append(order, w)
			}
			who[w] = append(who[w], h.Name)
		}
	}
	status := a.status()
	for _, w := range order {
		switch n := len(who[w]); {
		case n == len(hosts):
			status.Warn("%s", w)
		case n <= maxTold:
			status.Warn("%s: %s", strings.Join(who[w], ", "), w)
		default:
			status.Warn("%s and %d more: %s", strings.Join(who[w][:maxTold], ", "), n-maxTold, w)
		}
	}
}

func (a *app) showHosts(r hostsResult) error {
	if a.output.JSON {
		return display.JSON(a.Stdout, r)
	}
	var f display.Fields
	f.Addf("source", "%s, %s", r.Image, r.Source.Digest)
	f.Add("backing", r.Backing)
	failed := 0
	for _, h := range r.Hosts {
		if h.Error != nil {
			failed++
		}
	}
	did := fmt.Sprintf("in %.1f s", r.Seconds)
	switch {
	case r.DryRun:
		did = "nothing was written"
	case failed == len(r.Hosts) || failed > 0 && r.Format == formatNetboot:
		did = fmt.Sprintf("%d failed, nothing was written", failed)
	case failed > 0:
		did = fmt.Sprintf("%d failed, the others %s", failed, did)
	}
	f.Addf("hosts", "%s, %s, %s", quantity.Count(len(r.Hosts), "host", "hosts"), r.Format, did)
	if r.Files > 0 {
		f.Addf("image", "%s: %s, %s", r.Output, quantity.Count(r.Files, "file", "files"), quantity.Bytes(r.Size))
	}
	if err := f.Write(a.Stdout); err != nil {
		return err
	}
	return r.table().Write(a.Stdout)
}

// table has a row for each host.
func (r *hostsResult) table() display.Table {
	t := display.Table{Header: []string{"HOST", "IMAGE", "OWN", "CHANGES"}}
	for _, h := range r.Hosts {
		row := []string{h.Name, h.Output, quantity.Bytes(h.own()), h.summary()}
		if h.Error != nil {
			row = []string{h.Name, "none", "", "failed: " + h.Error.Message}
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// own is how much is this host's alone.
func (h *hostImage) own() int64 {
	if h.Differs > 0 {
		return h.Differs
	}
	return h.FileSize
}

func (h *hostImage) summary() string {
	if len(h.Changes) == 0 {
		return "none"
	}
	words := make([]string, len(h.Changes))
	for i, e := range h.Changes {
		words[i] = e.String()
	}
	return strings.Join(words, ", ")
}
