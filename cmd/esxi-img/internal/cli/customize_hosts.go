package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/esxi-img/esxi-img/cmd/esxi-img/internal/option"
	"github.com/esxi-img/esxi-img/pkg/customize"
	"github.com/esxi-img/esxi-img/pkg/disk"
	"github.com/esxi-img/esxi-img/pkg/imager"
	"github.com/esxi-img/esxi-img/pkg/outfile"
	"github.com/esxi-img/esxi-img/pkg/plan"
	"github.com/esxi-img/esxi-img/pkg/progress"
)

// namePattern stands in --output for the name of a host.
const namePattern = "{name}"

// hostsRun is one customize with --hosts.
type hostsRun struct {
	image  string
	flags  *customizeFlags
	hosts  *option.Hosts
	shared customize.Changes
	result hostsResult
	began  time.Time
	open   disk.OpenBacking // nil without --read-backing
}

// hostsMemory is what Go tries to stay below with many hosts, in bytes.
const hostsMemory = 64 << 20

// customizeHosts is customize for many hosts at once.
func (a *app) customizeHosts(ctx context.Context, path string, given option.Customize, flags *customizeFlags) (err error) {
	// What each host's plan leaves behind is collected earlier than Go would.
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(hostsMemory))
	if err := flags.checkHosts(); err != nil {
		return err
	}
	// 1. What each is to get; what all get is read once.
	r := &hostsRun{image: path, flags: flags, began: time.Now()}
	if r.hosts, err = option.ReadHosts(flags.hosts, given); err != nil {
		return hostsFailure(err)
	}
	if r.shared, err = loadChanges(r.hosts.Shared); err != nil {
		return err
	}
	r.result = newHostsResult(path, flags, r.hosts)
	// 2. Where it goes. What is there already is told of before any work.
	if err := r.place(); err != nil {
		return err
	}
	file, _, err := openInput(path)
	if err != nil {
		return err
	}
	var others behind
	defer func() { err = errors.Join(err, others.Close()) }()
	if flags.readBacking {
		r.open = others.opener(path)
	}
	// 3. The images, or the one folder.
	if flags.format == formatNetboot {
		err = a.netbootHosts(ctx, file, r)
	} else {
		err = a.writeHosts(ctx, file, r)
	}
	if err != nil {
		return err
	}
	// 4. What became of each.
	r.result.Seconds = time.Since(r.began).Seconds()
	if err := a.showHosts(r.result); err != nil {
		return err
	}
	return r.result.failure()
}

// hostsFailure is a list of hosts that cannot be used.
func hostsFailure(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return unusable(err)
	}
	return inputError(err, "mend the list: docs/customize.md says what stands in it")
}

func (f *customizeFlags) checkHosts() error {
	disks := slices.Contains(disk.Formats(), disk.Format(f.format))
	switch {
	case !disks && !isMedia(f.format):
		return usagef(adviceFormats, "--format %s is not a format of the output", f.format)
	case f.output == "":
		return usagef("add --output DIR, or a name with {name} in it", "--hosts: the images need a place")
	case f.prefix != "" && f.format != formatNetboot:
		return usagef("add --format netboot, or leave it out", "--prefix: a disk has no boot.cfg that is served")
	case f.prefix == "" && f.format == formatNetboot:
		return usagef("add --prefix URL, where the folder will be", "--hosts: the boot loader takes names without a prefix from the folder of the host's own boot.cfg, where the payload is not")
	case f.format == formatNetboot && strings.Contains(f.output, namePattern):
		return usagef("give one folder, which all hosts share", "--output %s: has the name of a host in it", f.output)
	}
	return f.checkBacking()
}

func (f *customizeFlags) checkBacking() error {
	switch {
	case f.backed() && f.format != string(disk.QCOW2):
		return usagef("add --format qcow2, or leave it out", "--backing: only a qcow2 file can have another one behind it")
	case f.backed() && f.output == "":
		return usagef("add --output", "--backing: the image itself is the file behind")
	}
	return nil
}

func (f *customizeFlags) backed() bool { return f.backing || f.backingFile != "" }

// behind is the file behind overlays, nil without --backing.
func (f *customizeFlags) behind(image string) *customize.HostsBacking {
	switch {
	case f.backingFile == "":
		if !f.backing {
			return nil
		}
		return &customize.HostsBacking{Path: image}
	case strings.EqualFold(filepath.Ext(f.backingFile), ".qcow2"):
		return &customize.HostsBacking{Path: f.backingFile, Write: disk.QCOW2}
	default:
		return &customize.HostsBacking{Path: f.backingFile, Write: disk.Raw}
	}
}

// hostOutput is the file of a host.
func (f *customizeFlags) hostOutput(name string) string {
	if strings.Contains(f.output, namePattern) {
		return strings.ReplaceAll(f.output, namePattern, name)
	}
	extension := ".img"
	if f.format != string(disk.Raw) {
		extension, _, _ = strings.Cut("."+f.format, "-")
	}
	return filepath.Join(f.output, name+extension)
}

// place chooses the outputs, and refuses those that can't be.
func (r *hostsRun) place() error {
	if r.flags.format == formatNetboot {
		return nil
	}
	taken := map[string]string{} // by output
	inputs := map[string]string{r.image: "the image itself", r.flags.hosts: "the list of hosts"}
	outputs := []string{}
	if b := r.flags.backingFile; b != "" {
		outputs = append(outputs, b)
		taken[strings.ToLower(filepath.Clean(b))] = "the file behind"
	}
	for i := range r.hosts.List {
		name := r.hosts.List[i].Name
		out := r.flags.hostOutput(name)
		key := strings.ToLower(filepath.Clean(out))
		if other, twice := taken[key]; twice {
			return usagef("give a name with {name} in it", "--output: %s would be that of %s and of %s", out, other, name)
		}
		taken[key] = name
		r.result.Hosts[i].Output = out
		outputs = append(outputs, out)
	}
	var there []string
	for _, out := range outputs {
		dir := filepath.Dir(out)
		if info, err := os.Stat(dir); err == nil && !info.IsDir() {
			return usagef("give a folder, or a name with {name} in it", "--output: %s is a file", dir)
		}
		for input, what := range inputs {
			if sameFile(input, out) {
				return usagef("choose another --output", "%s is %s", out, what)
			}
		}
		if _, err := os.Stat(out); err == nil && !r.flags.force && !r.flags.dryRun {
			there = append(there, out)
		}
	}
	switch len(there) {
	case 0:
		return nil
	case 1:
		return &fs.PathError{Op: "write", Path: there[0], Err: outfile.ErrExists}
	default:
		return &fs.PathError{Op: "write", Path: fmt.Sprintf("%s and %d more", there[0], len(there)-1), Err: outfile.ErrExists}
	}
}

// list is the hosts as the library wants them.
func (r *hostsRun) list() []customize.Host {
	hosts := make([]customize.Host, len(r.hosts.List))
	for i := range hosts {
		own := r.hosts.List[i].Own
		hosts[i] = customize.Host{
			Name: r.hosts.List[i].Name, Output: r.result.Hosts[i].Output,
			Changes: func() (customize.Changes, error) {
				c, err := loadChanges(own)
				return c.Over(r.shared), err
			},
		}
	}
	return hosts
}

// writeHosts writes a file for each host.
func (a *app) writeHosts(ctx context.Context, file *os.File, r *hostsRun) error {
	opts := r.flags.hostsOptions(r.image, a.status())
	opts.Open = r.open
	if r.flags.format == formatISO {
		opts.Format = disk.Raw // its own bytes
		opts.As = func(done *customize.Result) (*plan.Plan, error) {
			img, err := imager.ISOOfDisk(done.Plan, done.Plan.Size)
			if err != nil {
				return nil, err
			}
			done.Warnings = append(done.Warnings, img.Warnings...)
			return img.Plan, nil
		}
	}
	source, results, err := customize.WriteHosts(ctx, file, r.list(), opts)
	if err != nil && ctx.Err() != nil && results != nil {
		return r.interrupted(results)
	}
	if err != nil {
		return customizeFailure(r.image, err)
	}
	r.result.Source = source
	for i := range results {
		r.result.Hosts[i].tell(results[i])
		r.result.fail(ctx, i, results[i].Err)
	}
	a.warnOfHosts(r.result.Hosts)
	return nil
}

// interrupted tells how far it came.
func (r *hostsRun) interrupted(results []customize.HostResult) error {
	done := 0
	for i := range results {
		if results[i].Err == nil {
			done++
		}
	}
	return &failure{
		exitInterrupted, fmt.Errorf("interrupted: %d of %d images are written, each of them whole", done, len(results)),
		"run the command again, with --force to replace them",
	}
}

// netbootHosts writes the folder that all hosts share.
func (a *app) netbootHosts(ctx context.Context, file *os.File, r *hostsRun) (err error) {
	defer func() { err = errors.Join(err, file.Close()) }()
	var base *imager.Image
	own := make([][]plan.File, len(r.hosts.List))
	// The first one is what all share.
	all := customize.Host{Changes: func() (customize.Changes, error) { return r.shared, nil }}
	source, errs, err := customize.EachHost(ctx, file, r.open, append([]customize.Host{all}, r.list()...), 0, func(_ context.Context, i int, done *customize.Result) error {
		img, err := imager.NetbootOfDisk(done.Plan, done.Plan.Size, r.flags.prefix)
		if err != nil {
			return err
		}
		if i == 0 {
			base = img
			return nil
		}
		host := &r.result.Hosts[i-1]
		host.plan(done, img)
		if base == nil {
			return errors.New("what all hosts share cannot be")
		}
		own[i-1], err = img.HostFiles(base, r.hosts.List[i-1].MACs)
		for _, f := range own[i-1] {
			host.FileSize += f.Size
		}
		return err
	})
	if err == nil {
		err = errs[0]
	}
	if err != nil {
		return customizeFailure(r.image, err)
	}
	r.result.Source = source
	for i := range r.result.Hosts {
		r.result.fail(ctx, i, errs[i+1])
	}
	a.warnOfHosts(r.result.Hosts)
	// A folder that some host is missing from is none.
	if r.flags.dryRun || r.result.failure() != nil {
		return nil
	}
	folder, err := base.WithHosts(own, r.hosts.Others == option.OthersInstall)
	if err != nil {
		return named(r.image, err)
	}
	r.result.Size, r.result.Files = folder.Size, len(folder.Files)
	return damagedImage(r.image, disk.WriteFolder(ctx, r.flags.output, folder, disk.WriteOptions{Replace: r.flags.force, Progress: a.status()}))
}

// customizeOverlay is customize for one host, of whose disk only what differs
// from the image is written.
func (a *app) customizeOverlay(ctx context.Context, path string, given option.Customize, flags *customizeFlags) (err error) {
	if err := flags.checkBacking(); err != nil {
		return err
	}
	changes, err := loadChanges(given)
	if err != nil {
		return err
	}
	if sameFile(path, flags.output) || sameFile(path, flags.backingFile) {
		return usagef("choose another --output and --backing-file", "%s is the image itself", path)
	}
	file, _, err := openInput(path)
	if err != nil {
		return err
	}
	opts := flags.hostsOptions(path, a.status())
	var others behind
	defer func() { err = errors.Join(err, others.Close()) }()
	if flags.readBacking {
		opts.Open = others.opener(path)
	}
	began := time.Now()
	status := a.status()
	host := customize.Host{Output: flags.output, Changes: func() (customize.Changes, error) { return changes, nil }}
	source, results, err := customize.WriteHosts(ctx, file, []customize.Host{host}, opts)
	if err == nil {
		err = results[0].Err
	}
	if err != nil {
		return customizeFailure(path, err)
	}
	done := results[0]
	for _, w := range done.Warnings {
		status.Warn("%s", w)
	}
	return a.showCustomize(customizeResult{
		Image: path, Output: flags.output, Format: flags.format, DryRun: flags.dryRun, Source: source,
		Changes: append([]customize.Edit{}, done.Edits...), Inputs: append([]customize.Digest{}, done.Inputs...),
		Files: append([]customize.FileChange{}, done.Files...), Size: done.Size, Grown: done.Grown, Differs: done.Differs,
		Warnings: done.Warnings, Seconds: time.Since(began).Seconds(),
	})
}

// hostsOptions say how images of hosts are written.
func (f *customizeFlags) hostsOptions(image string, report progress.Reporter) customize.HostsOptions {
	return customize.HostsOptions{
		Replace: f.force, Format: disk.Format(f.format), Compress: f.compress, DryRun: f.dryRun, Progress: report, Backing: f.behind(image),
	}
}
